"""Bringing stored prices in line with the rule after the catalogue has moved.

Who calls it: the tasks (`reprice()`, `stamp()`: whatever is due), the book check's repair, and
whoever edits the catalogue with an author or a comment (`catalogue_edit`).

What flows through it: an edit of the catalogue has left a `Repricing` (a trigger wrote it, in the
edit's own transaction). `plan_due()` splits it into steps, one for each (service, plan) that has
subscriptions. Workers take steps chunk by chunk:

    one transaction: claim a step → lock service and plan (shared) → read the catalogue
                     → move the prices of the next 4,000 rows that differ → save the cursor
                     … and so the next steps, while there is room → count what was done

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

from django.db import (
    DatabaseError,
    InterfaceError,
    OperationalError,
    connection,
    transaction,
)
from django.db.models import Count, Exists, F, Max, OuterRef, Q
from django.db.models.functions import Now

from services.models import Repricing, RepricingStep, Skip, Subscription, SubscriptionQuerySet
from services.repricing import comments, followers, lock_ends
from services.repricing.writes import LockHeld, at_point, giving_way, lock_catalogue

# Rows that one transaction looks at: the longest that a price edit has to wait.
CHUNK = 4_000

# Where steps are small one transaction takes several, for its end costs what a hundred rows do:
# so many at most, and begins none after so many seconds.
STEPS = 20
SECONDS = 0.1

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

    One that waits for a paused change, or for one that is to keep its price, is left to them.
    `LockHeld` when somebody's open transaction is in the way for longer than `seconds`.
    """
    deadline = time.monotonic() + seconds
    subscriptions = Subscription.objects.filter(pk=subscription_id)
    while True:
        try:
            with giving_way():
                pair = subscriptions.values_list("service_id", "plan_id").first()
                if pair is None:
                    return False
                lock_catalogue(*pair)
                due = Repricing.objects.due().concerning(*pair)
                if due.filter(Q(paused_at__isnull=False) | Q(kind=Repricing.Kind.KEEP)).exists():
                    return False
                # One that moves to another pair meanwhile is priced by its own write.
                return followers.move(subscriptions, *pair, alone=False) > 0
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
    return comments.write(subscriptions, comment) > 0 if comment else False


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


def _pause() -> None:
    time.sleep(random.uniform(0.05, 0.15))  # noqa: S311 - so that workers don't march in step


def _drain(lane: str, seconds: float) -> int:
    deadline = time.monotonic() + seconds
    moved = tries = 0
    blocked: set[int] = set()  # steps that somebody's open transaction holds up: others go first
    sizes: dict[int, int] = {}  # of the next chunk of a step that has a row that can't be written
    while time.monotonic() < deadline:
        started = [look() for look in START_DUE]  # each, though one gives way
        planned = all(started) and plan_due()
        chunk = _take_chunk(lane, blocked, sizes)
        if chunk is not None:
            moved += chunk
            at_point("chunk committed")
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
    # A paused one too: its steps hold up those of others, which would move its rows.
    for repricing in without_steps.exclude(
        paused_at__isnull=False, planned_at__isnull=False
    ).order_by("pk"):
        try:
            if repricing.planned_at is None:
                _plan(repricing.pk)
            else:
                # Somebody who pauses or cancels the change holds it, and wants this row.
                with giving_way():
                    due.filter(pk=repricing.pk, paused_at=None).update(finished_at=Now())
                    at_point("repricing finished")
        except LockHeld:
            return False  # and not the next one: they are planned in order
    return True


def _plan(repricing_id: int) -> None:
    """One step for each (service, plan) with subscriptions that the repricing concerns.

    `last_id` bounds it: a subscription that came later was priced by the catalogue as it is.
    `LockHeld` when another worker is at it.
    """
    with giving_way(), connection.cursor() as cursor:
        # One that has been cancelled meanwhile is due no more.
        due = Repricing.objects.due().filter(pk=repricing_id, planned_at=None)
        repricing = due.select_for_update().first()
        if repricing is None:
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
        at_point("steps planned")


def _take_chunk(lane: str, blocked: set[int], sizes: dict[int, int] | None = None) -> int | None:
    """Do the next chunk in one transaction; None when there is no step to take.

    It is of one step, or of several that are small. A step that waits for a lock too long is put
    into `blocked`. A chunk that fails is halved until the row that can't be written stands alone;
    it is left out, with the reason, and the step goes on by small chunks that grow (`sizes`).
    """
    sizes = {} if sizes is None else sizes
    failed, reason = None, ""
    while True:
        step, alone = None, False
        done: list[tuple[RepricingStep, Chunk]] = []
        try:
            with giving_way():
                step = next(iter(_claim(lane, blocked)), None)
                if step is None:
                    return None
                size = sizes.get(step.pk, CHUNK)
                alone = size == 0 and failed == (step.pk, step.after_id)
                if alone:
                    _leave_out_next(step, reason)
                else:
                    deadline = time.monotonic() + SECONDS
                    done.append((step, _do_chunk(step, size or 1)))
                    if size == CHUNK:
                        _fill_up(lane, done, blocked, deadline)
                    _save(lane, done)
            if size < CHUNK:
                sizes[step.pk] = min(CHUNK, 2 * size or 1)
            return sum(chunk.moved for _, chunk in done)
        except LockHeld:
            if len(done) > 1:
                _part(done, sizes)
            elif step is not None:
                blocked.add(step.pk)
            return 0
        except (OperationalError, InterfaceError):
            raise
        except DatabaseError as error:
            if step is None or alone:
                raise
            if len(done) > 1:
                _part(done, sizes)
                continue
            reason = str(error).partition("\n")[0]
            failed = (step.pk, step.after_id)
            sizes[step.pk] = sizes.get(step.pk, CHUNK) // 2


def _fill_up(
    lane: str, done: list[tuple[RepricingStep, Chunk]], blocked: set[int], deadline: float
) -> None:
    """Do small steps in this transaction too, while there is room and until the deadline.

    Adds to `done`. One that can't be done at once is left: the next transaction takes it first.
    """
    [(first, chunk)] = done
    room = _room() - chunk.rows
    # No more than will be done, if they are like the first: another worker may take the others.
    few = min(STEPS - 1, room // max(1, chunk.rows))
    if few <= 0 or time.monotonic() > deadline:
        return
    for step in _claim(lane, blocked | {first.pk}, few, room):
        if room <= 0 or time.monotonic() > deadline:
            return
        try:
            with giving_way(at_once=True):
                chunk = _do_chunk(step, room)
        except LockHeld:
            return
        except (OperationalError, InterfaceError):
            raise
        except DatabaseError:
            return
        done.append((step, chunk))
        room -= chunk.rows


def _part(done: list[tuple[RepricingStep, Chunk]], sizes: dict[int, int]) -> None:
    """Have each done by itself: whose fault it was that they failed together is not known.

    A counter that somebody holds, or a constraint that is checked at the commit.
    """
    sizes.update((step.pk, CHUNK // 2) for step, _ in done)


def _room() -> int:
    """Rows that one transaction may move of several pairs, which lie side by side in the pages.

    What it has moved keeps its room until the end, and a page has room for a seventh of its rows.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT reltuples FROM pg_class WHERE oid = 'services_subscription'::regclass"
        )
        return min(CHUNK, int(cursor.fetchone()[0]) // 20)


def _claim(
    lane: str, blocked: set[int], number: int = 1, rows: int | None = None
) -> list[RepricingStep]:
    """The first steps that no other worker holds, locked; of one pair only ever its first.

    Those with more than `rows` left are passed over.

    First is what has the earliest instant, then what was planned first. What is paused holds up
    those of the catalogue only, which would move its rows to the rule's price.
    """
    going = RepricingStep.objects.filter(kind=lane, repricing__paused_at=None)
    of_pair = RepricingStep.objects.filter(
        kind=lane, service_id=OuterRef("service_id"), plan_id=OuterRef("plan_id")
    )
    earlier = Q(effective_at__lt=OuterRef("effective_at")) | Q(
        effective_at=OuterRef("effective_at"), pk__lt=OuterRef("pk")
    )
    of_rows = Q(repricing__kind=Repricing.Kind.ROWS)
    paused = of_pair.filter(~of_rows, repricing__paused_at__isnull=False)
    if rows is not None:
        going = going.filter(subscriptions__lte=F("checked") + rows)
    return list(
        going.exclude(pk__in=blocked)
        .exclude(Exists(of_pair.filter(earlier, repricing__paused_at=None)))
        .filter(of_rows | ~Exists(paused))
        .select_related("repricing")
        .order_by("effective_at", "pk")
        .select_for_update(skip_locked=True, of=("self",))[:number]
    )


@dataclass(frozen=True)
class Chunk:
    """What a mover has done: it looked at `rows` up to `last_id`, and moved some of them."""

    rows: int
    last_id: int
    moved: int
    done: bool  # nothing of the step is left behind `last_id`
    stamped: int = 0  # comments that were written beside the prices


def _do_chunk(step: RepricingStep, size: int) -> Chunk:
    at_point("chunk begun")
    mover = stamp_pair if step.kind == COMMENT else MOVERS[step.repricing.kind]
    chunk = mover(step, size)
    at_point("chunk moved")
    return chunk


def _save(lane: str, done: list[tuple[RepricingStep, Chunk]]) -> None:
    """The cursors, and then what was done: other workers' chunks wait for a repricing's row."""
    of_repricing: dict[int, list[Chunk]] = {}
    for step, chunk in done:
        of_repricing.setdefault(step.repricing_id, []).append(chunk)
        if not chunk.done:
            RepricingStep.objects.filter(pk=step.pk).update(
                after_id=chunk.last_id, checked=F("checked") + chunk.rows
            )
    RepricingStep.objects.filter(pk__in=[step.pk for step, chunk in done if chunk.done]).delete()
    at_point("steps saved")
    for repricing_id, chunks in sorted(of_repricing.items()):
        moved = sum(chunk.moved for chunk in chunks)
        if lane == COMMENT:
            counts = {"stamped": moved}
        else:
            counts = {
                "repriced": moved,
                "checked": sum(chunk.rows for chunk in chunks),
                "stamped": sum(chunk.stamped for chunk in chunks),
            }
        if any(counts.values()):
            Repricing.objects.filter(pk=repricing_id).update(
                **{name: F(name) + count for name, count in counts.items()}
            )
    at_point("chunk counted")


def _leave_out_next(step: RepricingStep, reason: str) -> None:
    """Pass over the next row of a step, which can't be written, and say so."""
    of_prices = step.kind == PRICE
    next_row = NEXT_ROW.get(step.repricing.kind, _next_of_pair) if of_prices else _next_of_pair
    subscription_id = next_row(step)
    if subscription_id is None:
        step.delete()
        return
    step.after_id = subscription_id
    step.checked = F("checked") + 1
    step.save(update_fields=["after_id", "checked"])
    Skip.objects.create(
        repricing_id=step.repricing_id,
        reason=Skip.Reason.FAILED if of_prices else Skip.Reason.NOT_STAMPED,
        subscription_id=subscription_id,
        detail=reason[:500],
    )
    if of_prices:
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


def move_pair(step: RepricingStep, size: int) -> Chunk:
    """Followers of the step's pair to the rule's price."""
    lock_catalogue(step.service_id, step.plan_id)
    rows, count, last_id, done = _next_rows(step, size)
    if not count:
        return Chunk(0, last_id, 0, True)
    moved = locked = 0
    if step.repricing.unkeeps_change_id is not None:
        moved, locked = followers.give_back(rows, step.repricing)
    moved += followers.move(rows, step.service_id, step.plan_id)
    count = _count_skips(step, rows, count, moved, locked)
    return Chunk(count, last_id, moved, done)


def keep_pair(step: RepricingStep, size: int) -> Chunk:
    """Lock followers at the price that they had before the change, which is for new ones only."""
    lock_catalogue(step.service_id, step.plan_id)
    rows, count, last_id, done = _next_rows(step, size)
    kept = followers.keep(rows, step.repricing, step.service_id, step.plan_id)
    # Who came between the instant and the start has yet to see the new price.
    moved = kept + followers.move(rows, step.service_id, step.plan_id)
    count = _count_skips(step, rows, count, moved, kept)
    return Chunk(count, last_id, moved, done)


def _count_skips(
    step: RepricingStep, rows: SubscriptionQuerySet, count: int, moved: int, locked: int
) -> int:
    """Why the others did not move; how many rows there are. `locked` of the moved are so now.

    Counted in one snapshot, which sees what was moved: a row may have come or gone meanwhile.
    """
    if moved == count:
        return count
    ended = Q(ended_at__lte=Now())
    found = rows.aggregate(
        rows=Count("pk"),
        ended=Count("pk", filter=ended),
        locked=Count("pk", filter=Q(price_state="locked") & ~ended),
        negotiated=Count("pk", filter=Q(price_state="negotiated") & ~ended),
    )
    count = found.pop("rows")
    found["locked"] -= locked
    found["unchanged"] = count - moved - sum(found.values())
    Skip.objects.bulk_create(
        Skip(repricing_id=step.repricing_id, reason=reason, rows=rows)
        for reason, rows in found.items()
        if rows
    )
    return count


def stamp_pair(step: RepricingStep, size: int) -> Chunk:
    """The repricing's comment on the followers of the step's pair."""
    rows, count, last_id, done = _next_rows(step, size)
    repricing = step.repricing
    if repricing.unstamps_change_id is None:
        moved = comments.write(rows.following(), repricing.comment, repricing.change_id)
    else:
        moved = comments.take_back(rows, repricing.unstamps_change_id)
    return Chunk(count, last_id, moved, done)


# What a step of each kind of repricing does, and where its next row is found. `price_changes` adds
# its own: it stands on top of this.
MOVERS: dict[str, Callable[[RepricingStep, int], Chunk]] = {
    Repricing.Kind.CATALOGUE: move_pair,
    Repricing.Kind.KEEP: keep_pair,
}
NEXT_ROW: dict[str, Callable[[RepricingStep], int | None]] = {}
# What may have fallen due by the clock; each starts it, and is False where it had to give way.
START_DUE: list[Callable[[], bool]] = [lock_ends.release_ended]
