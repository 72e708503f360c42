"""The words of `doctor` about servers at addresses of a test."""

import subprocess
import sys

from pricebook.tests.servers import SERVICE, on_this_database


def surroundings(**variables: str) -> str:
    """The command's words, with these variables in its environment."""
    done = subprocess.run(
        [sys.executable, "manage.py", "surroundings"],
        cwd=SERVICE,
        env=on_this_database() | variables,
        capture_output=True,
        text=True,
    )
    return done.stdout + done.stderr
