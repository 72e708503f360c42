"""A streaming standby that answers reads, and PgBouncer in transaction mode, for real.

A tier of its own:

    ./pricebook test -m hosts

PgBouncer is tried where it is: `apt-get install pgbouncer`.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from datetime import timedelta
from itertools import count, takewhile
from pathlib import Path

import psycopg
import pytest
from django.core.cache import cache
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connection, connections, transaction

from price_changes.running import lifecycle
from price_changes.tests import changes
from pricebook.kit import pooler, replica, session_limits
from pricebook.seeing import collector
from pricebook.tests.other_servers import PGBOUNCER, PgBouncer, Standby, at_server
from pricebook.tests.path_between import PathBetween, to_postgres
from pricebook.tests.servers import SERVICE, on_this_database, until
from pricebook.tests.web import WebServer
from services.models import Service
from services.reading import total
from services.reading.filters import BookFilter
from services.tests.factories import a_book
from services.tests.interleaving import a_person, in_background

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.long,
    pytest.mark.timeout(180),
    pytest.mark.django_db(transaction=True),
]

LIST = "/api/subscriptions/"
FAKETIME = os.environ.get("LIBFAKETIME", "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
RECOVERY = "SELECT pg_is_in_recovery()"


HELD_BACK = """
SELECT count(*) FROM pg_stat_activity
 WHERE wait_event = 'SyncRep' AND query_start < clock_timestamp() - interval '100 ms'
"""


@contextmanager
def superuser():
    """A session of a superuser, on the primary."""
    params = connection.get_connection_params() | {"user": "postgres"}
    given = {each: params[each] for each in ("host", "port", "user", "dbname") if each in params}
    with psycopg.connect(**given, autocommit=True) as root:
        yield root


def in_recovery():
    with connection.cursor() as cursor:
        cursor.execute(RECOVERY)
        return cursor.fetchone()[0]


def settle():
    """Let the standby have all."""
    _Pause = replica._Pause
    _Pause.away_until = _Pause.busy_until = 0.0
    until(lambda: replica.read(in_recovery) == (True, "replica"), 20)


def restart(standby, **variables):
    connections["replica"].close()
    standby.stop(signal.SIGQUIT)
    standby.start(**variables)


@pytest.fixture(scope="module")
def streaming(django_db_setup, django_db_blocker, tmp_path_factory):
    standby = Standby(tmp_path_factory.mktemp("standby"))
    with django_db_blocker.unblock():
        standby.make()
        standby.start()
    yield standby
    standby.stop(signal.SIGQUIT)


@pytest.fixture
def standby(streaming, transactional_db, monkeypatch):
    settings = deepcopy(connection.settings_dict) | {"HOST": str(streaming.directory), "PORT": ""}
    settings["OPTIONS"].pop("pool", None)
    monkeypatch.setitem(connections.settings, "replica", settings)
    monkeypatch.setattr(replica, "PAUSE", 0.3)
    connections["replica"] = type(connections["default"])(settings, alias="default")
    settle()
    yield streaming
    connections["replica"].close()
    del connections["replica"]


class TestAStandby:
    def test_shows_each_write_to_whoever_made_it_or_lets_the_primary(self, standby, admin_client):
        a_book(subscriptions=20, services=1, plans=1)
        sources = []
        for price in range(100, 160):
            Service.objects.update(full_price=price)
            response = admin_client.get("/api/services/")
            assert response.json()["result"][0]["full_price"] == price
            sources.append(response[replica.HEADER])
        print({source: sources.count(source) for source in sources})
        assert sources.count("replica") > 30

    def test_that_lags_shows_nothing_old(self, standby, admin_client, settings):
        settings.REPLICA_WAIT = 0.05
        a_book(subscriptions=20, services=1, plans=1)
        settle()
        standby.do("SELECT pg_wal_replay_pause()")
        try:
            Service.objects.update(full_price=77)
            response = admin_client.get("/api/services/")
            assert response.json()["result"][0]["full_price"] == 77
            assert response[replica.HEADER] == "primary; behind"
            text = "".join(map(str, collector.look()))
            assert "pricebook_replica_lag_bytes" in text
        finally:
            standby.do("SELECT pg_wal_replay_resume()")
        settle()
        response = admin_client.get("/api/services/")
        assert response.json()["result"][0]["full_price"] == 77
        assert response[replica.HEADER] == "replica"

    @pytest.mark.parametrize(
        ("seen_before", "others_end"),
        [("100 ms", False), ("1 hour", False), ("1 hour", True)],  # the read, or after it alone
    )
    def test_that_shows_what_the_primary_holds_back_answers_nothing(
        self, standby, admin_client, monkeypatch, seen_before, others_end
    ):
        """A commit waits for a synchronous standby that is lost; this one has it already.

        It is the newest transaction, or others have ended since.
        """
        monkeypatch.setattr(replica, "PRIMARY", replica.PRIMARY.replace("100 ms", seen_before))
        a_book(subscriptions=5, services=1, plans=1)
        settle()
        Service.objects.update(full_price=40)
        with superuser() as root, a_person() as person:
            person.execute("UPDATE services_service SET full_price = 41")
            root.execute("ALTER SYSTEM SET synchronous_standby_names = 'lost'")
            root.execute("SELECT pg_reload_conf()")
            until(lambda: root.execute("SHOW synchronous_standby_names").fetchone() == ("lost",))
            commits = in_background(person.commit)
            try:
                until(lambda: root.execute(HELD_BACK).fetchone()[0])
                if others_end:
                    root.execute("SELECT pg_current_xact_id()")
                for _ in range(3):
                    response = admin_client.get("/api/services/")
                    assert response[replica.HEADER] == "primary; unconfirmed"
                    assert response.json()["result"][0]["full_price"] == 40
                with connections["replica"].cursor() as cursor:
                    cursor.execute("SELECT full_price FROM services_service")
                    assert cursor.fetchone() == (41,)
            finally:
                root.execute("ALTER SYSTEM RESET synchronous_standby_names")
                root.execute("SELECT pg_reload_conf()")
            commits.result()
        settle()
        assert admin_client.get("/api/services/").json()["result"][0]["full_price"] == 41

    def test_never_shows_more_than_the_primary_does_a_moment_later(self, standby):
        """Writers and readers, while the synchronous standby is lost and given up in turn."""
        a_book(subscriptions=5, services=1, plans=1)
        settle()
        of_sync = "synchronous_standby_names"
        of_standby, stop, reads = (
            deepcopy(connections["replica"].settings_dict),
            threading.Event(),
            [],
        )

        def write(number):
            with a_person() as person:
                for n in takewhile(lambda _: not stop.is_set(), count()):
                    name = f"{number}.{n}"
                    person.execute(
                        "INSERT INTO services_service (name, full_price) VALUES (%s, 1)", [name]
                    )
                    person.commit()

        def newest():
            with connection.cursor() as cursor:
                cursor.execute("SELECT max(id) FROM services_service")
                return cursor.fetchone()[0]

        def read():
            connections["replica"] = type(connections["default"])(of_standby, alias="default")
            while not stop.is_set():
                began = time.monotonic()
                found, source = replica.read(newest)
                reads.append((began, time.monotonic(), found, source))
            connections["replica"].close()
            connection.close()

        with superuser() as root, ThreadPoolExecutor(6) as threads:
            working = [threads.submit(write, n) for n in range(3)]
            working += [threads.submit(read) for _ in range(3)]
            try:
                for _ in range(3):
                    for says in (f"SET {of_sync} = 'lost'", f"RESET {of_sync}"):
                        time.sleep(0.7)
                        root.execute(f"ALTER SYSTEM {says}")
                        root.execute("SELECT pg_reload_conf()")
            finally:
                stop.set()
                root.execute(f"ALTER SYSTEM RESET {of_sync}")
                root.execute("SELECT pg_reload_conf()")
            for each in working:
                each.result()
        back = [
            (read, earlier)
            for read in reads
            for earlier in reads
            if earlier[1] < read[0] and earlier[2] > read[2]
        ]
        print(len(reads), "reads:", Counter(source for *_, source in reads))
        assert not back
        assert {"replica", "primary; unconfirmed"} <= {source for *_, source in reads}

    def test_judges_an_instant_by_what_was_decided_before_it(self, standby, admin_client):
        """Without a worker: facts alone say what is in force."""
        a_book(subscriptions=20, services=2, plans=1)
        first, second = Service.objects.order_by("pk")
        at = changes.clock() + timedelta(seconds=1.5)
        new = {"kind": "list_price", "new_value": "77", "effective_at": at}
        changes.approved(changes.planned(service=first.pk, **new))
        taken_back = changes.approved(changes.planned(service=second.pk, **new))
        settle()
        standby.do("SELECT pg_wal_replay_pause()")
        try:
            lifecycle.cancel(taken_back.pk, "bob")  # the replica does not know it
            until(lambda: changes.clock() > at)
            late = admin_client.get("/api/services/?ordering=id")
        finally:
            standby.do("SELECT pg_wal_replay_resume()")
        settle()
        response = admin_client.get("/api/services/?ordering=id")
        sources = [late[replica.HEADER], response[replica.HEADER]]
        assert sources == ["primary; behind", "replica"]
        for each in (late, response):
            prices = {row["id"]: row["full_price"] for row in each.json()["result"]}
            assert prices == {first.pk: 77, second.pk: second.full_price}

    def test_tells_how_far_behind_it_is(self, standby):
        a_book(subscriptions=20, services=1, plans=1)
        settle()
        collector.look.forget()
        assert self.figures()["replica_up"] == 1
        standby.do("SELECT pg_wal_replay_pause()")
        try:
            Service.objects.update(full_price=78)
            time.sleep(0.05)
            behind = self.figures()
        finally:
            standby.do("SELECT pg_wal_replay_resume()")
        assert behind["replica_lag_bytes"] > 0
        assert behind["replica_lag_seconds"] > 0

    def figures(self):
        collector.look.forget()
        found = {each.name.removeprefix("pricebook_"): each for each in collector.look()}
        names = ("replica_up", "replica_lag_bytes", "replica_lag_seconds")
        return {name: found[name].samples[0].value for name in names}

    def test_that_ends_a_read_for_its_recovery_costs_nobody_an_answer(self, standby):
        a_book(subscriptions=20, services=1, plans=1)
        settle()
        began = threading.Event()

        def lock():
            began.wait(10)
            with at_server(database=connection.settings_dict["NAME"]) as session:
                session.execute("ALTER TABLE services_service SET (fillfactor = 90)")
                session.execute("VACUUM FULL services_service")

        def count():
            there = in_recovery()
            began.set()
            with connection.cursor() as cursor:
                wait = "pg_sleep(5)" if there else "now()"
                cursor.execute(f"SELECT count(*), (SELECT 1 FROM {wait}) FROM services_service")
                return there, cursor.fetchone()[0]

        thread = threading.Thread(target=lock)
        thread.start()
        answer, source = replica.read(count)
        thread.join()
        assert (answer, source) == ((False, 1), "primary; failed")
        settle()

    @pytest.mark.skipif(
        not Path(FAKETIME).is_file(), reason="no libfaketime: apt-get install faketime"
    )
    @pytest.mark.parametrize("off", ["+60s", "-60s"])
    def test_whose_clock_is_off_judges_no_instant(self, standby, admin_client, off):
        a_book(subscriptions=3, services=1, plans=1)
        settle()
        restart(standby, LD_PRELOAD=FAKETIME, FAKETIME=off)
        answer = admin_client.get(LIST)
        restart(standby)
        assert answer[replica.HEADER] == "primary; clock"
        settle()

    def test_that_is_gone_is_done_without_until_it_is_back(self, standby, admin_client):
        a_book(subscriptions=20, services=1, plans=1)
        settle()
        standby.stop(signal.SIGQUIT)
        answers = [admin_client.get(LIST) for _ in range(5)]
        assert {each.status_code for each in answers} == {200}
        # The session that was there fails, and no other one is to be had.
        assert answers[-1][replica.HEADER] == "primary; away"
        standby.start()
        until(lambda: admin_client.get(LIST)[replica.HEADER] == "replica")

    def test_has_totals_and_etags_of_its_own(self, standby, admin_client):
        a_book(subscriptions=20, services=1, plans=1)
        settle()
        wanted = BookFilter(comment="none")
        keys = [total._key(wanted), replica.read(lambda: total._key(wanted))[0]]
        time.sleep(0.15)  # so old is a commit whose versions are kept
        for _ in range(3):
            total.figures(wanted)
            replica.read(lambda: total.figures(wanted))
        kept = [cache.get(key)["version"] for key in keys]
        assert kept[0] != kept[1]
        etag = admin_client.get(LIST)["ETag"]
        again = {"HTTP_IF_NONE_MATCH": etag}
        assert admin_client.get(LIST, **again).status_code == 304
        with pytest.MonkeyPatch.context() as patch:
            patch.delitem(connections.settings, "replica")
            assert admin_client.get(LIST, **again).status_code == 200

    def test_has_no_version_twice_while_its_last_commit_is_new(self, standby):
        a_book(subscriptions=2, services=1, plans=1)
        Service.objects.update(full_price=5)
        versions = []
        for _ in range(2):
            replica.read(lambda: versions.append((in_recovery(), total.version_now())))
        there = [version for is_there, version in versions if is_there]
        assert len(set(there)) == len(there)
        settle()
        time.sleep(0.15)
        versions = {replica.read(total.version_now)[0] for _ in range(3)}
        assert len(versions) == 1
        assert "~" not in versions.pop()

    def test_answers_nothing_once_it_is_promoted(self, standby, admin_client):
        a_book(subscriptions=20, services=1, plans=1)
        settle()
        standby.do("SELECT pg_promote()")
        answered_by = admin_client.get(LIST)[replica.HEADER]
        connections["replica"].close()
        standby.stop(signal.SIGQUIT)
        standby.make()
        standby.start()
        assert answered_by == "primary; not_a_standby"


class TestAWebServer:
    """With the settings of an operator, and a proxy before each server, which may go silent."""

    @pytest.fixture
    def path(self):
        found = PathBetween(to_postgres())
        yield found
        found.close()

    @pytest.fixture
    def path_to_replica(self, standby):
        found = PathBetween(f"{standby.directory}/.s.PGSQL.5432")
        yield found
        found.close()

    @pytest.fixture
    def web(self, path, path_to_replica, tmp_path):
        found = WebServer(
            tmp_path / "web",
            DB_HOST="127.0.0.1",
            DB_PORT=str(path.port),
            DB_CONNECT_TIMEOUT="2",
            DATABASE_REPLICA_URL=f"postgresql://127.0.0.1:{path_to_replica.port}/",
            OPEN_READS="1",
            REPLICA_WAIT="2",
        )
        yield found
        found.stop()

    def test_does_without_a_replica_that_is_silent_and_the_primary_is_as_before(
        self, web, path_to_replica
    ):
        a_book(subscriptions=20, services=1, plans=1)
        until(lambda: web.get(LIST).headers[replica.HEADER] == "replica")
        path_to_replica.hush()
        with ThreadPoolExecutor(4) as pool:
            lists = [pool.submit(web.get, LIST) for _ in range(2)]
            others = [pool.submit(web.get, path) for path in ("/api/ledger/", "/healthz")]
            assert [each.result().status for each in (*lists, *others)] == [200] * 4
        began = time.monotonic()
        statuses = [web.get(path).status for path in (LIST, "/api/ledger/", LIST, "/healthz")]
        assert statuses == [200] * 4
        assert time.monotonic() - began < replica.PAUSE  # nobody waits for it any more
        path_to_replica.go_on()
        until(lambda: web.get(LIST).headers[replica.HEADER] == "replica", 15)
        assert "The primary does not answer" not in web.log.read_text()

    def test_reads_from_the_replica_and_goes_on_without_the_primary(self, web, path):
        a_book(subscriptions=20, services=1, plans=1)
        assert web.get(LIST).headers[replica.HEADER] == "replica"
        assert web.get("/api/ledger/").headers[replica.HEADER] is None
        path.hush()
        began = time.monotonic()
        first = web.get(LIST)
        took = time.monotonic() - began
        others = [web.get(path) for path in (LIST, "/api/totals/", f"{LIST}?format=csv")]
        later = time.monotonic() - began - took
        print(f"found out after {took:.1f} s; three more took {later:.2f} s")
        for each in (first, *others):
            assert (each.status, each.headers[replica.HEADER]) == (200, "replica; no_primary")
        path.go_on()
        until(lambda: web.get(LIST).headers[replica.HEADER] == "replica", 15)


@pytest.mark.skipif(PGBOUNCER is None, reason="no PgBouncer: apt-get install pgbouncer")
class TestPgBouncer:
    """1.18 of Debian 12."""

    @pytest.fixture
    def pgbouncer(self, tmp_path, transactional_db):
        found = PgBouncer(tmp_path)
        yield found
        found.stop()

    @pytest.fixture
    def through(self, pgbouncer, monkeypatch):
        """Leads this process through it, with these startup options."""

        def through(options=""):
            settings = deepcopy(connections["default"].settings_dict)
            settings |= {"HOST": str(pgbouncer.directory), "PORT": "6432"}
            settings["OPTIONS"].pop("options", None)
            if options:
                settings["OPTIONS"]["options"] = options
            if connections["default"] is not before:
                connections["default"].close()
            connections["default"] = type(connections["default"])(settings, alias="default")

        before = connections["default"]
        yield through
        connections["default"].close()
        connections["default"] = before

    def test_in_session_mode_is_as_if_it_were_not_there(self, pgbouncer, through):
        pgbouncer.start("session")
        through()
        assert pooler.look() == pooler.Found()

    @pytest.mark.parametrize("settings_", [{}, {"server_round_robin": 1}])
    def test_in_transaction_mode_is_found_again_and_again(self, pgbouncer, through, settings_):
        pgbouncer.start("transaction", **settings_)
        through()
        found = pooler.Found(shares_sessions=True, keeps_prepared=False)
        assert [pooler.look() for _ in range(5)] == [found] * 5

    def test_that_has_no_server_to_give_is_not_taken_for_the_primary(self, pgbouncer, through):
        """It takes connections then, and lets statements wait."""
        pgbouncer.start("transaction", default_pool_size=1, query_wait_timeout=1)
        through()
        with transaction.atomic():
            connection.cursor().execute("SELECT 1")
            replica.note_that_the_primary_is_away("for a test")
            time.sleep(0.5)
            assert replica.primary_is_away()
        until(lambda: not replica.primary_is_away())

    def test_with_wrong_settings_is_said_with_the_fix(
        self, pgbouncer, through, settings, monkeypatch
    ):
        settings.PREPARED_STATEMENTS = True
        pgbouncer.start("transaction")
        through("-c jit=off")
        (said,) = pooler.faults()
        assert "takes no startup options. Fix: DB_STARTUP_OPTIONS=" in said
        pgbouncer.stop()
        pgbouncer.start("transaction", ignore_startup_parameters="options")
        fixes = [said.split("Fix: ")[1] for said in pooler.faults()]
        assert [fix.split(",")[0].split(" ")[0].rstrip(",") for fix in fixes] == [
            "DB_STARTUP_OPTIONS=",
            "DB_PREPARED_STATEMENTS=0",
            "DATABASE_DIRECT_URL",
        ]
        with pytest.raises(SystemCheckError, match=r"pricebook\.E002"):
            call_command("migrate", verbosity=0, skip_checks=False)
        settings.PREPARED_STATEMENTS = False
        monkeypatch.setitem(connections.settings, "direct", connections.settings["default"])
        connections["direct"] = type(connections["default"])(
            connections.settings["default"], alias="default"
        )
        through()
        assert pooler.faults() == []

    def test_limits_by_role_are_in_force_behind_it(self, pgbouncer, through, settings):
        settings.IDLE_TRANSACTION_TIMEOUT = 10
        pgbouncer.start("transaction")
        through()
        assert len(session_limits.missing()) == 1
        role = connection.settings_dict["USER"]
        try:
            with at_server() as session:
                session.execute(f"ALTER ROLE {role} SET {session_limits.IDLE} = '10s'")
            pgbouncer.stop()
            pgbouncer.start("transaction")
            through()
            assert session_limits.missing() == []
        finally:
            with at_server() as session:
                session.execute(f"ALTER ROLE {role} RESET {session_limits.IDLE}")

    def test_costs_no_answer_with_right_settings_nor_one_with_wrong_ones(
        self, pgbouncer, tmp_path, settings
    ):
        """O16: 240 requests by six threads, each over a session of another one."""
        a_book(subscriptions=400, services=2, plans=3)
        own = on_this_database() | {"DB_HOST": str(pgbouncer.directory), "OPEN_READS": "1"}
        own |= {"PGPORT": "", "DB_PORT": "6432"}
        for name, more, ignored in (
            ("right", {"DB_STARTUP_OPTIONS": ""}, ""),
            ("wrong", {}, "options"),
        ):
            pgbouncer.start("transaction", ignore_startup_parameters=ignored)
            web = WebServer(tmp_path / name, **own | more)
            try:
                with ThreadPoolExecutor(6) as pool:
                    paths = [LIST, f"{LIST}?ordering=-price", "/api/totals/", "/healthz"] * 60
                    statuses = {each.status for each in pool.map(web.get, paths)}
            finally:
                web.stop()
                pgbouncer.stop()
            said = (tmp_path / name).read_text()
            assert statuses == {200}, said[-3000:]
            assert ("DB_PREPARED_STATEMENTS=0" in said) == (name == "wrong")
            assert "DATABASE_DIRECT_URL" in said

    def test_is_passed_by_migrations(self, pgbouncer, tmp_path):
        pgbouncer.start("transaction")
        own = on_this_database()
        direct = f"postgresql://{own['DB_USER']}@{own['DB_HOST'].replace('/', '%2F')}/"
        environment = own | {
            "DB_HOST": str(pgbouncer.directory),
            "DB_PORT": "6432",
            "PGPORT": "",
            "DB_STARTUP_OPTIONS": "",
            "DATABASE_DIRECT_URL": direct,
        }
        command = [sys.executable, SERVICE / "manage.py"]
        done = subprocess.run(
            [*command, "migrate", "--skip-checks"], env=environment, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        clients = (pgbouncer.directory / "log").read_text()
        assert not re.search("login attempt", clients)


def test_several_hosts_are_tried_for_one_that_takes_writes(standby, tmp_path):
    own = on_this_database()
    hosts = [str(tmp_path), str(standby.directory), own["DB_HOST"]]
    quoted = ",".join(host.replace("/", "%2F") for host in hosts)
    url = f"postgresql://{own['DB_USER']}@{quoted}/{own['DB_NAME']}"
    ask = f"from django.db import connection as c; k = c.cursor(); k.execute('{RECOVERY}'); "
    for variables in ({"DATABASE_URL": url}, {"DB_HOST": ",".join(hosts)}):
        done = subprocess.run(
            [sys.executable, SERVICE / "manage.py", "shell", "-c", f"{ask}print(k.fetchone())"],
            env=own | variables,
            capture_output=True,
            text=True,
        )
        assert "(False,)" in done.stdout, done.stderr
