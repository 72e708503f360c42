"""The rows that a change for new subscriptions only keeps, if other steps come before its own.

Also prices that are written to them by writers who see only what is stored.
"""

from dataclasses import replace
from decimal import Decimal

import pytest
from django.db.models import F

from price_changes.models import PriceChange
from price_changes.running import lifecycle, outcomes, starting
from price_changes.tests.changes import (
    SECOND,
    approved,
    clock,
    drained,
    planned,
    scheduled,
    stands,
)
from services import ledger, price_state
from services.audit import book_check
from services.models import Plan, Service, Subscription, WholeLedger
from services.repricing import chunks
from services.repricing.movers import PRICE
from services.repricing.planning import plan_due
from services.tests.factories import a_client, a_plan, a_service, a_subscription
from services.tests.interleaving import Pause, in_background

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("ends", [False, True])
def test_who_came_behind_an_edit_is_kept_though_its_worker_comes_first(moved_clock, ends):
    """The step of the edit applies later changes to its rows, but not to those that others keep."""
    phone = a_service(100)
    a_subscription(service=phone)
    Service.objects.update(full_price=90)
    until_then = clock() + 3600 * SECOND
    row = a_subscription(service=phone, ended_at=until_then if ends else None)
    scheduled(clock(), kind="list_price", service=phone.pk, new_value="150", for_new_only=True)
    starting.start_due()
    Service.objects.update(full_price=120)
    edited = clock()
    moved_clock.to(until_then)
    drained()
    entry = ledger.explain(row.pk, edited)
    assert (entry.price, entry.price_state) == (90, "locked")
    assert Subscription.objects.get(pk=row.pk).price == 90
    assert not WholeLedger.objects.filter(subscription_id=row.pk, price=120).exists()


def test_who_follows_behind_it_is_not_moved_by_what_came_before_it():
    """The step of an earlier edit comes before a worker has begun the change."""
    phone = a_service(100)
    a_subscription(service=phone)
    row = a_subscription(service=phone)
    price_state.negotiate(row.pk, 5, "as agreed", "ann")
    Service.objects.update(full_price=120)
    scheduled(clock(), kind="list_price", service=phone.pk, new_value="150", for_new_only=True)
    price_state.follow(row.pk, "ann")
    assert plan_due()
    assert chunks.take_chunk(PRICE, set(), {}, None) == 1  # the other one
    drained()
    assert Subscription.objects.get(pk=row.pk).price == 150
    entries = WholeLedger.objects.filter(subscription_id=row.pk).order_by("pk")
    assert list(entries.values_list("price", "price_state")) == [
        (100, "follows"),
        (5, "negotiated"),
        (150, "follows"),
    ]


@pytest.mark.parametrize("swept", [True, False])
@pytest.mark.parametrize("locked", [True, False])
def test_a_price_that_is_written_to_whom_it_keeps_stands_upon_its_lock(moved_clock, locked, swept):
    """The writer sees what is stored: the earlier lock, which has ended, or that it follows."""
    row = a_subscription(service=a_service(100))
    ends = clock() + SECOND
    if locked:
        price_state.lock(row.pk, ends, "as agreed", "ann")
    scheduled(
        ends + SECOND, kind="list_price", service=row.service_id, new_value="150", for_new_only=True
    )
    moved_clock.to(ends + 2 * SECOND)
    if swept:
        drained()
    Subscription.objects.filter(pk=row.pk).update(price=F("price") + 1)
    drained()
    [change] = PriceChange.objects.all()
    why = f"Price change {change.pk} is for new subscriptions only"
    assert stands(row)[:4] == (101, "locked", None, why)
    assert not book_check.check().differs
    assert ledger.explain(row.pk).price == 101


@pytest.mark.parametrize("swept", [True, False])
def test_a_price_that_is_written_to_whom_its_revert_lets_follow_is_the_rule_s(swept):
    row = a_subscription(service=a_service(100))
    change = scheduled(
        clock(), kind="list_price", service=row.service_id, new_value="150", for_new_only=True
    )
    drained()
    assert stands(row)[:2] == (100, "locked")
    lifecycle.revert(change.pk, "carl", approve_too=True)
    if swept:
        drained()
    Subscription.objects.filter(pk=row.pk).update(price=F("price") + 1)
    assert stands(row)[:2] == (100, "follows")
    drained()
    assert stands(row)[:2] == (100, "follows")
    assert not book_check.check().differs


def test_who_came_behind_one_is_kept_by_the_next_one(moved_clock):
    """The step of the first finds the row that came after it; the second is not begun."""
    phone, plan = a_service(100), a_plan(0)
    a_subscription(service=phone, plan=plan)
    first = scheduled(clock(), kind="discount", plan=plan.pk, new_value=10, for_new_only=True)
    row = a_subscription(service=phone, plan=plan)
    assert stands(row)[:2] == (90, "follows")
    assert starting.start_due()
    scheduled(clock(), kind="list_price", service=phone.pk, new_value="150", for_new_only=True)
    assert plan_due()
    assert chunks.take_chunk(PRICE, set(), {}, None) is not None
    assert stands(row)[:2] == (90, "follows")
    drained()
    assert stands(row)[:2] == (90, "locked")
    assert list(
        WholeLedger.objects.filter(subscription_id=row.pk).order_by("pk").values_list("price")
    ) == [(90,), (90,)]
    assert outcomes.outcome(first)["applied"] == 1


WRITES = {
    "another client": lambda rows: rows.update(client=a_client()),
    "a price": lambda rows: rows.update(price=F("price") + 1),
    "a lock": lambda rows: rows.update(price_state="locked", price_reason="asked"),
    "an end": lambda rows: rows.update(ended_at=clock() + 3600 * SECOND),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("what", WRITES)
@pytest.mark.parametrize("waits", [True, False])
def test_who_is_written_while_it_is_approved_is_kept(monkeypatch, what, waits):
    """The write begins before it, and waits for it, so it comes after it, like a later one."""
    row = a_subscription(service=a_service(100))
    change = planned(kind="list_price", service=row.service_id, new_value="150", for_new_only=True)
    pause = Pause(monkeypatch, lifecycle, "_decide")
    approval = in_background(lifecycle.approve, change.pk, change.fingerprint, "bob", "current")
    pause.until_reached()
    if not waits:
        pause.go_on()
        approval.result()
    write = in_background(WRITES[what], Subscription.objects.filter(pk=row.pk))
    if waits:
        write.until_it_waits()
        pause.go_on()
        approval.result()
    write.result()
    price = 101 if what == "a price" else 100
    for _ in ("by the write", "and after the worker"):
        assert stands(row)[:2] == (price, "locked")
        told = ledger.explain(row.pk)
        assert (told.price, told.price_state) == (price, "locked")
        assert not book_check.check().differs
        drained()
    assert WholeLedger.objects.filter(subscription_id=row.pk, change_id=change.pk).exists()


@pytest.mark.parametrize("back", ["revert", "cancel"])
def test_a_lock_that_ended_before_it_was_kept_and_given_back_ends_with_the_last_word(
    moved_clock, back
):
    """In the order of writing too: the book check reads a row's last entry by its number."""
    row = a_subscription(service=a_service(100))
    ends = clock() + 600 * SECOND
    price_state.lock(row.pk, ends, "as agreed", "ann")
    change = scheduled(
        ends + SECOND, kind="list_price", service=row.service_id, new_value="150", for_new_only=True
    )
    moved_clock.to(ends + 2 * SECOND)
    if back == "revert":
        lifecycle.revert(change.pk, "bob", approve_too=True)
    else:
        lifecycle.cancel(change.pk, "bob")
    drained()
    assert not book_check.check().differs
    entries = WholeLedger.objects.filter(subscription_id=row.pk).order_by("pk")
    assert list(entries.values_list("price_state", flat=True)) == [
        "follows",
        "locked",
        "follows",
        "locked",
        "follows",
    ]
    assert list(entries) == sorted(entries, key=lambda entry: entry.effective_at)


def test_a_lock_that_ended_has_missed_no_change_that_moved_nothing(moved_clock):
    """So its explanation starts at the change that moved it, whenever its lock is released."""
    row = a_subscription(service=a_service(100))
    ends = clock() + 600 * SECOND
    price_state.lock(row.pk, ends, "as agreed", "ann")
    for seconds in (1, 2):  # to the same price
        scheduled(
            ends + seconds * SECOND, kind="list_price", service=row.service_id, new_value="150"
        )
    moved_clock.to(ends + 3 * SECOND)
    before = ledger.explain(row.pk)
    drained()
    assert before.since == ends + SECOND
    assert ledger.explain(row.pk, before.at).since == before.since
    entries = WholeLedger.objects.filter(subscription_id=row.pk).order_by("pk")
    assert list(entries.values_list("price", "price_state")) == [
        (100, "follows"),
        (100, "locked"),
        (100, "follows"),
        (150, "follows"),
    ]


@pytest.mark.parametrize("never", ["cancelled", "held", "revert cancelled"])
def test_a_lock_that_ended_has_missed_no_change_that_never_counted(moved_clock, never):
    """It has the instant of the one that did move it, and came later in the order of writing."""
    row = a_subscription(service=a_service(100))
    ends = clock() + 600 * SECOND
    price_state.lock(row.pk, ends, "as agreed", "ann")
    values = {"kind": "list_price", "service": row.service_id, "effective_at": ends + 2 * SECOND}
    if never == "revert cancelled":
        moved = approved(planned(kind="list_price", service=row.service_id, new_value="140"))
        drained()
        other = lifecycle.revert(moved.pk, "bob")
        lifecycle.approve(other.pk, other.fingerprint, "bob", effective_at=values["effective_at"])
    else:
        other = planned(new_value="130", **values)
        approved(other, "hold" if never == "held" else "current")
    if never == "held":
        at = ends + SECOND
        scheduled(at, "current", kind="list_price", service=row.service_id, new_value="110")
    change = approved(planned(new_value="150", **values), "current")
    if never != "held":
        lifecycle.cancel(other.pk, "carl")
    moved_clock.to(ends + 3 * SECOND)
    before = ledger.explain(row.pk)
    assert (before.price, before.change.id) == (150, change.pk)
    drained()
    after = ledger.explain(row.pk, before.at)
    assert (after.price, after.since, after.change.id) == (150, before.since, change.pk)
    entries = WholeLedger.objects.filter(subscription_id=row.pk, effective_at=before.since)
    assert set(entries.values_list("change_id", flat=True)) == {change.pk}


@pytest.mark.parametrize("frees", [price_state.release, price_state.follow])
def test_who_was_freed_between_two_that_keep_is_kept_by_the_second(moved_clock, frees):
    """A change that moves followers comes after both, and its worker before theirs."""
    phone, plan = a_service(100), a_plan(10)
    row = a_subscription(service=phone, plan=plan)
    for_new = {"kind": "list_price", "service": phone.pk, "for_new_only": True}
    begin = clock() + 600 * SECOND
    scheduled(begin, new_value="110", **for_new)
    scheduled(begin + 2 * SECOND, new_value="90", **for_new)
    scheduled(begin + 3 * SECOND, kind="discount", plan=plan.pk, new_value="5")
    moved_clock.to(begin + SECOND)
    if frees is price_state.release:
        frees(row.pk, "ann")
    else:
        price_state.negotiate(row.pk, 7, "as agreed", "ann")
        frees(row.pk, "ann")
    moved_clock.to(begin + 4 * SECOND)
    before, total = ledger.explain(row.pk), ledger.total_as_of(clock())
    assert (before.price, before.price_state) == (99, "locked")
    drained()
    after = ledger.explain(row.pk)
    assert (after.price, after.price_state, after.since) == (99, "locked", before.since)
    assert ledger.total_as_of(clock()) == total
    assert stands(row)[:2] == (99, "locked")


@pytest.mark.parametrize("back", ["revert", "cancel"])
@pytest.mark.parametrize("edited", [False, True])
def test_who_was_let_go_before_the_end_of_his_lock_follows_since_then(moved_clock, edited, back):
    """Though a worker comes when the lock would have ended."""
    row = a_subscription(service=a_service(100))
    begin = clock() + 600 * SECOND
    values = {"kind": "list_price", "service": row.service_id, "for_new_only": True}
    change = scheduled(begin, new_value="150", locked_until=begin + 3600 * SECOND, **values)
    moved_clock.to(begin + SECOND)
    if back == "revert":
        lifecycle.revert(change.pk, "bob", approve_too=True)
    else:
        lifecycle.cancel(change.pk, "bob")
    if edited:
        moved_clock.to(begin + 2 * SECOND)
        Service.objects.update(full_price=120)
    moved_clock.to(begin + 7200 * SECOND)
    before = ledger.explain(row.pk)
    drained()
    after = ledger.explain(row.pk, before.at)
    assert after == replace(before, entry_id=after.entry_id, recorded_at=after.recorded_at)
    assert not book_check.check().differs
    entries = WholeLedger.objects.filter(subscription_id=row.pk).order_by("effective_at", "pk")
    assert list(entries.values_list("price", "price_state")) == [
        (100, "follows"),
        (100, "locked"),
        (100, "follows"),
        *([(120, "follows")] if edited else []),
    ]


@pytest.mark.parametrize("swept", [0, 1, 2])
def test_who_is_kept_once_more_is_not_moved_by_what_comes_behind(moved_clock, swept):
    """By the revert of a revert, whose worker comes as late as that of a later discount."""
    phone, plan = a_service(100), a_plan(20)
    row = a_subscription(service=phone, plan=plan)
    begin = clock() + 600 * SECOND
    values = {"kind": "list_price", "service": phone.pk, "for_new_only": True}
    change = scheduled(begin, new_value="110", **values)
    moved_clock.to(begin + SECOND)
    if swept > 0:
        drained()
    back = lifecycle.revert(change.pk, "bob", approve_too=True)
    moved_clock.to(begin + 2 * SECOND)
    if swept > 1:
        drained()
    other = a_subscription(service=phone, plan=plan)
    Plan.objects.filter(pk=plan.pk).update(discount_percent=24)
    moved_clock.to(begin + 3 * SECOND)
    lifecycle.revert(back.pk, "carl", approve_too=True)
    moved_clock.to(begin + 4 * SECOND)
    Plan.objects.filter(pk=plan.pk).update(discount_percent=27)
    moved_clock.to(begin + 5 * SECOND)
    rows = (row.pk, other.pk)
    before = [ledger.explain(pk) for pk in rows]
    assert [(why.price, why.price_state) for why in before] == [
        (Decimal("80.00"), "locked"),
        (Decimal("80.30"), "follows"),
    ]
    drained()
    for why in before:
        after = ledger.explain(why.subscription_id, why.at)
        assert after == replace(why, entry_id=after.entry_id, recorded_at=after.recorded_at)
    assert not book_check.check().differs


@pytest.mark.parametrize("said", ["follow", "SQL"])
def test_who_is_told_to_follow_behind_it_follows_though_a_set_had_told_it_before(moved_clock, said):
    """The worker of the set comes last, and enters its word before the person's."""
    row = a_subscription(service=a_service(100))
    price_state.negotiate(row.pk, 50, "as agreed", "ann")
    begin = clock() + 600 * SECOND
    scheduled(begin, "current", kind="set", filter={}, adjustment="follow")
    for_new = {"kind": "list_price", "service": row.service_id, "for_new_only": True}
    scheduled(begin + SECOND, new_value="150", **for_new)
    moved_clock.to(begin + 2 * SECOND)
    if said == "follow":
        price_state.follow(row.pk, "carl")
    else:
        Subscription.objects.filter(pk=row.pk).update(price_state="follows")
    drained()
    assert stands(row)[:2] == (150, "follows")
    why = ledger.explain(row.pk)
    assert (why.price, why.price_state) == (150, "follows")
    assert not book_check.check().differs
    entries = WholeLedger.objects.filter(subscription_id=row.pk)
    last = [entries.order_by(*order).last() for order in (("pk",), ("effective_at", "pk"))]
    assert {entry.price_state for entry in last} == {"follows"}


MINUTE = 60 * SECOND


class Steps:
    """A row at 100.00 and instants a minute apart; workers come at the end, or after each step."""

    def __init__(self, moved_clock, in_time: bool) -> None:
        self.clock, self.in_time = moved_clock, in_time
        self.row = a_subscription(service=a_service(100))
        self.begin = clock() + 600 * SECOND
        self.minute = 0

    def next(self) -> None:
        self.minute += 1
        self.clock.to(self.begin + self.minute * MINUTE)
        if self.in_time:
            drained()

    def keeps(self, new_value: int, **values) -> PriceChange:
        """A change for new subscriptions only comes, at half of the minute."""
        change = scheduled(
            self.begin + (self.minute + 0.5) * MINUTE,
            kind="list_price",
            service=self.row.service_id,
            new_value=new_value,
            for_new_only=True,
            **values,
        )
        self.next()
        return change

    def taken_back(self, change: PriceChange) -> PriceChange:
        back = lifecycle.revert(change.pk, "bob", approve_too=True)
        self.next()
        return back

    def edited(self, full_price: int) -> None:
        Service.objects.filter(pk=self.row.service_id).update(full_price=full_price)
        self.next()

    def says(self) -> set[tuple[object, str]]:
        """Its price and state, by each reader."""
        why, at = ledger.explain(self.row.pk), self.clock.now()
        listed = Subscription.objects.in_force().get(pk=self.row.pk)
        found, _ = ledger.one_as_of(at, self.row.pk)
        assert why
        assert found
        return {
            (why.price, why.price_state),
            (listed.price, listed.price_state),
            (found["price"], found["price_state"]),
        }

    def always_says(self, price: int, state: str) -> None:
        for _ in ("before the workers come", "and when they have"):
            assert self.says() == {(Decimal(price), state)}
            drained()
        assert not book_check.check().differs
        assert stands(self.row)[:2] == (price, state)

    def fed(self) -> list[tuple[Decimal | None, str]]:
        """Its prices by the feed, in the order of instants."""
        entries = WholeLedger.objects.filter(subscription_id=self.row.pk)
        return list(entries.order_by("effective_at", "pk").values_list("price", "price_state"))


@pytest.fixture(params=[True, False], ids=["in time", "late"])
def steps(moved_clock, request) -> Steps:
    return Steps(moved_clock, in_time=request.param)


@pytest.mark.parametrize("swept", [False, True])
def test_who_is_kept_once_more_is_so_for_every_reader(steps, swept):
    """Though a worker has entered the revert between the two; and let go if that is taken back."""
    back = steps.taken_back(steps.keeps(150))
    steps.edited(160)
    if swept:
        drained()
    again = steps.taken_back(back)
    assert steps.says() == {(100, "locked")}
    if swept:
        drained()
    steps.taken_back(again)
    steps.always_says(160, "follows")


def test_who_has_moved_to_another_client_since_is_not_kept_once_more(steps):
    back = steps.taken_back(steps.keeps(150))
    Subscription.objects.filter(pk=steps.row.pk).update(client=a_client())
    steps.edited(160)
    steps.taken_back(back)
    steps.always_says(160, "follows")


def test_who_was_kept_by_another_one_in_between_is_kept_once_more(steps):
    back = steps.taken_back(steps.keeps(150))
    steps.taken_back(steps.keeps(170))
    steps.taken_back(back)
    steps.edited(160)
    steps.always_says(100, "locked")


def test_nobody_is_kept_once_more_until_an_end_that_has_passed(steps):
    change = steps.keeps(150, locked_until=steps.begin + 120 * MINUTE)
    back = steps.taken_back(change)
    steps.minute = 120
    steps.next()
    steps.taken_back(back)
    Subscription.objects.filter(pk=steps.row.pk).update(client=a_client())
    steps.always_says(150, "follows")
    assert {state for _, state in steps.fed()[-2:]} == {"follows"}


def test_a_revert_that_was_cancelled_before_its_instant_lets_nobody_go(steps):
    change = steps.keeps(150)
    later = lifecycle.revert(change.pk, "bob")
    at = steps.clock.now() + MINUTE / 2
    lifecycle.approve(later.pk, later.fingerprint, "bob", effective_at=at)
    lifecycle.cancel(later.pk, "carl")
    steps.next()
    steps.next()
    Subscription.objects.filter(pk=steps.row.pk).update(comment="seen")
    assert steps.fed()[-1] == (100, "locked")
    assert len(steps.fed()) == 2
    steps.taken_back(change)
    steps.edited(160)
    steps.always_says(160, "follows")


@pytest.mark.parametrize("ends", [False, True])
def test_who_is_let_go_is_fed_each_price_since_then(steps, ends):
    """Also one that has ended before the worker comes."""
    if ends:
        Subscription.objects.filter(pk=steps.row.pk).update(ended_at=steps.begin + 4.5 * MINUTE)
    steps.taken_back(steps.keeps(150))
    steps.edited(120)
    steps.edited(130)
    steps.next()
    drained()
    assert steps.fed() == [
        *([(100, "follows")] if ends else []),
        (100, "follows"),
        (100, "locked"),
        (100, "follows"),
        (120, "follows"),
        (130, "follows"),
    ]
    assert not book_check.check().differs
