"""Requests that schemathesis makes up, one after the other: create, change, end, by the schema's
links, and each once more with its key.

SCHEMATHESIS_EXAMPLES asks for all of its phases, with so many examples each.
"""

import json
import os
import re
import subprocess
import sys

import pytest

from keys.tests.making import a_key
from pricebook.kit.scopes import SCOPES
from pricebook.tests.servers import SERVICE
from pricebook.tests.web import WebServer
from services.tests.factories import a_book
from services.tests.test_schema import CHECKS

EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "")
PHASES = "examples,coverage,fuzzing,stateful" if EXAMPLES else "stateful"


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_are_answered_as_the_schema_says(tmp_path):
    known = a_book(5).first()
    ids = {"client": known.client_id, "service": known.service_id, "plan": known.plan_id}
    _, key = a_key("erp", *SCOPES)
    web = WebServer(tmp_path / "web", ALLOWED_HOSTS="localhost")
    checks = [check.__name__ for check in CHECKS]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "run",
             f"http://localhost:{web.port}/api/schema/?format=json",
             "--header", f"Authorization: Api-Key {key}",
             "--phases", PHASES, "--max-examples", EXAMPLES or "12", "--seed", "1",
             "--mode", "all" if EXAMPLES else "positive",
             "--checks", ",".join([*checks, "sent_again_it_is_answered_the_same"]),
             "--exclude-path-regex", "/api/keys/.*(rotate|revoke)",  # its own is among them
             "--continue-on-failure", "--no-color", "--generation-database", "none"],
            env=os.environ
            | {"SCHEMATHESIS_HOOKS": "pricebook.tests.made_up_calls", "PYTHONPATH": str(SERVICE),
               "KNOWN_IDS": json.dumps(ids)},
            capture_output=True, text=True, cwd=tmp_path,
        )  # fmt: skip
    finally:
        web.stop()
    assert done.returncode == 0, done.stdout + done.stderr
    [covered] = re.findall(r"API Links: +([0-9]+) covered", done.stdout)
    assert int(covered) > 0, done.stdout
