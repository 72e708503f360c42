"""Lives of the database: whoever follows the ledger goes on after a restore, or is told why not."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction

from events import deriving
from events.models import Event
from price_changes.errors import ChangeError
from price_changes.models import PriceChange
from price_changes.running import lifecycle
from price_changes.running.drift import drift
from price_changes.tests.changes import planned
from pricebook.local import postgres
from pricebook.local.home import Home
from pricebook.local.postgres import Postgres, find_binaries, unprivileged
from pricebook.tests.servers import until
from services import lives
from services.ledger import seals
from services.ledger.place import Place, Proof
from services.models import LedgerEntry, Life, SealedBlock, Subscription
from services.tests.factories import a_book, a_reader, a_subscription
from services.tests.interleaving import (
    a_person,
    execute_in_background,
    replaced,
    without_trigger,
)

pytestmark = pytest.mark.django_db(transaction=True)

Page = dict[str, Any]
NEGOTIATE = "UPDATE services_subscription SET price = price + 1, price_state = 'negotiated'"


def entries(count: int = 1) -> list[int]:
    """Write so many entries, each in a transaction of its own; their ids."""
    before = set(LedgerEntry.objects.values_list("id", flat=True))
    row = Subscription.objects.order_by("pk")[0]
    for _ in range(count):
        row.price += 1
        Subscription.objects.filter(pk=row.pk).update(price=row.price, price_state="negotiated")
    return sorted(set(LedgerEntry.objects.values_list("id", flat=True)) - before)


def poll(after: str | None = None) -> Page:
    """The page that a follower gets, or the problem."""
    asked = {"limit": "1000"} | ({"after": after} if after else {})
    answer = a_reader().get("/api/ledger/", asked)
    assert answer.status_code in (200, 410), answer.json()
    return dict(answer.json())


def ids(page: Page) -> list[int]:
    return [entry["id"] for entry in page["result"]]


def is_told_where_it_ended(after: str, common: str | None) -> None:
    found = poll(after)
    assert (found.get("code"), found.get("common_until")) == ("place_of_another_life", common)


def another_server() -> None:
    """The database is another one, as after a restore."""
    Life.objects.update(system_identifier=1)


def another_timeline() -> None:
    Life.objects.update(timeline=0)


def newest_xact() -> int:
    return LedgerEntry.objects.order_by("-xact").values_list("xact", flat=True)[0]


def burn(count: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            f"DO $$ BEGIN FOR i IN 1..{count} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP;"
            " END $$"
        )


# --- Servers --------------------------------------------------------------------------------------


def run(program: str, *arguments: str | Path) -> None:
    command = [str(find_binaries() / program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@contextmanager
def a_home(path: Path) -> Iterator[Postgres]:
    home = Home(path)
    home.make()
    server = Postgres(home)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(home.sockets, ignore_errors=True)


@contextmanager
def inside(server: Postgres) -> Iterator[None]:
    """All that the test asks is asked of this server."""
    before = dict(connection.settings_dict)
    connection.close()
    connection.settings_dict |= {
        "HOST": str(server.home.sockets),
        "PORT": "5432",
        "NAME": "pricebook",
        "USER": "pricebook",
    }
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict.clear()
        connection.settings_dict |= before


class TestServers:
    """A dump that is loaded into another server, a standby of that, and a disk that is put back."""

    # The launcher's servers outlive it, so it never waits for their end.
    @pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
    def test_go_on_where_the_history_is_one(self, tmp_path, monkeypatch):
        monkeypatch.setitem(postgres.SETTINGS, "shared_buffers", "32MB")
        monkeypatch.setitem(postgres.SETTINGS, "fsync", "off")
        burn(3_000)  # as many as the other server will not have given out
        row = a_book(5)[0]
        change = planned(kind="list_price", service=row.service_id, new_value=777)
        deriving.derive()
        until(seals.seal)
        entries(2)
        kept = poll()
        dump = tmp_path / "book.dump"
        with a_person() as person:
            run("pg_dump", "-Fc", "-f", dump, "-d", person.info.dsn)
        booked = entries(4)  # which the dump has not
        ahead = poll(kept["next"])
        assert ids(ahead) == booked

        with a_home(tmp_path / "a") as first:
            first.start()
            to = ["-h", str(first.home.sockets), "-p", "5432", "-U", "pricebook", "-d", "pricebook"]
            run("pg_restore", "--single-transaction", *to, dump)
            with inside(first):
                self.loaded(kept, ahead, change, change.fingerprint)
            self.put_back(first)
            self.loaded_into_itself(first, tmp_path / "again.dump", to)
            with inside(first):
                followed = poll()
            with a_home(tmp_path / "b") as second:
                self.promoted(first, second, followed)

    def loaded(self, kept: Page, ahead: Page, change: PriceChange, fingerprint: str) -> None:
        everything = poll()
        assert (ids(everything), everything["next"]) == (ids(kept), kept["next"])
        [block] = SealedBlock.objects.all()
        common = str(lives.proven(Place(block.last_xact, block.last_id)))
        # Nothing has been written yet; and from now on the numbers come nearer.
        assert poll(kept["next"])["result"] == []
        is_told_where_it_ended(ahead["next"], common)
        mine = entries(6)
        assert ids(poll(kept["next"])) == mine
        burn(3_000)
        assert ids(poll(kept["next"])) == mine
        is_told_where_it_ended(ahead["next"], common)
        assert ids(poll()) == [*ids(kept), *mine]  # in order, and each once

        assert [life.why for life in lives.lives()] == ["first", "restored"]
        assert not lives.has_been_acknowledged(lives.lives()[1])
        with pytest.raises(ChangeError, match="preview it again"):
            lifecycle.approve(change.pk, fingerprint, "bob", "current")
        again = lifecycle.preview(change.pk)
        entries()
        assert drift(again) == 1
        assert lifecycle.approve(change.pk, again.fingerprint, "bob", "current")
        assert seals.seal()
        call_command("verify_ledger")
        told = Event.objects.count()
        loaded = Event.objects.filter(type="book.loaded", number__gt=told)
        until(lambda: (deriving.derive(), loaded.count())[1])
        assert loaded.count() == 1
        moved = Event.objects.filter(type="prices.moved").values_list("data", flat=True)
        assert sum(json.loads(data)["count"] for data in moved) == 2 + 6 + 1

    def put_back(self, server: Postgres) -> None:
        """Its disk is that of before: the same server, and the same timeline."""
        with inside(server):
            followed = poll()
            block = SealedBlock.objects.latest("number")
            number = lives.lives()[-1].number
        server.stop()
        saved = server.data.with_name("saved")
        shutil.copytree(server.data, saved)
        server.start()
        with inside(server):
            entries(3)
            gone = poll(followed["next"])
        server.stop()
        shutil.rmtree(server.data)
        saved.rename(server.data)
        server.start()
        with inside(server):
            common = str(lives.proven(Place(block.last_xact, block.last_id)))
            is_told_where_it_ended(gone["next"], common)
            mine = entries(5)  # with the numbers of those that are lost
            is_told_where_it_ended(gone["next"], common)
            assert ids(poll(followed["next"])) == mine
            assert lives.lives()[-1].number == number

    def loaded_into_itself(self, server: Postgres, dump: Path, to: list[str]) -> None:
        """A dump replaces the tables of the database that it is of: the numbers only go on."""
        with inside(server):
            until(seals.seal)
            followed = poll()
        run("pg_dump", "-Fc", "-f", dump, *to)
        with inside(server):
            lost = entries(2)
            gone = poll(followed["next"])
            assert ids(gone) == lost
        run("pg_restore", "--clean", "--if-exists", "--single-transaction", *to, dump)
        with inside(server):
            mine = entries(3)
            is_told_where_it_ended(gone["next"], followed["next"])
            assert ids(poll(followed["next"])) == mine
            assert lives.lives()[-1].why == Life.Why.RESTORED

    def promoted(self, primary: Postgres, standby: Postgres, followed: Page) -> None:
        """A standby that lags takes over; before that the follower has read what it never got."""
        to = ["-h", str(primary.home.sockets), "-p", "5432", "-U", "postgres"]
        run("pg_basebackup", "-D", standby.data, "-R", "-c", "fast", *to)
        prefix, owner = unprivileged()
        standby.home.make_sockets()
        standby.give_data_to(owner)
        standby.launch(prefix)
        with inside(primary):
            mine = entries(2)
            followed = poll(followed["next"])
            assert ids(followed)[-2:] == mine
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_current_wal_lsn()")
                (reached,) = cursor.fetchone()
        with inside(standby):
            until(lambda: self.has_replayed(reached))
            assert ids(poll())[-2:] == mine  # a standby serves the feed
        with standby.data.joinpath("postgresql.auto.conf").open("a") as settings:
            settings.write("primary_conninfo = ''\n")
        with a_superuser(standby) as cursor:
            cursor.execute("SELECT pg_reload_conf()")
            until(lambda: self.is_cut(cursor))
        with inside(primary):
            lost = entries(3)
            gone = poll(followed["next"])
            assert ids(gone) == lost
        primary.stop()
        with a_superuser(standby) as cursor:
            cursor.execute("SELECT pg_promote()")
        with inside(standby):
            mine = entries(10)
            assert ids(poll(followed["next"])) == mine
            is_told_where_it_ended(gone["next"], followed["next"])
            assert lives.lives()[-1].why == Life.Why.PROMOTED
            assert seals.seal()
            call_command("verify_ledger")

    def has_replayed(self, reached: str) -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [reached])
            return bool(cursor.fetchone()[0])

    def is_cut(self, cursor: Any) -> bool:
        cursor.execute("SELECT count(*) FROM pg_stat_wal_receiver")
        return cursor.fetchone() == (0,)


@contextmanager
def a_superuser(server: Postgres) -> Iterator[Any]:
    import psycopg

    with (
        psycopg.connect(server.conninfo("postgres"), autocommit=True) as person,
        person.cursor() as cursor,
    ):
        yield cursor


# --- In one server --------------------------------------------------------------------------------


class TestNumbers:
    def test_come_behind_all_that_are_stored(self):
        rows = list(a_book(3))
        ahead = "UPDATE services_ledgerentry SET xact = xact + 1000000"
        with (
            without_trigger("ledger_append_only", "services_ledgerentry"),
            connection.cursor() as c,
        ):
            c.execute(ahead)
        stored = newest_xact()
        assert ids(poll()) == []  # nothing is wrong with this server, and its numbers are lower
        another_server()
        everything = poll()
        assert len(ids(everything)) == 3
        with a_person() as other:  # who has a number, and writes to no book yet
            other.execute("SELECT pg_current_xact_id()")
            burn(3)
            mine = entries(2)
            assert newest_xact() > stored
            assert ids(poll()) == ids(everything)
            other.execute(f"{NEGOTIATE} WHERE id = %s", [rows[1].pk])
            other.commit()
        [first, *others] = ids(poll(everything["next"]))
        assert others == mine
        assert first > mine[-1]  # its transaction began before theirs

    def test_begin_one_life_whoever_is_first(self):
        rows = list(a_book(2))
        another_server()
        number = Life.objects.count()
        with a_person() as one, a_person() as other:
            one.execute(f"{NEGOTIATE} WHERE id = %s", [rows[0].pk])
            second = execute_in_background(other, f"{NEGOTIATE} WHERE id = %s", [rows[1].pk])
            second.until_it_waits()
            one.commit()
            second.result()
            other.commit()
        assert Life.objects.count() == number + 1
        first, last = LedgerEntry.objects.order_by("-id")[:2]
        assert min(first.xact, last.xact) >= lives.lives()[-1].first_xact

    def test_go_on_where_a_standby_takes_over(self):
        a_book(1)
        another_timeline()
        before = newest_xact()
        entries()
        found = lives.current_life()
        assert (found.why, found.xact_offset) == ("promoted", 0)
        assert lives.has_been_acknowledged(found)
        assert before < found.first_xact <= newest_xact()

    def test_need_no_lookup_for_each_row(self):
        """A statement of many rows asks once in which life it is."""
        a_subscription()
        asked = "RAISE NOTICE 'asked'; SELECT * INTO server FROM life_of_server();"
        with (
            replaced(
                "begin_life",
                lambda sql: sql.replace("SELECT * INTO server FROM life_of_server();", asked),
            ),
            a_person() as person,
        ):
            said: list[str] = []
            person.add_notice_handler(lambda notice: said.append(notice.message_primary or ""))
            person.execute(
                "INSERT INTO services_subscription (client_id, service_id, plan_id, comment)"
                " SELECT client_id, service_id, plan_id, '' FROM services_subscription,"
                " generate_series(1, 50)"
            )
            person.rollback()
        assert said.count("asked") == 1


class TestPlaces:
    @pytest.fixture
    def sealed(self) -> Page:
        a_book(3)
        until(seals.seal)
        entries(2)
        return poll()

    def test_of_lost_entries_are_refused_for_ever(self, sealed):
        """Those that a later life has written have the same numbers."""
        lost = poll(sealed["next"])
        lost_ids = entries(3)
        lost = poll(sealed["next"])
        assert ids(lost) == lost_ids
        with without_trigger("ledger_append_only", "services_ledgerentry"):
            LedgerEntry.objects.filter(id__in=lost_ids).delete()
        another_timeline()
        entries(5)
        with without_trigger("ledger_append_only", "services_ledgerentry"):
            nth = Place.parse(lost["next"])
            LedgerEntry.objects.filter(id=LedgerEntry.objects.latest("id").pk).update(xact=nth.xact)
        is_told_where_it_ended(lost["next"], sealed["next"])
        bare = str(Place(nth.xact, nth.id))
        is_told_where_it_ended(bare, sealed["next"])
        assert len(ids(poll(str(Place(*self.numbers(sealed)))))) == 5

    def numbers(self, page: Page) -> tuple[int, int]:
        place = Place.parse(page["next"])
        return place.xact, place.id

    def test_name_the_newest_block_and_what_lies_behind_it(self, sealed):
        """A disk that was put back writes other rows with the same numbers, in the same life."""
        kept = sealed["next"]
        common = SealedBlock.objects.get()
        for change in ("recorded_at = recorded_at + interval '1 second'", "xact = xact - 100"):
            with rolled_back_disk(f"UPDATE services_ledgerentry SET {change} WHERE id = %s",
                                  ids(sealed)[-1 if "recorded" in change else -2]):  # fmt: skip
                place = lives.proven(Place(common.last_xact, common.last_id))
                is_told_where_it_ended(kept, str(place))
        with rolled_back_disk("UPDATE services_sealedblock SET hash = %s", b"other"):
            is_told_where_it_ended(kept, None)
        with rolled_back_disk("DELETE FROM services_ledgerentry WHERE id = %s", ids(sealed)[-1]):
            assert poll(kept)["code"] == "place_of_another_life"
        assert poll(kept)["result"] == []

    def test_of_a_book_that_this_one_never_was(self, sealed):
        place = Place.parse(sealed["next"])
        assert place.proof is not None
        proof = Proof(place.proof.life ^ 1, place.proof.block, place.proof.hash, place.proof.mark)
        block = SealedBlock.objects.get()
        common = str(lives.proven(Place(block.last_xact, block.last_id)))
        is_told_where_it_ended(str(Place(place.xact, place.id, proof)), common)

    def test_of_what_was_open_when_the_histories_parted(self, sealed):
        """A transaction that never was over here may have been read elsewhere."""
        with a_person() as other:
            other.execute("SELECT pg_current_xact_id()")
            entries(1)
            other.rollback()
        lost = poll(sealed["next"])["next"]
        another_timeline()
        entries(1)
        xact, id = self.numbers({"next": lost})
        is_told_where_it_ended(str(Place(xact + 10**6, id)), sealed["next"])

    def test_of_events_are_of_their_life(self, sealed):
        another_timeline()
        entries(1)
        deriving.derive()
        place = json.loads(Event.objects.latest("number").data)["feed_until"]
        assert Place.parse(place).proof == Proof(lives.short(lives.lives()[-1].key))
        assert poll(place)["result"] == []


@contextmanager
def rolled_back_disk(sql: str, *params: int | bytes) -> Iterator[None]:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE services_ledgerentry DISABLE TRIGGER USER")
        cursor.execute("ALTER TABLE services_sealedblock DISABLE TRIGGER USER")
        cursor.execute(sql, params)
        assert cursor.rowcount == 1
        yield
        transaction.set_rollback(True)


def test_an_operator_may_say_that_it_is_another_life():
    a_book(1)
    life = lives.declare()
    assert (life.why, lives.current_life()) == ("declared", life)
    assert not lives.has_been_acknowledged(life)
    assert lives.acknowledge(life, "ann")
    assert not lives.acknowledge(life, "bob")
    assert lives.current_life().acknowledged_by == "ann"
    assert lives.begin() == life
