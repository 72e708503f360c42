"""A list price or a discount is taken back from its instant on, whatever workers have copied."""

from unittest.mock import patch

import pytest

from price_changes.errors import ChangeError
from price_changes.models import PriceChange
from price_changes.running import lifecycle, starting
from price_changes.tests.changes import SECOND, approved, clock, drained, planned, scheduled
from services.models import Subscription, WholeLedger
from services.repricing import chunks
from services.repricing.planning import plan_due
from services.tests.factories import a_service, a_subscription

pytestmark = pytest.mark.django_db


class Raised:
    """A list price of 100 that became 150 a moment ago; three follow, and none is copied yet."""

    def __init__(self, **values) -> None:
        self.phone = a_service(100)
        self.rows = [a_subscription(service=self.phone) for _ in range(3)]
        self.change = scheduled(
            clock(), kind="list_price", service=self.phone.pk, new_value="150", **values
        )

    def copied(self, rows: int) -> None:
        starting.start_due()
        plan_due()
        with patch.object(chunks, "CHUNK", rows):
            chunks.take_chunk("price", set())

    def taken_back(self) -> PriceChange:
        return lifecycle.revert(self.change.pk, "carl", approve_too=True)

    def in_force(self) -> set:
        found = Subscription.objects.in_force().filter(service=self.phone)
        return set(found.values_list("price", flat=True))

    def status(self) -> str:
        self.change.refresh_from_db()
        return self.change.status


@pytest.fixture(params=["not begun", "begun", "paused"])
def raised(request):
    raised = Raised()
    if request.param != "not begun":
        raised.copied(2)
    if request.param == "paused":
        lifecycle.pause(raised.change.pk, "carl")
    return raised


def test_all_had_its_price_until_then(raised):
    back = raised.taken_back()
    assert back.preview["moves"] == 3
    assert raised.in_force() == {100}
    drained()
    back.refresh_from_db()
    assert (raised.status(), back.status) == ("reverted", "applied")
    for row in raised.rows:
        row.refresh_from_db()
        assert row.price == 100
        told = WholeLedger.objects.filter(subscription_id=row.pk).order_by("effective_at", "id")
        assert list(told.values_list("price", "change_id"))[1:] == [
            (150, raised.change.pk),
            (100, back.pk),
        ]


def test_it_is_in_force_again_when_that_is_taken_back(raised):
    back = raised.taken_back()
    again = lifecycle.revert(back.pk, "carl", approve_too=True)
    assert raised.in_force() == {150}
    drained()
    again.refresh_from_db()
    back.refresh_from_db()
    assert (raised.status(), back.status, again.status) == ("applied", "reverted", "applied")
    assert set(Subscription.objects.values_list("price", flat=True)) == {150}


def test_it_stamps_nobody_any_more():
    raised = Raised(comment="January")
    raised.copied(2)
    raised.taken_back()
    drained()
    assert set(Subscription.objects.values_list("comment", flat=True)) == {""}
    assert raised.status() == "reverted"


def test_it_is_not_cancelled_too(raised):
    back = lifecycle.revert(raised.change.pk, "carl")
    with pytest.raises(ChangeError, match=f"reverted by price change {back.pk}") as refused:
        lifecycle.cancel(raised.change.pk, "carl")
    assert refused.value.code == "reverted_already"
    lifecycle.cancel(back.pk, "carl")
    lifecycle.cancel(raised.change.pk, "carl")
    assert raised.in_force() == {100}


def test_one_that_is_to_come_is_not_taken_back():
    change = approved(
        planned(
            kind="list_price",
            service=a_service(100).pk,
            new_value="150",
            effective_at=clock() + 3600 * SECOND,
        )
    )
    with pytest.raises(ChangeError) as refused:
        lifecycle.revert(change.pk, "carl")
    assert refused.value.code == "wrong_state"


def test_a_set_waits_until_it_is_applied():
    a_subscription(service=a_service(100))
    change = scheduled(clock(), "current", kind="set", adjustment="add", operand="5")
    with pytest.raises(ChangeError) as refused:
        lifecycle.revert(change.pk, "carl")
    assert refused.value.code == "wrong_state"
