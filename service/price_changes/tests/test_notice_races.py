"""The notice of a change beside workers and other people: each race by real connections.

Next to each race is the same play without the lock of the change, which ends wrong.
"""

from datetime import timedelta

import pytest

from price_changes.models import PriceChange
from price_changes.notices import holding, tell, telling, to_tell
from price_changes.planning.noticed import lacks_notice
from price_changes.running import starting
from price_changes.tests.changes import approved, clock, drained, planned
from services import ledger
from services.models import Subscription
from services.tests.factories import a_book
from services.tests.interleaving import Pause, in_background

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)


@pytest.fixture(params=["list_price", "set"])
def change(request):
    """A change that comes in an hour, if the clients of its three rows are told before."""
    a_book(subscriptions=3, services=1, plans=1, clients=3)
    more = {"effective_at": clock() + HOUR, "notice_days": 0}
    if request.param == "set":
        return approved(planned(kind="set", adjustment="add", operand=5, **more))
    service = Subscription.objects.values_list("service_id", flat=True).first()
    return approved(planned(kind="list_price", service=service, new_value=777, **more))


def nobody_locks(monkeypatch):
    monkeypatch.setattr(telling, "_locked", lambda change: PriceChange.objects.get(pk=change.pk))


def told(change, *clients):
    return tell(change, [(client, clock().date(), "") for client in clients], "hand", "carl")


def agrees(change):
    """Whether the change has moved rows just if its notice does not hold it by the facts."""
    drained()
    change.refresh_from_db()
    came = {"applied": True, "held": False}[change.status]
    before = ledger.total_as_of(change.effective_at - timedelta(microseconds=1))
    moved = ledger.total_as_of(change.effective_at) != before
    return came == moved == (not PriceChange.objects.filter(lacks_notice(), pk=change.pk).exists())


class TestAWorkerThatComes:
    def play(self, monkeypatch, change, shared_clock):
        """The instant passes while the last ones are told, and that is not committed."""
        clients = [each.client_id for each in to_tell(change)]
        recorded = Pause(monkeypatch, telling, "_record")
        person = in_background(told, change, *clients)
        recorded.until_reached()
        shared_clock.passes(HOUR)
        worker = in_background(starting.start_due)
        worker.until_it_waits_or_ends()
        recorded.go_on()
        person.result()
        worker.result()
        return agrees(change)

    def test_waits_for_who_is_telling(self, monkeypatch, change, shared_clock):
        assert self.play(monkeypatch, change, shared_clock)
        assert PriceChange.objects.get().status == "applied"

    def test_is_wrong_without_the_lock_of_the_change(self, monkeypatch, change, shared_clock):
        nobody_locks(monkeypatch)
        assert not self.play(monkeypatch, change, shared_clock)


@pytest.mark.parametrize("change", ["set"], indirect=True)
class TestTwoWhoTell:
    def play(self, monkeypatch, change, shared_clock):
        """Each tells the clients whom the other has not told."""
        first, *others = [each.client_id for each in to_tell(change)]
        assert others
        recorded = Pause(monkeypatch, holding, "turn")
        one = in_background(told, change, first)
        recorded.until_reached()
        other = in_background(told, change, *others)
        other.until_it_waits_or_ends()
        recorded.go_on()
        one.result()
        other.result()
        shared_clock.passes(HOUR)
        assert agrees(change)
        return PriceChange.objects.get().status

    def test_complete_the_list_together(self, monkeypatch, change, shared_clock):
        assert self.play(monkeypatch, change, shared_clock) == "applied"

    def test_miss_each_other_without_the_lock(self, monkeypatch, change, shared_clock):
        nobody_locks(monkeypatch)
        assert self.play(monkeypatch, change, shared_clock) == "held"
