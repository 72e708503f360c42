"""Answers by what was known at an instant (`known_at`): they stay as they were then.

At each instant a book gives its answers about the past and the future; then somebody writes
something. Asked later by what was known at that instant, it gives the same answers again.
"""

from dataclasses import asdict
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection

from price_changes.models import PriceChange
from price_changes.running import lifecycle
from price_changes.tests.changes import approved, drained, planned
from price_changes.tests.timeline import Timeline
from services import ledger, price_state
from services.ledger.page import one_as_of, page_as_of
from services.models import LedgerEntry, Plan, Service, Subscription
from services.reading.filters import BookFilter
from services.reading.total import Total
from services.tests.factories import a_client, a_plan, a_service, a_subscription
from services.tests.interleaving import without_trigger

MINUTE = timedelta(minutes=1)
REASON = "a deal"
# The instants that the book is asked about, in minutes of its story.
ASKED = (-5, 2.5, 7.5, 100)


class Book:
    """Two subscriptions of one client, of a service at 20.00; what it is told, a minute each."""

    def __init__(self) -> None:
        self.timeline = Timeline()
        self.begins = self.timeline.now
        self.minute = 0
        self.phone, self.plan, self.client = a_service(20, "Phone"), a_plan(), a_client("Acme")
        self.row = a_subscription(self.client, self.phone, self.plan)
        self.other = a_subscription(self.client, self.phone, self.plan)
        self.rows = [self.row]  # which are asked about one by one
        self.answered: list[tuple[datetime, list[dict[str, object]]]] = []

    def at(self, minute):
        return self.begins + minute * MINUTE

    def write(self, **values):
        Subscription.objects.filter(pk=self.row.pk).update(**values)

    def rises(self, value, minute, when_moved=None, **more) -> PriceChange:
        values = {"kind": "list_price", "service": self.phone.pk, "new_value": str(value)}
        change = planned(**values, effective_at=self.at(minute), **more)
        return approved(change, when_moved)

    def passes(self, minutes=1):
        self.minute += minutes
        self.timeline.set(self.at(self.minute))

    def happens(self, fact):
        """A fact, between two instants at which it is noted what is answered."""
        self.passes()
        fact(self)
        self.passes()
        self.answers_now()

    def answers_now(self):
        self.answered.append((self.timeline.now, self.answers()))

    def answers(self, known_at=None):
        return [self._answers(self.at(minute), known_at) for minute in ASKED]

    def _answers(self, at, known_at):
        found = {
            f"{name} {given}": self._page(at, known_at, **{name: given})
            for name, given in [
                ("client", self.client.pk),
                ("service", self.phone.pk),
                ("state", "ended"),
            ]
        }
        for row in self.rows:
            one, _ = one_as_of(at, row.pk, known_at=known_at)
            found[f"one {row.pk}"] = one and without_reason(one)
            why = ledger.explain(row.pk, at, known_at)
            found[f"why {row.pk}"] = why and asdict(why) | {
                "price_reason": why.price_reason.replace(REASON, ""),
                "text": why.text.replace(f" ({REASON})", ""),
                "known_at": None,
            }
        found["total"] = ledger.total_as_of(at, known_at=known_at)
        return found

    def _page(self, at, known_at, **given):
        page = page_as_of(at, BookFilter(**given), None, 100, known_at=known_at)
        rows = [without_reason(row) for row in page.result]
        assert page.total == Total(sum((row["price"] for row in rows), Decimal(0)), len(rows))
        return rows

    def says_the_same_again(self):
        for known_at, told in self.answered:
            again = self.answers(known_at)
            for minute, before, after in zip(ASKED, told, again, strict=True):
                for what, said in before.items():
                    assert after[what] == said, f"{what} at {minute}', known at {known_at}"


def without_reason(answer):
    """A reason that a person gave is kept in the row alone, and has no history."""
    return {name: value for name, value in answer.items() if name != "price_reason"}


@pytest.fixture
def book(db):
    return Book()


def another_comes(book):
    book.rows.append(a_subscription(book.client, book.phone, book.plan))


def another_comes_with_a_past(book):
    values = {"started_at": book.at(-9), "ended_at": book.at(15)}
    book.rows.append(a_subscription(book.client, book.phone, book.plan, **values))


def is_deleted(book):
    Subscription.objects.filter(pk=book.row.pk).delete()


def ends_later(book):
    book.write(ended_at=book.at(15))


def has_ended(book):
    book.write(ended_at=book.timeline.now - MINUTE / 2)


def is_opened_again(book):
    book.write(ended_at=None)


def began_earlier(book):
    book.write(started_at=book.at(-9))


def negotiates(book):
    price_state.negotiate(book.row.pk, Decimal(7), REASON, "ann")


def follows_again(book):
    price_state.follow(book.row.pk, "ann")


def is_locked(book):
    price_state.lock(book.row.pk, book.at(15), REASON, "ann")


def is_released(book):
    price_state.release(book.row.pk, "ann")


def moves_to_another_client(book):
    book.write(client=a_client())


def moves_to_another_plan(book):
    book.write(plan=a_plan(50))


def moves_to_another_service(book):
    book.write(service=a_service(33))


def is_edited(book):
    Service.objects.filter(pk=book.phone.pk).update(full_price=22)


def has_another_discount(book):
    Plan.objects.filter(pk=book.plan.pk).update(discount_percent=10)


def will_rise(book):
    book.change = book.rises(24, book.minute + 6)


def will_rise_if_nothing_comes_before(book):
    book.change = book.rises(30, book.minute + 9, "hold")


def will_be_discounted_as_another_plan_is(book):
    """As a book may have it that is older than the refusal of a second such plan."""
    book.plan = a_plan(10, "discount")
    Subscription.objects.update(plan=book.plan)
    for percent, minute in ((20, 3), (30, 10)):
        values = {"kind": "discount", "plan": book.plan.pk, "new_value": str(percent)}
        approved(planned(**values, effective_at=book.at(book.minute + minute)), "hold")
    with without_trigger("catalogue_value_unique", "services_cataloguevalue"):
        a_plan(20, "discount")


def a_worker_withdraws_it(book):
    drained()


def will_rise_for_new_ones(book):
    book.change = book.rises(24, book.minute + 3, for_new_only=True)


def is_cancelled(book):
    lifecycle.cancel(book.change.pk, "carl")


def is_taken_back(book):
    drained()
    book.back = lifecycle.revert(book.change.pk, "carl", approve_too=True)


def counts_again(book):
    drained()
    lifecycle.revert(book.back.pk, "carl", approve_too=True)


def time_passes(book):
    book.passes(4)


def workers_come(book):
    drained()


# Each of these changes the answer for some instant; time and workers change none.
FACTS = [
    [another_comes],
    [another_comes_with_a_past],
    [is_deleted],
    [ends_later, is_deleted],
    [has_ended, is_opened_again],
    [began_earlier],
    [negotiates, follows_again],
    [is_locked, is_released],
    [is_locked, is_edited],
    [moves_to_another_client],
    [moves_to_another_plan],
    [moves_to_another_service],
    [has_another_discount],
    [will_rise, is_cancelled],
    [will_rise, time_passes, time_passes, is_cancelled],
    [will_rise, time_passes, time_passes, is_taken_back, counts_again],
    [will_rise_if_nothing_comes_before, is_edited],
    [will_rise, will_rise_if_nothing_comes_before, is_cancelled],
    [is_edited, will_rise_if_nothing_comes_before, time_passes, time_passes],
    [will_be_discounted_as_another_plan_is, time_passes, a_worker_withdraws_it, time_passes],
    [will_rise_for_new_ones, time_passes],
    [will_rise_for_new_ones, is_cancelled],
    [will_rise_for_new_ones, time_passes, is_cancelled],
    [will_rise_for_new_ones, time_passes, moves_to_another_plan],
    [will_rise_for_new_ones, time_passes, has_ended, is_opened_again],
    [will_rise_for_new_ones, time_passes, workers_come, is_taken_back, workers_come],
]


@pytest.mark.parametrize(
    "facts", FACTS, ids=lambda facts: ", ".join(each.__name__ for each in facts)
)
def test_what_is_recorded_later_does_not_count(book, facts):
    book.passes()
    book.answers_now()
    for fact in facts:
        before = book.answered[-1][1]
        book.happens(fact)
        if fact not in (time_passes, workers_come):
            assert book.answered[-1][1] != before, "nothing has happened"
    book.passes(50)
    book.says_the_same_again()
    drained()
    book.says_the_same_again()


def test_by_the_rule_of_then_though_all_is_gone(book):
    """Names have no history; what was paid has one, though no worker has ever written it."""
    book.passes()
    is_edited(book)
    known_at = book.timeline.now
    told = page_as_of(known_at, BookFilter(), None, 10)
    book.passes()
    Subscription.objects.all().delete()
    for each in (book.client, book.phone, book.plan):
        each.delete()
    book.passes()
    assert page_as_of(known_at, BookFilter(), None, 10).result == []
    page = page_as_of(known_at, BookFilter(), None, 10, known_at=known_at)
    assert page.total == told.total
    gone = {"client_name": "", "email": ""}
    for row, before in zip(page.result, told.result, strict=True):
        service, plan = before["service"] | {"name": ""}, before["plan"] | {"plan_type": ""}
        assert row == before | gone | {"service": service, "plan": plan}


def test_a_reason_is_told_of_who_was_kept_and_of_nobody_else(book):
    will_rise_for_new_ones(book)
    price_state.negotiate(book.other.pk, Decimal(7), REASON, "ann")
    book.passes(4)
    known_at = book.timeline.now
    for _ in range(2):
        page = page_as_of(known_at, BookFilter(), None, 10, known_at=known_at)
        reasons = {row["id"]: row["price_reason"] for row in page.result}
        kept = f"Price change {book.change.pk} is for new subscriptions only"
        assert reasons == {book.row.pk: kept, book.other.pk: ""}
        assert ledger.explain(book.row.pk, known_at=known_at).price_reason == kept
        assert ledger.explain(book.other.pk, known_at=known_at).price_reason == ""
        book.passes()
        drained()


def test_a_page_goes_on_with_what_was_known(book):
    book.passes()
    known_at = book.timeline.now
    book.passes()
    is_deleted(book)
    first = page_as_of(book.at(1), BookFilter(), None, 1, known_at=known_at)
    rest = page_as_of(book.at(1), BookFilter(), first.next, 1, known_at=known_at)
    assert [row["id"] for row in first.result + rest.result] == [book.row.pk, book.other.pk]
    assert rest.next is None
    assert first.next.list_key != page_as_of(book.at(1), BookFilter(), None, 1).next


class TestEntriesWithoutAPeriod:
    """Entries from the time before entries had a period."""

    @pytest.fixture
    def old(self, book):
        """As the migration found it: `row` with an end, which it wrote down; `other` without."""
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE services_ledgerentry DISABLE TRIGGER ledger_append_only")
        LedgerEntry.objects.update(started_at=None, ended_at=None)
        book.passes()
        book.before = book.timeline.now
        book.passes()
        Subscription.objects.filter(pk=book.row.pk).update(ended_at=book.at(9))
        LedgerEntry.objects.filter(ended_at=book.at(9)).update(author="Pricebook")
        return book

    def test_have_that_which_the_migration_wrote(self, old):
        for _ in range(2):
            told = {
                minute: ledger.total_as_of(old.at(minute), known_at=old.before).subscriptions
                for minute in (-1, 5, 8, 9, 20)
            }
            assert told == {-1: 0, 5: 2, 8: 2, 9: 1, 20: 1}
            # An end that is known later is not taken for one of then.
            Subscription.objects.filter(pk__in=[old.row.pk, old.other.pk]).update(
                ended_at=old.at(7)
            )
            old.passes()
