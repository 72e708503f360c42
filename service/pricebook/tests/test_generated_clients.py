"""Clients that generators make of the schema read each digit; linters find no error in it.

It takes npm and the network: `./pricebook test -m clients`. docs/api.md has what the last run saw.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from keys.tests.making import a_key
from pricebook.tests.web import WebServer
from services import price_state, repricing
from services.models import Service
from services.reading.total import total_amount
from services.tests.factories import a_book

pytestmark = [
    pytest.mark.clients,
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.django_db(transaction=True),
]
EXAMPLES = Path(settings.BASE_DIR).parent / "docs" / "examples" / "generated_clients"
NO_DOUBLE = "90071992547409.93"  # the nearest double is .94
ROWS, EACH, LAST = 10_000, "9007199254.74", "9007199264.67"
GENERATORS = ["openapi-python-client==0.29.*"]


def ran(*command: object, cwd: Path, **variables: str) -> str:
    done = subprocess.run(
        [str(each) for each in command],
        cwd=cwd,
        env=os.environ | variables,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture
def web(tmp_path):
    server = WebServer(tmp_path / "web", ALLOWED_HOSTS="localhost")
    yield server
    server.stop()


@pytest.fixture
def place(tmp_path, web):
    """A copy of the example, with npm's packages and both schemas."""
    copy = tmp_path / "clients"
    shutil.copytree(EXAMPLES, copy)
    ran("npm", "install", "--no-audit", "--no-fund", cwd=copy)
    for name, query in (("numbers", ""), ("texts", "&decimals=string")):
        answer = web.get(f"/api/schema/?format=json{query}")
        (copy / f"{name}.json").write_bytes(answer.read())
    return copy


def test_read_each_digit_of_a_total_that_is_no_double(place, web):
    rows = a_book(ROWS, services=1, plans=1)
    Service.objects.update(full_price=EACH)
    repricing.reprice()
    price_state.negotiate(rows[0].pk, LAST, "the last cent", "ann")
    assert str(total_amount().amount) == NO_DOUBLE
    reached = {
        "PRICEBOOK_URL": f"http://localhost:{web.port}",
        "PRICEBOOK_KEY": a_key("biller", "totals:read")[1],
    }
    expected = f"{NO_DOUBLE} USD\n"

    ran(sys.executable, "-m", "venv", "venv", cwd=place)
    python = place / "venv" / "bin" / "python"
    ran(python, "-m", "pip", "install", "-q", *GENERATORS, cwd=place)
    ran(
        python.with_name("openapi-python-client"),
        *("generate", "--path", "texts.json", "--meta", "none"),
        *("--output-path", "pricebook_api"),
        cwd=place,
    )
    assert ran(python, "read.py", cwd=place, **reached) == expected

    ran("npx", "openapi-typescript", "texts.json", "-o", "schema.d.ts", cwd=place)
    ran("npx", "tsc", cwd=place)
    assert ran("node", "read.js", cwd=place, **reached) == expected


def test_have_a_schema_in_which_linters_find_no_error(place):
    for name in ("numbers.json", "texts.json"):
        linted = ran("npx", "redocly", "lint", name, "--format", "json", cwd=place)
        assert json.loads(linted)["totals"]["errors"] == 0
        ran("npx", "spectral", "lint", name, "-r", "spectral.yaml", cwd=place)
