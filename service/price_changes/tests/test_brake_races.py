"""The brake beside workers, approvals and edits: each race by real connections.

The test decides the order. Next to each race is the same play with its protection taken out, which
ends wrong.
"""

from datetime import timedelta

import pytest
from django.db import OperationalError, connection

from price_changes import verbs
from price_changes.errors import ChangeError
from price_changes.models import Brake, PriceChange
from price_changes.planning.braked import is_braked
from price_changes.planning.pending import waiting_for
from price_changes.running import brake, lifecycle, starting
from price_changes.tests.changes import approved, clock, drained, planned
from services import ledger
from services.models import BookNow, Subscription
from services.tests.factories import a_book
from services.tests.interleaving import MOVE_SERVICE, Pause, a_person, in_background

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)


@pytest.fixture
def book():
    """Three rows of one pair at 100.00."""
    return a_book(subscriptions=3, services=1, plans=1)


@pytest.fixture(params=["list_price", "set"])
def change(request, book):
    """How to plan a change of either family."""

    def plan(at=None):
        if request.param == "set":
            return planned(kind="set", adjustment="add", operand=5, effective_at=at)
        service = Subscription.objects.values_list("service_id", flat=True).first()
        return planned(kind="list_price", service=service, new_value=777, effective_at=at)

    return plan


def pull():
    return verbs.pull_brake("carl", "wrong list")


def is_held(change):
    """Whether a brake holds it, by the facts alone."""
    return PriceChange.objects.filter(is_braked(), pk=change.pk).exists()


def agrees(change):
    """Whether the change has moved rows just if no brake holds it by the facts."""
    drained()
    change.refresh_from_db()
    came = {"applied": True, "held": False}[change.status]
    before = ledger.total_as_of(change.effective_at - timedelta(microseconds=1))
    moved = ledger.total_as_of(change.effective_at) != before
    return came == moved == (not is_held(change))


def nobody_locks(monkeypatch):
    unlocked = PriceChange.objects.filter(status="scheduled", effective_at__gt=BookNow())
    monkeypatch.setattr(brake, "_lock_those_to_come", lambda: list(unlocked.all()))


class TestAWorkerThatStarts:
    def test_before_the_pull_has_started(self, monkeypatch, change, shared_clock):
        change = approved(change(clock() + HOUR))
        shared_clock.passes(HOUR)
        worker_paused = Pause(monkeypatch, starting, "start")
        worker = in_background(starting.start_due)
        worker_paused.until_reached()
        pull()  # and waits for nobody: the change came before
        worker_paused.go_on()
        worker.result()
        assert agrees(change)
        assert change.status == "applied"

    def play(self, monkeypatch, change, shared_clock):
        """The instant passes while the brake is pulled and not committed."""
        change = approved(change(clock() + HOUR))
        pulled = Pause(monkeypatch, brake, "_refuse_others")
        pulling = in_background(pull)
        pulled.until_reached()
        shared_clock.passes(HOUR)
        worker = in_background(starting.start_due)
        worker.until_it_waits_or_ends()
        pulled.go_on()
        pulling.result()
        worker.result()
        return agrees(change)

    def test_while_it_is_pulled_waits_and_holds_it(self, monkeypatch, change, shared_clock):
        assert self.play(monkeypatch, change, shared_clock)
        assert PriceChange.objects.get().status == "held"

    def test_is_wrong_without_the_lock_of_the_changes(self, monkeypatch, change, shared_clock):
        nobody_locks(monkeypatch)
        assert not self.play(monkeypatch, change, shared_clock)

    def test_and_is_killed_leaves_it_to_the_next_one(self, monkeypatch, change, shared_clock):
        change = approved(change(clock() + HOUR))
        pull()
        shared_clock.passes(HOUR)
        paused = Pause(monkeypatch, starting, "_is_stopped")
        worker = in_background(starting.start_due)
        paused.until_reached()
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [worker.pid])
        paused.go_on()
        with pytest.raises(OperationalError):
            worker.result()
        assert PriceChange.objects.get().status == "scheduled"
        assert agrees(change)


class TestAnApproval:
    def play(self, monkeypatch, change):
        """It is approved, and not committed, when somebody pulls the brake."""
        ordered = Pause(monkeypatch, lifecycle, "_order")
        approving = in_background(approved, change)
        ordered.until_reached()
        pulling = in_background(pull)
        pulling.until_it_waits_or_ends()
        ordered.go_on()
        approving.result()
        pulling.result()
        return agrees_for_good(change)

    @pytest.mark.parametrize("hours", [None, 1])
    def test_before_the_pull_is_seen_by_it(self, monkeypatch, change, hours):
        change = change(hours and clock() + hours * HOUR)
        assert self.play(monkeypatch, change)
        assert is_held(change) == (hours is not None)

    def test_for_later_is_missed_without_the_second_look(self, monkeypatch, book):
        monkeypatch.setattr(brake, "_refuse_others", lambda *_: None)
        service = Subscription.objects.values_list("service_id", flat=True).first()
        change = planned(
            kind="list_price", service=service, new_value=777, effective_at=clock() + HOUR
        )
        assert not self.play(monkeypatch, change)

    def second(self, monkeypatch, change):
        """It comes while the brake is pulled, and not committed."""
        pulled = Pause(monkeypatch, brake, "_refuse_others")
        pulling = in_background(pull)
        pulled.until_reached()
        approving = in_background(approved, change)
        approving.until_it_waits_or_ends()
        pulled.go_on()
        pulling.result()
        try:
            approving.result()
        except ChangeError as error:
            return error.code
        return None

    def test_for_now_waits_for_the_pull_and_is_refused(self, monkeypatch, change):
        assert self.second(monkeypatch, change()) == "brake_is_on"

    def test_for_now_comes_through_without_the_lock_of_approvals(self, monkeypatch, change):
        monkeypatch.setattr(brake, "ONE_BY_ONE", "SELECT")
        assert self.second(monkeypatch, change()) is None

    def test_for_later_waits_for_the_pull_and_is_held_back(self, monkeypatch, change):
        change = change(clock() + HOUR)
        assert self.second(monkeypatch, change) is None
        assert agrees_for_good(change)


def agrees_for_good(change):
    """Whether what is known of the change now is so by the facts of the brake, ahead too."""
    drained()
    change = PriceChange.objects.get(pk=change.pk)
    at = change.effective_at
    if change.kind == "set" and change.status == "scheduled":  # its rows are listed at its instant
        moves = bool(waiting_for(at))
    else:
        before = ledger.total_as_of(at - timedelta(microseconds=1))
        moves = ledger.total_as_of(at) != before
    return moves == (not is_held(change))


class TestTwo:
    def test_pulls_at_once_are_one(self, monkeypatch, book):
        first_paused = Pause(monkeypatch, brake, "_refuse_others")
        first = in_background(pull)
        first_paused.until_reached()
        second = in_background(pull)
        second.until_it_waits()
        first_paused.go_on()
        first.result()
        with pytest.raises(ChangeError, match="It can't be pulled twice"):
            second.result()
        assert Brake.objects.count() == 1


class TestAnEdit:
    def test_of_what_a_change_is_about_comes_before_the_pull_or_after_it(self, book):
        scheduled_at = clock() + HOUR
        service = Subscription.objects.values_list("service_id", flat=True).first()
        approved(
            planned(kind="list_price", service=service, new_value=777, effective_at=scheduled_at)
        )
        with a_person() as ann:
            ann.execute(MOVE_SERVICE, [150, service])
            pulling = in_background(pull)
            pulling.until_it_waits()
            ann.commit()
            pulling.result()
        edit = PriceChange.objects.order_by("pk").last()
        assert edit.effective_at < Brake.objects.get().pulled_at
