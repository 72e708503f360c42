"""A set is in force from the commit that lists its rows: for readers, and for whoever writes first.

The copies are written afterwards, a chunk a transaction. Each test stops before the first chunk, or
in the middle, and compares with the book in which all is copied.
"""

import re
from decimal import Decimal

import pytest
from conftest import truncate_book
from django.db import connection, transaction
from django.urls import reverse

from price_changes.models import ListedRows, PriceChange
from price_changes.running import entering, lifecycle, outcomes
from price_changes.tests.changes import (
    SECOND,
    accounted,
    approved,
    clock,
    drained,
    planned,
    started,
)
from price_changes.tests.kills.proof import accounts_of
from price_changes.tests.test_sets import a_raise
from pricebook.tests.tiers import always
from services import price_state, repricing
from services.audit import book_check
from services.ledger.page import one_as_of
from services.models import (
    LedgerEntry,
    MovedFollowers,
    Repricing,
    Service,
    Subscription,
    WholeLedger,
)
from services.repricing import chunks, lock_ends
from services.tests.factories import a_client, a_plan, a_reader, a_service, a_subscription
from services.tests.interleaving import Pause, a_person, in_background

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("by_chunks")]

URL = reverse("subscription-list")
HOUR = 3600 * SECOND


def write(sql, *params):
    with connection.cursor() as cursor:
        cursor.execute(sql, params)


class Book:
    """Rows of every price state and period, in two services; a set of all of them is due."""

    def __init__(self):
        self.client, self.other_client = a_client("Ant"), a_client("Bee")
        self.phone, self.line = a_service(100, "Phone"), a_service(30, "Line")
        self.plan, self.other_plan = a_plan(20), a_plan(50)
        self.follower = self.row()
        self.other = self.row(service=self.line)
        self.locked = self.row()
        self.until = self.row()
        self.negotiated = self.row()
        self.ended = self.row(started_at=clock() - HOUR)
        self.ending = self.row(ended_at=clock() + HOUR)
        self.coming = self.row(started_at=clock() + HOUR)
        Subscription.objects.filter(pk=self.ended.pk).update(ended_at=clock())
        price_state.lock(self.locked.pk, None, "as agreed", "ann")
        price_state.lock(self.until.pk, clock() + HOUR, "for a while", "ann")
        price_state.negotiate(self.negotiated.pk, 7, "as agreed", "ann")
        drained()

    def row(self, **fields):
        fields = {"client": self.client, "service": self.phone, "plan": self.plan} | fields
        return a_subscription(**fields)


@pytest.fixture
def book(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 2)
    return Book()


def listed(change, when_moved="current"):
    """Approve a change of a set, and list its rows; nothing is copied."""
    change = approved(change, when_moved)
    before = list(Subscription.objects.order_by("pk").values())
    assert started()
    assert list(Subscription.objects.order_by("pk").values()) == before
    assert Repricing.objects.get(change_id=change.pk).listed_up_to
    change.refresh_from_db()
    return change


def stand():
    """All rows as readers see them."""
    return list(
        Subscription.objects.in_force()
        .order_by("pk")
        .values("id", "price", "price_state", "locked_until", "price_reason", "comment")
    )


def sums():
    """The total and the paid amount of each (service, plan), as readers get them."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT service_id, plan_id, sum(amount), sum(paid_amount) FROM subtotal_in_force"
            " WHERE service_id IS NOT NULL GROUP BY service_id, plan_id"
            " HAVING sum(amount) <> 0 OR sum(paid_amount) <> 0"
        )
        return {(service, plan): amounts for service, plan, *amounts in cursor.fetchall()}


def answers(at=None):
    """The answers that readers get, without the progress of the copying."""
    reader = a_reader()
    told = [
        reader.get(URL, query).json()
        for query in (
            {},
            {"price_state": "follows"},
            {"price_state": "negotiated"},
            {"price_from": "50"},
            {"ordering": "price"},
            {"ordering": "-price", "state": "active"},
        )
    ]
    told += [
        reader.get(reverse(name)).json() for name in ("client-list", "service-list", "plan-list")
    ]
    assert not [answer for answer in told if "code" in answer]
    return told, stand(), sums(), [one_as_of(at, pk)[0] for pk in ids() if at]


def ids():
    return list(Subscription.objects.order_by("pk").values_list("pk", flat=True))


def right():
    report = book_check.check()
    assert not report.differs, report.differs
    assert not report.unrecorded, report.unrecorded_examples


class TestReaders:
    def test_see_all_rows_at_once_and_the_same_after_each_chunk(self, book):
        before = answers()
        change = listed(a_raise())
        at = clock()
        with transaction.atomic():
            write("SET LOCAL transaction_read_only = on")
            told = answers(at)
        assert told[:3] != before[:3]
        prices = {row["id"]: row["price"] for row in told[1]}
        assert prices[book.follower.pk] == 85
        assert prices[book.negotiated.pk] == 12
        assert prices[book.ended.pk] == 80
        assert told[0][0]["waiting_for"] == []
        total = sum(row["price"] for row in told[1])
        assert Decimal(told[0][0]["total_amount"]) == total
        steps = 0
        while chunks.take_chunk("price", set()) is not None:
            steps += 1
            for now, then in zip(answers(at), told, strict=True):
                for one, other in zip(now, then, strict=True):
                    assert one == other
            right()
        assert steps > 2
        assert accounted(change)
        assert not ListedRows.objects.exists()

    def test_are_not_told_that_an_answer_of_before_still_holds(self, book):
        reader = a_reader()
        approved(a_raise(), "current")
        before = reader.get(reverse("service-list"))["ETag"]
        assert started()
        assert reader.get(reverse("service-list"))["ETag"] != before

    def test_find_a_lock_that_has_ended_before_the_copy(self, book, moved_clock):
        change = planned_lock(book, clock() + HOUR)
        listed(change)
        moved_clock.passes(2 * HOUR)
        told = stand(), sums()
        assert {row["price_state"] for row in told[0] if row["id"] == book.follower.pk} == {
            "follows"
        }
        drained()
        assert (stand(), sums()) == told
        right()

    def test_do_not_see_the_end_of_a_lock_that_the_set_has_replaced(self, book, moved_clock):
        listed(planned_lock(book, clock() + 3 * HOUR))
        Service.objects.filter(pk=book.phone.pk).update(full_price=200)
        moved_clock.passes(2 * HOUR)
        told = stand(), sums()
        assert [row["price"] for row in told[0] if row["id"] == book.until.pk] == [80]
        assert lock_ends.release_ended()
        assert (stand(), sums()) == told
        drained()
        assert (stand(), sums()) == told
        right()

    def test_see_who_is_kept_upon_it(self, book, moved_clock):
        """A row that has a price of its own as it is written, and follows as it is listed."""
        at = clock() + HOUR
        approved(
            planned(
                kind="list_price",
                service=book.phone.pk,
                new_value=300,
                for_new_only=True,
                effective_at=at,
            )
        )
        listed(a_set(adjustment="follow", filter={"service": book.phone.pk}))
        moved_clock.to(at + SECOND)
        told = stand(), sums()
        [kept] = [row for row in told[0] if row["id"] == book.negotiated.pk]
        assert (kept["price"], kept["price_state"]) == (80, "locked")
        assert sum(amounts[0] for amounts in told[1].values()) == sum(
            row["price"] for row in told[0]
        )
        drained()
        assert (stand(), sums()) == told
        right()

    def test_of_a_preview_count_upon_it(self, book):
        listed(a_set(adjustment="amount", operand=50, filter={"service": book.phone.pk}))
        later = clock() + HOUR
        previews = []
        for _ in range(2):
            change = a_raise(effective_at=later, filter={"service": book.phone.pk})
            previews.append({**change.preview, "counted_at": None})
            drained()
        assert previews[0] == previews[1]

    def test_see_a_list_price_that_comes_before_the_copy(self, book):
        lifecycle_change = listed(a_set(adjustment="follow", filter={"service": book.phone.pk}))
        Service.objects.filter(pk=book.phone.pk).update(full_price=200)
        told = stand(), sums()
        assert {row["price"] for row in told[0] if row["id"] == book.negotiated.pk} == {160}
        drained()
        assert (stand(), sums()) == told
        right()
        assert accounted(lifecycle_change)


def a_set(**values):
    return planned(kind="set", **values)


def planned_lock(book, until):
    return a_set(adjustment="lock", locked_until=until, filter={"service": book.phone.pk})


WRITES = {
    "comment": "comment = 'x'",
    "price": "price = 60, price_state = 'negotiated', locked_until = NULL, price_reason = 'asked'",
    "lock": "price_state = 'locked'",
    "lock at": "price_state = 'locked', price = 33",
    "follow": "price_state = 'follows'",
    "client": "client_id = (SELECT max(id) FROM clients_client)",
    "plan": "plan_id = (SELECT max(id) FROM services_plan)",
    "service": "service_id = (SELECT max(id) FROM services_service)",
    "end": "ended_at = CASE WHEN started_at < book_clock() THEN book_clock() ELSE ended_at END",
    "no end": "ended_at = NULL",
    "start": "started_at = least(started_at, book_clock()) - interval '1 day'",
    "delete": None,
}
SETS = {
    "add": {"adjustment": "add", "operand": 5},
    "lock": {"adjustment": "lock"},
    "follow": {"adjustment": "follow"},
}
ROWS = ("follower", "locked", "until", "negotiated", "ended", "ending", "coming")


def by_name(book):
    """A book's rows as readers and the ledger have them, without ids and instants."""
    stood = {row["id"]: row for row in stand()}
    told = []
    for which in ROWS:
        pk = getattr(book, which).pk
        row = stood.get(pk, {})
        until = row.get("locked_until") is not None
        says = [row.get(name) for name in ("price", "price_state", "comment")]
        says.append(re.sub(r"\d+", "n", row.get("price_reason", "")))
        entries = LedgerEntry.objects.filter(subscription_id=pk, period_only=False)
        told.append((which, until, *says, _said(entries.order_by("effective_at", "id"))))
    return told, sorted(sums().values())


def _said(entries):
    """The content of entries, without repeated ones."""
    said = []
    for entry in entries:
        of_set = entry.change_id is not None
        state = None if entry.price is None else entry.price_state
        says = (of_set, entry.price, state, entry.unpaid_since is not None)
        if not said or said[-1] != says:
            said.append(says)
    return said


def copied(told=None, book=None):
    while chunks.take_chunk("price", set()) is not None:
        if book is not None:
            assert by_name(book) == told
    right()


class TestWriters:
    @pytest.mark.parametrize("of_set", always(("add",), of=SETS))
    @pytest.mark.parametrize("name", WRITES)
    def test_write_upon_the_set(self, monkeypatch, name, of_set):
        """A write before the copy leaves the book that the same write after it leaves."""
        monkeypatch.setattr(chunks, "CHUNK", 2)
        found = []
        for first in ("copy", "write"):
            truncate_book()
            book = Book()
            change = listed(a_set(**SETS[of_set]))
            if first == "copy":
                copied()
            for which in ROWS:
                if name == "follow" and which in ("follower", "ending", "coming"):
                    continue  # for SQL, what is stored already is no write
                pk = getattr(book, which).pk
                if name == "delete":
                    write("DELETE FROM services_subscription WHERE id = %s", pk)
                else:
                    write(f"UPDATE services_subscription SET {WRITES[name]} WHERE id = %s", pk)
            if first == "write":
                copied(by_name(book), book)
            assert accounted(change)
            told, amounts = by_name(book)
            found.append([*told, amounts, outcomes.outcome(change)["applied"]])
        for after, before in zip(*found, strict=True):
            assert before == after

    @pytest.mark.parametrize("of_set", SETS)
    def test_write_some_rows_of_it_and_others_in_one_statement(self, monkeypatch, of_set):
        monkeypatch.setattr(chunks, "CHUNK", 2)
        found = []
        for first in ("copy", "write"):
            truncate_book()
            book = Book()
            listed(a_set(filter={"service": book.phone.pk}, **SETS[of_set]))
            if first == "copy":
                copied()
            write(
                "UPDATE services_subscription SET price_state = 'locked' WHERE price_state <> 'x'"
            )
            found.append(by_name(book))
        assert found[0] == found[1]

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE services_subscription SET client_id ="
            " (SELECT max(id) FROM clients_client) WHERE id = %s",
            "DELETE FROM services_subscription WHERE id = %s",
        ],
    )
    def test_that_have_begun_are_waited_for(self, book, statement):
        change = approved(a_raise(), "current")
        with a_person() as person:
            person.execute(statement, [book.follower.pk])
            assert not started()
            assert not ListedRows.objects.exists()
            change.refresh_from_db()
            assert f"process {person.info.backend_pid}" in change.note
            person.commit()
        assert started()
        change.refresh_from_db()
        assert change.status == "applying"
        said = [row["price"] for row in stand() if row["id"] == book.follower.pk]
        assert said == ([] if "DELETE" in statement else [85])
        told = stand(), sums()
        drained()
        assert (stand(), sums()) == told
        assert accounted(change)
        right()

    def test_in_the_middle_of_it_say_their_price_once(self, monkeypatch, book):
        change = approved(a_raise(), "current")
        pause = Pause(monkeypatch, entering, "_enter_step")
        listing = in_background(started)
        pause.until_reached()
        price_state.negotiate(book.follower.pk, 60, "asked", "ann")
        pause.go_on()
        assert listing.result()
        drained()
        entries = LedgerEntry.objects.filter(subscription_id=book.follower.pk).order_by("id")
        assert [entry.price for entry in entries] == [80, 85, 60]
        assert accounted(change)
        right()

    def test_in_the_middle_of_it_may_be_workers_that_copy_the_catalogue(self, monkeypatch, book):
        change = approved(a_raise(filter={"service": book.phone.pk}), "current")
        pause = Pause(monkeypatch, entering, "_enter_step")
        listing = in_background(started)
        pause.until_reached()
        Service.objects.filter(pk=book.phone.pk).update(full_price=200)
        repricing.plan_due()
        assert chunks.take_chunk("price", set())
        pause.go_on()
        assert listing.result()
        told = stand(), sums()
        assert [row["price"] for row in told[0] if row["id"] == book.follower.pk] == [85]
        entries = WholeLedger.objects.filter(subscription_id=book.follower.pk)
        assert entries.order_by("effective_at", "id").last().price == 85
        drained()
        assert (stand(), sums()) == told
        change.refresh_from_db()
        assert accounted(change)
        right()
        # The change of the catalogue has lost to the set the rows that it had counted as moved.
        edit = PriceChange.objects.get(kind="list_price")
        assert [said for number, said in accounts_of(edit) if number] == []
        assert outcomes.outcome(edit)["applied"] == 0

    def test_in_the_middle_of_it_may_let_a_row_follow(self, monkeypatch, book):
        """Its copy then does not take back what a later change of the catalogue has moved."""
        change = approved(a_raise(), "current")
        pause = Pause(monkeypatch, entering, "_enter_step")
        listing = in_background(started)
        pause.until_reached()
        price_state.follow(book.negotiated.pk, "ann")
        pause.go_on()
        assert listing.result()
        Service.objects.filter(pk=book.phone.pk).update(full_price=200)
        repricing.reprice_one(book.negotiated.pk)
        drained()
        entries = WholeLedger.objects.filter(subscription_id=book.negotiated.pk).order_by("id")
        assert [entry.price for entry in entries] == [80, 7, 12, 80, 160]
        assert accounted(change)
        right()

    @pytest.mark.parametrize("which", ["follower", "negotiated"])
    def test_in_the_middle_of_it_may_end_one_a_moment_ago(self, monkeypatch, book, which):
        """It ended at the set's price, as the instant of the set came before its end."""
        row = getattr(book, which)
        change = approved(a_raise(), "current")
        pause = Pause(monkeypatch, entering, "_enter_step")
        listing = in_background(started)
        pause.until_reached()
        ended_at = clock()
        write("UPDATE services_subscription SET ended_at = %s WHERE id = %s", ended_at, row.pk)
        pause.go_on()
        assert listing.result()
        drained()
        price = {"follower": 85, "negotiated": 12}[which]
        row.refresh_from_db()
        assert row.price == price
        assert one_as_of(ended_at - SECOND / 1_000_000, row.pk)[0]["price"] == price
        assert accounted(change)
        right()

    def test_of_other_rows_in_the_middle_of_it_are_not_of_the_set(self, monkeypatch, book):
        """Their entries have numbers among those of the set."""
        approved(a_raise(filter={"service": book.phone.pk}), "current")
        pause = Pause(monkeypatch, entering, "_enter_step")
        listing = in_background(started)
        pause.until_reached()
        follower, agreed = book.row(service=book.line), book.row(service=book.line)
        price_state.negotiate(agreed.pk, 60, "asked", "ann")
        pause.go_on()
        assert listing.result()
        [row] = [row for row in stand() if row["id"] == agreed.pk]
        assert (row["price"], row["price_reason"]) == (60, "asked")
        Service.objects.filter(pk=book.line.pk).update(full_price=200)
        repricing.reprice_one(follower.pk)
        price_state.follow(follower.pk, "ann")
        follower.refresh_from_db()
        assert follower.price == 160
        drained()
        entries = WholeLedger.objects.filter(subscription_id=follower.pk)
        assert sorted(entries.values_list("price", flat=True)) == [24, 160]
        right()

    @pytest.mark.parametrize("at_the_end", [True, False])
    def test_in_the_middle_of_the_listing_are_seen_at_its_end(self, monkeypatch, book, at_the_end):
        if not at_the_end:
            monkeypatch.setattr(entering, "WRITTEN_UPON", "SELECT 0 WHERE false")
        approved(a_raise(), "current")
        pause = Pause(monkeypatch, entering, "_enter_step")
        listing = in_background(started)
        pause.until_reached()
        write(
            "UPDATE services_subscription SET client_id ="
            " (SELECT max(id) FROM clients_client) WHERE id = %s",
            book.follower.pk,
        )
        pause.go_on()
        assert listing.result()
        told = stand(), sums()
        [price] = [row["price"] for row in told[0] if row["id"] == book.follower.pk]
        assert (price == 85) is at_the_end
        if at_the_end:
            drained()
            assert (stand(), sums()) == told
            right()


class TestVerbs:
    def test_a_pause_stops_the_copying_and_no_price(self, book):
        change = listed(a_raise())
        told = answers()
        lifecycle.pause(change.pk, "ann")
        repricing.reprice()
        assert answers() == told
        Service.objects.filter(pk=book.phone.pk).update(full_price=200)
        repricing.reprice()
        assert not MovedFollowers.objects.exists()  # by the list price
        told = stand(), sums()
        lifecycle.resume(change.pk, "ann")
        drained()
        assert (stand(), sums()) == told
        right()

    def test_a_cancel_takes_back_from_then_on(self, book):
        before = stand(), sums()
        change = listed(a_raise())
        between = clock()
        chunks.take_chunk("price", set())
        lifecycle.cancel(change.pk, "ann")
        drained()
        drained()
        assert (stand(), sums()) == before
        for pk in (book.follower.pk, book.negotiated.pk):
            assert one_as_of(between, pk)[0]["price"] == {book.follower.pk: 85}.get(pk, 12)
        right()

    def test_a_revert_is_in_force_for_all_rows_at_once(self, book):
        def terms():
            return [{**row, "price_reason": None} for row in stand()], sums()

        before, reasons = terms(), stand()
        change = listed(a_raise())
        drained()
        back = lifecycle.revert(change.pk, "ann", approve_too=True)
        assert started()
        assert terms() == before
        assert Repricing.objects.get(change_id=back.pk).finished_at is None
        drained()
        assert terms() == before
        assert stand() == reasons
        right()


class TestPersons:
    """A decision that agrees with what was stored before the set is one all the same."""

    @pytest.mark.parametrize("which", ["follower", "negotiated"])
    @pytest.mark.parametrize("decision", ["follow", "negotiate"])
    def test_decide_upon_the_set(self, book, which, decision):
        row = getattr(book, which)
        row.refresh_from_db()
        listed(a_raise())
        if decision == "follow":
            price_state.follow(row.pk, "ann")
            said = (Decimal("80.00"), "follows")
        else:
            price_state.negotiate(row.pk, row.price, "as before", "ann")
            said = (row.price, "negotiated")
        for _ in range(2):
            [now] = Subscription.objects.in_force().filter(pk=row.pk)
            assert (now.price, now.price_state) == said
            drained()
        right()
