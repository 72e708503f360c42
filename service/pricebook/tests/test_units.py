"""The units of deploy/systemd run what `up` runs, and systemd takes them as they are."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from pricebook.local.home import Home
from pricebook.local.paths import CHECKOUT
from pricebook.local.programs import programs

UNITS = CHECKOUT / "deploy" / "systemd"
VENV = "/opt/pricebook/venv/bin/"
# A unit says these for itself: where it listens, its name, where beat keeps its note.
OWN = {"--hostname", "--host", "--port", "--schedule"}


def started_by(unit: str) -> list[str]:
    """The words of its command, without the Python or the venv that runs it."""
    text = (UNITS / unit).read_text().replace("\\\n", " ")
    [command] = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    words = shlex.split(command)
    assert words[0].startswith(VENV)
    return without_own(words[1:] if words[0].endswith("python") else ["-m", "celery", *words[1:]])


def without_own(words: list[str]) -> list[str]:
    kept, skip = [], False
    for word in words:
        if not skip and word not in OWN:
            kept.append(word)
        skip = not skip and word in OWN
    return kept


@pytest.mark.parametrize(
    ("unit", "name"),
    [
        ("pricebook-web.service", "web"),
        ("pricebook-worker@.service", "worker"),
        ("pricebook-events.service", "events"),
        ("pricebook-beat.service", "beat"),
    ],
)
def test_units_run_what_up_runs(unit, name, tmp_path):
    command, variables = programs(Home(tmp_path), 8000, {})[name]
    python = next(place for place, word in enumerate(command) if word == "-m")
    said = without_own(command[python:])
    said += ["--loglevel", "warning"] if name == "beat" else []
    assert sorted(started_by(unit)) == sorted(said)
    text = (UNITS / unit).read_text()
    for variable in variables.keys() - {"PYTHONWARNINGS"}:
        assert variable in text, variable


def test_units_give_no_right_away():
    for path in UNITS.glob("*.service"):
        text = path.read_text()
        for line in ("DynamicUser=yes", "NoNewPrivileges=yes", "CapabilityBoundingSet=\n"):
            assert line in text, (path.name, line)
        assert "PASSWORD" not in text
    assert (UNITS / "env.example").read_text().count("PASSWORD") == 3


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="apt-get install systemd")
def test_systemd_takes_them(tmp_path):
    for path in UNITS.glob("pricebook*"):
        text = re.sub(rf"{VENV}\w+", "/bin/true", path.read_text())  # which has to be there
        for number in ("1", "2") if "@" in path.name else ("",):
            (tmp_path / path.name.replace("@", f"@{number}")).write_text(text)
    found = [str(Path(path)) for path in sorted(tmp_path.glob("pricebook*"))]
    done = subprocess.run(
        ["systemd-analyze", "verify", *found], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")
