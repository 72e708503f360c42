"""Facts become events: each once, in the order of the feed, with numbers that have no gap."""

import json
import re
import threading
from datetime import timedelta
from decimal import Decimal
from importlib import import_module
from pathlib import Path

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from events import deriving, lines
from events.models import Derived, Event
from events.types import TYPES
from price_changes.running import brake, judging_edits, lifecycle
from price_changes.tests.changes import applied, approved, clock, drained, planned, reverted
from pricebook.kit import points
from services import corrections
from services.audit import book_check
from services.ledger.changes_feed import feed
from services.ledger.place import Place
from services.models import Life, Service, Subscription
from services.tests.factories import a_book, a_plan, a_service, a_subscription
from services.tests.interleaving import a_person, without_trigger

pytestmark = pytest.mark.django_db(transaction=True)


def told() -> list[tuple[str, dict]]:
    """The events that there are since this was asked last: type and data."""
    last = Event.objects.count()
    deriving.derive()
    found = Event.objects.filter(number__gt=last)
    return [(event.type, json.loads(event.data)) for event in found]


def types() -> list[str]:
    return [type for type, _ in told()]


class TestPriceChanges:
    def test_are_told_from_the_plan_to_the_outcome(self):
        service = a_service(100)
        a_subscription(service=service)
        told()
        values = {"kind": "list_price", "service": service.pk}
        change = applied(planned(**values, new_value=120))
        reverted(change)
        later = planned(**values, new_value=130, effective_at=clock() + timedelta(days=1))
        lifecycle.cancel(approved(later).pk, "carl")

        found = told()

        one = [type for type, data in found if data.get("price_change") == change.pk]
        assert one == [
            "price_change.planned",
            "price_change.approved",
            "price_change.started",
            "prices.moved",
            "price_change.applied",
            "price_change.reverted",
        ]
        other = [(type, data) for type, data in found if data.get("price_change") == later.pk]
        assert [type for type, _ in other] == [
            "price_change.planned",
            "price_change.approved",
            "price_change.scheduled",
            "price_change.cancelled",
        ]
        scheduled = other[2][1]
        assert scheduled["new_value"] == "130.00"
        assert scheduled["currency"] == "USD"
        assert scheduled["author"] == "bob"
        assert scheduled["effective_at"] == later.effective_at.isoformat().replace("+00:00", "Z")

    def test_of_an_edit_beyond_a_limit_say_that_nobody_approved_it(self, settings):
        settings.APPROVAL_LIMIT_ROWS = 0
        subscription = a_subscription()
        Service.objects.filter(pk=subscription.service_id).update(full_price=1)
        drained()
        judging_edits.judge_edits()
        assert "price_change.not_approved" in types()

    def test_that_are_held_and_the_brake(self, moved_clock):
        service = a_service(100)
        a_subscription(service=service)
        change = planned(
            kind="list_price",
            service=service.pk,
            new_value=120,
            effective_at=clock() + timedelta(hours=1),
        )
        approved(change)
        told()
        brake.pull("carl", "A mistake.")
        moved_clock.to(change.effective_at)
        drained()
        brake.release("dora", "It was none.")
        assert types() == ["brake.pulled", "price_change.held", "brake.released"]

    def test_that_roll_back_are_not_told(self):
        told()
        with transaction.atomic():
            planned(kind="list_price", service=a_service(100).pk, new_value=120)
            transaction.set_rollback(True)
        assert types() == []


class TestSubscriptions:
    def test_are_told_when_it_is_recorded_also_of_an_instant_to_come(self):
        subscription = a_subscription(source="crm", external_id="S-1")
        [(type, started)] = told()
        assert type == "subscription.started"
        assert started["subscriptions"][0]["external_id"] == "S-1"
        assert started["subscriptions"][0]["price"] == "250.00"

        row = Subscription.objects.filter(pk=subscription.pk)
        end = clock() + timedelta(days=30)
        row.update(ended_at=end)
        [(type, ended)] = told()
        assert type == "subscription.ended"
        assert ended["effective_at"] == end.isoformat().replace("+00:00", "Z")

        row.update(ended_at=None, plan=a_plan(20))
        [(first, moved), (second, cleared)] = told()
        assert (first, second) == ("subscription.moved", "subscription.ended")
        assert moved["subscriptions"][0]["price"] == "200.00"
        assert moved["subscriptions"][0]["before"]["price"] == "250.00"
        assert cleared["subscriptions"][0]["ended_at"] is None

        since = Subscription.objects.get(pk=subscription.pk).started_at
        line = corrections.Line(subscription.pk, since, Decimal(1))
        corrections.correct([line], "A gift.", "ann")
        (type, found), *_ = told()
        assert type == "subscription.corrected"
        corrected = found["subscriptions"][0]
        assert (corrected["price"], corrected["reason"]) == ("1.00", "A gift.")

        subscription.delete()
        [(type, deleted)] = told()
        assert type == "subscription.ended"
        assert deleted["subscriptions"][0]["deleted"] is True
        assert deleted["subscriptions"][0]["source"] == "crm"

    def test_fold_to_the_book(self):
        """A reader of events alone, who starts from nothing, has every price."""
        services = [a_service(100 + n) for n in range(2)]
        for number in range(6):
            a_subscription(service=services[number % 2], plan=a_plan(number % 3 * 10))
        ids = list(Subscription.objects.order_by("pk").values_list("pk", flat=True))
        some = Subscription.objects.filter(pk__in=ids[:2])
        some.update(price_state="negotiated", price=7)
        applied(planned(kind="list_price", service=services[0].pk, new_value=150))
        Subscription.objects.filter(pk=ids[4]).update(service=services[1])
        applied(planned(kind="list_price", service=services[1].pk, new_value=50))
        applied(planned(kind="set", adjustment="percent", operand=10))
        some.update(price_state="follows")
        for value in (60, 70, 80):  # and a late worker, with a person between
            approved(planned(kind="list_price", service=services[1].pk, new_value=value))
            some.filter(pk=ids[1]).update(price_state="negotiated", price=value / 2)
            some.filter(pk=ids[1]).update(price_state="follows")
        drained()
        Subscription.objects.get(pk=ids[3]).delete()

        prices: dict[int, str | None] = {}
        for type, data in told():
            for item in data.get("subscriptions") or ():
                if type == "prices.moved":
                    assert prices[item["subscription"]] == item["before"]
                    prices[item["subscription"]] = item["after"]
                else:
                    prices[item["subscription"]] = item["price"]
        stored = dict(Subscription.objects.values_list("pk", "price"))
        assert {id: price for id, price in prices.items() if price is not None} == {
            id: str(price) for id, price in stored.items()
        }


class TestMoves:
    def test_of_many_rows_are_one_event_with_their_sums_and_their_places(self):
        book = a_book(300, services=1, plans=2)
        before = sum(row.price for row in book)
        told()
        change = applied(planned(kind="list_price", service=book[0].service_id, new_value=50))

        [moved] = [data for type, data in told() if type == "prices.moved"]

        assert moved["count"] == 300
        assert moved["subscriptions"] is None
        assert moved["before"] == str(before)
        assert moved["after"] == str(sum(row.price for row in Subscription.objects.all()))
        place, until_place = Place.parse(moved["feed_after"]), Place.parse(moved["feed_until"])
        entries = feed(place, 1000).entries
        assert sum(entry["change_id"] == change.pk for entry in entries) == 300
        assert feed(until_place, 1000).entries == []

    def test_by_two_changes_at_once_are_two_events_however_many_rows(self):
        """Their entries stand in turn, two of each row."""
        book = a_book(30, services=1, plans=1)
        told()
        for price in (50, 40):
            Service.objects.filter(pk=book[0].service_id).update(full_price=price)
        drained()
        moved = [data for type, data in told() if type == "prices.moved"]
        assert [(data["count"], data["before"], data["after"]) for data in moved] == [
            (30, "3000.00", "1500.00"),
            (30, "1500.00", "1200.00"),
        ]
        places = [(event.xact, event.entry_id) for event in Event.objects.order_by("number")]
        assert places == sorted(places)

    def test_of_changes_that_a_late_worker_enters_row_by_row_are_an_event_each(self):
        """The entries are first, second, first, second…: each row's are in the order of time."""
        book = a_book(24, services=1, plans=1)
        told()
        for value in (50, 70):
            approved(planned(kind="list_price", service=book[0].service_id, new_value=value))
        drained()

        moved = [data for type, data in told() if type == "prices.moved"]

        assert [data["count"] for data in moved] == [24, 24]
        assert moved[0]["after"] == moved[1]["before"]
        for data in moved:
            entries = feed(Place.parse(data["feed_after"]), 1000).entries
            assert sum(each["change_id"] == data["price_change"] for each in entries) == 24
            behind = feed(Place.parse(data["feed_until"]), 1000).entries
            assert not any(each["change_id"] == data["price_change"] for each in behind)

    def test_are_told_with_what_stands_between_them_in_order(self):
        told()
        with transaction.atomic():
            one, other = a_subscription(), a_subscription()
            for row in (one, other):
                Subscription.objects.filter(pk=row.pk).update(price_state="negotiated", price=1)
            Subscription.objects.filter(pk=one.pk).update(price=2)
        found = [(type, data["count"]) for type, data in told()]
        assert found == [("subscription.started", 2), ("prices.moved", 2), ("prices.moved", 1)]


class TestOrder:
    def appears_behind(self) -> bool:
        """Whether an event of the first transaction to write gets a number behind those read."""
        early, late = a_subscription(), a_subscription()
        told()
        with a_person() as slow, a_person() as quick:
            for person, row in ((slow, early), (quick, late)):
                person.execute(
                    "UPDATE services_subscription SET price_state = 'negotiated', price = 1"
                    " WHERE id = %s",
                    [row.pk],
                )
            quick.commit()
            before = told()
            slow.commit()
        found = [
            item["subscription"] for _, data in (*before, *told()) for item in data["subscriptions"]
        ]
        return found != [early.pk, late.pk]

    def test_is_that_of_the_feed_however_late_a_transaction_commits(self):
        assert not self.appears_behind()

    def test_without_waiting_for_open_transactions_would_be_another(self, monkeypatch):
        everything = lines.PLACES.replace("ledger_oldest()", f"{2**62}")
        monkeypatch.setattr(lines, "PLACES", everything)
        assert self.appears_behind()

    def at_once(self) -> list[int]:
        """Two make events of the same lines: one comes while the other is in the middle of it."""
        for _ in range(3):
            a_subscription()
        other: list[int] = []

        def come(name: str) -> None:
            if name == "events made" and not other:
                other.append(-1)
                thread = threading.Thread(target=self.another, args=(other,))
                thread.start()
                thread.join()

        points.POINT = come
        try:
            deriving.derive()
        finally:
            points.POINT = None
        return other[1:]

    def another(self, made: list[int]) -> None:
        try:
            made.append(deriving.derive())
        finally:
            connection.close()

    def test_has_no_gap_while_two_make_events(self):
        Derived.objects.get_or_create(pk=1)
        assert self.at_once() == [0]
        deriving.derive()
        numbers = list(Event.objects.values_list("number", flat=True))
        assert numbers == list(range(1, len(numbers) + 1))

    def test_is_lost_where_there_is_no_lock(self, monkeypatch):
        Derived.objects.get_or_create(pk=1)
        monkeypatch.setattr(deriving, "LOCK", "SELECT true")
        with pytest.raises(IntegrityError):
            self.at_once()

    def test_takes_no_number_of_a_transaction_where_there_is_nothing(self):
        told()
        with CaptureQueriesContext(connection) as captured:
            deriving.derive()
        # 3 queries: * the lock * the place * the lines behind it
        assert len([each for each in captured if each["sql"] not in ("BEGIN", "COMMIT")]) == 3
        with transaction.atomic(), connection.cursor() as cursor:
            deriving.derive()
            cursor.execute("SELECT pg_current_xact_id_if_assigned()")
            assert cursor.fetchone() == (None,)

    def test_is_kept_by_one_that_is_killed(self):
        a_subscription()

        def killed(name: str) -> None:
            raise KeyboardInterrupt

        points.POINT = killed
        try:
            with pytest.raises(KeyboardInterrupt):
                deriving.derive()
        finally:
            points.POINT = None
        assert types() == ["subscription.started"]
        assert types() == []

    @pytest.fixture
    def loaded(self):
        """Entries of another server have numbers to which this one comes later."""
        a_subscription()
        later = "UPDATE services_ledgerentry SET xact = pg_current_xact_id()::text::bigint + 20"
        with (
            without_trigger("ledger_append_only", "services_ledgerentry"),
            connection.cursor() as cursor,
        ):
            cursor.execute(later)

    def come_to_them(self) -> None:
        with connection.cursor() as cursor:
            for _ in range(30):
                cursor.execute("SELECT pg_current_xact_id()")

    def test_goes_on_in_a_server_to_which_the_book_was_loaded(self, loaded):
        assert types() == []  # it is not over here
        Life.objects.update(system_identifier=1)
        a_subscription()
        [(type, data)] = told()
        assert (type, data["count"]) == ("subscription.started", 2)
        assert types() == ["book.loaded"]
        self.come_to_them()
        assert types() == []
        a_subscription()
        assert types() == ["subscription.started"]

    def test_begins_with_the_upgrade_also_of_a_book_that_was_loaded_before_it(self, loaded):
        migration = import_module("events.migrations.0002_happenings")
        Derived.objects.all().delete()
        with connection.cursor() as cursor:
            cursor.execute(migration.FROM_NOW_ON)
        self.come_to_them()
        assert types() == []
        a_subscription()
        assert types() == ["subscription.started"]


def test_types_are_those_that_are_documented():
    report = book_check.BookCheck()
    report.differing_from_ledger = 1
    book_check.remember(report)
    assert types() == ["book_check.failed"]
    page = (Path(__file__).parents[3] / "docs" / "events.md").read_text()
    assert set(re.findall(r"^\| `([a-z_]+\.[a-z_]+)`", page, re.MULTILINE)) == set(TYPES)


@pytest.mark.parametrize(
    ("read", "grouped"),
    [
        # Subscriptions by their ids, chunks by their first and last one.
        ([1, 1, 2, 2, 3, 1], [[1, 2, 3], [1, 2], [1]]),
        ([(1, 9), 5, 20], [[(1, 9), 20], [5]]),
        ([5, (1, 9), 20, 5], [[5, 20], [(1, 9)], [5]]),
        ([(1, 9), (2, 8), 5, 5, (20, 30)], [[(1, 9), (2, 8)], [5], [5, (20, 30)]]),
    ],
)
def test_what_tells_more_of_a_subscription_stands_behind(read, grouped):
    made = []
    for nth, each in enumerate(read):
        span = each if isinstance(each, tuple) else None
        facts = {lines.Key("prices.moved"): lines.Fact(clock(), clock(), nth, None)}
        made.append(lines.Line(1, nth, nth, None, facts, None if span else each, span))
    stretch = deriving.Stretch(made[0])
    for line in made:
        stretch.add(line)
    rows = [
        [fact.rows for fact in group.facts[lines.Key("prices.moved")]] for group in stretch.groups
    ]
    assert [[read[nth] for nth in group] for group in rows] == grouped
