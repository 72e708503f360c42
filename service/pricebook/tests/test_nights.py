"""The nights of docs/runbook.md: real servers, real faults, what is seen, and that nothing is lost.

A tier of its own, for root (a disk that is full is a tmpfs):

    ./pricebook test -m nights
"""

import contextlib
import os
import signal
import subprocess
import threading
from itertools import count
from pathlib import Path

import psycopg
import pytest

from pricebook.tests.running import Prices, Running
from pricebook.tests.servers import until

pytestmark = [
    pytest.mark.nights,
    pytest.mark.long,
    pytest.mark.timeout(400),
    # A server that a test has started is stopped by another test.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ROWS = 4_000
UNAVAILABLE, READ_ONLY = (503, "database_unavailable"), (503, "database_read_only")
REFUSED = ("Connection to broker lost", "Unrecoverable error")
FAKETIME = os.environ.get("LIBFAKETIME", "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A running book on a disk of its own, for all nights: each leaves it as it was."""
    path = tmp_path_factory.mktemp("nights") / "home"
    path.mkdir()
    is_root = os.geteuid() == 0
    if is_root:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=500m,mode=700", "tmpfs", path], check=True
        )
    try:
        running = Running(path, LOCK_TIMEOUT="2")
        try:
            running.fill(ROWS)
            yield running
        finally:
            running.stop()
    finally:
        if is_root:
            subprocess.run(["umount", path], check=True)


@pytest.fixture
def ledger(running):
    """Prices to write; at the end the book goes on, all of them are there, and it is checked."""
    ledger = Prices(running)
    assert ledger.write() == (200, "")
    yield ledger
    ledger.goes_on()
    ledger.has_lost_nothing()


def sessions_end(running):
    running.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE usename = 'pricebook' AND pid <> pg_backend_pid()"
    )


@pytest.fixture
def begun(running):
    """The place in the log at which the night begins."""
    return running.so_far()


def reads(running):
    """Whether a price is read, and the total of all."""
    return running.ask("GET", "/api/subscriptions/?page_size=1")[0]


def move_a_list_price(running, prices=count(500)):  # noqa: B008  # each another one
    """The status, and the code."""
    body = {"full_price": f"{next(prices)}.00"}
    status, said = running.ask("PATCH", "/api/services/1/", body)
    return status, str(said.get("code", said.get("error", "")))


def many_clients(running):
    """Write so many records that tables grow; the status, and the code."""
    lines = [
        {
            "source": "nights",
            "external_id": str(number),
            "company_name": "x" * 90,
            "full_address": "y" * 200,
        }
        for number in range(20_000)
    ]
    status, said = running.ask("POST", "/api/clients/bulk/", {"lines": lines}, seconds=120)
    return status, str(said.get("code", said.get("error", "")))


def test_a_full_disk(running, ledger, begun):
    if os.geteuid():
        pytest.skip("a disk of its own takes root, for a tmpfs")
    filler = running.home.path / "filler"
    parts = {part: running.pid(part) for part in ("web", "worker", "worker2", "events")}
    with filler.open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 20))
            file.flush()
    try:
        answers = {many_clients(running)}
        for _ in range(5):
            answers.add(ledger.write())
        assert any("0 MB free for" in fault for fault in running.faults())
        until(lambda: running.says("No space left on device", begun), 30)
        # Valkey refuses a worker, which goes on asking; Celery's default would end it.
        until(lambda: any(running.says(words, begun) for words in REFUSED), 30)
        said = running.log.read_text()[begun:]
    finally:
        filler.unlink()
    assert (503, "database_full") in answers
    assert answers <= {(200, ""), (503, "database_full"), UNAVAILABLE}
    assert running.process.poll() is None
    ledger.goes_on(90)
    assert "Unexpected exit from worker" not in said
    assert REFUSED[1] not in said
    assert {part: running.pid(part) for part in parts} == parts


def test_connections_are_used_up(running, ledger, begun):
    held = []
    try:
        running.signal("web", signal.SIGKILL)  # or its pool would have its sessions already
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                held.append(psycopg.connect(running.postgres.conninfo()))
        until(lambda: running.readiness()[0] == 503, 60)
        assert running.readiness()[1]["failing"] == ["database"]
        assert running.ask("GET", "/livez")[0] == 200
        assert ledger.write() == UNAVAILABLE
        assert running.says("too many clients already", begun) or running.says(
            "remaining connection slots are reserved", begun
        )
        assert any("connection slots" in f or "too many" in f for f in running.faults())
    finally:
        for session in held:
            session.close()
    ledger.goes_on(15)


def test_out_of_memory(running, ledger):
    """The kernel kills a session of the database, and then a child of a worker."""
    assert move_a_list_price(running) == (200, "")
    ((victim,),) = running.sql(
        "SELECT pid FROM pg_stat_activity WHERE usename = 'pricebook' LIMIT 1"
    )
    os.kill(victim, signal.SIGKILL)
    until(lambda: "was terminated by signal 9" in running.postgres.log.read_text(), 20)
    answers = {ledger.write() for _ in range(10)}
    assert answers <= {(200, ""), UNAVAILABLE}
    ledger.goes_on(30)
    child = children(running.pid("worker"))[0]
    os.kill(child, signal.SIGKILL)
    assert move_a_list_price(running) == (200, "")


def children(pid):
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_deadlock(running, ledger):
    first, second = ledger.ids[-1], ledger.ids[-2]
    lock = "UPDATE services_subscription SET comment = comment || '.' WHERE id = %s"
    victims = []

    def cross(one, then):
        with (
            running.session() as session,
            contextlib.suppress(psycopg.errors.DeadlockDetected),
            session.transaction(),
        ):
            session.execute(lock, [one])
            both.wait(10)
            victims.append(one)
            session.execute(lock, [then])
            victims.remove(one)

    both = threading.Barrier(2)
    crossed = [
        threading.Thread(target=cross, args=pair) for pair in ((first, second), (second, first))
    ]
    for each in crossed:
        each.start()
    for each in crossed:
        each.join()
    assert len(victims) == 1  # PostgreSQL ends one, and the other one goes on
    with running.session() as stopped:
        stopped.execute("BEGIN")
        stopped.execute(lock, [first])
        answer = running.negotiate(first, "1.00")
        assert answer == (503, "crossed_writes")
        stopped.execute("ROLLBACK")


def restarted(running, **variables):
    """The database again, with variables of its own: `up` finds it running."""
    from pricebook.local import postgres

    with running.home.lock():
        running.postgres.stop()
        with pytest.MonkeyPatch.context() as patch:
            known = postgres.clean_environment()
            patch.setattr(postgres, "clean_environment", lambda: known | variables)
            running.postgres.start()


@pytest.mark.skipif(not Path(FAKETIME).is_file(), reason="no libfaketime: set LIBFAKETIME")
def test_the_clock_of_the_database_jumps_back(running, ledger):
    ((before,),) = running.sql("SELECT max(recorded_at) FROM services_ledgerentry")
    restarted(running, LD_PRELOAD=FAKETIME, FAKETIME="-3600s", FAKETIME_DONT_FAKE_MONOTONIC="1")
    try:
        ledger.goes_on()
        assert move_a_list_price(running) == (200, "")
        until(running.is_settled, 60)
        ((late,),) = running.sql("SELECT clock_timestamp() < %s", before)
        ((after,),) = running.sql("SELECT max(recorded_at) FROM services_ledgerentry")
        assert late
        assert after >= before
        faults = running.faults()
        assert any("3600 s ahead of the database's" in fault for fault in faults)
        ledger.has_lost_nothing()
    finally:
        restarted(running)


@pytest.mark.parametrize("policy", ["noeviction", "allkeys-lru"])
def test_the_memory_of_valkey_is_full(running, ledger, begun, policy):
    def valkey(*command):
        answer = running.valkey.ask(*command)
        assert b"ERR" not in answer, answer

    parts = {part: running.pid(part) for part in ("worker", "worker2", "events", "beat")}
    valkey("CONFIG", "SET", "maxmemory-policy", policy)
    valkey("CONFIG", "SET", "maxmemory", "1")
    try:
        assert ledger.write() == (200, "")
        assert move_a_list_price(running) == (200, "")
        assert reads(running) == 200
        if policy == "noeviction":
            until(
                lambda: running.says("command not allowed when used memory > 'maxmemory'", begun),
                30,
            )
        assert any("maxmemory-policy" in fault for fault in running.faults())
    finally:
        valkey("CONFIG", "SET", "maxmemory", "256mb")
        valkey("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
    ledger.goes_on(60)
    assert {part: running.pid(part) for part in parts} == parts


# The words of `doctor` about a part that is stopped, and the answers to a request meanwhile.
DONE, NOTHING = {(200, "")}, {(0, "TimeoutError")}
STOPPED = {
    "web": ("web doesn't answer on port", NOTHING),
    "worker": ("worker doesn't answer a ping", DONE),
    "events": ("events doesn't answer a ping", DONE),
    "beat": ("", DONE),  # its work is late after two minutes
    "Valkey": ("Valkey runs and doesn't answer", DONE),
    "PostgreSQL": ("PostgreSQL refuses: connection timeout expired", {UNAVAILABLE}),
}
AWAY = {(0, "ConnectionResetError"), (0, "ConnectionRefusedError"), (0, "RemoteDisconnected")}


@pytest.fixture
def send(running):
    """Sends a signal to all processes of a part."""

    def send(part, number):
        servers = {"Valkey": running.valkey, "PostgreSQL": running.postgres}
        if part in servers:
            for process in servers[part].processes():
                process.signal(number)
        else:
            running.signal(part, number)

    return send


@pytest.mark.parametrize("part", STOPPED)
def test_a_part_hangs(running, ledger, send, part):
    said, expected = STOPPED[part]
    running.patience = 3.0 if part == "web" else 30.0
    send(part, signal.SIGSTOP)
    try:
        assert {ledger.write(), move_a_list_price(running)} == expected
        assert not said or any(said in fault for fault in running.faults())
        assert (running.readiness()[0] == 200) == (expected == DONE)
    finally:
        send(part, signal.SIGCONT)
        running.patience = 30.0
    ledger.goes_on(60)


@pytest.mark.parametrize("part", STOPPED)
def test_a_part_is_killed(running, ledger, send, part):
    send(part, signal.SIGKILL)
    assert {ledger.write(), move_a_list_price(running)} <= DONE | AWAY | {UNAVAILABLE}
    ledger.goes_on(60)


def test_a_server_that_does_not_start_is_tried_again(running, ledger, begun, send):
    files = running.postgres.data / "global"
    away = files.with_name("away")
    with running.home.lock():  # `up` starts nothing meanwhile
        send("PostgreSQL", signal.SIGKILL)
        files.rename(away)
    try:
        until(lambda: running.says("it is tried again in", begun), 30)
        assert ledger.write() == UNAVAILABLE
    finally:
        away.rename(files)
    ledger.goes_on(60)


def test_a_database_that_is_read_only(running, ledger, begun):
    running.sql("ALTER DATABASE pricebook SET default_transaction_read_only = on")
    sessions_end(running)
    try:
        until(lambda: reads(running) == 200, 15)
        assert ledger.write() == READ_ONLY
        assert reads(running) == 200
        assert running.readiness()[0] == 200
        until(lambda: running.says("The database takes no writes", begun), 5)
    finally:
        running.sql("ALTER DATABASE pricebook RESET default_transaction_read_only")
        sessions_end(running)
    ledger.goes_on()


def test_wrong_credentials(running, ledger, begun):
    running.sql("ALTER ROLE pricebook NOLOGIN")
    sessions_end(running)
    try:
        until(lambda: running.readiness()[0] == 503, 15)
        assert ledger.write() == UNAVAILABLE
        until(lambda: running.says("is not permitted to log in", begun), 15)
        assert any("is not permitted to log in" in fault for fault in running.faults())
    finally:
        running.sql("ALTER ROLE pricebook LOGIN")
    ledger.goes_on(60)


def test_pending_migrations(running, ledger):
    running.manage("migrate", "desk", "zero")
    try:
        until(lambda: running.readiness()[0] == 503, 10)
        assert running.readiness()[1]["failing"] == ["migrations"]
        assert "migrations are pending: ./pricebook manage migrate" in running.faults()
        assert ledger.write() == (200, "")  # it needs no table that is missing
    finally:
        running.manage("migrate")
    until(lambda: running.readiness()[0] == 200, 10)


def test_two_homes_on_one_database(running, ledger):
    path = running.home.path.with_name("second")
    other = Running(path, DB_HOST=str(running.home.sockets))
    try:
        other.key = running.key
        assert move_a_list_price(other) == (200, "")
        assert move_a_list_price(running) == (200, "")
        until(running.is_settled, 60)
        subscription = ledger.ids[-3]
        assert other.negotiate(subscription, "7.25") == (200, "")
        ledger.written[subscription] = "7.25"
        path = f"/api/subscriptions/{subscription}/"
        assert running.ask("GET", path)[1]["price"] in ("7.25", 7.25)
    finally:
        other.stop()
