"""Lives of the database: whoever follows the ledger goes on after a restore, or is told why not."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection, transaction

from events import deriving
from events.models import Event
from pricebook.tests.servers import until
from services import lives
from services.ledger import seals
from services.ledger.place import Place, Proof
from services.models import LedgerEntry, Life, SealedBlock
from services.tests.factories import a_book, a_subscription
from services.tests.following import (
    NEGOTIATE,
    Page,
    another_server,
    another_timeline,
    burn,
    entries,
    ids,
    is_told_where_it_ended,
    newest_xact,
    poll,
)
from services.tests.interleaving import (
    a_person,
    execute_in_background,
    replaced,
    without_trigger,
)

pytestmark = pytest.mark.django_db(transaction=True)


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
