"""Commits of others between the recount of an approval and its commit, by two real connections.

Next to each race is the same play with its protection taken out.
"""

import pytest

from price_changes.errors import ChangeError, MovedSincePreview
from price_changes.models import PriceChange
from price_changes.planning import preview as previews
from price_changes.planning import recount
from price_changes.running import brake, lifecycle, listing
from price_changes.tests.changes import SECOND, applied, approved, clock, drained, planned, started
from services.models import Service
from services.tests.factories import a_client, a_service, a_subscription
from services.tests.interleaving import (
    CREATE,
    MOVE_SERVICE,
    Pause,
    a_person,
    execute_in_background,
    in_background,
)

pytestmark = pytest.mark.django_db(transaction=True)


def approval(change, when_moved=None, author="bob"):
    return in_background(lifecycle.approve, change.pk, change.fingerprint, author, when_moved)


def refusal(background):
    """The code with which a call was refused; None if it was done."""
    try:
        background.result()
    except ChangeError as refused:
        return refused.code
    return None


def list_price(service, value=150, **more):
    return planned(kind="list_price", service=service.pk, new_value=value, **more)


def taken_out(monkeypatch, name):
    """A mutant without this check."""
    monkeypatch.setattr(recount, name, lambda *args: None)


class TestAnEditBehindTheRecount:
    def approved_beside_it(self, monkeypatch, service):
        change = list_price(service)
        pause = Pause(monkeypatch, recount, "refuse_if_moved")
        running = approval(change)
        pause.until_reached()  # it has counted, and locked nothing of the catalogue
        with a_person() as editor:
            editor.execute(MOVE_SERVICE, [2550, service.pk])
            editor.commit()
        pause.go_on()
        return change, refusal(running)

    def test_is_found_under_the_lock(self, monkeypatch, service, subscription):
        change, code = self.approved_beside_it(monkeypatch, service)
        assert code == "moved_since_preview"
        kept = PriceChange.objects.get(pk=change.pk)
        assert (kept.status, kept.old_value, kept.approval) == ("planned", 2550, None)
        assert kept.fingerprint != change.fingerprint
        drained()  # the edit's own rows, which are in the figures
        assert approved(lifecycle.preview(change.pk)).status == "scheduled"

    def test_without_the_check_under_the_lock_is_approved_unseen(
        self, monkeypatch, service, subscription
    ):
        taken_out(monkeypatch, "refuse_if_catalogue_moved")
        assert self.approved_beside_it(monkeypatch, service)[1] is None
        assert started()
        assert Service.objects.get(pk=service.pk).full_price == 150  # from 2,550, not from 100

    def test_that_is_not_committed_is_waited_for(self, monkeypatch, service, subscription):
        change = list_price(service)
        with a_person() as editor:
            editor.execute(MOVE_SERVICE, [2550, service.pk])
            running = approval(change).until_it_waits()
            editor.commit()
            assert refusal(running) == "moved_since_preview"

    def test_of_a_revert_in_one_step_leaves_nothing(self, monkeypatch, service, subscription):
        change = applied(list_price(service))
        pause = Pause(monkeypatch, previews, "preview")
        running = in_background(lifecycle.revert, change.pk, "carl", True)
        pause.until_reached()
        with a_person() as editor:
            editor.execute(MOVE_SERVICE, [2550, service.pk])
            editor.commit()
        pause.go_on()
        with pytest.raises(MovedSincePreview, match="take it back once more") as refused:
            running.result()
        assert refused.value.about.keys() == {"moved"}
        assert not PriceChange.objects.exclude(reverts=None).exists()


class TestTwoApprovalsOfTheSameRows:
    """A list price and a discount lock different things, but each sees the other."""

    def second(self, monkeypatch, service, plan):
        change = list_price(service, effective_at=clock() + 7200 * SECOND)
        other = planned(
            kind="discount", plan=plan.pk, new_value=50, effective_at=clock() + 3600 * SECOND
        )
        pause = Pause(monkeypatch, lifecycle, "_order")
        first = approval(other)
        pause.until_reached()  # it is approved, and not committed
        second = approval(change)
        second.until_it_waits_or_ends()
        pause.go_on()
        first.result()
        return refusal(second)

    def test_the_second_is_told_of_the_first(self, monkeypatch, service, plan, subscription):
        assert self.second(monkeypatch, service, plan) == "moved_since_preview"

    def test_would_not_be_if_they_did_not_come_one_by_one(
        self, monkeypatch, service, plan, subscription
    ):
        monkeypatch.setattr(brake, "ONE_BY_ONE", "SELECT 1")
        assert self.second(monkeypatch, service, plan) is None


class TestWhoWaitsForAnApproval:
    """Approvals come one by one, and each turn takes only a moment."""

    @pytest.mark.usefixtures("by_chunks")
    def test_not_for_one_that_makes_its_frozen_list(self, monkeypatch, service, subscription):
        running = approved(planned(kind="set", adjustment="amount", operand=7), "current")
        started()
        frozen = planned(kind="set", adjustment="add", operand=5)
        pause = Pause(monkeypatch, listing, "list_rows")
        first = approval(frozen, "frozen")
        pause.until_reached()
        assert approval(list_price(service)).result(5).status == "scheduled"
        assert in_background(lifecycle.cancel, running.pk, "ann").result(5).status == "cancelled"
        pause.go_on()
        assert first.result().status == "scheduled"

    def test_not_for_one_that_waits_for_the_catalogue(self, service, subscription):
        other = a_subscription(service=a_service(20)).service
        with a_person() as editor:
            editor.execute(MOVE_SERVICE, [2550, service.pk])
            first = approval(list_price(service)).until_it_waits()
            assert approval(list_price(other)).result(5).status == "scheduled"
            editor.rollback()
            assert first.result().status == "scheduled"


class TestTwoApproversOfOneChange:
    def test_both_are_told_and_one_preview_is_kept(self, monkeypatch, service, subscription):
        change = list_price(service)
        Service.objects.filter(pk=service.pk).update(full_price=2550)
        pause = Pause(monkeypatch, previews, "preview")
        first = approval(change)
        pause.until_reached()  # it is refused, and its new preview not committed
        second = approval(change, author="carl").until_it_waits()
        pause.go_on()
        with pytest.raises(MovedSincePreview) as refused:
            first.result()
        assert refusal(second) == "stale_fingerprint"
        kept = PriceChange.objects.get(pk=change.pk)
        assert kept.fingerprint == refused.value.about["fingerprint"]
        assert approved(kept).status == "scheduled"


class TestWhileItCounts:
    """Subscriptions are created meanwhile: nobody waits for a count."""

    def created(self, service, plan, number):
        client = a_client()
        with a_person() as creator:
            values = CREATE + "(%s, %s, %s, %s)"
            run = execute_in_background(
                creator, values, [client.pk, service.pk, plan.pk, f"{number}"]
            )
            run.result(5)
            creator.commit()

    def test_nobody_waits(self, monkeypatch, service, plan, subscription):
        change = list_price(service)
        pause = Pause(monkeypatch, recount, "count")
        running = approval(change)
        pause.until_reached()
        self.created(service, plan, 1)
        pause.go_on()
        assert running.result().status == "scheduled"

    def test_nobody_waits_for_the_preview_of_one_that_was_refused_under_the_lock(
        self, monkeypatch, service, plan, subscription
    ):
        change = list_price(service)
        taken_out(monkeypatch, "refuse_if_moved")
        Service.objects.filter(pk=service.pk).update(full_price=2550)
        pause = Pause(monkeypatch, previews, "preview")
        running = approval(change)
        pause.until_reached()
        self.created(service, plan, 1)
        pause.go_on()
        assert refusal(running) == "moved_since_preview"
