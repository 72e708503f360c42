"""Reads from a replica: routing, and what makes the primary answer. See docs/hosts.md.

The "replica" of these tests is the same server by another session, which says what a standby would
say; a real one is that of `test_hosts.py`.
"""

from contextlib import contextmanager
from copy import deepcopy

import pytest
from django.core.cache import cache
from django.db import OperationalError, connection, connections, transaction

from keys.tests.asking import with_key
from keys.tests.making import a_key
from pricebook import surroundings
from pricebook.kit import replica
from pricebook.local.paths import CHECKOUT
from pricebook.tests.servers import until
from services.models import Service
from services.reading import total
from services.reading.filters import BookFilter
from services.tests.factories import a_book
from services.tests.interleaving import a_person
from services.transfer import chunks
from services.transfer.formats import CSV

WHO = "SELECT current_setting('application_name')"
LIST = "/api/subscriptions/"


def who():
    with connection.cursor() as cursor:
        cursor.execute(WHO)
        return cursor.fetchone()[0]


def fails_on_the_replica(how="RAISE EXCEPTION USING ERRCODE = '40001'"):
    def call():
        if who() == "replica":
            with connection.cursor() as cursor:
                cursor.execute(f"DO $$ BEGIN {how}; END $$")
        return who() or "primary"

    return call


@pytest.fixture
def standby(transactional_db, monkeypatch):
    """Says how far the standby is, in bytes from the primary's place, and how far its clock."""
    primary = connections["default"]
    settings = deepcopy(primary.settings_dict)
    settings["OPTIONS"] = settings.get("OPTIONS", {}) | {"application_name": "replica"}
    monkeypatch.setitem(connections.settings, "replica", settings)
    # (Django's tests let only known aliases connect.)
    connections["replica"] = type(primary)(settings, alias="default")
    monkeypatch.setattr(replica._Pause, "away_until", 0.0)
    monkeypatch.setattr(replica._Pause, "busy_until", 0.0)
    monkeypatch.setattr(replica, "LOOK_EVERY", 0.01)

    monkeypatch.setattr(replica, "ALONE", "SELECT true, 'its_start'")

    def standby(behind=0, ahead=0.0, in_recovery=True):
        at = f"(pg_current_wal_flush_lsn() - {behind}::numeric)"
        monkeypatch.setattr(
            replica,
            "STANDBY",
            f"SELECT {in_recovery}, {at} >= %s::pg_lsn, {at}::text,"
            f" extract(epoch FROM book_clock())::float8 + {ahead}, 'its_start'",
        )

    standby()
    yield standby
    connections["replica"].close()
    del connections["replica"]


class TestARead:
    def test_is_of_the_replica_if_that_has_all_and_of_the_primary_in_a_transaction(self, standby):
        assert replica.read(who) == ("replica", "replica")
        assert who() != "replica"
        with transaction.atomic():
            assert replica.read(who)[0] != "replica"
        nested = replica.read(lambda: replica.read(who))
        assert nested == (("replica", ""), "replica")

    @pytest.mark.parametrize(
        ("state", "why"),
        [
            ({"behind": 1}, "behind"),
            ({"ahead": 60}, "clock"),
            ({"ahead": -60}, "clock"),
            ({"in_recovery": False}, "not_a_standby"),
            ({"behind": -1_000_000}, "other_server"),  # has what the primary has never sent
        ],
    )
    def test_is_of_the_primary_if_the_replica_would_answer_otherwise(
        self, standby, settings, state, why
    ):
        settings.REPLICA_WAIT = 0.02
        standby(**state)
        answer, source = replica.read(who)
        assert (answer != "replica", source) == (True, f"primary; {why}")

    def test_waits_for_a_replica_that_comes_after_and_not_again_for_one_that_did_not(
        self, standby, settings, monkeypatch
    ):
        slept = []

        def sleep(seconds):
            slept.append(seconds)
            if len(slept) == 3:
                standby(behind=0)

        monkeypatch.setattr(replica.time, "sleep", sleep)
        settings.REPLICA_WAIT = 5
        standby(behind=1)
        assert replica.read(who) == ("replica", "replica")
        settings.REPLICA_WAIT = 0
        standby(behind=1)
        assert replica.read(who)[1] == "primary; behind"
        settings.REPLICA_WAIT, slept[:] = 5, []
        assert replica.read(who)[1] == "primary; behind"
        assert slept == []

    @pytest.mark.parametrize("goes_on", [True, False])
    def test_that_shows_a_commit_before_the_primary_does_waits_for_it(
        self, standby, monkeypatch, settings, goes_on
    ):
        """As one does while a commit waits for the primary's synchronous standby."""
        one = "SELECT ARRAY[pg_snapshot_xmax(%s::pg_snapshot)::text]"
        monkeypatch.setattr(replica, "COMMITTED", one)
        settings.REPLICA_WAIT = 0.02 if goes_on else 20
        with a_person() as person:
            person.execute("CREATE TABLE something ()")
            monkeypatch.setattr(
                replica.time, "sleep", lambda _: None if goes_on else person.commit()
            )
            answer, source = replica.read(who)
            person.rollback()
        if goes_on:
            assert (answer != "replica", source) == (True, "primary; unconfirmed")
        else:
            assert (answer, source) == ("replica", "replica")
            connection.cursor().execute("DROP TABLE something")

    def test_that_the_replica_ends_is_made_again_on_the_primary(self, standby):
        told = []
        replica.counted.append(told.append)
        answer, source = replica.read(fails_on_the_replica())
        replica.counted.remove(told.append)
        assert (answer != "replica", source, told) == (True, "primary; failed", ["failed"])
        assert replica.read(who)[1] == "replica"  # it is asked again

    def test_that_takes_too_long_is_not_made_again(self, standby):
        with pytest.raises(OperationalError, match="too long"):
            replica.read(fails_on_the_replica("RAISE 'too long' USING ERRCODE = '57014'"))
        assert who() != "replica"

    def test_of_a_replica_that_is_gone_is_the_primarys_and_for_a_while_nobody_asks(
        self, standby, monkeypatch
    ):
        tried = []

        def refuse(params):
            tried.append(params)
            raise OperationalError("nobody is there")

        monkeypatch.setattr(connections["replica"], "get_new_connection", refuse)
        assert [replica.read(who)[1] for _ in range(3)] == ["primary; away"] * 3
        assert len(tried) == 1

    def test_over_a_session_that_a_restart_has_ended_is_made_over_another(self, standby):
        assert replica.read(who)[1] == "replica"
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE application_name = 'replica'"
            )
            assert cursor.fetchall() == [(True,)]
        assert replica.read(who)[1] == "replica"

    def test_of_one_that_was_promoted_is_of_the_next_host(self, standby, monkeypatch):
        """One of several hosts has been promoted, and this session leads there."""
        replica.read(who)
        close = connections["replica"].close
        monkeypatch.setattr(connections["replica"], "close", lambda: (close(), standby()))
        standby(in_recovery=False)
        assert replica.read(who) == ("replica", "replica")

    @pytest.mark.parametrize("statement", ["HAS", "SHOWN"])
    def test_while_the_primary_vanishes_is_the_replicas_which_says_so(
        self, standby, monkeypatch, statement
    ):
        standby(behind=-1)  # so that the primary is asked for more
        lost = "DO $$ BEGIN RAISE 'gone' USING ERRCODE = '57P01'; END $$"
        monkeypatch.setattr(replica, statement, f"{lost} --%s" if statement == "HAS" else lost)
        monkeypatch.setattr(
            replica, "HAS", replica.HAS if statement == "HAS" else "SELECT %s <> ''"
        )
        looked_for = []
        monkeypatch.setattr(replica, "_look_for_the_primary", looked_for.append)
        try:
            assert replica.read(who) == ("replica", "replica; no_primary")
            assert [each.get("application_name") for each in looked_for] == [None]
        finally:
            replica._Pause.primary_is_away = False


def test_one_that_answers_nothing_is_said_at_the_start(standby, settings):
    settings.REPLICA_WAIT = 0
    for state, said in (({}, []), ({"behind": 1}, []), ({"in_recovery": False}, ["not_a_standby"])):
        standby(**state)
        found = [each for each in surroundings.wrong() if "DATABASE_REPLICA_URL" in each]
        assert [each.split("(")[1].split(")")[0] for each in found] == said


def test_each_reason_is_in_the_docs():
    hosts = (CHECKOUT / "docs" / "hosts.md").read_text()
    operating = (CHECKOUT / "docs" / "operating.md").read_text()
    for why in replica.WHY_NOT:
        assert f"| `primary; {why}` |" in hosts
        assert f"`{why}`" in operating


class TestAnswers:
    def test_say_who_gave_them_and_see_each_write_before(self, standby, admin_client, settings):
        settings.REPLICA_WAIT = 0
        a_book(subscriptions=3, services=1, plans=1)
        for path in (LIST, "/api/totals/?by=service", "/api/clients/", f"{LIST}?format=csv"):
            assert admin_client.get(path)[replica.HEADER] == "replica", path
        standby(behind=1)
        Service.objects.update(full_price=77)
        response = admin_client.get("/api/services/")
        assert response[replica.HEADER] == "primary; behind"
        assert response.json()["result"][0]["full_price"] == 77

    def test_by_what_was_known_at_an_instant_are_the_primarys(self, standby, admin_client):
        response = admin_client.get(f"{LIST}?known_at=2001-01-01T00:00:00Z")
        assert replica.HEADER not in response

    def test_of_a_stream_go_on_from_the_primary_and_say_that_they_are_of_two(
        self, standby, monkeypatch
    ):
        a_book(subscriptions=9, services=1, plans=1)
        monkeypatch.setattr(chunks, "CHUNK", 3)
        walk = chunks.Walk(CSV)
        texts = iter(walk)
        next(texts)
        of_replica = walk.version
        with _version_of_another_server(monkeypatch):
            standby(in_recovery=False)
            list(texts)
        assert walk.count == 9
        assert walk.changed
        assert walk.version != of_replica


@contextmanager
def _version_of_another_server(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(chunks, "VERSION", "'of the primary' AS version, false AS uncommitted")
        yield


class TestWithoutAPrimary:
    @pytest.fixture
    def gone(self, standby):
        """Lets the primary be where nobody is; the replica stays."""

        @contextmanager
        def gone():
            primary = connections["default"]
            settings = primary.settings_dict | {"HOST": "/nowhere"}
            connections["default"] = type(primary)(settings, alias="default")
            try:
                yield
            finally:
                connections["default"] = primary
                replica._Pause.primary_is_away = False

        return gone

    def test_programs_read_on_and_are_told(self, standby, gone):
        a_book(subscriptions=9, services=1, plans=1)
        program = with_key(a_key("reader", "subscriptions:read", "ledger:read")[1])
        assert program.get(LIST)[replica.HEADER] == "replica"
        with gone():
            for path in (LIST, f"{LIST}?format=ndjson", LIST):
                response = program.get(path)
                assert response.status_code == 200
                assert response[replica.HEADER] == "replica; no_primary"
            # No standby knows these, or can do them.
            for path in ("/api/ledger/", f"{LIST}?known_at=2020-01-01T00:00:00Z"):
                assert program.get(path).status_code == 503
            assert program.post("/api/clients/", {}).status_code == 503

    def test_a_stream_goes_on(self, standby, gone, monkeypatch):
        a_book(subscriptions=9, services=1, plans=1)
        monkeypatch.setattr(chunks, "CHUNK", 3)
        walk = chunks.Walk(CSV)
        texts = iter(walk)
        next(texts)
        with gone():
            list(texts)
        assert (walk.count, walk.changed) == (9, False)

    def test_one_that_is_back_is_found(self, standby, gone):
        with gone():
            replica.read(who)
            assert replica.primary_is_away()
        replica.note_that_the_primary_is_away("again")
        until(lambda: not replica.primary_is_away())
        assert replica.read(who) == ("replica", "replica")


def test_a_cached_total_is_one_of_its_server(standby, monkeypatch):
    a_book(subscriptions=3, services=1, plans=1)
    wanted = BookFilter(comment="none")
    replica.read(lambda: total.figures(wanted))
    keys = [replica.read(lambda: total._key(wanted))[0], total._key(wanted)]
    assert keys[0] != keys[1]
    assert [cache.get(key) is not None for key in keys] == [True, False]
    # A web server of its own on the standby shares the cache too.
    monkeypatch.setitem(connection.settings_dict, "HOST", "another")
    assert total._key(wanted) not in keys
