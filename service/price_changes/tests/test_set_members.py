"""Filters without a history choose a set's members at the approval, and not by a late worker."""

from datetime import timedelta
from decimal import Decimal
from functools import partial

import pytest

from price_changes.errors import ChangeError
from price_changes.models import PriceChange, SetMember
from price_changes.planning import recount
from price_changes.planning.preview import listed
from price_changes.running import lifecycle
from price_changes.running.lifecycle import preview
from price_changes.tests.changes import approved, drained, planned, started
from services.models import Subscription
from services.reading import pages
from services.reading.filters import BookFilter
from services.tests.factories import a_client, a_service, a_subscription
from services.tests.moved_clock import MovedClock

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)


@pytest.fixture
def row() -> Subscription:
    row = a_subscription(a_client(), a_service(100))
    Subscription.objects.filter(pk=row.pk).update(
        comment="autumn", source="shop", external_id="4711"
    )
    return row


def a_set(clock: MovedClock, filter: dict[str, str], when_moved: str = "hold") -> PriceChange:
    values = {"kind": "set", "filter": filter, "adjustment": "add", "operand": 5}
    return approved(planned(**values, effective_at=clock.now() + HOUR), when_moved)


def price(row: Subscription) -> Decimal:
    return Subscription.objects.in_force().get(pk=row.pk).price


def the_comment_goes(row: Subscription) -> None:
    Subscription.objects.filter(pk=row.pk).update(comment="")


def the_source_is_another(row: Subscription) -> None:
    Subscription.objects.filter(pk=row.pk).update(source="desk")


def the_client_has_another_address(row: Subscription) -> None:
    row.client.user.email = "another@example.com"
    row.client.user.save()


LEAVES = [
    ({"comment": "autumn"}, the_comment_goes),
    ({"comment_prefix": "aut"}, the_comment_goes),
    ({"source": "shop"}, the_source_is_another),
    ({"source": "shop", "external_id": "4711"}, the_source_is_another),
    ({"email": "{email}"}, the_client_has_another_address),
]


@pytest.mark.parametrize("when_moved", ["hold", "current", "frozen"])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(("filter", "leaves"), LEAVES)
def test_who_matched_at_the_approval_is_moved(filter, leaves, late, when_moved, row, moved_clock):
    client = row.client
    asked = {
        name: value.format(email=client.user.email, name=client.company_name)
        for name, value in filter.items()
    }
    change = a_set(moved_clock, asked, when_moved)
    if late:
        moved_clock.to(change.effective_at)
    leaves(row)
    assert not BookFilter.of(asked).subscriptions().exists()
    assert [each.subscription for each in listed(change)] == [row.pk]
    moved_clock.to(change.effective_at + HOUR)
    drained()
    change.refresh_from_db()
    assert (change.status, price(row)) == ("applied", 105)
    assert not SetMember.objects.exists()
    assert not change.has_members


@pytest.mark.parametrize("when_moved", ["hold", "current", "frozen"])
@pytest.mark.parametrize("late", [False, True])
def test_who_comes_to_match_is_not(late, when_moved, row, moved_clock):
    other = a_subscription(service=row.service)
    change = a_set(moved_clock, {"comment": "autumn"}, when_moved)
    if late:
        moved_clock.to(change.effective_at)
    Subscription.objects.filter(pk=other.pk).update(comment="autumn")
    new = a_subscription(service=row.service, comment="autumn")
    assert [each.subscription for each in listed(change)] == [row.pk]
    pending = BookFilter.of({"pending": str(change.pk)})
    assert [each["id"] for each in pages.page(pending, None, 10).result] == [row.pk]
    moved_clock.to(change.effective_at + HOUR)
    drained()
    change.refresh_from_db()
    assert change.status == "applied"
    assert [price(each) for each in (row, other, new)] == [105, 100, 100]


def test_what_has_a_history_is_asked_as_of_the_instant(row, moved_clock):
    other = a_subscription(service=row.service, comment="autumn")
    change = a_set(moved_clock, {"comment": "autumn", "price_state": "follows"}, "current")
    Subscription.objects.filter(pk=other.pk).update(price_state="locked")
    moved_clock.to(change.effective_at)
    Subscription.objects.filter(pk=row.pk).update(price_state="locked")
    drained()
    assert [each.price for each in Subscription.objects.order_by("pk")] == [105, 100]


def test_what_is_held_is_counted_and_approved_with_who_matches_then(row, moved_clock):
    other = a_subscription(service=row.service)
    change = a_set(moved_clock, {"comment": "autumn"})
    Subscription.objects.filter(pk=row.pk).update(price=90, price_state="negotiated")
    the_comment_goes(row)
    Subscription.objects.filter(pk=other.pk).update(comment="autumn")
    moved_clock.to(change.effective_at)
    started()
    change.refresh_from_db()
    assert change.status == "held"
    change = preview(change.pk)
    assert [each.subscription for each in listed(change)] == [other.pk]
    approved(change, "hold")
    drained()
    assert [each.price for each in Subscription.objects.order_by("pk")] == [90, 105]


def test_who_is_deleted_meanwhile_is_none(row, moved_clock):
    stays = a_subscription(service=row.service, comment="autumn")
    change = a_set(moved_clock, {"comment": "autumn"}, "current")
    row.delete()
    moved_clock.to(change.effective_at)
    drained()
    change.refresh_from_db()
    assert (change.status, price(stays)) == ("applied", 105)


def test_of_one_that_is_cancelled_nobody_is_remembered(row, moved_clock):
    change = a_set(moved_clock, {"comment": "autumn"})
    assert SetMember.objects.get().subscription_id == row.pk
    lifecycle.cancel(change.pk, "ann")
    assert not SetMember.objects.exists()


@pytest.mark.parametrize("filter", [{}, {"price_state": "follows"}])
def test_a_set_that_asks_for_nothing_else_has_none(filter, row, moved_clock):
    change = a_set(moved_clock, filter)
    assert not change.has_members
    assert not SetMember.objects.exists()


def test_one_that_was_approved_before_there_were_any_finds_whom_it_finds(row, moved_clock):
    change = a_set(moved_clock, {"comment": "autumn"}, "current")
    SetMember.objects.all().delete()
    PriceChange.objects.update(has_members=False)
    the_comment_goes(row)
    a_subscription(service=row.service, comment="autumn")
    moved_clock.to(change.effective_at)
    drained()
    assert [each.price for each in Subscription.objects.order_by("pk")] == [100, 105]


def test_who_was_counted_is_who_is_remembered(row, moved_clock, monkeypatch):
    """A comment that is committed while somebody approves is in both or in neither."""
    values = {"kind": "set", "filter": {"comment": "autumn"}, "adjustment": "add", "operand": 5}
    change = planned(**values, effective_at=moved_clock.now() + HOUR)
    count = recount.Recount.of

    def slowly(change):
        counted = count(change)
        the_comment_goes(row)
        a_subscription(service=row.service, comment="autumn")
        return counted

    monkeypatch.setattr(recount.Recount, "of", slowly)
    change = approved(change, "hold")
    moved_clock.to(change.effective_at)
    drained()
    change.refresh_from_db()
    assert change.status == "applied"
    assert [each.price for each in Subscription.objects.order_by("pk")] == [105, 100]


@pytest.mark.parametrize("when_moved", ["hold", "frozen"])
def test_rows_that_are_others_at_the_instant_of_the_approval_are_refused(
    when_moved, row, moved_clock
):
    """The preview was as of now, and a lock ends before the instant that the approval names."""
    at = moved_clock.now() + HOUR
    other = a_subscription(service=row.service)
    Subscription.objects.filter(pk=other.pk).update(price_state="locked", locked_until=at)
    values = {"kind": "set", "filter": {"price_state": "follows"}, "adjustment": "add"}
    change = planned(**values, operand=5)
    approve = partial(
        lifecycle.approve, change.pk, change.fingerprint, "bob", when_moved, time_zone=None
    )
    with pytest.raises(ChangeError) as refused:
        approve(effective_at=at.isoformat())
    assert (refused.value.code, refused.value.status_code) == ("other_rows_then", 409)
    change.refresh_from_db()
    assert (change.status, change.has_members) == ("planned", False)
    approve(effective_at=(at - HOUR / 2).isoformat())
    moved_clock.to(at)
    drained()
    assert [price(each) for each in (row, other)] == [105, 100]
