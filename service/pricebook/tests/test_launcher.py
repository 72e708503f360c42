"""The launcher and its servers, with real processes: what is killed here is really killed."""

import http.client
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import django
import psycopg
import pytest

from pricebook.local import postgres
from pricebook.local.home import Home
from pricebook.local.paths import CHECKOUT, SERVICE
from pricebook.local.postgres import SUPERUSER, Postgres
from pricebook.local.processes import Process, every_process, marked, until
from pricebook.local.suite import suite_template
from pricebook.local.up import status
from pricebook.local.valkey import Valkey

LAUNCHER = str(CHECKOUT / "pricebook")
PORT = 20_000 + os.getpid() % 10_000  # below those that the kernel gives out

# A launcher without Django: it takes a lease, and keeps it until its standard input ends.
HOLD = """
import sys
from pathlib import Path
from pricebook.local.home import Fault, Home
from pricebook.local.runner import Runner
try:
    with Runner(Home(Path(sys.argv[1]))):
        print("holding", flush=True)
        sys.stdin.read()
except Fault as fault:
    sys.exit(str(fault))
"""


def clean_environment(**variables: str) -> dict[str, str]:
    """As a stranger's shell has it: nothing of the suite's own servers."""
    names = ("PATH", "HOME", "PYTHONPYCACHEPREFIX")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return {**kept, **variables}


def pricebook(home: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    options.setdefault("env", clean_environment())
    command = [LAUNCHER, "--home", str(home), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, **options)


class Launcher:
    """A launcher that runs in the background, in a process group that can be killed."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.said = ""

    def until_it_says(self, word: str) -> str:
        assert self.process.stdout
        for line in self.process.stdout:
            self.said += line
            if word in line:
                return self.said
        raise AssertionError(f"it never said {word!r}: {self.said}")

    def types(self, keys: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(keys)
        self.process.stdin.flush()

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def leave(self) -> int:
        self.process.communicate(timeout=60)
        return self.process.returncode


@contextmanager
def running(command: list[str], environment: dict[str, str]) -> Iterator[Launcher]:
    launcher = Launcher(command, environment)
    try:
        yield launcher
    finally:
        with suppress(ProcessLookupError):
            os.killpg(launcher.process.pid, signal.SIGTERM)
        launcher.process.communicate(timeout=60)


@contextmanager
def held(home: Path, **variables: str) -> Iterator[Launcher]:
    environment = clean_environment(PYTHONPATH=str(SERVICE), **variables)
    with running([sys.executable, "-P", "-c", HOLD, str(home)], environment) as launcher:
        launcher.until_it_says("holding")
        yield launcher


def asked(port: int, path: str) -> tuple[int, bytes]:
    """The status and the body of an answer; 0 while nobody listens."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        client.request("GET", path)
        response = client.getresponse()
        return response.status, response.read()
    except OSError:
        return 0, b""
    finally:
        client.close()


def servers(home: Path) -> list[Process]:
    return [*Postgres(Home(home)).processes(), *Valkey(Home(home)).processes()]


def remaining(home: Path) -> list[list[str]]:
    """Everything that still lives for this home: servers, guards, children."""
    found = [*servers(home), *marked(f"{Home(home).digest}.")]
    found += [process for process in every_process() if str(home) in process.arguments]
    return [process.arguments for process in found if process.alive]


def nothing_remains(home: Path) -> bool:
    return until(lambda: not remaining(home), 30)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "home"
    yield path
    assert nothing_remains(path), remaining(path)


@pytest.fixture(scope="session")
def initialised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that has run once: its data directory is made."""
    path = tmp_path_factory.mktemp("initialised") / "home"
    with held(path):
        pass
    return path


@pytest.fixture
def used_home(home: Path, initialised: Path) -> None:
    """`home` has run before: for tests of everything but the first start, which costs an initdb."""
    subprocess.run(["cp", "-a", initialised, home], check=True)


has_run = pytest.mark.usefixtures("used_home")


def query(home: Path, statement: str, user: str = SUPERUSER) -> str:
    conninfo = Postgres(Home(home)).conninfo(user, "pricebook")
    with psycopg.connect(conninfo, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return (
            ", ".join(str(value) for row in cursor for value in row) if cursor.description else ""
        )


class TestProcesses:
    def test_one_may_end_while_it_is_looked_at(self, monkeypatch, tmp_path):
        """Its arguments are there once, and not when they are read again."""
        once = {pid: [["postgres: walwriter"]] for pid in (1, 2)}
        arguments = property(lambda process: once[process.pid].pop() if once[process.pid] else [])
        monkeypatch.setattr(Process, "arguments", arguments)
        monkeypatch.setattr(postgres, "every_process", lambda: [Process(1, 1), Process(2, 2)])
        assert Postgres(Home(tmp_path)).processes() == []


class TestServers:
    @has_run
    def test_run_while_somebody_uses_them_and_no_longer(self, home):
        with held(home) as first:
            with held(home):
                first.leave()
                assert query(home, "SELECT 1") == "1"
            assert not servers(home)

    @has_run
    def test_stop_after_a_kill_of_the_last_launcher(self, home):
        with held(home) as launcher:
            launcher.kill()
            assert nothing_remains(home)

    @has_run
    def test_are_attached_to_after_a_kill_of_the_guard_too(self, home):
        with held(home) as launcher:
            (postmaster,) = [Postgres(Home(home)).running()]
            ours = [
                process
                for process in every_process()
                if str(home) in process.arguments and process.name != "postgres"
            ]
            # All at once: the guard stops the servers as soon as it finds the launcher dead.
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for process in ours:
                    process.signal(number)
            launcher.process.wait()
            assert postmaster.alive
            with held(home):
                assert Postgres(Home(home)).running() == postmaster

    @has_run
    def test_keep_their_data_through_a_kill_and_start_again_at_once(self, home):
        with held(home) as first:
            query(home, "CREATE TABLE kept AS SELECT 42 AS value")
            Valkey(Home(home)).ask("SET", "kept", "42")
            # A backend at work holds the shared memory for a moment after the postmaster's death.
            busy = psycopg.connect(Postgres(Home(home)).conninfo(SUPERUSER), autocommit=True)
            busy.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 1000000000)")
            Postgres(Home(home)).running().signal(signal.SIGKILL)
            Valkey(Home(home)).running().signal(signal.SIGKILL)
            with held(home):
                assert query(home, "SELECT value FROM kept") == "42"
                assert Valkey(Home(home)).ask("GET", "kept") == b"$2\r\n42\r\n"
                first.kill()
            busy.close()

    @has_run
    @pytest.mark.parametrize("kind", ["live", "zombie"])
    def test_leave_the_stranger_alone_that_has_the_number_of_a_stale_pid_file(self, home, kind):
        with subprocess.Popen(["sleep", "60" if kind == "live" else "0"]) as stranger:
            if kind == "zombie":
                assert until(lambda: not Process.of(stranger.pid), 5)
            lines = [str(stranger.pid), str(home / "postgres"), "1", "5432", "", "", "", "ready"]
            (home / "postgres" / "postmaster.pid").write_text("\n".join(lines) + "\n")
            Home(home).sockets.mkdir(mode=0o700, exist_ok=True)
            (Home(home).sockets / ".s.PGSQL.5432.lock").write_text(f"{stranger.pid}\n")
            with held(home):
                assert query(home, "SELECT 1") == "1"
            assert bool(Process.of(stranger.pid)) == (kind == "live")
            stranger.kill()

    def test_are_made_anew_after_an_interrupted_initdb(self, home):
        environment = clean_environment(PYTHONPATH=str(SERVICE))
        with running([sys.executable, "-P", "-c", HOLD, str(home)], environment) as launcher:
            assert until(lambda: list(home.glob("postgres.new.*/base")), 10)
            launcher.kill()
        with held(home):
            assert query(home, "SELECT 1") == "1"

    def test_start_once_for_six_who_ask_at_once(self, home):
        command = [sys.executable, "-P", "-c", HOLD, str(home)]
        six = [Launcher(command, clean_environment(PYTHONPATH=str(SERVICE))) for _ in range(6)]
        for launcher in six:
            launcher.until_it_says("holding")
        assert (home / "log" / "postgres.log").read_text().count("starting PostgreSQL") == 1
        assert len([*filter(None, map(Postgres(Home(home)).is_postmaster, servers(home)))]) == 1
        assert [launcher.leave() for launcher in six] == [0] * 6

    @pytest.mark.parametrize(
        "name", ["с пробелом и кириллицей", "a,b%2F'quoted\"", "long" * 40], ids=str.split
    )
    def test_live_in_any_path(self, tmp_path, name):
        home = tmp_path / name
        with held(home):
            assert query(home, "SELECT 1") == "1"
            assert Valkey(Home(home)).answers()
        assert nothing_remains(home)
        assert not Home(home).sockets.exists()

    @pytest.mark.parametrize("variables", [{"LANG": "ru_RU.UTF-8"}, {"LC_ALL": "xx_YY"}], ids=str)
    def test_know_letters_in_any_locale(self, home, variables):
        with held(home, **variables):
            assert query(home, "SELECT lower('ЦЕНА')") == "цена"
            query(home, "CREATE EXTENSION pg_trgm")
            assert query(home, "SELECT similarity('цена', 'ценник') > 0") == "True"

    def test_run_where_user_namespaces_are_forbidden(self, home, tmp_path):
        # As root they are nobody's then, and still reach a directory that only root can enter.
        refusing = tmp_path / "bin" / "unshare"
        refusing.parent.mkdir()
        refusing.write_text("#!/bin/sh\nexit 1\n")
        refusing.chmod(0o755)
        tmp_path.chmod(0o700)
        path = f"{refusing.parent}:{os.environ['PATH']}"
        for variables in ({"PATH": path}, {}, {"PATH": path}):
            with held(home, **variables):
                assert query(home, "SELECT 1") == "1"
                assert servers(home)
            assert not servers(home)
            assert stat.S_IMODE((home / "postgres").stat().st_mode) == 0o700

    def test_refuse_a_socket_directory_that_is_not_theirs(self, tmp_path):
        home = tmp_path / ("long" * 40)
        Home(home).sockets.symlink_to(tmp_path)
        try:
            done = pricebook(home, "manage", "version")
        finally:
            Home(home).sockets.unlink()
        assert done.returncode == 1
        assert "is not a directory of this user" in done.stderr

    def test_let_nobody_else_in(self, home):
        with held(home):
            for private in (home, home / "run", home / "postgres", home / "log"):
                assert stat.S_IMODE(private.stat().st_mode) == 0o700
            assert query(home, "SHOW listen_addresses") == ""
            assert query(home, "SELECT rolsuper FROM pg_roles WHERE rolname = 'pricebook'") == (
                "False"
            )
            assert Valkey(Home(home)).ask("CONFIG", "GET", "port").split()[-1] == b"0"


class TestManage:
    @has_run
    def test_is_only_manage_py(self, home, tmp_path):
        code = "import os, sys; print(os.getcwd(), sys.stdin.read()); raise SystemExit(7)"
        done = pricebook(home, "manage", "shell", "-v0", "-c", code, input="цена\n", cwd=tmp_path)
        assert done.stdout == f"{tmp_path} цена\n\n"
        assert done.returncode == 7

    def test_needs_neither_standard_input_nor_an_environment(self, home):
        # --home after `manage` belongs to manage.py, which doesn't mind it here.
        close = 'exec "$@" manage version --home elsewhere <&-'
        command = ["bash", "-c", close, "-", LAUNCHER, "--home", home]
        done = subprocess.run(command, env={}, capture_output=True, text=True, timeout=90)
        assert (done.stdout, done.returncode) == (f"{django.get_version()}\n", 0), done.stderr

    @has_run
    def test_says_that_the_tables_are_not_there_yet(self, home):
        done = pricebook(home, "manage", "check_book")
        assert done.returncode == 1
        assert "First: ./pricebook manage migrate" in done.stderr
        assert "Traceback" not in done.stderr

    @has_run
    def test_is_stopped_by_down_and_so_are_orphans(self, home):
        code = "import time; print('sleeping', flush=True); time.sleep(60)"
        command = [LAUNCHER, "--home", str(home), "manage", "shell", "-v0", "-c", code]
        mark = f"{Home(home).digest}.1.1"
        with (
            running(command, clean_environment()) as launcher,
            running(["sleep", "60"], clean_environment(PRICEBOOK_RUN=mark)) as orphan,
        ):
            launcher.until_it_says("sleeping")
            down = pricebook(home, "down")
            assert down.returncode == 0
            assert f"./pricebook manage (process {launcher.process.pid})" in down.stdout
            assert "1 orphaned process, PostgreSQL, Valkey" in down.stdout
            assert remaining(home) == []
            # It forwarded the signal, and its exit code tells of it.
            assert launcher.leave() == 128 + signal.SIGTERM
            assert orphan.leave() == -signal.SIGTERM
        assert pricebook(home, "down").stdout == f"nothing runs for {home}\n"


class TestSuite:
    """Two at once in one home would drop each other's test database."""

    RUNNING = """
import os, signal, sys, time

def ends(*_):
    time.sleep(1)
    open({ended!r}, "w").close()
    os._exit(0)

def test_runs():
    signal.signal(signal.SIGTERM, ends)
    print("running", flush=True)
    sys.stdin.read()
"""

    def test_runs_once_at_a_time_and_again_after_a_kill(self, home, tmp_path):
        ended = tmp_path / "ended"
        first, following = tmp_path / "test_first.py", tmp_path / "test_next.py"
        first.write_text(self.RUNNING.format(ended=str(ended)))
        following.write_text("def test_runs(): pass")
        if (tables := suite_template()) is not None:  # those that it would make; test_suite.py does
            shutil.copytree(tables.path, home / "test" / "template", symlinks=True)
        command = [LAUNCHER, "--home", str(home), "test", "-s", str(first)]
        with running(command, clean_environment()) as launcher:
            launcher.until_it_says("running")
            for again in (["test"], ["manage", "test"]):
                refused = pricebook(home, *again, str(following))
                assert refused.returncode == 1
                assert f"runs already for {home} (process {launcher.process.pid})" in refused.stderr
                assert "wait for its end" in refused.stderr
                assert "--home DIR" in refused.stderr
                assert refused.stdout == ""

            launcher.process.kill()  # and not its pytest, which takes a second to end
            after = pricebook(home, "test", str(following))
            assert "1 passed" in after.stdout, after.stdout + after.stderr
            began = (home / "test.lock").stat().st_mtime_ns
            assert ended.stat().st_mtime_ns <= began


class TestServersFromOutside:
    @has_run
    def test_are_used_instead_of_embedded_ones(self, home, tmp_path):
        with held(home):
            database = {"DB_HOST": str(Home(home).sockets), "PGUSER": "nobody"}
            cache = {"REDIS_URL": Valkey(Home(home)).cache_url(1)}
            elsewhere = tmp_path / "elsewhere"
            with held(elsewhere, **database, **cache):
                assert not servers(elsewhere)
            with held(elsewhere, **cache):
                assert Postgres(Home(elsewhere)).answers()
                assert not Valkey(Home(elsewhere)).answers()

    @pytest.mark.parametrize(
        ("variable", "url"),
        [
            ("DATABASE_URL", "postgres://user:pass@127.0.0.1:9/book?conn_max_age=60"),
            ("DB_HOST", "127.0.0.1"),
            ("REDIS_URL", "redis://127.0.0.1:9/1"),
            ("CELERY_BROKER_URL", "redis://127.0.0.1:9/0"),
        ],
    )
    def test_that_do_not_answer_are_named(self, home, variable, url):
        environment = clean_environment(**{variable: url}, PGPORT="9")
        done = pricebook(home, "manage", "version", env=environment)
        assert done.returncode == 1
        assert f"of {variable} can't be used" in done.stderr
        assert f"Fix {variable}" in done.stderr
        assert done.stdout == ""


class TestUp:
    @pytest.fixture
    def command(self, home: Path) -> list[str]:
        return [LAUNCHER, "--home", str(home), "--port", str(PORT), "up"]

    def test_runs_everything_and_ends_it(self, home, command):
        environment = clean_environment(METRICS_NETWORKS="127.0.0.0/8")
        with running(command, environment) as first:
            first.until_it_says("the book is empty")
            first.until_it_says("Ctrl-C stops all of it")
            password = (home / "credentials").read_text().split("password: ")[1].split()[0]
            assert password in first.said
            for secret in ("credentials", "secret_key"):
                assert stat.S_IMODE((home / secret).stat().st_mode) == 0o600
            assert not any(password in word for p in every_process() for word in p.arguments)

            second = pricebook(home, "up", f"--port={PORT}")
            assert second.returncode == 1
            assert f"process {first.process.pid}, http://127.0.0.1:{PORT}/" in second.stderr

            doctor = pricebook(home, "doctor")
            assert "✓ worker2 answers" in doctor.stdout
            assert "✓ events answers" in doctor.stdout
            assert (doctor.returncode, "✗" in doctor.stdout) == (0, False), doctor.stdout

            # The web server tells the times of the workers, too; Flower tells strangers nothing.
            tasks = (
                b'pricebook_task_seconds_count{outcome="success",task="services.tasks.set_price"}'
            )
            assert until(lambda: tasks in asked(PORT, "/metrics")[1], 20)
            assert until(lambda: asked(PORT + 1, "/")[0], 20)
            for page in ("/metrics", "/healthcheck", "/"):
                assert (page, asked(PORT + 1, page)[0]) == (page, 401)

            before = status(Home(home))["children"]
            os.kill(before["beat"], signal.SIGKILL)
            assert until(lambda: status(Home(home))["children"] != before, 10)

            for server in servers(home):
                server.signal(signal.SIGKILL)
            first.until_it_says("has ended; starting it again")
            assert until(lambda: Valkey(Home(home)).answers(), 30)
            assert until(lambda: Postgres(Home(home)).answers(), 30)

            # kill -9 of the launcher, and the next one at once; then again, and nobody follows.
            first.process.kill()
            with running(command, environment) as next_one:
                next_one.until_it_says("Listening")
                assert password not in next_one.said
                next_one.process.kill()
                assert nothing_remains(home), remaining(home)

    def test_says_that_its_port_is_taken(self, home):
        with socket.create_server(("127.0.0.1", PORT)):
            done = pricebook(home, "--port", str(PORT), "up")
        assert done.returncode == 1
        assert f"port {PORT} is taken" in done.stderr


class TestDoctor:
    @pytest.mark.thorough
    def test_says_once_that_the_database_does_not_answer(self, home):
        done = pricebook(home, "doctor", env=clean_environment(DB_HOST=str(home)))
        assert done.stdout.count("the database of DB_HOST can't be used") == 1
        assert "OperationalError" not in done.stdout
        assert "the last check: not known" in done.stdout

    @has_run
    def test_names_what_is_wrong_and_the_mend(self, home):
        (home / "secret_key").write_text("x" * 50)
        (home / "secret_key").chmod(0o644)
        (home / "postgres").chmod(0o755)
        done = pricebook(home, "doctor")
        assert done.returncode == 1
        assert f"✗ others can read {home}/secret_key: chmod 600 '{home}/secret_key'" in done.stdout
        assert f"chmod 700 '{home}/postgres'" in done.stdout
        assert "– PostgreSQL is not running" in done.stdout

    @pytest.mark.parametrize(
        ("names", "mark", "said"),
        [("", "✗", "ALLOWED_HOSTS is not set"), ("book.example.com", "✓", "X-Forwarded-Proto")],
    )
    def test_says_whether_all_is_set_for_a_proxy_with_tls(self, home, names, mark, said):
        variables = {"HTTPS": "1", "ALLOWED_HOSTS": names}
        done = pricebook(home, "doctor", env=clean_environment() | variables)
        [line] = [line for line in done.stdout.splitlines() if "HTTPS" in line]
        assert line.startswith(mark)
        assert said in line


class TestUsage:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ([], "Start with:  ./pricebook demo"),
            (["frobnicate"], "no such command: frobnicate"),
            (["--frobnicate"], "no such option: --frobnicate"),
            (["up", "--home"], "--home needs a value"),
            (["--port", "99999", "up"], "--port takes a number from 1 to 65534, not 99999"),
            (["down", "now"], "down takes no now"),
        ],
        ids=str,
    )
    def test_is_explained(self, arguments, said):
        done = subprocess.run(
            [LAUNCHER, *arguments], env=clean_environment(), capture_output=True, text=True
        )
        assert done.returncode == 2
        assert said in done.stderr
        assert done.stdout == ""


class TestEnvironment:
    """The virtual environment, in a checkout that requires nothing."""

    @pytest.fixture
    def checkout(self, tmp_path: Path) -> Path:
        checkout = tmp_path / "check out"
        (checkout / "requirements").mkdir(parents=True)
        for name in ("run", "local", "uv"):
            (checkout / "requirements" / f"{name}.txt").write_text("# nothing\n")
        package = checkout / "service" / "pricebook" / "local"
        package.mkdir(parents=True)
        (package / "__main__.py").write_text("import sys; print(sys.prefix, *sys.argv[1:])")
        (checkout / "pricebook").write_bytes(Path(LAUNCHER).read_bytes())
        (checkout / "pricebook").chmod(0o755)
        return checkout

    def start(self, checkout: Path) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [checkout / "pricebook", "manage", "a b", "--home", "x"],
            env=clean_environment(PYTHONPATH="/nonexistent", LANG="ru_RU.UTF-8"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def test_is_made_once_and_again_after_an_interruption(self, checkout):
        venv = checkout / ".pricebook" / "venv"
        killed = self.start(checkout)
        assert until(lambda: (venv / "bin").exists(), 10)
        killed.kill()
        killed.communicate()
        time.sleep(0.5)  # its `python -m venv` is an orphan for a moment

        starts = [self.start(checkout) for _ in range(2)]
        results = [(*start.communicate(timeout=60), start.returncode) for start in starts]
        assert [(output, code) for output, _, code in results] == [
            (f"{venv} manage a b --home x\n", 0)
        ] * 2
        assert "".join(said for _, said, _ in results).count("is incomplete") == 1

        warm = self.start(checkout)
        _, said = warm.communicate(timeout=60)
        assert (warm.returncode, said) == (0, "")
