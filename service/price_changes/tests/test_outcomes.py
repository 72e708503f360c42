"""The outcome of a change agrees with the ledger, whenever workers came."""

from datetime import timedelta
from decimal import Decimal
from unittest.mock import patch

import pytest

from price_changes.models import PriceChange
from price_changes.running import lifecycle, outcomes
from price_changes.showing.rows import rows_of
from price_changes.tests.changes import (
    SECOND,
    accounted,
    approved,
    clock,
    drained,
    planned,
    started,
)
from price_changes.tests.schedules import SCHEDULES
from price_changes.tests.timeline import Timeline
from pricebook.tests.tiers import always
from services import ledger, price_state, repricing
from services.models import LockEnd, RepricingStep, StampedComment, Subscription, WholeLedger
from services.repricing import chunks
from services.repricing.planning import plan_due
from services.tests.factories import a_plan, a_service, a_subscription

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)


class Scene:
    """A service of 20.00 with three followers; time passes, and workers come as they like."""

    def __init__(self, schedule: str) -> None:
        self.timeline = Timeline()
        self.begin = self.timeline.now
        self.timeline.set(self.begin, ticks=True)
        self.schedule = SCHEDULES[schedule](schedule)
        self.plan = a_plan(10)
        self.phone = a_service(20)
        self.rows = [a_subscription(service=self.phone, plan=self.plan) for _ in range(3)]
        drained()

    def at(self, minute: float):
        return self.begin + minute * MINUTE

    def list_price(self, value, minute: float | None = None, **more) -> PriceChange:
        return self.change("list_price", minute, service=self.phone.pk, new_value=value, **more)

    def discount(self, value, minute: float | None = None) -> PriceChange:
        return self.change("discount", minute, plan=self.plan.pk, new_value=value)

    def set(self, minute: float | None = None, **values) -> PriceChange:
        when_moved = values.pop("when_moved", "current")
        return self.change("set", minute, when_moved, filter={"service": self.phone.pk}, **values)

    def change(self, kind, minute, when_moved=None, **values) -> PriceChange:
        if minute is not None:
            values["effective_at"] = self.at(minute)
        change = approved(planned(kind=kind, **values), when_moved)
        self.schedule.after_a_write()
        return change

    def passes(self, minute: float) -> None:
        self.timeline.set(self.at(minute))
        self.schedule.at_an_instant()

    def ends(self) -> None:
        self.timeline.set(self.at(60))
        drained()


def said(change: PriceChange) -> tuple[int, dict[str, int]]:
    """Moved, and skipped by the reason, after comparing them with the ledger and the rows."""
    outcome = outcomes.outcome(change)
    change.refresh_from_db()
    moved = set(
        WholeLedger.objects.filter(change_id=change.pk).values_list("subscription_id", flat=True)
    )
    assert outcome["applied"] == len(moved)
    listed = rows_of(change, 0, 100, "moves") if change.started_at else []
    assert {row.subscription for row in listed if row.moved} == moved
    assert accounted(change)
    return outcome["applied"], outcome["skipped"]


def schedules(names):
    """The oracle's histories are played under each schedule in any case."""
    return always(("beginning", "late", "piecemeal"), of=names)


@pytest.fixture(params=schedules(SCHEDULES))
def scene(request, db):
    schedule = request.param
    scene = Scene(schedule)
    with patch.object(chunks, "CHUNK", scene.schedule.chunk):
        yield scene


class TestWheneverWorkersCome:
    def test_of_two_that_are_due_each_moved_its_rows(self, scene):
        a, b = scene.list_price(22, 1), scene.list_price(25, 2)
        scene.passes(1)
        scene.passes(2)
        scene.ends()
        assert [said(a), said(b)] == [(3, {}), (3, {})]

    def test_so_it_is_where_the_second_one_goes_back(self, scene):
        a, b = scene.list_price(22, 1), scene.list_price(20, 2)
        scene.passes(1)
        scene.passes(2)
        scene.ends()
        assert [said(a), said(b)] == [(3, {}), (3, {})]

    def test_a_price_that_stays_is_not_moved(self, scene):
        free = a_subscription(service=scene.phone, plan=a_plan(100))
        a, b = scene.list_price(22, 1), scene.list_price(25, 2)
        scene.passes(1)
        scene.passes(2)
        scene.ends()
        assert [said(a), said(b)] == [(3, {"unchanged": 1})] * 2
        assert WholeLedger.objects.filter(subscription_id=free.pk).count() == 1

    def test_of_one_instant_the_winner_alone_moves(self, scene):
        loser, winner = scene.list_price(22, 1), scene.list_price(25, 1)
        scene.passes(1)
        scene.ends()
        assert said(winner) == (3, {})
        assert said(loser) == (0, {"superseded": 3})
        assert outcomes.outcome(winner)["superseded"] == 3
        entries = WholeLedger.objects.filter(effective_at=scene.at(1))
        assert set(entries.values_list("change_id", "price")) == {(winner.pk, 22.5)}

    def test_of_one_instant_nobody_copies_the_first_before_the_other_has_begun(self, scene):
        """Its start gave way to a lock, say: the price in force is already that of the other."""
        loser, winner = scene.list_price(22, 1), scene.list_price(25, 1)
        held_up = PriceChange.objects.filter(pk=winner.pk)
        held_up.update(status="held")
        scene.passes(1)
        started()
        plan_due()
        assert chunks.take_chunk("price", set()) == 0
        held_up.update(status="scheduled")
        scene.ends()
        assert [said(loser), said(winner)] == [(0, {"superseded": 3}), (3, {})]

    def test_a_list_price_and_a_discount_of_one_instant_both_move(self, scene):
        a, b = scene.list_price(22, 1), scene.discount(20, 1)
        scene.passes(1)
        scene.ends()
        assert [said(a), said(b)] == [(3, {}), (3, {})]

    def test_who_is_deleted_after_both_was_moved_by_both(self, scene):
        first, *_ = scene.rows
        scene.list_price(22, 1)
        b = scene.list_price(25, 2)
        scene.passes(1)
        scene.passes(2)
        started()
        plan_due()
        step = RepricingStep.objects.order_by("effective_at").first()
        if step is not None:
            chunks.take_chunk("price", set())  # of the first change, and all entries of its rows
        entered = set(WholeLedger.objects.filter(change_id=b.pk).values_list("subscription_id"))
        Subscription.objects.filter(pk=first.pk).delete()
        scene.ends()
        there = 3 if (first.pk,) in entered else 2
        assert said(b) == (there, {})

    @pytest.mark.parametrize("of", ["a list price", "a list price and a discount"])
    def test_who_has_ended_since_was_moved_by_it(self, scene, of):
        """The end is put into the past, as by a person who ends it now."""
        rise = scene.list_price(22, 1)
        off = scene.discount(30, 2) if "discount" in of else None
        scene.passes(1)
        scene.passes(2)
        scene.timeline.set(scene.at(3), ticks=True)
        Subscription.objects.filter(pk=scene.rows[0].pk).update(ended_at=scene.at(3))
        scene.ends()
        assert said(rise) == (3, {})
        assert off is None or said(off) == (3, {})

    def test_who_ends_between_two_is_moved_by_the_first(self, scene):
        first, *_ = scene.rows
        Subscription.objects.filter(pk=first.pk).update(ended_at=scene.at(1.5))
        a, b = scene.list_price(22, 1), scene.list_price(25, 2)
        for minute in (1, 1.5, 2):
            scene.passes(minute)
        scene.ends()
        assert [said(a), said(b)] == [(3, {}), (2, {"ended": 1})]

    def test_cancelled_after_its_instant_it_has_moved_all_until_then(self, scene):
        """Rule 5: every row had the price in [T, C), however few were copied."""
        change = scene.list_price(22, 1)
        scene.passes(1)
        scene.timeline.set(scene.at(2))
        verb = "revert" if PriceChange.objects.get(pk=change.pk).status == "applied" else "cancel"
        back = (
            lifecycle.cancel(change.pk, "carl")
            if verb == "cancel"
            else lifecycle.revert(change.pk, "carl", approve_too=True)
        )
        [back] = PriceChange.objects.filter(reverts=change)
        scene.schedule.after_a_write()
        scene.ends()
        assert [said(change), said(back)] == [(3, {}), (3, {})]
        for row in scene.rows:
            entries = WholeLedger.objects.filter(subscription_id=row.pk).order_by("id")
            assert list(entries.values_list("price", "change_id"))[1:] == [
                (row.price * 22 / 20, change.pk),
                (row.price, back.pk),
            ]

    def test_cancelled_it_stamps_no_more(self, scene):
        change = scene.list_price(22, 1, comment="2027")
        started()
        scene.timeline.set(scene.at(2))
        started()
        lifecycle.cancel(change.pk, "carl")
        scene.schedule.after_a_write()
        scene.ends()
        assert said(change) == (3, {})
        assert not StampedComment.objects.exists()
        assert not Subscription.objects.exclude(comment="").exists()

    def test_paused_and_resumed_it_moves_what_it_would_have_moved(self, scene):
        a = scene.list_price(22, 1)
        scene.passes(1)
        if PriceChange.objects.get(pk=a.pk).status == "applying":
            lifecycle.pause(a.pk, "carl")
        b = scene.list_price(25, 2)
        scene.passes(2)
        if PriceChange.objects.get(pk=a.pk).status == "paused":
            lifecycle.resume(a.pk, "carl")
        scene.ends()
        assert [said(a), said(b)] == [(3, {}), (3, {})]

    def test_a_set_and_a_list_price(self, scene):
        price_state.negotiate(scene.rows[0].pk, 7, "deal", "dan")
        follow = scene.set(1, adjustment="follow")
        rise = scene.list_price(22, 2)
        scene.passes(1)
        scene.passes(2)
        scene.ends()
        assert said(rise) == (3, {})
        assert said(follow)[0] == 1

    def test_a_set_that_is_resumed_after_a_list_price(self, scene):
        """A row that follows again since an instant was moved by all that came since."""
        price_state.negotiate(scene.rows[0].pk, 7, "deal", "dan")
        follow = scene.set(1, adjustment="follow")
        scene.passes(1)
        if PriceChange.objects.get(pk=follow.pk).status == "applying":
            lifecycle.pause(follow.pk, "carl")
        rise = scene.list_price(22, 2)
        scene.passes(2)
        repricing.reprice()
        if PriceChange.objects.get(pk=follow.pk).status == "paused":
            lifecycle.resume(follow.pk, "carl")
        scene.ends()
        assert said(rise) == (3, {})

    @pytest.mark.parametrize("starts_earlier", [False, True])
    def test_a_lock_whose_end_somebody_holds_up(self, scene, starts_earlier):
        """Its row is released when the list price has been copied already.

        The entry of an earlier start says how it stood at first, and not why it was skipped.
        """
        price_state.lock(scene.rows[0].pk, scene.at(1), "asked", "dan")
        rise = scene.list_price(22, 2)
        noted = list(LockEnd.objects.all())
        LockEnd.objects.all().delete()
        scene.passes(1)
        scene.passes(2)
        repricing.reprice()
        if starts_earlier:
            row = Subscription.objects.filter(pk=scene.rows[0].pk)
            row.update(started_at=scene.at(-60))
            LockEnd.objects.all().delete()  # which that write has noted too
        LockEnd.objects.bulk_create(noted)
        scene.ends()
        assert said(rise) == (3, {})

    def test_a_lock_that_ends_before_it(self, scene):
        price_state.lock(scene.rows[0].pk, scene.at(1), "asked", "dan")
        rise = scene.list_price(22, 2)
        scene.passes(1)
        scene.passes(2)
        scene.ends()
        assert said(rise) == (3, {})

    def test_who_is_locked_or_has_a_price_of_its_own_is_counted(self, scene):
        price_state.negotiate(scene.rows[0].pk, 7, "deal", "dan")
        price_state.lock(scene.rows[1].pk, None, "asked", "dan")
        a, b = scene.list_price(22, 1), scene.list_price(25, 2)
        scene.passes(1)
        scene.passes(2)
        scene.ends()
        assert [said(a), said(b)] == [(1, {"locked": 1, "negotiated": 1})] * 2

    def test_for_new_subscriptions_only(self, scene):
        a, b = scene.list_price(22, 1, for_new_only=True), scene.list_price(25, 2)
        scene.passes(1)
        scene.passes(2)
        scene.ends()
        assert [said(a), said(b)] == [(3, {}), (0, {"locked": 3})]


# Where workers come at once it is applied, and there is nothing to cancel.
@pytest.mark.parametrize("schedule", schedules(sorted(SCHEDULES.keys() - {"at once"})))
def test_of_one_for_new_ones_that_is_cancelled_is_nothing_beside_another_that_was_late(schedule):
    """The chunks of the other one, and of the change that takes it back, write no entries of it."""
    cancelled_after(Scene(schedule), lambda scene: scene.list_price(30, 1))


@pytest.mark.parametrize("schedule", schedules(sorted(SCHEDULES.keys() - {"at once"})))
def test_nor_does_a_lock_that_had_ended_and_is_swept_late(schedule):
    scene = Scene(schedule)
    price_state.lock(scene.rows[0].pk, scene.at(1), "asked", "dan")
    noted = list(LockEnd.objects.all())
    LockEnd.objects.all().delete()
    cancelled_after(scene, lambda _: None, lambda: LockEnd.objects.bulk_create(noted))


@pytest.mark.parametrize("schedule", schedules(sorted(SCHEDULES.keys() - {"at once"})))
def test_who_was_kept_until_the_cancellation_pays_what_has_come_since(schedule):
    """Its lock had ended before, and is swept when the later change is applied already."""
    scene = Scene(schedule)
    price_state.lock(scene.rows[0].pk, scene.at(1), "asked", "dan")
    noted = list(LockEnd.objects.all())
    LockEnd.objects.all().delete()
    cancelled_after(scene, lambda _: None)
    later = scene.list_price(40, 4)
    scene.ends()
    LockEnd.objects.bulk_create(noted)
    drained()
    row = Subscription.objects.get(pk=scene.rows[0].pk)
    assert (row.price, row.price_state) == (36, "follows")
    assert WholeLedger.objects.filter(change_id=later.pk, subscription_id=row.pk).count() == 1
    assert said(later) == (3, {})


def cancelled_after(scene, before, then=lambda: None):
    before(scene)
    kept = scene.change("discount", 2, plan=scene.plan.pk, new_value=20, for_new_only=True)
    scene.passes(1)
    scene.passes(2)
    scene.timeline.set(scene.at(3))
    lifecycle.cancel(kept.pk, "carl")
    then()
    drained()
    kept.refresh_from_db()
    entered = WholeLedger.objects.filter(change_id=kept.pk).values("subscription_id").distinct()
    assert outcomes.outcome(kept)["applied"] == entered.count()
    assert accounted(kept)


class TestALateWorker:
    """It judges by the change's instant which rows had ended, and not by its own clock (T1)."""

    @pytest.mark.parametrize("of", ["list price", "discount", "frozen", "current", "hold"])
    def test_moves_who_ended_since(self, of, moved_clock):
        phone, plan = a_service(20), a_plan(38)
        stays = a_subscription(service=phone, plan=plan)
        ends = a_subscription(service=phone, plan=plan, started_at=clock() - 9 * SECOND)
        at = clock() + 3600 * SECOND
        Subscription.objects.filter(pk=ends.pk).update(ended_at=at + SECOND / 4)
        kinds = {
            "list price": ({"kind": "list_price", "service": phone.pk, "new_value": "24"}, "14.88"),
            "discount": ({"kind": "discount", "plan": plan.pk, "new_value": "30"}, "14.00"),
        }
        a_set = {"kind": "set", "adjustment": "add", "operand": "4", "filter": {"plan": plan.pk}}
        values, price = kinds.get(of, (a_set, "16.40"))
        change = approved(planned(**values, effective_at=at), None if of in kinds else of)
        moved_clock.to(at + SECOND / 2)
        drained()
        assert outcomes.outcome(change)["applied"] == 2
        assert ledger.explain(ends.pk, at).price == ledger.explain(stays.pk, at).price
        for row in (ends, stays):
            assert Subscription.objects.get(pk=row.pk).price == Decimal(price)
        assert ledger.explain(ends.pk, at - SECOND / 1_000_000).price == Decimal("12.40")
