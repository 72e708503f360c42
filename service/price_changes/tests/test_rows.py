"""The effect of a change on each row: its price in force, rows left alone, rows restored."""

import time
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection

from price_changes.errors import ChangeError
from price_changes.models import ListedRows, PriceChange
from price_changes.planning.preview import listed
from price_changes.running import allowing, lifecycle, outcomes
from price_changes.running.lifecycle import preview
from price_changes.tests.changes import (
    SECOND,
    accounted,
    applied,
    approved,
    clock,
    drained,
    move_instant,
    paid,
    planned,
    reverted,
    scheduled,
    stands,
    started,
)
from services import price_state, repricing
from services.audit import book_check
from services.models import (
    LedgerEntry,
    LockEnd,
    Plan,
    Repricing,
    Service,
    Skip,
    Subscription,
    WholeLedger,
)
from services.repricing import chunks
from services.repricing.writes import ledger_origin
from services.tests.factories import a_book, a_plan, a_service, a_subscription
from services.tests.interleaving import without_trigger

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def the_book_is_right(db):
    yield
    drained()
    report = book_check.check()
    assert not report.differs, report
    for change in PriceChange.objects.filter(status__in=["applied", "cancelled", "reverted"]):
        assert accounted(change), (change, outcomes.outcome(change))


def list_price(service, value, **more):
    return {"kind": "list_price", "service": service.pk, "new_value": value, **more}


def price(subscription):
    return Subscription.objects.values_list("price", flat=True).get(pk=subscription.pk)


def full_price(service):
    return Service.objects.values_list("full_price", flat=True).get(pk=service.pk)


def outcome(change):
    found = outcomes.outcome(change)
    return found["applied"], found["skipped"], found["failed"]


def paid_at_and_now(pk, change):
    """The price at the instant of a change, and now; None if it is deleted."""
    return tuple(paid(Subscription(pk=pk), at) for at in (change.effective_at, clock()))


def entries(subscription):
    return list(
        WholeLedger.objects.filter(subscription_id=subscription.pk)
        .order_by("id")
        .values_list("price", "price_state")
    )


class TestThePriceInForce:
    def test_is_of_the_later_instant_though_the_worker_comes_late(self, service, subscription):
        start = clock()
        early = scheduled(start + SECOND / 1000, **list_price(service, 150))
        Service.objects.filter(pk=service.pk).update(full_price=160)  # later, and by hand
        drained()
        assert (full_price(service), price(subscription)) == (160, 160)
        early.refresh_from_db()
        assert "Superseded from the start" in early.note
        # Between the two it was the early one's.
        edit = PriceChange.objects.get(new_value=160)
        assert paid(subscription, edit.effective_at - SECOND / 1_000_000) == 150
        assert paid(subscription, clock()) == 160

    def test_several_that_are_due_at_once_move_a_row_once_and_leave_an_entry_each(
        self, service, subscription
    ):
        start = clock()
        changes = [
            scheduled(start + n * SECOND / 1000, **list_price(service, 110 + n)) for n in (1, 2, 3)
        ]
        drained()
        assert [price for price, _ in entries(subscription)] == [100, 111, 112, 113]
        assert [outcomes.outcome(change)["applied"] for change in changes] == [1, 1, 1]
        assert [accounted(change) for change in changes] == [True] * 3

    def test_of_two_at_one_instant_is_that_of_the_later_approval(self, service, subscription):
        at = clock()
        scheduled(at, **list_price(service, 150))
        scheduled(at, **list_price(service, 140))
        drained()
        assert (full_price(service), price(subscription)) == (140, 140)

    @pytest.mark.usefixtures("by_chunks")
    def test_of_two_sets_at_one_instant_too_though_the_first_one_was_paused(self, subscription):
        at = clock()
        first = scheduled(at, "current", kind="set", adjustment="amount", operand=5)
        second = scheduled(at, "current", kind="set", adjustment="amount", operand=7)
        started()
        lifecycle.pause(first.pk, "ann")
        drained()
        assert price(subscription) == 100  # the second one waits for the first
        lifecycle.resume(first.pk, "ann")
        drained()
        assert price(subscription) == 7
        assert [price for price, _ in entries(subscription)] == [100, 5, 7]
        assert outcome(first) == outcome(second) == (1, {}, 0)

    def test_of_a_list_price_and_a_set_at_one_instant_is_counted_in_their_order(
        self, service, subscription, moved_clock
    ):
        at = clock() + DAY
        approved(planned(**list_price(service, 200), effective_at=at))
        change = planned(kind="set", adjustment="percent", operand=20, effective_at=at)
        approved(change, "current")
        moved_clock.to(at)
        drained()
        assert price(subscription) == 240

    def test_of_who_came_after_the_instant_is_the_new_one_since_it_came(self, service, plan):
        scheduled(clock(), **list_price(service, 150))
        late = a_subscription(service=service, plan=plan)
        came = WholeLedger.objects.get(subscription_id=late.pk).effective_at
        assert late.price == 150  # no worker has come
        drained()
        assert price(late) == 150
        assert paid(late, came - SECOND / 1_000_000) is None
        assert paid(late, came) == 150

    def test_of_who_followed_again_after_the_instant_is_the_new_one_since_then(
        self, service, subscription
    ):
        price_state.negotiate(subscription.pk, 70, "a friend", "ann")
        at = clock()
        scheduled(at, **list_price(service, 150))
        price_state.follow(subscription.pk, "ann")
        followed = WholeLedger.objects.latest("id").effective_at
        drained()
        assert price(subscription) == 150
        assert paid(subscription, followed - SECOND / 1_000_000) == 70
        assert paid(subscription, followed) == 150

    @pytest.mark.parametrize("of", ["follow", "release", "revert"])
    def test_of_who_is_let_follow_late_is_the_rules_of_each_instant(
        self, service, subscription, of
    ):
        if of == "revert":
            change = applied(planned(kind="set", adjustment="amount", operand=5))
            at = lifecycle.revert(change.pk, "carl", approve_too=True).effective_at
        else:
            price_state.negotiate(subscription.pk, 5, "agreed", "ann")
            if of == "release":
                price_state.lock(subscription.pk, None, "agreed", "ann")
            at = clock()
            scheduled(at, "current", kind="set", adjustment=of)
        Service.objects.filter(pk=service.pk).update(full_price=150)
        between = clock()
        Service.objects.filter(pk=service.pk).update(full_price=160)
        drained()
        found = [paid(subscription, instant) for instant in (at, between, clock())]
        assert found == [100, 150, 160]
        assert price(subscription) == 160

    def test_of_who_came_between_two_late_ones_has_both(self, service, plan):
        scheduled(clock(), **list_price(service, 150))
        late = a_subscription(service=service, plan=plan)
        came = WholeLedger.objects.get(subscription_id=late.pk).effective_at
        second = scheduled(clock(), **list_price(service, 170))
        drained()
        assert [
            paid(late, came - SECOND / 1_000_000),
            paid(late, came),
            paid(late, second.effective_at),
        ] == [None, 150, 170]

    def test_a_change_to_the_value_that_is_there_moves_nothing(self, service, subscription):
        change = applied(planned(**list_price(service, 100)))
        assert change.status == "applied"
        assert "was 100.00 already" in change.note
        assert outcome(change) == (0, {}, 0)

    def test_of_a_service_without_subscriptions_is_applied_at_once(self, service):
        change = applied(planned(**list_price(service, 120)))
        assert (change.status, full_price(service)) == ("applied", 120)


class TestTakingBack:
    def test_one_in_the_middle_leaves_the_last(self, service, subscription):
        first, middle, last = (
            applied(planned(**list_price(service, value))) for value in (110, 120, 130)
        )
        reverted(middle)
        assert (full_price(service), price(subscription)) == (130, 130)
        reverted(last)
        assert (full_price(service), price(subscription)) == (110, 110)
        reverted(first)
        assert (full_price(service), price(subscription)) == (100, 100)

    def test_and_back_and_back_again(self, service, subscription):
        change = applied(planned(**list_price(service, 150)))
        back = reverted(change)
        assert price(subscription) == 100
        again = reverted(back)
        assert (again.new_value, price(subscription)) == (150, 150)
        change.refresh_from_db()
        back.refresh_from_db()
        assert (change.status, back.status) == ("applied", "reverted")
        last = reverted(again)
        assert (last.new_value, price(subscription)) == (100, 100)
        change.refresh_from_db()
        assert change.status == "reverted"

    def test_of_a_set_and_back_and_back_again(self, subscription):
        before = stands(subscription)
        change = applied(planned(kind="set", adjustment="amount", operand=5, comment="5 a month"))
        moved = stands(subscription)
        assert moved[:2] == (5, "negotiated")
        assert moved[4:] == ("5 a month", "5 a month")
        back = reverted(change)
        assert stands(subscription) == before
        again = reverted(back)
        assert stands(subscription) == moved
        reverted(again)
        assert stands(subscription) == before

    def test_names_the_last_of_a_chain(self, service, subscription):
        change = applied(planned(**list_price(service, 150)))
        again = reverted(reverted(change))
        with pytest.raises(ChangeError) as refused:
            lifecycle.revert(change.pk, "ann")
        assert refused.value.code == "revert_the_last"
        assert refused.value.about["allowed"] == [again.pk]

    def test_of_a_cancelled_one_is_no_change_to_take_back(self, monkeypatch, service, plan):
        monkeypatch.setattr(chunks, "CHUNK", 1)
        for _ in range(2):
            a_subscription(service=service, plan=plan)
        change = approved(planned(**list_price(service, 150)))
        started()
        assert repricing.plan_due()
        chunks.take_chunk("price", set())
        lifecycle.cancel(change.pk, "ann")
        drained()
        assert full_price(service) == 100
        assert set(Subscription.objects.values_list("price", flat=True)) == {100}
        change.refresh_from_db()
        assert change.status == "cancelled"
        with pytest.raises(ChangeError) as refused:
            lifecycle.revert(PriceChange.objects.get(reverts=change).pk, "ann")
        assert refused.value.code == "was_cancelled"

    @pytest.mark.usefixtures("by_chunks")
    @pytest.mark.parametrize("kind", ["list price", "set"])
    @pytest.mark.parametrize("begun", [False, True])
    def test_of_a_cancelled_one_is_not_cancelled_either(
        self, monkeypatch, service, plan, kind, begun
    ):
        monkeypatch.setattr(chunks, "CHUNK", 1)
        for _ in range(2):
            a_subscription(service=service, plan=plan)
        a_set = {"kind": "set", "adjustment": "add", "operand": 50}
        change = approved(planned(**(a_set if kind == "set" else list_price(service, 150))))
        started()
        repricing.plan_due()
        chunks.take_chunk("price", set())
        lifecycle.cancel(change.pk, "ann")
        back = PriceChange.objects.get(reverts=change)
        if begun:
            while chunks.take_chunk("price", set()) is not None:
                pass
            started()
            back.refresh_from_db()
            assert back.status == "applying"
        assert not {"cancel", "revert"} & set(allowing.allowed(back))
        with pytest.raises(ChangeError) as refused:
            lifecycle.cancel(back.pk, "carl")
        assert refused.value.code == "was_cancelled"
        drained()
        change.refresh_from_db()
        assert change.status == "cancelled"
        assert full_price(service) == 100
        assert set(Subscription.objects.values_list("price", flat=True)) == {100}

    def test_of_the_last_one_leaves_the_one_before_it_to_be_taken_back(self, subscription):
        before = stands(subscription)
        first = applied(planned(kind="set", adjustment="lock", comment="kept"))
        after_first = stands(subscription)
        second = applied(planned(kind="set", adjustment="release", comment="free"))
        reverted(second)
        assert stands(subscription) == after_first
        back = reverted(first)
        assert stands(subscription) == before
        reverted(back)
        assert stands(subscription) == after_first

    def test_of_the_last_one_does_so_for_a_change_for_new_ones_only(self, service, subscription):
        first = applied(planned(**list_price(service, 120), for_new_only=True))
        second = applied(planned(kind="set", adjustment="release"))
        reverted(second)
        assert stands(subscription)[:2] == (100, "locked")
        back = lifecycle.revert(first.pk, "carl")
        assert back.preview["moves"] == 1
        approved(back)
        drained()
        assert stands(subscription)[:2] == (100, "follows")

    def test_of_what_somebody_touched_before_that_stays(self, subscription):
        first = applied(planned(kind="set", adjustment="amount", operand=5))
        price_state.negotiate(subscription.pk, 6, "agreed", "ann")
        reverted(applied(planned(kind="set", adjustment="amount", operand=7)))
        assert lifecycle.revert(first.pk, "carl").preview["stays"] == {"touched_since": 1}

    @pytest.mark.usefixtures("by_chunks")
    def test_that_was_cancelled_can_be_begun_again(self, monkeypatch, service, plan):
        monkeypatch.setattr(chunks, "CHUNK", 2)
        for _ in range(6):
            a_subscription(service=service, plan=plan)
        change = applied(planned(kind="set", adjustment="amount", operand=5))
        cancelled = lifecycle.revert(change.pk, "carl", approve_too=True)
        started()
        chunks.take_chunk("price", set())
        lifecycle.cancel(cancelled.pk, "carl")
        drained()
        assert set(Subscription.objects.values_list("price", flat=True)) == {5}
        with pytest.raises(ChangeError) as refused:
            lifecycle.revert(PriceChange.objects.get(reverts=cancelled).pk, "ann")
        assert refused.value.code == "was_cancelled"
        reverted(change)
        assert set(Subscription.objects.values_list("price", flat=True)) == {100}
        assert change.status == "reverted"

    def test_gives_the_value_of_before_there_were_price_changes(self, service, subscription):
        Service.objects.filter(pk=service.pk).update(full_price=200)
        drained()
        Repricing.objects.update(change_id=None)
        PriceChange.objects.all().delete()
        change = applied(planned(**list_price(service, 300)))
        reverted(change)
        assert (full_price(service), price(subscription)) == (200, 200)

    def test_past_instants_keep_what_was_paid_then(self, service, subscription):
        change = applied(planned(**list_price(service, 150)))
        between = clock()
        back = reverted(change)
        assert paid(subscription, between) == 150
        assert paid(subscription, change.effective_at - SECOND / 1_000_000) == 100
        assert paid(subscription, back.effective_at) == 100

    def test_restores_price_state_end_reason_and_stamped_comment(self, service, plan):
        until = clock() + timedelta(days=30)
        follows, negotiated, locked, typed = (
            a_subscription(service=service, plan=plan) for _ in range(4)
        )
        price_state.negotiate(negotiated.pk, "70.25", "a friend", "ann")
        price_state.lock(locked.pk, until, "promised", "ann")
        Subscription.objects.filter(pk=typed.pk).update(comment="typed")
        subscriptions = (follows, negotiated, locked, typed)
        before = [stands(each) for each in subscriptions]
        raised = applied(planned(kind="set", adjustment="percent", operand=10, comment="thank you"))
        assert outcomes.outcome(raised)["stamped"] == 2
        reverted(raised)
        assert [stands(each) for each in subscriptions] == before
        released = applied(planned(kind="set", adjustment="release"))
        assert stands(locked)[1:4] == ("follows", None, "")
        reverted(released)
        assert [stands(each) for each in subscriptions] == before
        relocked = applied(planned(kind="set", adjustment="lock", comment="kept"))
        reverted(relocked)
        assert [stands(each) for each in subscriptions] == before

    def test_takes_the_comment_back_of_one_whose_lock_has_ended_anyway(self, subscription):
        price_state.lock(subscription.pk, clock() + DAY, "promised", "ann")
        released = applied(planned(kind="set", adjustment="release", comment="free now"))
        assert stands(subscription)[1:] == ("follows", None, "", "free now", "free now")
        the_lock_ended(clock())
        back = reverted(released)
        assert outcome(back) == (1, {}, 0)
        assert stands(subscription)[1:] == ("follows", None, "", "", None)
        assert not WholeLedger.objects.filter(change_id=back.pk).exists()

    def test_one_that_followed_has_the_rules_price_of_now(self, service, subscription):
        change = applied(planned(kind="set", adjustment="amount", operand=5))
        Service.objects.filter(pk=service.pk).update(full_price=300)
        drained()
        reverted(change)
        assert stands(subscription)[:2] == (300, "follows")

    def test_lists_those_that_were_touched(self, service, plan):
        names = ["left alone", "negotiated", "moved", "deleted", "ended", "commented on"]
        rows = {name: a_subscription(service=service, plan=plan) for name in names}
        change = applied(planned(kind="set", adjustment="amount", operand=5, comment="stamped"))
        price_state.negotiate(rows["negotiated"].pk, 5, "again", "ann")
        Subscription.objects.filter(pk=rows["moved"].pk).update(plan=a_plan(50))
        Subscription.objects.filter(pk=rows["moved"].pk).update(plan=plan)
        Subscription.objects.filter(pk=rows["deleted"].pk).delete()
        Subscription.objects.filter(pk=rows["ended"].pk).update(
            started_at="2020-01-01T00:00Z", ended_at="2021-01-01T00:00Z"
        )
        Subscription.objects.filter(pk=rows["commented on"].pk).update(comment="mine")
        back = lifecycle.revert(change.pk, "ann", approve_too=True)
        expected = {"touched_since": 2, "deleted": 1, "ended": 1}
        assert (back.preview["moves"], back.preview["stays"]) == (2, dict(sorted(expected.items())))
        why = {row.subscription: row.reason for row in listed(back)}
        assert why == {
            rows["left alone"].pk: None,
            rows["negotiated"].pk: "touched_since",
            rows["moved"].pk: "touched_since",
            rows["deleted"].pk: "deleted",
            rows["ended"].pk: "ended",
            rows["commented on"].pk: None,
        }
        drained()
        assert outcome(back) == (2, expected, 0)
        assert stands(rows["left alone"])[:2] == (100, "follows")
        assert stands(rows["left alone"])[4:] == ("", None)
        # A comment is a person's: it stays, and the price goes back.
        assert stands(rows["commented on"])[:2] == (100, "follows")
        assert stands(rows["commented on"])[4] == "mine"
        assert stands(rows["ended"])[4] == "stamped"

    @pytest.mark.parametrize("late", [False, True])
    def test_one_that_a_later_catalogue_change_moved_was_touched_by_nobody(
        self, service, subscription, late
    ):
        """It followed, and its price then depends on no decision about it.

        If several changes are due at once, each has an entry.
        """
        price_state.lock(subscription.pk, None, "promised", "ann")
        change = applied(planned(kind="set", adjustment="release"))
        for price in (130, 140):
            Service.objects.filter(pk=service.pk).update(full_price=price)
            if not late:
                drained()
        drained()
        assert LedgerEntry.objects.filter(price=140).exists() == late
        assert stands(subscription)[:2] == (140, "follows")
        back = lifecycle.revert(change.pk, "ann", approve_too=True)
        assert (back.preview["moves"], back.preview["stays"]) == (1, {})
        drained()
        assert stands(subscription)[:2] == (100, "locked")


class TestForNewOnesOnly:
    @pytest.fixture
    def kept(self, service, subscription):
        def keep(**more):
            return planned(**list_price(service, 150, for_new_only=True, **more))

        return keep

    def test_keeps_followers_until_the_end(self, kept, service, subscription):
        until = clock() + timedelta(days=1)
        change = applied(kept(locked_until=until))
        assert change.preview["stop_following"] == 1
        assert stands(subscription)[:3] == (100, "locked", until)
        assert a_subscription(service=service, plan=subscription.plan).price == 150

    def test_its_revert_previews_what_it_does(self, kept, service, plan, subscription):
        change = applied(kept())
        new = a_subscription(service=service, plan=plan)
        touched = a_subscription(service=service, plan=plan)
        price_state.lock(touched.pk, None, "promised", "ann")
        before = stands(touched)
        back = lifecycle.revert(change.pk, "ann", approve_too=True)
        assert (back.preview["moves"], back.preview["stays"]) == (2, {"locked": 1})
        drained()
        assert outcome(back) == (2, {"locked": 1}, 0)
        assert [stands(each)[:2] for each in (subscription, new)] == [(100, "follows")] * 2
        assert stands(touched) == before

    def test_and_back_again(self, kept, service, plan, subscription):
        change = applied(kept())
        new = a_subscription(service=service, plan=plan)
        locked = stands(subscription)
        back = reverted(change)
        again = lifecycle.revert(back.pk, "ann", approve_too=True)
        assert (again.preview["moves"], again.preview["stays"]) == (2, {})
        drained()
        assert outcome(again) == (2, {}, 0)
        assert stands(subscription) == locked
        assert stands(new)[:2] == (150, "follows")
        reverted(PriceChange.objects.get(pk=again.pk))
        assert [stands(each)[:2] for each in (subscription, new)] == [(100, "follows")] * 2

    def test_late_keeps_who_was_there_and_not_who_came_after(self, service, plan, subscription):
        change = scheduled(clock(), **list_price(service, 150, for_new_only=True))
        late = a_subscription(service=service, plan=plan)
        drained()
        assert stands(subscription)[:2] == (100, "locked")
        assert stands(late)[:2] == (150, "follows")
        assert outcome(change) == (1, {"unchanged": 1}, 0)

    def test_late_keeps_at_the_price_of_its_instant(self, service, plan, subscription):
        change = scheduled(clock(), **list_price(service, 150, for_new_only=True))
        Service.objects.filter(pk=service.pk).update(full_price=160)
        repricing.plan_due()
        while chunks.take_chunk("price", set()) is not None:
            pass
        assert price(subscription) == 100  # it is to be kept, and no worker has begun to do so
        drained()
        assert stands(subscription)[:2] == (100, "locked")
        assert full_price(service) == 160
        assert paid(subscription, change.effective_at) == 100

    def test_set_price_of_one_leaves_it_to_be_kept(self, kept, subscription):
        approved(kept())
        started()
        assert not repricing.reprice_one(subscription.pk)
        drained()
        assert stands(subscription)[:2] == (100, "locked")


class TestLocks:
    def test_one_that_ends_at_the_instant_is_none_by_then(self, service, subscription):
        at = clock() + timedelta(hours=1)
        price_state.lock(subscription.pk, at, "promised", "ann")
        ends = planned(**list_price(service, 150), effective_at=at)
        assert (ends.preview["moves"], ends.preview["stays"]) == (1, {})
        before = planned(**list_price(service, 150), effective_at=at - SECOND / 1_000_000)
        assert (before.preview["moves"], before.preview["stays"]) == (0, {"locked": 1})

    def test_one_that_has_ended_unnoticed_is_judged_as_it_stands(self, subscription):
        Subscription.objects.update(
            price_state="locked", locked_until=clock() + SECOND / 10, price_reason="was"
        )
        time.sleep(0.1)
        change = planned(kind="set", adjustment="add", operand=5)
        approved(change)
        started()  # and no sweep has looked for ends of locks
        while chunks.take_chunk("price", set()) is not None:
            pass
        assert stands(subscription)[:2] == (105, "negotiated")
        assert [state for _, state in entries(subscription)] == [
            "follows",
            "locked",
            "follows",
            "negotiated",
        ]

    def test_a_set_change_never_moves_a_locked_one(self, service, plan):
        follows, negotiated, locked = (a_subscription(service=service, plan=plan) for _ in "123")
        price_state.negotiate(negotiated.pk, 70, "a friend", "ann")
        price_state.lock(locked.pk, None, "promised", "ann")
        change = applied(planned(kind="set", adjustment="add", operand=5))
        assert [stands(each)[:2] for each in (follows, negotiated, locked)] == [
            (105, "negotiated"),
            (75, "negotiated"),
            (100, "locked"),
        ]
        assert outcome(change) == (2, {"locked": 1}, 0)

    @pytest.mark.parametrize("when_moved", ["current", "frozen"])
    def test_of_a_set_leaves_one_that_somebody_has_locked_so_already(
        self, subscription, when_moved, moved_clock
    ):
        # With an end, so that it is another lock than the approved one.
        price_state.lock(subscription.pk, clock() + 9 * DAY, "promised", "ann")
        at = clock() + DAY
        change = approved(planned(kind="set", adjustment="lock", effective_at=at), when_moved)
        Subscription.objects.update(locked_until=None, price_reason="promised again")
        moved_clock.to(at)
        drained()
        assert outcome(change) == (0, {"unchanged": 1}, 0)
        assert stands(subscription)[3] == "promised again"
        assert not WholeLedger.objects.filter(change_id=change.pk).exists()

    @pytest.mark.parametrize("adjustment", ["lock", "release"])
    def test_of_a_frozen_set_leaves_one_whose_end_somebody_has_changed(
        self, subscription, adjustment
    ):
        price_state.lock(subscription.pk, clock() + DAY, "promised", "ann")
        more = {"locked_until": clock() + 9 * DAY} if adjustment == "lock" else {}
        change = approved(planned(kind="set", adjustment=adjustment, **more), "frozen")
        until = clock() + 2 * DAY
        with ledger_origin(effective_at=change.effective_at - SECOND):
            Subscription.objects.update(locked_until=until)
        drained()
        assert outcome(change) == (0, {"moved_since": 1}, 0)
        assert stands(subscription)[1:3] == ("locked", until)

    def test_of_a_frozen_set_replaces_one_that_stands_as_it_was_approved(self, subscription):
        price_state.lock(subscription.pk, clock() + DAY, "promised", "ann")
        until = clock() + 9 * DAY
        change = planned(kind="set", adjustment="lock", locked_until=until)
        applied(change, "frozen")
        assert outcome(change) == (1, {}, 0)
        assert stands(subscription)[1:3] == ("locked", until)

    def test_of_a_set_is_held_when_somebody_has_changed_an_end(self, subscription, moved_clock):
        price_state.lock(subscription.pk, clock() + 8 * DAY, "promised", "ann")
        at = clock() + DAY
        change = approved(planned(kind="set", adjustment="release", effective_at=at), "hold")
        Subscription.objects.update(locked_until=clock() + 9 * DAY)
        moved_clock.to(at)
        started()
        change.refresh_from_db()
        assert change.status == "held"

    @pytest.mark.parametrize(
        "sql",
        [
            "UPDATE services_subscription SET plan_id = {plan}",
            "UPDATE services_subscription SET service_id = {service}",
        ],
    )
    def test_a_move_ends_a_lock_by_any_path(self, service, subscription, sql):
        price_state.lock(subscription.pk, None, "promised", "ann")
        with connection.cursor() as cursor:
            cursor.execute(sql.format(plan=a_plan(50).pk, service=a_service(full_price=40).pk))
        assert stands(subscription)[1:4] == ("follows", None, "")
        assert price(subscription) in (40, 50)

    def test_a_move_that_sets_a_price_keeps_it(self, subscription):
        price_state.lock(subscription.pk, None, "promised", "ann")
        Subscription.objects.update(plan=a_plan(50), price=33, price_state="negotiated")
        assert stands(subscription)[:2] == (33, "negotiated")

    @pytest.mark.parametrize(
        "values", [{"for_new_only": True}, {"kind": "set", "adjustment": "lock"}]
    )
    def test_that_would_end_before_they_begin_are_refused(self, service, subscription, values):
        values = {**list_price(service, 150), **values} if "kind" not in values else values
        with pytest.raises(ChangeError) as refused:
            planned(**values, effective_at=clock() + 2 * DAY, locked_until=clock() + DAY)
        assert refused.value.code == "lock_ends_too_early"
        change = planned(**values, locked_until=clock() + DAY)
        PriceChange.objects.update(locked_until=clock() - SECOND)  # the clock has moved on
        with pytest.raises(ChangeError) as refused:
            approved(preview(change.pk))
        assert refused.value.code == "lock_ends_too_early"


def the_lock_ended(end):
    """Move the clock on, by setting the lock's end to this instant, in the ledger too."""
    LockEnd.objects.update(until=end)
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE services_ledgerentry DISABLE TRIGGER ledger_append_only")
        LedgerEntry.objects.filter(locked_until__gt=end).update(locked_until=end)
        cursor.execute("ALTER TABLE services_ledgerentry ENABLE TRIGGER ledger_append_only")


class TestHeld:
    """Rows are not as approved if a change that was approved later moves them before."""

    @pytest.mark.parametrize(
        "values",
        [{}, {"for_new_only": True}, {"kind": "set", "adjustment": "amount", "operand": 7}],
        ids=["list price", "for new ones only", "set"],
    )
    @pytest.mark.parametrize("worker", ["on time", "late"])
    def test_when_it_is_due_behind_what_moves_its_rows(
        self, service, subscription, values, worker, moved_clock
    ):
        values = {**list_price(service, 150), **values} if "kind" not in values else values
        at = clock() + DAY
        second = planned(kind="set", adjustment="percent", operand=10, effective_at=at + DAY)
        approved(second)
        first = approved(planned(**values, effective_at=at))
        if worker == "on time":
            moved_clock.to(at)
            drained()
        moved_clock.to(at + DAY)
        drained()
        second.refresh_from_db()
        assert (second.status, outcomes.outcome(first)["applied"]) == ("held", 1)
        assert second.note.startswith("Rows have moved since the approval")
        assert stands(subscription)[0] == {"set": 7}.get(first.kind, 150 - 50 * first.for_new_only)

    @pytest.mark.parametrize("worker", ["on time", "late"])
    def test_not_when_its_approver_saw_what_comes_before(
        self, service, subscription, worker, moved_clock
    ):
        at = clock() + DAY
        approved(planned(**list_price(service, 150), effective_at=at))
        second = planned(kind="set", adjustment="percent", operand=10, effective_at=at + DAY)
        approved(second)
        if worker == "on time":
            moved_clock.to(at)
            drained()
        moved_clock.to(at + DAY)
        drained()
        assert (price(subscription), paid(subscription, at)) == (165, 150)

    def test_not_when_others_are_moved(self, service, plan, subscription):
        other = a_subscription(service=service, plan=plan)
        at = clock()
        for one, amount in ((subscription, 7), (other, 8)):
            kept = {"client": one.client_id}
            scheduled(at, kind="set", filter=kept, adjustment="amount", operand=amount)
        drained()
        assert (price(subscription), price(other)) == (7, 8)

    @pytest.mark.usefixtures("by_chunks")
    def test_not_before_one_that_is_paused_goes_on(self, subscription):
        at = clock()
        first = scheduled(at, kind="set", adjustment="amount", operand=7)
        started()
        lifecycle.pause(first.pk, "ann")
        second = scheduled(at, kind="set", adjustment="amount", operand=8)
        drained()
        second.refresh_from_db()
        assert (second.status, price(subscription)) == ("scheduled", 100)
        lifecycle.resume(first.pk, "ann")
        drained()
        second.refresh_from_db()
        assert (second.status, price(subscription)) == ("applied", 8)  # counted upon the first


class TestPaused:
    @pytest.fixture
    def book(self, monkeypatch):
        monkeypatch.setattr(chunks, "CHUNK", 5)
        return a_book(subscriptions=12, services=1, plans=1)

    def paused(self, book, **values):
        change = approved(planned(**list_price(book.first().service, 200, **values)))
        started()
        repricing.plan_due()
        chunks.take_chunk("price", set())
        lifecycle.pause(change.pk, "ann")
        return change

    def test_its_rows_stay_though_the_plan_moves_too(self, book):
        change = self.paused(book)
        Plan.objects.filter(pk=book.first().plan_id).update(discount_percent=40)
        drained()
        prices = list(book.order_by("pk").values_list("price", flat=True))
        assert prices == [200] * 5 + [100] * 7
        report = book_check.check()
        assert (report.differing, report.waiting, report.paused) == (0, 12, 12)
        assert "paused" in str(report)
        assert not repricing.reprice_one(book.last().pk)
        lifecycle.resume(change.pk, "ann")
        drained()
        assert set(book.values_list("price", flat=True)) == {120}
        last = book.last()
        assert [price for price, _ in entries(last)] == [100, 200, 120]

    def test_before_it_was_split_into_steps_too(self, book):
        change = approved(planned(**list_price(book.first().service, 200)))
        started()
        lifecycle.pause(change.pk, "ann")
        Plan.objects.filter(pk=book.first().plan_id).update(discount_percent=50)
        drained()
        assert set(book.values_list("price", flat=True)) == {100}
        lifecycle.resume(change.pk, "ann")
        drained()
        assert set(book.values_list("price", flat=True)) == {100}
        assert [price for price, _ in entries(book.last())] == [100, 200, 100]

    def test_for_new_ones_only_keeps_the_others_as_they_were(self, book):
        change = self.paused(book, for_new_only=True)
        Plan.objects.filter(pk=book.first().plan_id).update(discount_percent=50)
        drained()
        lifecycle.resume(change.pk, "ann")
        drained()
        assert set(book.values_list("price", "price_state")) == {(100, "locked")}

    def test_for_new_ones_only_keeps_one_that_is_given_an_end_meanwhile(self, book):
        change = self.paused(book, for_new_only=True)
        Subscription.objects.filter(pk=book.last().pk).update(ended_at=clock() + 30 * DAY)
        assert price(book.last()) == 100
        lifecycle.resume(change.pk, "ann")
        drained()
        assert set(book.values_list("price", "price_state")) == {(100, "locked")}

    def test_and_cancelled_lets_the_others_go_on(self, book):
        change = self.paused(book)
        Plan.objects.filter(pk=book.first().plan_id).update(discount_percent=50)
        drained()
        lifecycle.cancel(change.pk, "ann")
        drained()
        assert set(book.values_list("price", flat=True)) == {50}
        # Each of them had its price until the cancel, however far the copying had come.
        assert outcome(change) == (12, {}, 0)

    @pytest.mark.usefixtures("by_chunks")
    def test_a_set_hides_no_wrong_price_from_the_book_check(self, book):
        change = approved(planned(kind="set", adjustment="add", operand=1))
        started()
        lifecycle.pause(change.pk, "ann")
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL pricebook.kept = 'on'")
            cursor.execute("UPDATE services_subscription SET price = 1")
            cursor.execute("SET LOCAL pricebook.kept = ''")
        assert book_check.check().differing == 12
        book_check.repair()
        lifecycle.cancel(change.pk, "ann")


class TestWhatTheDatabaseRefuses:
    """A constraint of the test: a row that can't be written fails alone, and the others move."""

    @pytest.fixture
    def book(self, monkeypatch):
        monkeypatch.setattr(chunks, "CHUNK", 8)
        return a_book(subscriptions=20, services=1, plans=1)

    def refuse(self, condition):
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # of the rows just written
            cursor.execute(
                f"ALTER TABLE services_subscription ADD CONSTRAINT unlucky CHECK ({condition})"
                " NOT VALID"
            )

    @pytest.mark.parametrize("unlucky", [[0], [7, 8], [3, 4, 5, 19], list(range(20))])
    @pytest.mark.parametrize("of", ["list price", "set", "for new ones only", "revert"])
    def test_counts_as_failed_with_its_reason(self, book, unlucky, of):
        ids = list(book.values_list("pk", flat=True))
        these = [ids[n] for n in unlucky]
        service = book.first().service
        more = {"for_new_only": True} if of == "for new ones only" else {}
        change = planned(**list_price(service, 200, **more))
        if of in ("set", "revert"):
            change = planned(kind="set", adjustment="add", operand=1)
        if of == "revert":
            change = lifecycle.revert(applied(change).pk, "ann")
        condition = {
            "list price": "price <> 200",
            "set": "price_state = 'follows'",
            "for new ones only": "price_state = 'follows'",
            "revert": "price_state = 'negotiated'",
        }[of]
        self.refuse(f"{condition} OR NOT id = ANY (ARRAY{these})")
        applied(change)
        assert change.status == "applied"
        assert outcome(change) == (20 - len(these), {}, len(these))
        failed = Skip.objects.filter(repricing__change_id=change.pk, reason="failed")
        assert sorted(failed.values_list("subscription_id", flat=True)) == these
        assert all("unlucky" in skip.detail for skip in failed)
        assert not ListedRows.objects.exists()
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE services_subscription DROP CONSTRAINT unlucky")
        book_check.repair()

    def test_a_comment_is_not_stamped_and_the_others_are(self, book):
        book.update(comment="")
        ids = list(book.values_list("pk", flat=True))
        change = planned(**list_price(book.first().service, 200), comment="2027")
        self.refuse(f"comment = '' OR id NOT IN ({ids[3]}, {ids[11]})")
        applied(change)
        found = outcomes.outcome(change)
        assert (found["applied"], found["stamped"], found["not_stamped"]) == (20, 18, 2)
        assert found["failed"] == 0
        assert change.status == "applied"

    @pytest.mark.parametrize("when_moved", ["hold", "current"])
    def test_a_price_that_a_write_has_made_too_high(self, book, when_moved, moved_clock):
        at = clock() + 3600 * SECOND
        change = planned(kind="set", adjustment="percent", operand=100, effective_at=at)
        approved(change, when_moved)
        price_state.negotiate(book.first().pk, "9999999999.99", "a lot", "ann")
        moved_clock.to(at)
        drained()
        change.refresh_from_db()
        if when_moved == "hold":
            assert change.status == "held"
        else:
            assert outcome(change) == (19, {}, 1)

    def test_a_change_that_cant_be_started_is_held_and_blocks_nobody(self, book):
        plan, service = book.first().plan, book.first().service
        at = clock()
        change = scheduled(at, kind="discount", plan=plan.pk, new_value=10)
        with without_trigger("catalogue_value_unique", "services_cataloguevalue"):
            Plan.objects.create(plan_type=plan.plan_type, discount_percent=10)
        behind = scheduled(at, **list_price(service, 200))
        drained()
        change.refresh_from_db()
        assert change.status == "held"
        assert "there is a plan" in change.note
        behind.refresh_from_db()
        assert behind.status == "applied"
        with pytest.raises(ChangeError) as refused:
            planned(kind="discount", plan=plan.pk, new_value=10)
        assert refused.value.code == "plan_exists"

    @pytest.mark.parametrize("verb", [lifecycle.cancel, lifecycle.revert])
    def test_what_would_bring_a_second_such_plan_back_is_refused_and_changes_nothing(
        self, book, verb
    ):
        plan = book.first().plan
        had = plan.discount_percent
        change = approved(planned(kind="discount", plan=plan.pk, new_value=10))
        started()
        Plan.objects.create(plan_type=plan.plan_type, discount_percent=had)
        with pytest.raises(ChangeError) as refused:
            verb(change.pk, "carl")
        assert refused.value.code == "plan_exists"
        change.refresh_from_db()
        assert (change.status, change.reverted_by.count()) == ("applying", 0)
        drained()
        plan.refresh_from_db()
        assert plan.discount_percent == 10


class TestRowsThatComeAndGo:
    @pytest.mark.usefixtures("by_chunks")
    @pytest.mark.parametrize("when_moved", ["hold", "frozen", "current"])
    def test_while_a_set_is_applied(self, monkeypatch, when_moved):
        monkeypatch.setattr(chunks, "CHUNK", 5)
        book = a_book(subscriptions=20, services=1, plans=1)
        change = approved(planned(kind="set", adjustment="add", operand=5), when_moved)
        started()
        chunks.take_chunk("price", set())
        rows = list(book.order_by("-pk"))
        gone = rows[0].pk
        rows[0].delete()
        Subscription.objects.filter(pk=rows[1].pk).update(
            started_at="2020-01-01T00:00Z", ended_at="2021-01-01T00:00Z"
        )
        price_state.lock(rows[2].pk, None, "promised", "ann")
        price_state.negotiate(rows[3].pk, 1, "a friend", "ann")
        a_subscription(service=rows[0].service, plan=rows[0].plan)
        drained()
        assert outcome(change) == (20, {}, 0)  # the end was recorded since
        locked, agreed = rows[2:4]
        assert [paid_at_and_now(pk, change) for pk in (gone, locked.pk, agreed.pk)] == [
            (105, None),
            (105, 105),
            (105, 1),
        ]
        assert [stands(row)[:2] for row in (locked, agreed)] == [(105, "locked"), (1, "negotiated")]

    def test_while_a_list_price_is_applied(self, monkeypatch):
        monkeypatch.setattr(chunks, "CHUNK", 5)
        book = a_book(subscriptions=20, services=1, plans=1)
        service = book.first().service
        change = approved(planned(**list_price(service, 200)))
        started()
        repricing.plan_due()
        chunks.take_chunk("price", set())
        rows = list(book.order_by("-pk"))
        rows[0].delete()
        price_state.lock(rows[2].pk, None, "promised", "ann")
        a_subscription(service=service, plan=rows[0].plan)
        drained()
        # The two that a person has written had its price until then.
        assert outcome(change) == (20, {}, 0)

    @pytest.mark.usefixtures("by_chunks")
    @pytest.mark.parametrize("when_moved", ["hold", "frozen", "current"])
    def test_and_cancelled_meanwhile(self, monkeypatch, when_moved):
        monkeypatch.setattr(chunks, "CHUNK", 5)
        book = a_book(subscriptions=20, services=2, plans=1)
        before = dict(book.values_list("pk", "price"))
        change = approved(planned(kind="set", adjustment="add", operand=5), when_moved)
        started()
        moved = chunks.take_chunk("price", set())  # five, or fewer where their stretch ends
        lifecycle.cancel(change.pk, "ann")
        drained()
        assert 0 < moved <= 5
        assert outcome(change) == (20, {}, 0)  # all of them had its price until then
        assert dict(book.values_list("pk", "price")) == before
        assert set(book.values_list("price_state", flat=True)) == {"follows"}


class TestDeletedMeanwhile:
    def test_a_service_cancels_what_was_scheduled_for_it(self, service):
        change = scheduled(clock(), **list_price(service, 150))
        service.delete()
        drained()
        change.refresh_from_db()
        assert (change.status, change.note) == ("cancelled", "The service was deleted.")

    def test_a_service_leaves_what_its_revert_would_have_undone(self, service):
        change = applied(planned(**list_price(service, 150)))
        back = lifecycle.revert(change.pk, "ann", approve_too=True)
        service.delete()
        drained()
        back.refresh_from_db()
        change.refresh_from_db()
        assert (back.status, change.status) == ("cancelled", "applied")

    def test_a_set_whose_rows_are_gone_is_held(self, subscription, moved_clock):
        at = clock() + DAY
        change = approved(planned(kind="set", adjustment="add", operand=5, effective_at=at))
        subscription.delete()
        moved_clock.to(at)
        drained()
        change.refresh_from_db()
        assert change.status == "held"

    def test_frozen_rows_that_are_gone_are_skipped(self, subscription, moved_clock):
        at = clock() + DAY
        change = planned(kind="set", adjustment="add", operand=5, effective_at=at)
        approved(change, "frozen")
        subscription.delete()
        moved_clock.to(at)
        drained()
        change.refresh_from_db()
        assert change.status == "applied"
        assert outcome(change) == (0, {"deleted": 1}, 0)

    @pytest.mark.parametrize("when_moved", ["hold", "frozen", "current"])
    def test_rows_that_went_after_the_instant_are_moved_at_it(self, subscription, when_moved):
        pk = subscription.pk
        change = approved(planned(kind="set", adjustment="add", operand=5), when_moved)
        subscription.delete()
        drained()
        change.refresh_from_db()
        assert change.status == "applied"
        assert outcome(change) == (1, {}, 0)
        assert paid_at_and_now(pk, change) == (105, None)


@pytest.mark.django_db(transaction=True)
class TestDrift:
    def test_is_how_many_were_written_since_the_preview(self, service, plan):
        _stays, moves, leaves = (a_subscription(service=service, plan=plan) for _ in range(3))
        other = a_service(full_price=10)
        change = approved(planned(**list_price(service, 150)))
        a_subscription(service=service, plan=plan)
        a_subscription(service=other, plan=plan)
        Subscription.objects.filter(pk=leaves.pk).update(service=other)
        price_state.lock(moves.pk, None, "promised", "ann")
        drained()
        change.refresh_from_db()
        assert outcomes.outcome(change)["drift"] == 3
        assert "3 of its subscriptions were written" in change.note

    def test_is_nothing_where_nobody_wrote(self, service, subscription):
        change = applied(planned(**list_price(service, 150)))
        assert (outcomes.outcome(change)["drift"], change.note) == (0, "")

    def test_says_that_the_value_before_it_was_another(self, service, subscription):
        change = approved(
            planned(**list_price(service, 150), effective_at=clock() + 3600 * SECOND), "current"
        )
        Service.objects.filter(pk=service.pk).update(full_price=120)
        move_instant(change, clock())
        drained()
        change.refresh_from_db()
        assert "The value before it was 120.00, not 100.00." in change.note


class TestTheNewPrice:
    @pytest.mark.parametrize(
        ("before", "adjustment", "expected"),
        [
            ("0.05", {"adjustment": "percent", "operand": "10"}, "0.06"),  # 0.055
            ("10.01", {"adjustment": "percent", "operand": "50"}, "15.02"),  # 15.015
            ("9999999999.99", {"adjustment": "percent", "operand": "-100"}, "0.00"),
            # 12.5 steps of 8: half a step goes up, not to the even one.
            ("100.00", {"adjustment": "add", "operand": 0.01, "rounding_step": "8"}, "104.00"),
            ("99.99", {"adjustment": "add", "operand": 0.01, "rounding_step": "8"}, "104.00"),
            ("50.00", {"adjustment": "amount", "operand": 99.99, "rounding_step": "8"}, "96.00"),
            ("99.99", {"adjustment": "percent", "operand": 10, "rounding_step": "0.05"}, "110.00"),
            # Bounds decide last, even if they are no whole step.
            (
                "10.00",
                {"adjustment": "add", "operand": 1, "rounding_step": "5", "floor": "12.34"},
                "12.34",
            ),
            (
                "10.00",
                {"adjustment": "add", "operand": 9, "rounding_step": "5", "ceiling": "17.77"},
                "17.77",
            ),
            # The quotient of a high price has too few digits: it would be rounded twice.
            ("4999900009.99", {"adjustment": "percent", "operand": "0.0049"}, None),
            (
                "9876543210.12",
                {"adjustment": "percent", "operand": "-99.9999", "rounding_step": "0.01"},
                None,
            ),
        ],
    )
    def test_is_exact_and_half_up(self, subscription, before, adjustment, expected):
        price_state.negotiate(subscription.pk, before, "as given", "ann")
        change = planned(kind="set", **adjustment)
        if expected is None:
            exact = Decimal(before) * (100 + Decimal(adjustment["operand"])) / 100
            expected = exact.quantize(Decimal("0.01"), "ROUND_HALF_UP")
        assert Decimal(change.preview["total_after"]) == Decimal(expected)
        applied(change, "current")
        assert price(subscription) == Decimal(expected)


class TestBounds:
    """Neither they nor the rounding move a price the other way (rows of 0.00 … 120.00)."""

    PRICES = ("0.00", "0.05", "0.10", "5.00", "120.00")

    @pytest.fixture
    def book(self):
        for price in self.PRICES:
            row = a_subscription()
            price_state.negotiate(row.pk, price, "as given", "ann")
        return Subscription.objects.order_by("pk")

    @pytest.mark.parametrize("when_moved", ["hold", "frozen", "current"])
    @pytest.mark.parametrize(
        ("adjustment", "after", "stays"),
        [
            (
                {"adjustment": "percent", "operand": "-10", "floor": "8"},
                "0.00 0.05 0.10 5.00 108.00",
                {"against_sign": 4},
            ),
            (
                {"adjustment": "percent", "operand": "5", "ceiling": "100"},
                "0.00 0.05 0.11 5.25 120.00",
                {"unchanged": 2, "against_sign": 1},
            ),
            (
                {"adjustment": "percent", "operand": "5", "rounding_step": "1"},
                "0.00 0.05 0.10 5.00 126.00",
                {"unchanged": 2, "becomes_free": 2},
            ),
            (
                {"adjustment": "add", "operand": "-0.04", "rounding_step": "0.05", "floor": "0.05"},
                "0.00 0.05 0.05 4.95 119.95",
                {"against_sign": 1, "unchanged": 1},
            ),
            (
                {"adjustment": "add", "operand": "1", "ceiling": "5"},
                "1.00 1.05 1.10 5.00 120.00",
                {"unchanged": 1, "against_sign": 1},
            ),
            # A given amount is taken as it is.
            (
                {"adjustment": "amount", "operand": "9", "floor": "10", "rounding_step": "4"},
                "10.00 10.00 10.00 10.00 10.00",
                {},
            ),
            ({"adjustment": "percent", "operand": "-100"}, "0.00 " * 5, {"unchanged": 1}),
        ],
    )
    def test_move_nothing_against_its_sign(self, book, adjustment, after, stays, when_moved):
        change = planned(kind="set", **adjustment)
        assert {why: rows for why, rows in change.preview["stays"].items() if rows} == stays
        applied(change, when_moved)
        assert [str(row.price) for row in book] == after.split()
        assert outcome(change) == (5 - sum(stays.values()), stays, 0)

    def test_are_asked_again_about_a_row_that_was_written_meanwhile(self, book, moved_clock):
        first, last = book.first(), book.last()
        at = clock() + DAY
        values = {"adjustment": "percent", "operand": "5", "ceiling": "100"}
        change = approved(planned(kind="set", **values, effective_at=at), "current")
        price_state.negotiate(first.pk, "200", "as given", "ann")
        moved_clock.to(at)
        drained()
        assert price(first) == 200
        assert price(last) == 120
        assert outcome(change) == (2, {"unchanged": 1, "against_sign": 2}, 0)


class TestThePreview:
    @pytest.mark.parametrize(
        "values",
        [
            {"kind": "list_price", "new_value": "150.10"},
            {"kind": "list_price", "new_value": 150, "for_new_only": True},
            {"kind": "discount", "new_value": 33},
            {"kind": "set", "adjustment": "percent", "operand": 7, "filter": {"price_from": 60}},
            {"kind": "set", "adjustment": "lock", "filter": {"price_state": "follows"}},
            {"kind": "set", "adjustment": "release"},
            {"kind": "set", "adjustment": "follow"},
        ],
    )
    def test_counts_lists_and_does_the_same(self, values):
        book = a_book(subscriptions=30, services=2, plans=2)
        rows = list(book)
        Subscription.objects.filter(pk=rows[0].pk).update(
            started_at="2020-01-01T00:00Z", ended_at="2021-01-01T00:00Z"
        )
        for row in rows[1:5]:
            price_state.lock(row.pk, clock() + timedelta(days=1), "promised", "ann")
        for row in rows[5:9]:
            price_state.negotiate(row.pk, 44, "a friend", "ann")
        if values["kind"] == "list_price":
            values["service"] = rows[0].service_id
        if values["kind"] == "discount":
            values["plan"] = rows[0].plan_id
        change = planned(**values)
        shown = listed(change, limit=1000)
        assert len(shown) == change.preview["rows"]
        moves = [row for row in shown if row.reason is None]
        assert len(moves) == change.preview["moves"]
        stays = [row.reason for row in shown if row.reason is not None]
        assert {reason: stays.count(reason) for reason in set(stays)} == change.preview["stays"]
        assert sum(row.new_price for row in shown) == Decimal(change.preview["total_after"])
        expected = {row.subscription: (row.new_price, row.new_state) for row in shown}
        applied(change)
        assert change.status == "applied", change.note
        found = Subscription.objects.filter(pk__in=expected).values_list(
            "pk", "price", "price_state"
        )
        assert {pk: (price, state) for pk, price, state in found} == expected
        assert outcome(change) == (len(moves), change.preview["stays"], 0)
