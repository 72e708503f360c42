"""The notes of a change that is held, or has moved nothing, are in our words."""

from datetime import timedelta

import pytest

from price_changes.tests.changes import (
    SECOND,
    applied,
    approved,
    clock,
    drained,
    move_instant,
    planned,
    scheduled,
)
from services.models import Plan, Subscription
from services.tests.factories import a_plan, a_service, a_subscription
from services.tests.interleaving import without_trigger

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def test_of_two_plans_with_one_discount_the_second_is_held_in_words_of_ours():
    """As a book may have them that is older than the refusal of the second approval."""
    ten, twenty = a_plan(10), a_plan(20)
    at = clock()
    with without_trigger("catalogue_value_unique", "services_cataloguevalue"):
        second = planned(kind="discount", plan=twenty.pk, new_value="50", effective_at=at + HOUR)
        first = scheduled(at - SECOND, kind="discount", plan=ten.pk, new_value="50")
        move_instant(approved(second), at)
    drained()
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.status, second.status) == ("applied", "held")
    kind = Plan.objects.get(pk=twenty.pk).plan_type
    assert second.note.startswith(f"It could not be started: there is a plan {kind} 50 % already")
    assert "constraint" not in second.note


def ahead(phone, when_moved):
    """A change, approved for an instant that the tests let pass when they have written."""
    values = {"filter": {"service": phone.pk}, "adjustment": "add", "operand": "5"}
    return approved(planned(kind="set", **values, effective_at=clock() + HOUR), when_moved)


def test_a_set_whose_filter_finds_none_says_so(moved_clock):
    phone = a_service(20)
    row = a_subscription(service=phone)
    change = ahead(phone, "current")
    row.delete()
    moved_clock.to(change.effective_at)
    drained()
    change.refresh_from_db()
    assert change.status == "applied"
    assert change.note == "It has moved no subscription: its filter finds none."


def test_a_set_whose_rows_all_stay_says_so(moved_clock):
    phone = a_service(20)
    row = a_subscription(service=phone)
    change = ahead(phone, "current")
    Subscription.objects.filter(pk=row.pk).update(price_state="locked")
    moved_clock.to(change.effective_at)
    drained()
    change.refresh_from_db()
    assert change.note == "It has moved no subscription: the outcome says why."


@pytest.mark.parametrize("gone", [True, False])
def test_a_frozen_set_whose_rows_are_others_says_so(gone, moved_clock):
    phone = a_service(20)
    row = a_subscription(service=phone)
    change = ahead(phone, "frozen")
    if gone:
        row.delete()
    else:
        Subscription.objects.filter(pk=row.pk).update(price_state="negotiated", price=9)
    moved_clock.to(change.effective_at)
    drained()
    change.refresh_from_db()
    assert change.status == "applied"
    assert change.note == "It has moved no subscription: the outcome says why."


def test_one_that_moves_a_row_says_nothing():
    phone = a_service(20)
    a_subscription(service=phone)
    assert not applied(planned(kind="set", adjustment="add", operand="5")).note
