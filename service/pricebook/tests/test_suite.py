"""`./pricebook test` itself: how many run it, on which servers, with which tables."""

import os
import shutil
import signal
import subprocess
import sys

import pytest

from pricebook.local import postgres, suite, template
from pricebook.local.home import Fault, Home
from pricebook.local.paths import CHECKOUT, SERVICE
from pricebook.local.postgres import Postgres
from pricebook.local.processes import until
from pricebook.local.suite import (
    WORKERS,
    on_chosen_postgres,
    servers,
    suite_template,
    workers_for,
)
from pricebook.local.valkey import Valkey
from pricebook.test_runner import APART
from pricebook.tests.test_launcher import clean_environment, nothing_remains, remaining, running

FILE = "service/pricebook/tests/test_suite.py"


class TestWorkers:
    @pytest.fixture(autouse=True)
    def in_the_checkout(self, monkeypatch):
        monkeypatch.chdir(CHECKOUT)
        monkeypatch.setattr(suite, "outside", lambda: False)

    @pytest.mark.parametrize(
        "words", ["", "-x", "service/services", "-p no:randomly", "--junitxml pyproject.toml.xml"]
    )
    def test_are_several_for_the_suite_and_for_a_directory(self, words):
        assert workers_for(words.split()) == WORKERS > 1

    @pytest.mark.parametrize(
        "words",
        [FILE, f"{FILE}::TestWorkers -v", "-k workers", "-kworkers", "-m kills", "--lf", "--pdb"],
    )
    def test_are_not_started_for_a_few_tests(self, words):
        assert workers_for(words.split()) == 0

    @pytest.mark.parametrize("words", ["-n 5", "-n5", "--numprocesses=5", f"-n 5 {FILE}"])
    def test_are_as_many_as_one_says(self, words):
        assert workers_for(words.split()) == 5

    def test_are_none_where_one_says_so(self):
        assert workers_for(["-n", "0"]) == workers_for(["-p", "no:xdist"]) == 0

    def test_do_not_share_somebody_elses_server(self, monkeypatch, tmp_path):
        monkeypatch.setattr(suite, "outside", lambda: True)
        assert workers_for([]) == 0
        with (
            pytest.raises(Fault, match=r"2 workers would meet.*leave -n out"),
            servers(Home(tmp_path), 2),
        ):
            pass


def test_manage_test_leaves_the_same_tiers_out():
    assert suite.TIERS == APART


class TestTemplate:
    def test_is_of_all_migrations_and_of_what_they_import(self):
        sources, services = template.sources(SERVICE), SERVICE / "services"
        migrations = {*SERVICE.glob("*/migrations/*.py")}
        assert migrations <= sources
        # 0004_price_state takes its clock from there; that takes the rule.
        assert {services / "models" / "clock.py", services / "pricing.py"} <= sources
        assert services / "views" / "__init__.py" not in sources

    @pytest.mark.parametrize("changed", ["migrations/0001_initial.py", "models.py", "rule.sql"])
    def test_is_another_when_one_of_them_changes(self, tmp_path, changed):
        app = tmp_path / "app"
        (app / "migrations").mkdir(parents=True)
        (tmp_path / "pricebook").mkdir()
        (tmp_path / "pricebook" / "settings.py").touch()
        (app / "migrations" / "0001_initial.py").write_text("import os\nfrom app import models\n")
        (app / "migrations" / "rule.sql").touch()
        (app / "models.py").write_text("")
        (app / "views.py").write_text("")
        before = template.key(tmp_path)
        (app / "views.py").write_text("# changed\n")
        assert template.key(tmp_path) == before
        path = app / "migrations" / changed if changed.endswith("sql") else app / changed
        path.write_text(path.read_text() + "# changed\n")
        assert template.key(tmp_path) != before


# Tells where it is, and stays there until it is interrupted.
STAYING = """
import os, time
from pathlib import Path
from django.conf import settings
from django.db import connection

def test_stays(db):
    host = connection.settings_dict["HOST"]
    place = Path(os.environ["MEETING_PLACE"], os.environ["PYTEST_XDIST_WORKER"])
    place.with_suffix(".new").write_text(host + " " + settings.CACHE.url)
    place.with_suffix(".new").rename(place)
    while True:
        time.sleep(0.05)
"""
# A program that prints what the tables say, in the copy that a worker gets.
TOLD = """
import sys
from pathlib import Path
from pricebook.local.home import Home
from pricebook.local.suite import servers
with servers(Home(Path(sys.argv[1]))) as (runner, environment), runner.connect() as tables:
    print(*tables.execute("SELECT obj_description('services_service'::regclass)").fetchone())
"""
# A program that is deaf to an interrupt.
DEAF = f"""
import os, sys
sys.path.insert(0, {str(SERVICE)!r})
from pricebook.local.processes import foreground
deaf = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN)"
command = [sys.executable, "-c", deaf + "; print('here', flush=True); time.sleep(90)"]
sys.exit(foreground(command, dict(os.environ), patience=0.5))
"""
# Runs a command in a terminal of its own, types into it what comes, and ends as it does.
IN_A_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
CTRL_C = "\x03"
CHANGE = """
Migration.operations.append(
    migrations.RunSQL("COMMENT ON TABLE services_service IS 'as it is now'")
)
"""


@pytest.fixture(scope="class")
def checkout(tmp_path_factory):
    """A checkout without the tests, which one may change; its suite's home is in it."""
    checkout = tmp_path_factory.mktemp("checkout")
    ignored = shutil.ignore_patterns("test_*.py", "__pycache__", ".*")
    shutil.copytree(SERVICE, checkout / "service", ignore=ignored)
    shutil.copytree(CHECKOUT / "requirements", checkout / "requirements")
    shutil.copy(CHECKOUT / "pyproject.toml", checkout)
    if (tables := suite_template()) is not None:
        shutil.copytree(tables.path, checkout / "home" / "test" / "template", symlinks=True)
    yield checkout
    for number in range(2):
        home = checkout / "home" / "test" / str(number)
        assert nothing_remains(home), remaining(home)


@pytest.mark.thorough
class TestServers:
    def environment(self, checkout, **variables):
        home = {"PRICEBOOK_HOME": str(checkout / "home")}
        return clean_environment(PYTHONPATH=str(checkout / "service"), **home, **variables)

    def homes(self, checkout):
        return [Home(checkout / "home" / "test" / str(number)) for number in range(2)]

    def test_are_each_workers_own_and_end_with_ctrl_c(self, checkout, tmp_path):
        directory = checkout / "service" / "services" / "tests"
        for name in ("test_here.py", "test_there.py"):
            (directory / name).write_text(STAYING)
        command = [sys.executable, "-P", "-m", "pricebook.local", "test", "-n", "2", str(directory)]
        environment = self.environment(checkout, MEETING_PLACE=str(tmp_path))
        terminal = [sys.executable, "-c", IN_A_TERMINAL]
        with running([*terminal, *command], environment) as launcher:
            places = [tmp_path / "gw0", tmp_path / "gw1"]
            assert until(lambda: all(place.exists() for place in places), 60), launcher.leave()
            assert [place.read_text() for place in places] == [
                f"{home.sockets} {Valkey(home).cache_url(1)}" for home in self.homes(checkout)
            ]
            assert all(Postgres(home).answers() for home in self.homes(checkout))
            assert all(Valkey(home).answers() for home in self.homes(checkout))

            # To the launcher, pytest and its workers at once, and once to each.
            launcher.types(CTRL_C)
            assert launcher.leave() in (pytest.ExitCode.INTERRUPTED, 128 + signal.SIGTERM)
            for home in self.homes(checkout):
                assert remaining(home.path) == []

    def test_are_not_waited_for_without_end(self):
        with running([sys.executable, "-P", "-c", DEAF], clean_environment()) as launcher:
            launcher.until_it_says("here")
            os.kill(launcher.process.pid, signal.SIGINT)
            assert launcher.leave() == 128 + signal.SIGTERM

    def told(self, checkout):
        command = [sys.executable, "-P", "-c", TOLD, str(checkout / "home")]
        environment = self.environment(checkout)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip(), "making the suite's tables" in done.stderr

    def test_have_the_tables_of_the_migrations_as_they_are(self, checkout):
        self.told(checkout)
        assert self.told(checkout) == ("None", False)
        with (checkout / "service" / "services" / "migrations" / "0003_total.py").open("a") as file:
            file.write(CHANGE)
        assert self.told(checkout) == ("as it is now", True)


class TestPostgres:
    """`--postgres DIR`; docs/upgrades.md has which versions were tried so."""

    @pytest.fixture(autouse=True)
    def embedded(self, monkeypatch):
        monkeypatch.setattr(suite, "outside", lambda: False)
        monkeypatch.setenv(postgres.CHOSEN, "")
        postgres.version_of.cache_clear()
        yield
        postgres.version_of.cache_clear()

    @pytest.fixture
    def installed(self, tmp_path):
        """A directory in which the programs of a version stand, and say it."""

        def install(version):
            binaries = tmp_path / str(version) / "bin"
            binaries.mkdir(parents=True)
            for name in ("postgres", "initdb"):
                (binaries / name).write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version}.4'\n")
                (binaries / name).chmod(0o755)
            return binaries

        return install

    @pytest.mark.parametrize("words", ["-x --postgres {} -q", "--postgres={} -x -q"])
    def test_is_the_one_of_that_directory(self, installed, words):
        binaries = installed(16)
        assert on_chosen_postgres(words.format(binaries.parent).split()) == ["-x", "-q"]
        assert postgres.find_binaries() == binaries
        with pytest.raises(Fault, match=r"the data is PostgreSQL 18's.* are 16"):
            postgres.find_binaries(18)

    def test_that_is_too_old_or_is_none_is_refused(self, installed, tmp_path):
        for directory, said in (
            (str(installed(14)), "14: 15 is the oldest"),
            (str(tmp_path), "has no PostgreSQL"),
        ):
            with pytest.raises(Fault, match=said):
                on_chosen_postgres(["--postgres", directory])
        (installed(17) / "initdb").unlink()
        with pytest.raises(Fault, match="has no initdb"):
            on_chosen_postgres(["--postgres", str(tmp_path / "17")])
        with pytest.raises(Fault, match="needs a directory"):
            on_chosen_postgres(["-x", "--postgres"])
        assert not os.environ[postgres.CHOSEN]
