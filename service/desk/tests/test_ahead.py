"""The totals ahead, on the home page and on that of a change: what is paid when the time comes."""

import random
from datetime import timedelta

import pytest
from django.urls import reverse

from desk.changes.figures import PreviewShown, whole_book
from desk.home import coming
from price_changes.tests.changes import applied, approved, clock, drained, planned
from services import price_state
from services.models import Subscription
from services.reading import total
from services.tests.factories import a_plan, a_service, a_subscription

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def a_rise(**values):
    return planned(**{"kind": "set", "adjustment": "percent", "operand": "10"} | values)


def until(change):
    """(paid before, paid after, rough) on its page."""
    told = whole_book(change, PreviewShown(change, names_clients=True))
    return told["before"], told["after"], told["rough"]


def events():
    return coming.timeline(clock(), shows_changes=True, names_clients=True)


def told():
    return [(each.total, each.by_preview, each.rough) for each in events()]


@pytest.fixture
def day(moved_clock):
    """The instant of so many days from now."""
    now = moved_clock.now()
    return lambda number: now + number * DAY


class TestRowsThatAreNotPaidThen:
    def test_a_row_that_starts_later_is_in_no_total(self, day, admin_client):
        service = a_service(100)
        for at in (day(-1), day(9)):
            a_subscription(service=service, started_at=at)
        assert until(a_rise()) == (100, 110, False)
        change = a_rise(effective_at=day(5))
        assert change.preview["total_after"] == "220.00"
        paid = {"total_before": "100.00", "total_after": "110.00", "until": day(9).isoformat()}
        assert change.preview["paid"] == paid
        assert until(change) == (100, 110, False)
        approved(change, "current")
        assert told() == [(110, True, False), (210, True, True)]
        change.preview.pop("paid")  # that of an earlier release
        change.save(update_fields=["preview"])
        assert told()[0] == (120, True, True)
        assert until(change) == (100, 120, True)
        home, page = reverse("desk:home"), reverse("desk:change", args=[change.pk])
        assert all(b"* Rough" in admin_client.get(path).content for path in (home, page))

    def test_nor_is_one_that_ends_before_and_one_that_starts_before_is(self, day):
        service = a_service(100)
        a_subscription(service=service, started_at=day(-1), ended_at=day(2))
        a_subscription(service=service, started_at=day(3))
        change = a_rise(effective_at=day(5))
        assert until(change) == (100, 110, False)
        approved(change, "current")
        assert [each[0] for each in told()] == [0, 100, 110]

    def test_counts_what_comes_before(self, day):
        service = a_service(100)
        a_subscription(service=service, started_at=day(-1))
        raised = planned(kind="list_price", service=service.pk, new_value=200, effective_at=day(1))
        assert until(raised) == (100, 200, False)
        raised = approved(raised)
        assert until(raised) == (100, 200, False)
        for number, before, after in ((2, 200, 220), (3, 220, 242)):
            change = a_rise(effective_at=day(number))
            assert until(change) == (before, after, False)
            approved(change, "current")
        assert told() == [(200, False, False), (220, True, False), (242, True, False)]
        again = planned(kind="list_price", service=service.pk, new_value=300, effective_at=day(4))
        assert until(again)[2], "the sets have made it no follower"
        approved(a_rise(effective_at=day(1.5)), "current")
        assert told()[-1][2], "it comes before a preview that does not know it"

    def test_counts_no_end_of_a_lock_after_its_release(self, day):
        service = a_service(100)
        row = a_subscription(service=service, started_at=day(-1))
        price_state.lock(row.pk, day(4), "promised", "ann")
        applied(planned(kind="list_price", service=service.pk, new_value=150))
        release = {"kind": "set", "filter": {"price_state": "locked"}, "adjustment": "release"}
        approved(planned(**release, effective_at=day(2)), "current")
        first, second = told()
        assert first == (150, True, False)
        assert second[2]


def test_is_what_is_paid_then_or_is_called_rough(day, moved_clock):
    draw = random.Random(38)  # 0 to 39 have been tried
    services = [a_service(price) for price in (100, 70)]
    for _ in range(12):
        start = draw.choice([-1, -1, -1, *range(1, 6)])
        row = a_subscription(
            service=draw.choice(services),
            plan=a_plan(draw.choice([0, 15])),
            started_at=day(start),
            ended_at=draw.choice([None, None, day(draw.randint(6, 9))]),
        )
        if draw.random() < 0.3:
            price_state.lock(row.pk, day(draw.randint(1, 9)), "promised", "ann")
    rows = Subscription.objects.all()
    for hour in range(5):
        at = day(draw.randint(1, 8)) + timedelta(hours=hour)
        service = draw.choice(services).pk
        if draw.random() < 0.4:
            change = planned(
                kind="list_price",
                service=service,
                new_value=draw.randint(50, 150),
                effective_at=at,
            )
            approved(change, "current")
        else:
            only = {"service": service} if rows.filter(service=service) else {}
            approved(a_rise(filter=only, effective_at=at), "current")
    moved_clock.passes(timedelta(seconds=1))
    exact = 0
    for event in events():
        moved_clock.to(event.at)
        drained()
        if not event.rough:
            exact += event.by_preview
            assert event.total == total.figures().paid.amount, event
    assert exact > 1
