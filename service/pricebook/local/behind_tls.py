"""`doctor` about a site that people reach over TLS (`HTTPS`)."""

import os
import secrets
import subprocess

from pricebook.local.finding import Finding
from pricebook.local.home import Home
from pricebook.local.paths import MANAGE, SERVICE


def behind_tls(home: Home) -> Finding:
    """Whether Django finds anything missing: cookies, HSTS, the names of the site."""
    names = os.environ.get("ALLOWED_HOSTS", "")
    if not names:
        return Finding("✗", "HTTPS: ALLOWED_HOSTS is not set; set it to the name of the site")
    environment = os.environ | {"PYTHONPATH": str(SERVICE)}
    if not environment.get("SECRET_KEY"):
        # No key is made here, because doctor changes nothing; a new one is as good for a check.
        key = home.path / "secret_key"
        environment["SECRET_KEY"] = (
            key.read_text().strip() if key.exists() else secrets.token_urlsafe(48)
        )
    done = subprocess.run(
        [*MANAGE, "check", "--deploy", "--fail-level", "WARNING"],
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = " ".join(done.stderr.split())
        return Finding("✗", f'HTTPS: {said}; docs/operating.md, "Behind a proxy", has the fix')
    header = os.environ.get("PROXY_SSL_HEADER", "X-Forwarded-Proto")
    return Finding("✓", f"HTTPS for {names}: the proxy says so in {header or 'no header'}")
