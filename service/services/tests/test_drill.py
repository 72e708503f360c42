"""The drill: a book that is written to is lost, comes back in three ways, and goes on.

    ./pricebook test -n 0 -s -m drill

For each way the time to recover is printed: from the loss until the first write is taken. Then a
follower goes on from its place without a gap or a repeat, one that holds what is lost is told where
the common history ends, and the book check, the totals, the seals and after_restore agree.
"""

import shutil
import subprocess
import threading
import time
from itertools import count

import psycopg
import pytest
from django.core.management import call_command

from pricebook.local import postgres
from pricebook.local.home import Home
from pricebook.local.postgres import Postgres, find_binaries, unprivileged, version_of
from pricebook.tests.servers import until
from services import lives
from services.ledger import seals
from services.models import Life, Subscription, WholeLedger
from services.reading.total import figures
from services.tests.factories import a_book
from services.tests.following import LIMIT, entries, ids, poll
from services.tests.test_lives_of_servers import a_superuser, here, inside, run

pytestmark = [
    pytest.mark.drill,
    pytest.mark.long,
    pytest.mark.timeout(300),
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning"),
]

SUBSCRIPTIONS = 2_000
WRITE = """
UPDATE services_subscription SET price = price + 1, price_state = 'negotiated'
 WHERE id = %s RETURNING id
"""
EDIT = "UPDATE services_service SET full_price = full_price + 1 WHERE id = %s"


class Writers:
    """Two programs that write without a pause, as long as somebody takes it."""

    def __init__(self, server: Postgres) -> None:
        self.conninfo = server.conninfo()
        self.acknowledged = 0
        self.ends = threading.Event()
        with psycopg.connect(self.conninfo) as session:
            query = session.execute
            self.rows = [row[0] for row in query("SELECT id FROM services_subscription")]
            self.services = [row[0] for row in query("SELECT id FROM services_service")]
        self.threads = [threading.Thread(target=self._writes, args=(n,)) for n in range(2)]
        for thread in self.threads:
            thread.start()

    def _writes(self, which: int) -> None:
        try:
            with psycopg.connect(self.conninfo, autocommit=True) as session:
                for number in count(which):
                    if self.ends.is_set():
                        return
                    if number % 50 == 0:
                        session.execute(EDIT, [self.services[number % len(self.services)]])
                    session.execute(WRITE, [self.rows[number * 7 % len(self.rows)]])
                    self.acknowledged += 1
        except psycopg.Error:
            return  # the server is gone

    def stop(self) -> None:
        self.ends.set()
        for thread in self.threads:
            thread.join(20)


class Place:
    """A follower of the feed, and all that it holds."""

    def __init__(self) -> None:
        self.held: list[int] = []
        self.after: str | None = None

    def follows(self) -> None:
        while True:
            page = poll(self.after)
            self.held += ids(page)
            self.after = page["next"]
            if len(page["result"]) < LIMIT:  # writers may be as quick, so none is ever empty
                return

    def goes_on(self) -> dict | None:
        """Read on; the answer that refuses, if it does."""
        page = poll(self.after)
        if "code" in page:
            return page
        self.follows()
        return None


@pytest.fixture
def servers(tmp_path, monkeypatch):
    """`servers("a")` gives a server that does not run yet; all end with the test."""
    monkeypatch.setitem(postgres.SETTINGS, "shared_buffers", "32MB")
    found = []

    def server(name: str) -> Postgres:
        home = Home(tmp_path / name)
        home.make()
        found.append(Postgres(home))
        return found[-1]

    yield server
    for each in found:
        each.stop()
        shutil.rmtree(each.home.sockets, ignore_errors=True)


def begins(server: Postgres) -> None:
    """Start a server whose files are there already."""
    prefix, owner = unprivileged()
    server.home.make_sockets()
    server.give_data_to(owner)
    server.launch(prefix)


def told(server: Postgres) -> list[str]:
    return ["-h", str(server.home.sockets), "-p", "5432", "-U", "pricebook", "-d", "pricebook"]


def configured(server: Postgres, *lines: str) -> None:
    with server.data.joinpath("postgresql.auto.conf").open("a") as settings:
        settings.write("".join(f"{line}\n" for line in lines))


def takes_writes(server: Postgres) -> bool:
    try:
        with psycopg.connect(server.conninfo(), connect_timeout=1) as session:
            session.execute("UPDATE services_plan SET discount_percent = discount_percent")
            return True
    except psycopg.Error:
        return False


@pytest.fixture
def first(servers, tmp_path):
    """A server with a book and an archive of its log, in which two followers have read."""
    a_book(SUBSCRIPTIONS, services=5, plans=4)
    server = servers("first")
    server.start()
    archive = tmp_path / "archive"
    archive.mkdir(mode=0o777)
    archive.chmod(0o777)
    configured(
        server, "archive_mode = on", f"archive_command = 'cp %p \"{archive}/%f\"'", "fsync = off"
    )
    server.stop()
    server.start()
    dump = tmp_path / "book.dump"
    run("pg_dump", "-Fc", "-f", dump, *here())
    run("pg_restore", "--single-transaction", *told(server), dump)
    with inside(server):
        until(seals.seal)
        call_command("after_restore", author="ann")
    return server


def writes_for(seconds: float, server: Postgres, *followers: Place) -> None:
    """Let the writers go on, and the followers read."""
    until_then = time.monotonic() + seconds
    while time.monotonic() < until_then:
        with inside(server):
            for follower in followers:
                follower.follows()


def goes_on(server: Postgres, kept: Place, ahead: Place, why: str, way: str, lost: float) -> None:
    """All that has to hold in a book that came back; `lost`: when the old one was."""
    until(lambda: takes_writes(server), 60)
    took = time.monotonic() - lost
    with inside(server):
        assert lives.begin().why == why
        mine = entries(5)
        call_command("after_restore", author="ann")
        assert lives.has_been_acknowledged(lives.lives()[-1])
        assert kept.goes_on() is None
        assert kept.held[-5:] == mine
        everything = sorted(WholeLedger.objects.values_list("id", flat=True))
        assert sorted(kept.held) == everything  # no gap, and no repeat
        refused = ahead.goes_on()
        if refused is None:
            assert set(ahead.held) <= set(everything)
        else:
            assert refused["code"] == "place_of_another_life"
            common = Place()
            common.after = refused["common_until"]
            common.follows()
            known = set(ahead.held) & set(everything)
            assert set(common.held) | known == set(everything)
        in_rows = sum(Subscription.objects.in_force().values_list("price", flat=True))
        assert figures().paid.amount == in_rows
        call_command("check_book")
        seals.seal()
        call_command("verify_ledger")
        rows = len(everything)
    what = "is told where the history ended" if refused else "goes on"
    print(f"\n{way}: {took:.1f} s to the first write, {rows:,} entries; who was ahead {what}.")


def goes_on_whole(server: Postgres, kept: Place, lost: float) -> float:
    """The seconds until a server took writes that has all that the lost one had."""
    until(lambda: takes_writes(server), 60)
    took = time.monotonic() - lost
    with inside(server):
        held = list(kept.held)
        mine = entries(3)
        assert kept.goes_on() is None
        assert kept.held == [*held, *mine]
        call_command("after_restore", author="ann")
    return took


def test_a_dump_is_loaded(first, servers, tmp_path):
    kept, ahead = Place(), Place()
    writers = Writers(first)
    writes_for(1.5, first, kept, ahead)
    run("pg_dump", "-Fc", "-f", tmp_path / "again.dump", *told(first))
    with_dump = list(kept.held)
    writes_for(1.5, first, ahead)
    writers.stop()
    with inside(first):
        ahead.follows()
    first.stop()
    lost = time.monotonic()
    second = servers("second")
    second.start()
    run("pg_restore", "--single-transaction", *told(second), tmp_path / "again.dump")
    assert len(ahead.held) > len(with_dump)
    goes_on(second, kept, ahead, Life.Why.RESTORED, "dump and restore", lost)


def test_a_base_backup_and_the_log_bring_back_a_moment(first, servers, tmp_path):
    kept, ahead = Place(), Place()
    writers = Writers(first)
    writes_for(1.0, first, kept, ahead)
    second = servers("second")
    superuser = ["-h", str(first.home.sockets), "-p", "5432", "-U", "postgres"]
    run("pg_basebackup", "-D", second.data, "-c", "fast", *superuser)
    writes_for(1.0, first, kept, ahead)
    with psycopg.connect(first.conninfo()) as session:
        [[moment]] = session.execute("SELECT clock_timestamp()::text").fetchall()
    writes_for(1.5, first, ahead)
    writers.stop()
    with inside(first):
        ahead.follows()
    with a_superuser(first) as cursor:
        cursor.execute("SELECT pg_walfile_name(pg_switch_wal())")
        [name] = cursor.fetchone()
    until((tmp_path / "archive" / name).exists, 30)
    first.stop()
    lost = time.monotonic()
    configured(
        second,
        f"restore_command = 'cp \"{tmp_path}/archive/%f\" %p'",
        f"recovery_target_time = '{moment}'",
        "recovery_target_action = promote",
        "archive_mode = off",
    )
    second.data.joinpath("recovery.signal").touch()
    begins(second)
    goes_on(second, kept, ahead, Life.Why.RECOVERED, "base backup and log", lost)


@pytest.mark.skipif(version_of(find_binaries()) < 17, reason="incremental backups: PostgreSQL 17")
def test_an_incremental_backup_is_combined_and_started(first, servers, tmp_path):
    """As docs/restore.md has it."""
    configured(first, "summarize_wal = on")
    first.stop()
    first.start()
    superuser = ["-h", str(first.home.sockets), "-p", "5432", "-U", "postgres", "-c", "fast"]
    full, more = tmp_path / "full", tmp_path / "more"
    kept = Place()
    run("pg_basebackup", "-D", full, *superuser)
    writers = Writers(first)
    writes_for(1.0, first, kept)
    writers.stop()
    with inside(first):
        kept.follows()
    run("pg_basebackup", "-D", more, "--incremental", full / "backup_manifest", *superuser)
    first.stop()
    lost = time.monotonic()
    second = servers("second")
    run("pg_combinebackup", "-o", second.data, full, more)
    run("pg_verifybackup", "--no-parse-wal", second.data)
    configured(second, "archive_mode = off")
    begins(second)
    took = goes_on_whole(second, kept, lost)
    sizes = [sum(each.stat().st_size for each in each.rglob("*")) >> 20 for each in (full, more)]
    print(f"\nfull {sizes[0]} MiB, incremental {sizes[1]} MiB: {took:.1f} s to the first write.")


@pytest.mark.skipif(shutil.which("pgbackrest") is None, reason="apt-get install pgbackrest")
@pytest.mark.skipif(version_of(find_binaries()) != 15, reason="Debian's pgBackRest is for 15")
def test_pgbackrest_restores_what_it_has_kept(first, servers, tmp_path):
    """As docs/restore.md has it: `test --postgres /usr/lib/postgresql/15 -m drill`."""
    second = servers("second")
    config = tmp_path / "pgbackrest.conf"
    config.write_text(
        f"[global]\nrepo1-path={tmp_path}/repo\nlog-path={tmp_path}\nlock-path={tmp_path}\n"
        f"archive-async=n\nstart-fast=y\n[book]\npg1-path={first.data}\n"
        f"pg1-socket-path={first.home.sockets}\npg1-user=postgres\n"
    )
    config.chmod(0o644)
    backrest = ["pgbackrest", f"--config={config}", "--stanza=book"]
    archive = f"pgbackrest --config={config} --stanza=book archive-push %p"
    configured(first, f"archive_command = '{archive}'")
    first.stop()
    first.start()
    kept = Place()

    def does(*command: str) -> None:
        done = subprocess.run([*backrest, *command], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    does("stanza-create")
    does("--type=full", "backup")
    writers = Writers(first)
    writes_for(1.0, first, kept)
    writers.stop()
    with inside(first):
        kept.follows()
    does("--type=incr", "backup")
    first.stop()
    lost = time.monotonic()
    second.data.mkdir(mode=0o700)
    does(f"--pg1-path={second.data}", "restore")
    configured(second, "archive_mode = off")
    begins(second)
    took = goes_on_whole(second, kept, lost)
    print(f"\npgBackRest: {took:.1f} s to the first write.")


def test_a_standby_that_lags_takes_over(first, servers):
    second = servers("second")
    superuser = ["-h", str(first.home.sockets), "-p", "5432", "-U", "postgres"]
    run("pg_basebackup", "-D", second.data, "-R", "-c", "fast", *superuser)
    configured(second, "archive_mode = off")
    begins(second)
    kept, ahead = Place(), Place()
    writers = Writers(first)
    writes_for(1.5, first, kept, ahead)
    with psycopg.connect(first.conninfo()) as session:
        [[reached]] = session.execute("SELECT pg_current_wal_lsn()").fetchall()

    def has_replayed(cursor):
        cursor.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [reached])
        return cursor.fetchone()[0]

    with a_superuser(second) as cursor:
        until(lambda: has_replayed(cursor), 60)
        configured(second, "primary_conninfo = ''")
        cursor.execute("SELECT pg_reload_conf()")
        writes_for(1.5, first, ahead)
        running = first.running()
        assert running is not None
        subprocess.run(["kill", "-9", str(running.pid)], check=True)
        lost = time.monotonic()
        writers.stop()
        cursor.execute("SELECT pg_promote()")
    goes_on(second, kept, ahead, Life.Why.PROMOTED, "promotion of a standby", lost)
