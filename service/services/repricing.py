"""Bringing stored prices in line with the rule after the catalogue has moved.

Who calls it: the tasks (`reprice()`, `stamp()`: whatever is due), the book check's repair, and
whoever edits the catalogue with an author or a comment (`catalogue_edit`).

What flows through it: an edit of the catalogue has left a `Repricing` (a trigger wrote it, in the
edit's own transaction). `plan_due()` splits it into steps, one for each (service, plan) that has
subscriptions. Workers take steps chunk by chunk:

    one transaction: claim a step → lock service and plan (shared) → read the catalogue
                     → move the prices of the next 5,000 rows that differ → save the cursor

It looks at the state and does not trust the message: what is moved is what differs from the rule
*now*, so doing a step twice changes nothing, and of two edits that overlap the later one's price
stays. A killed worker leaves its chunk rolled back and its step free for the next one.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg.errors
from django.db import (
    DatabaseError,
    InterfaceError,
    OperationalError,
    connection,
    transaction,
)
from django.db.models import (
    BooleanField,
    Count,
    Exists,
    ExpressionWrapper,
    F,
    Max,
    OuterRef,
    Q,
    Subquery,
)
from django.db.models.functions import Now

from services.models import (
    Clock,
    LedgerEntry,
    LockEnd,
    Plan,
    Repricing,
    RepricingStep,
    Service,
    Skip,
    StampedComment,
    Subscription,
)
from services.pricing import rule_price
from services.querysets import SubscriptionQuerySet

# Rows that one transaction looks at: the longest that a price edit has to wait.
CHUNK = 5_000

# A worker that meets a lock gives way: shorter than deadlock_timeout (1 s), so that of a worker
# and a person who wait for each other it is never the person's transaction that is cancelled.
LOCK_TIMEOUT = "200ms"

# How often one run comes back to steps that are held up. The sweep comes back anyway; runs that
# wait would fill all workers, and nothing else would be done.
TRIES = 3

PRICE, COMMENT = RepricingStep.Kind.PRICE, RepricingStep.Kind.COMMENT


@contextmanager
def catalogue_edit(author: str = "", comment: str = "") -> Iterator[None]:
    """A transaction whose catalogue edits carry an author and a comment to stamp.

    The comment (up to 50 characters) is stamped on each active subscription that the edit
    concerns and that has no comment of a person's. Two queries besides the edits.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('pricebook.author', %s, true),"
            " set_config('pricebook.comment', %s, true)",
            [author, comment],
        )
        yield
        # Local to the transaction; an outer one that goes on is not this edit's.
        cursor.execute(
            "SELECT set_config('pricebook.author', '', true),"
            " set_config('pricebook.comment', '', true)"
        )


def reprice(seconds: float = 60.0) -> int:
    """Move the prices that are due until nothing is left to take; return how many moved.

    Stops after `seconds` (what is left stays due). One query when nothing is due.
    """
    return _drain(PRICE, seconds)


def stamp(seconds: float = 60.0) -> int:
    """Stamp the comments that are due, as `reprice` moves prices; return how many were stamped."""
    return _drain(COMMENT, seconds)


def reprice_one(subscription_id: int, seconds: float = 60.0) -> bool:
    """Bring one subscription's price in line with the rule now; tell whether it moved.

    `LockHeld` when somebody's open transaction is in the way for longer than `seconds`.
    """
    deadline = time.monotonic() + seconds
    subscriptions = Subscription.objects.filter(pk=subscription_id)
    while True:
        try:
            with _giving_way():
                pair = subscriptions.values_list("service_id", "plan_id").first()
                if pair is None:
                    return False
                lock_catalogue(*pair)
                # One that moves to another pair meanwhile is priced by its own write.
                return _move_followers(subscriptions, *pair) > 0
        except LockHeld:
            if time.monotonic() > deadline:
                raise
            _pause()


def stamp_one(subscription_id: int, comment: str | None = None) -> bool:
    """Stamp one subscription now, with `comment` or with that of the newest edit that has one.

    A person's comment stays. Tells whether anything was written.
    """
    subscriptions = Subscription.objects.filter(pk=subscription_id)
    if comment is None:
        pair = subscriptions.values_list("service_id", "plan_id").first()
        if pair is None:
            return False
        comment = (
            Repricing.objects.exclude(comment="")
            .concerning(*pair)
            .order_by("-id")
            .values_list("comment", flat=True)
            .first()
        )
    return write_stamp(subscriptions, comment) > 0 if comment else False


@dataclass(frozen=True)
class Progress:
    """How far a repricing is: rows looked at of all, rows a second, time left."""

    done: int
    total: int
    repriced: int
    rate: float
    left: timedelta | None
    finished: bool

    @property
    def fraction(self) -> float:
        return 1.0 if self.finished or not self.total else self.done / self.total


def progress(repricing: Repricing) -> Progress:
    """The progress of a repricing (1 query, over its remaining steps)."""
    steps = [step for step in repricing.steps.all() if step.kind == PRICE]  # prefetched in lists
    remaining = sum(max(0, step.subscriptions - step.checked) for step in steps)
    total = repricing.subscriptions
    finished = repricing.finished_at is not None
    done = total - remaining if repricing.planned_at else 0
    until = repricing.finished_at or datetime.now(UTC)
    since = (until - (repricing.planned_at or repricing.requested_at)).total_seconds()
    rate = done / since if since > 0 else 0.0
    left = timedelta(seconds=remaining / rate) if rate and not finished else None
    return Progress(done, total, repricing.repriced, rate, left, finished)


# --- The work ---------------------------------------------------------------------------------


class LockHeld(Exception):
    """Somebody else holds a lock that we needed, and we gave way."""


@contextmanager
def _giving_way() -> Iterator[None]:
    """A transaction that waits for no lock longer than LOCK_TIMEOUT; `LockHeld` if it had to."""
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            yield
    except OperationalError as error:
        if isinstance(
            error.__cause__, psycopg.errors.LockNotAvailable | psycopg.errors.DeadlockDetected
        ):
            raise LockHeld(str(error)) from error
        raise


def _pause() -> None:
    time.sleep(random.uniform(0.05, 0.15))  # noqa: S311 - so that workers don't march in step


def _drain(lane: str, seconds: float) -> int:
    deadline = time.monotonic() + seconds
    moved = tries = 0
    blocked: set[int] = set()  # steps that somebody's open transaction holds up: others go first
    while time.monotonic() < deadline:
        started = [look() for look in START_DUE]  # each, though one gives way
        planned = all(started) and plan_due()
        chunk = _take_chunk(lane, blocked)
        if chunk is not None:
            moved += chunk
        elif (blocked or not planned) and tries < TRIES:
            tries += 1
            blocked.clear()
            _pause()
        else:
            break
    return moved


def plan_due() -> bool:
    """Split repricings that are new into steps, and close those whose steps are all done.

    One query when there is nothing of either. False when another worker plans for longer than
    LOCK_TIMEOUT; who took no for an answer would leave steps that nobody has been woken for.
    """
    due = Repricing.objects.due()
    without_steps = due.exclude(Exists(RepricingStep.objects.filter(repricing=OuterRef("pk"))))
    # In the order of the edits: of two that stamp the same rows the later one's comment stays.
    for repricing in without_steps.filter(paused_at=None).order_by("pk"):
        try:
            if repricing.planned_at is None:
                _plan(repricing.pk)
            else:
                # Somebody who pauses or cancels the change holds it, and wants this row.
                with _giving_way():
                    due.filter(pk=repricing.pk).update(finished_at=Now())
        except LockHeld:
            return False  # and not the next one: they are planned in order
    return True


def _plan(repricing_id: int) -> None:
    """One step for each (service, plan) with subscriptions that the repricing concerns.

    `last_id` bounds it: a subscription that came later was priced by the catalogue as it is.
    `LockHeld` when another worker is at it.
    """
    with _giving_way(), connection.cursor() as cursor:
        repricing = Repricing.objects.filter(pk=repricing_id).select_for_update().first()
        if repricing is None or repricing.planned_at is not None:
            return
        cursor.execute(
            """
            WITH pair AS (
                SELECT service.id AS service_id, plan.id AS plan_id, last.id AS last_id,
                       coalesce(subtotal.subscriptions, 0) AS subscriptions
                  FROM services_service service
                 CROSS JOIN services_plan plan
                 CROSS JOIN LATERAL (
                       SELECT max(id) AS id FROM services_subscription
                        WHERE service_id = service.id AND plan_id = plan.id) last
                  LEFT JOIN (
                       SELECT service_id, plan_id, sum(subscriptions) AS subscriptions
                         FROM services_subtotal GROUP BY service_id, plan_id) subtotal
                    ON (subtotal.service_id, subtotal.plan_id) = (service.id, plan.id)
                 WHERE last.id IS NOT NULL
                   AND (%(service)s::bigint IS NULL OR service.id = %(service)s)
                   AND (%(plan)s::bigint IS NULL OR plan.id = %(plan)s)
            ), step AS (
                INSERT INTO services_repricingstep
                       (repricing_id, kind, service_id, plan_id, subscriptions, last_id,
                        effective_at)
                SELECT %(repricing)s, kind, service_id, plan_id, subscriptions, last_id,
                       %(effective_at)s
                  FROM pair, unnest(%(kinds)s::text[]) kind
                 ORDER BY kind DESC, service_id, plan_id
            )
            UPDATE services_repricing
               SET planned_at = clock_timestamp(),
                   finished_at = CASE WHEN NOT EXISTS (SELECT FROM pair) THEN clock_timestamp() END,
                   subscriptions = (SELECT coalesce(sum(subscriptions), 0) FROM pair)
             WHERE id = %(repricing)s
            """,
            {
                "repricing": repricing_id,
                "service": repricing.service_id,
                "plan": repricing.plan_id,
                "effective_at": repricing.effective_at,
                "kinds": [PRICE, COMMENT]
                if repricing.comment or repricing.unstamps_change_id
                else [PRICE],
            },
        )


def _take_chunk(lane: str, blocked: set[int]) -> int | None:
    """Do the next chunk of a step in one transaction; None when there is no step to take.

    A step that waits for a lock too long is put into `blocked`. A chunk that fails is halved
    until the row that can't be written stands alone; it is left out, with the reason.
    """
    size, failed, reason = CHUNK, None, ""
    while True:
        step = None
        try:
            with _giving_way():
                step = _claim(lane, blocked)
                if step is None:
                    return None
                if failed == (step.pk, step.after_id) and size == 0:
                    _leave_out_next(step, reason)
                    return 0
                return _do_chunk(step, size or 1)
        except LockHeld:
            if step is not None:
                blocked.add(step.pk)
            return 0
        except (OperationalError, InterfaceError):
            raise
        except DatabaseError as error:
            if step is None:
                raise
            reason = str(error).partition("\n")[0]
            failed, size = (step.pk, step.after_id), size // 2


def _claim(lane: str, blocked: set[int]) -> RepricingStep | None:
    """The first step that no other worker holds, locked; of one pair only ever its first.

    First is what has the earliest instant, then what was planned first. What is paused holds
    nobody up.
    """
    going = RepricingStep.objects.filter(kind=lane, repricing__paused_at=None)
    siblings = going.filter(service_id=OuterRef("service_id"), plan_id=OuterRef("plan_id"))
    earlier = Q(effective_at__lt=OuterRef("effective_at")) | Q(
        effective_at=OuterRef("effective_at"), pk__lt=OuterRef("pk")
    )
    return (
        going.exclude(pk__in=blocked)
        .exclude(Exists(siblings.filter(earlier)))
        .select_related("repricing")
        .order_by("effective_at", "pk")
        .select_for_update(skip_locked=True, of=("self",))
        .first()
    )


@dataclass(frozen=True)
class Chunk:
    """What a mover has done: it looked at `rows` up to `last_id`, and moved some of them."""

    rows: int
    last_id: int
    moved: int
    done: bool  # nothing of the step is left behind `last_id`


def _do_chunk(step: RepricingStep, size: int) -> int:
    at_point("chunk begun")
    mover = stamp_pair if step.kind == COMMENT else MOVERS[step.repricing.kind]
    chunk = mover(step, size)
    at_point("chunk moved")
    if chunk.done:
        step.delete()
    else:
        step.after_id = chunk.last_id
        step.checked = F("checked") + chunk.rows
        step.save(update_fields=["after_id", "checked"])
    # Last, because the other worker's chunk of this repricing waits for this row.
    if step.kind == PRICE and chunk.rows:
        Repricing.objects.filter(pk=step.repricing_id).update(
            repriced=F("repriced") + chunk.moved, checked=F("checked") + chunk.rows
        )
    elif chunk.moved:
        Repricing.objects.filter(pk=step.repricing_id).update(stamped=F("stamped") + chunk.moved)
    at_point("chunk counted")
    return chunk.moved


def _leave_out_next(step: RepricingStep, reason: str) -> None:
    """Pass over the next row of a step, which can't be written, and say so."""
    subscription_id = NEXT_ROW.get(step.repricing.kind, _next_of_pair)(step)
    if subscription_id is None:
        step.delete()
        return
    step.after_id = subscription_id
    step.checked = F("checked") + 1
    step.save(update_fields=["after_id", "checked"])
    if step.kind == PRICE:
        Skip.objects.create(
            repricing_id=step.repricing_id,
            reason=Skip.Reason.FAILED,
            subscription_id=subscription_id,
            detail=reason[:500],
        )
        Repricing.objects.filter(pk=step.repricing_id).update(
            failed=F("failed") + 1, checked=F("checked") + 1
        )


def _next_of_pair(step: RepricingStep) -> int | None:
    rows = Subscription.objects.of_pair(step.service_id, step.plan_id, step.after_id, step.last_id)
    return rows.values_list("pk", flat=True).first()


def _next_rows(step: RepricingStep, size: int) -> tuple[SubscriptionQuerySet, int, int, bool]:
    """The next `size` rows of a step's pair; how many they are, the last id, whether that is all.

    Reads no more than these.
    """
    ahead = Subscription.objects.of_pair(
        step.service_id, step.plan_id, step.after_id, step.last_id
    )[:size].aggregate(last=Max("id"), rows=Count("id"))
    rows, done = ahead["rows"], ahead["rows"] < size
    last_id = step.last_id if done else ahead["last"]
    # Equalities again: as a range, the planner would read the whole service for one of its plans.
    chunk = Subscription.objects.filter(
        service_id=step.service_id, plan_id=step.plan_id, id__gt=step.after_id, id__lte=last_id
    )
    return chunk, rows, last_id, done


def lock_catalogue(service_id: int, plan_id: int) -> None:
    """Shared locks until the commit: what the next statements read of the catalogue stays true.

    In a statement of its own and before all others. Without it a chunk that began before a second
    edit would finish after it, with the first one's price.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT lock_service(%s, false)", [service_id])
        cursor.execute("SELECT lock_plan(%s, false)", [plan_id])


@contextmanager
def ledger_origin(
    change_id: int | None = None, effective_at: datetime | None = None, kept: bool = False
) -> Iterator[None]:
    """What the ledger's entries of the block's writes say of their origin.

    With `kept` the writer sees to the rule and the ledger itself. Two queries; within a
    transaction only.
    """
    names = ("pricebook.change", "pricebook.effective_at", "pricebook.kept")
    values = (
        "" if change_id is None else str(change_id),
        "" if effective_at is None else effective_at.isoformat(),
        "on" if kept else "",
    )
    setting = "SELECT set_config(%s, %s, true), set_config(%s, %s, true), set_config(%s, %s, true)"
    with connection.cursor() as cursor:
        cursor.execute(setting, [part for pair in zip(names, values, strict=True) for part in pair])
        yield
        cursor.execute(setting, [part for name in names for part in (name, "")])


def move_pair(step: RepricingStep, size: int) -> Chunk:
    """Followers of the step's pair to the rule's price."""
    lock_catalogue(step.service_id, step.plan_id)
    rows, count, last_id, done = _next_rows(step, size)
    if not count:
        return Chunk(0, last_id, 0, True)
    moved = _move_followers(rows, step.service_id, step.plan_id)
    _count_skips(step, rows, count, moved)
    return Chunk(count, last_id, moved, done)


def _count_skips(step: RepricingStep, rows: SubscriptionQuerySet, count: int, moved: int) -> None:
    if moved == count:
        return
    ended = Q(ended_at__lte=Now())
    found = rows.aggregate(
        ended=Count("pk", filter=ended),
        locked=Count("pk", filter=Q(price_state="locked") & ~ended),
        negotiated=Count("pk", filter=Q(price_state="negotiated") & ~ended),
    )
    # A kept lock is both moved and locked now.
    if step.repricing.kind == Repricing.Kind.KEEP:
        found["locked"] = max(0, found["locked"] - moved)
    found["unchanged"] = max(0, count - moved - sum(found.values()))
    Skip.objects.bulk_create(
        Skip(repricing_id=step.repricing_id, reason=reason, rows=rows)
        for reason, rows in found.items()
        if rows
    )


def _move_followers(rows: SubscriptionQuerySet, service_id: int, plan_id: int) -> int:
    """Write the rule's price where another one stands, among rows of one (service, plan).

    Wants the catalogue's locks. One entry of the ledger for each change that fell due, though the
    row is written once.
    """
    price = rule_price(
        Service.objects.values_list("full_price", flat=True).get(pk=service_id),
        Plan.objects.values_list("discount_percent", flat=True).get(pk=plan_id),
    )
    # One table and a constant: a row that somebody else has just written is judged anew by all
    # of these conditions when its lock is free.
    followers = rows.filter(service_id=service_id, plan_id=plan_id).following()
    differing = followers.exclude(price=price)
    events = _events(service_id, plan_id)
    if len(events) > 1:
        return _move_through(events, followers, price)
    with ledger_origin(*(events[0][1:3] if events else ())):
        return differing.update(price=price)


def _events(service_id: int, plan_id: int) -> list[tuple[int, int | None, datetime, bool]]:
    """Changes of the catalogue for this pair from the first one that is due on, in order."""
    of_pair = Repricing.objects.concerning(service_id, plan_id).exclude(new_value=None)
    first = (
        of_pair.due()
        .filter(paused_at=None)
        .order_by("effective_at", "pk")
        .values_list("effective_at", flat=True)
        .first()
    )
    if first is None:
        return []
    return list(
        of_pair.filter(effective_at__gte=first)
        .order_by("effective_at", "pk")
        .values_list(
            "position",
            "change_id",
            "effective_at",
            ExpressionWrapper(Q(finished_at=None), output_field=BooleanField()),
        )
    )


# A subscription owes an entry for each due change that its newest entry does not know of, and for
# each later one again, since the price in force from then on is another: a worker may come late.
THROUGH = """
WITH event AS (
    SELECT position, change_id, effective_at, due, number
      FROM unnest(%s::bigint[], %s::bigint[], %s::timestamptz[], %s::boolean[])
           WITH ORDINALITY event (position, change_id, effective_at, due, number)
), owing AS (
    SELECT subscription.*,
           (SELECT min(effective_at) FROM event
             WHERE due AND position > (SELECT max(entry.id) FROM services_ledgerentry entry
                                        WHERE entry.subscription_id = subscription.id)) AS since
      FROM services_subscription subscription WHERE id = ANY (%s)
)
INSERT INTO services_ledgerentry
       (subscription_id, client_id, service_id, plan_id, price, price_state, effective_at,
        change_id)
SELECT owing.id, client_id, service_id, plan_id,
       price_rule_at(service_id, plan_id, event.effective_at), 'follows', event.effective_at,
       event.change_id
  FROM owing JOIN event ON event.effective_at >= owing.since
 ORDER BY owing.id, number
RETURNING subscription_id
"""


def _move_through(
    events: list[tuple[int, int | None, datetime, bool]],
    followers: SubscriptionQuerySet,
    price: Decimal,
) -> int:
    # Locked in a statement of their own: the next one sees the entries of whom it has waited for.
    locked = list(followers.order_by().select_for_update(no_key=True).values_list("pk", flat=True))
    with connection.cursor() as cursor:
        columns = [list(column) for column in zip(*events, strict=True)]
        cursor.execute(THROUGH, [*columns, locked])
        written = {id for (id,) in cursor.fetchall()}
    with ledger_origin(kept=True):
        moved = followers.filter(pk__in=written).exclude(price=price).update(price=price)
    with ledger_origin(*events[-1][1:3]):
        return moved + followers.exclude(price=price).update(price=price)


def keep_pair(step: RepricingStep, size: int) -> Chunk:
    """Lock followers at the price that they had before the change, which is for new ones only."""
    lock_catalogue(step.service_id, step.plan_id)
    rows, count, last_id, done = _next_rows(step, size)
    repricing = step.repricing
    newest = (
        LedgerEntry.objects.filter(subscription_id=OuterRef("pk")).order_by("-id").values("id")[:1]
    )
    with ledger_origin(repricing.change_id, repricing.effective_at):
        moved = (
            rows.following()
            # Who came, or came to this pair, after the change has seen its price.
            .alias(newest=Subquery(newest))
            .filter(newest__lt=repricing.position)
            .update(
                price_state=Subscription.PriceState.LOCKED,
                locked_until=repricing.locked_until,
                price_reason=f"Price change {repricing.change_id} is for new subscriptions only",
            )
        )
    _count_skips(step, rows, count, moved)
    return Chunk(count, last_id, moved, done)


def stamp_pair(step: RepricingStep, size: int) -> Chunk:
    """The repricing's comment on the followers of the step's pair."""
    rows, count, last_id, done = _next_rows(step, size)
    repricing = step.repricing
    if repricing.unstamps_change_id is None:
        moved = write_stamp(rows.following(), repricing.comment, repricing.change_id)
    else:
        moved = _unstamp(rows, repricing.unstamps_change_id)
    return Chunk(count, last_id, moved, done)


def write_stamp(rows: SubscriptionQuerySet, comment: str, change_id: int | None = None) -> int:
    """Stamp where there is no comment, or an earlier stamp; what a person wrote stays.

    What a price change's stamp writes over is kept for its revert.
    """
    stamped = rows.filter(Q(comment="") | Q(comment=F("stamp"))).exclude(comment=comment)
    if change_id is not None:
        before = list(stamped.select_for_update(no_key=True).values_list("pk", "comment", "stamp"))
        StampedComment.objects.bulk_create(
            (
                StampedComment(change_id=change_id, subscription_id=pk, comment=was, stamp=stamp)
                for pk, was, stamp in before
            ),
            ignore_conflicts=True,
        )
        stamped = stamped.filter(pk__in=[pk for pk, _, _ in before])
    return stamped.update(comment=comment, stamp=comment)


def _unstamp(rows: SubscriptionQuerySet, change_id: int) -> int:
    """Put back what the change's stamp wrote over, where the stamp still stands."""
    before = StampedComment.objects.filter(change_id=change_id, subscription_id=OuterRef("pk"))
    repricing = Repricing.objects.filter(change_id=change_id).exclude(comment="")
    comment = repricing.values_list("comment", flat=True).first()
    stamped = rows.filter(Exists(before), comment=comment, stamp=comment)
    return stamped.update(
        comment=Subquery(before.values("comment")), stamp=Subquery(before.values("stamp"))
    )


def release_ended_locks() -> bool:
    """Followers again, from the instant at which their lock ended; False if somebody is in the way.

    One query when no lock has ended.
    """
    while True:
        ended = LockEnd.objects.filter(until__lte=Clock()).order_by("until", "subscription_id")
        until = ended.values_list("until", flat=True).first()
        if until is None:
            return True
        try:
            with _giving_way():
                taken = list(
                    LockEnd.objects.filter(until=until)
                    .order_by("subscription_id")
                    .select_for_update(skip_locked=True)
                    .values_list("pk", "subscription_id")[:CHUNK]
                )
                if not taken:
                    return True  # another worker has them
                _release(until, [subscription_id for _, subscription_id in taken])
                LockEnd.objects.filter(pk__in=[pk for pk, _ in taken]).delete()
        except LockHeld:
            return False


# From the end of the lock on, what the rule said at each instant that the catalogue moved.
RELEASED = """
INSERT INTO services_ledgerentry
       (subscription_id, client_id, service_id, plan_id, price, price_state, effective_at,
        change_id)
SELECT subscription.id, client_id, subscription.service_id, subscription.plan_id,
       price_rule_at(subscription.service_id, subscription.plan_id, event.effective_at),
       'follows', event.effective_at, event.change_id
  FROM services_subscription subscription
 CROSS JOIN LATERAL (
       SELECT effective_at, change_id, id FROM services_repricing repricing
        WHERE kind <> 'rows' AND new_value IS NOT NULL AND effective_at > %(until)s
          AND (service_id, coalesce(plan_id, 0)) = (subscription.service_id, 0)
       UNION ALL
       SELECT effective_at, change_id, id FROM services_repricing repricing
        WHERE kind <> 'rows' AND new_value IS NOT NULL AND effective_at > %(until)s
          AND (coalesce(service_id, 0), plan_id) = (0, subscription.plan_id)
       UNION ALL
       SELECT %(until)s, NULL, 0) event
 WHERE subscription.id = ANY (%(ids)s)
 ORDER BY subscription.id, event.effective_at, event.id
"""


def _release(until: datetime, subscription_ids: list[int]) -> None:
    rows = (
        Subscription.objects.filter(pk__in=subscription_ids)
        .active()
        .filter(price_state=Subscription.PriceState.LOCKED, locked_until=until)
    )
    pairs = list(rows.order_by().values_list("service_id", "plan_id").distinct())
    for service_id in sorted({service_id for service_id, _ in pairs}):
        with connection.cursor() as cursor:
            cursor.execute("SELECT lock_service(%s, false)", [service_id])
    for plan_id in sorted({plan_id for _, plan_id in pairs}):
        with connection.cursor() as cursor:
            cursor.execute("SELECT lock_plan(%s, false)", [plan_id])
    found = list(rows.select_for_update(no_key=True).values_list("pk", "service_id", "plan_id"))
    if not {tuple(pair) for _, *pair in found} <= set(pairs):
        raise LockHeld("A subscription moved to a pair that is not locked.")
    release_rows(until, [pk for pk, *_ in found])


def release_rows(until: datetime, subscription_ids: list[int]) -> None:
    """Let locked rows follow since `until`, with the entries of all that they have missed.

    Two queries and the settings'. Wants the locks of the rows and of their catalogue.
    """
    with connection.cursor() as cursor:
        cursor.execute(RELEASED, {"until": until, "ids": subscription_ids})
    with ledger_origin(kept=True):
        Subscription.objects.filter(pk__in=subscription_ids).update(
            price_state=Subscription.PriceState.FOLLOWS, price=None
        )


# What a step of each kind of repricing does, and where its next row is found. `price_changes` adds
# its own: it stands on top of this.
MOVERS: dict[str, Callable[[RepricingStep, int], Chunk]] = {
    Repricing.Kind.CATALOGUE: move_pair,
    Repricing.Kind.KEEP: keep_pair,
}
NEXT_ROW: dict[str, Callable[[RepricingStep], int | None]] = {}
# What may have fallen due by the clock; each starts it, and is False where it had to give way.
START_DUE: list[Callable[[], bool]] = [release_ended_locks]


def at_point(name: str) -> None:
    """A named point of an apply. Does nothing; the kill harness has it wait here, to be killed."""
    if POINT is not None:
        POINT(name)


POINT: Callable[[str], None] | None = None
