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

import psycopg.errors
from django.db import OperationalError, connection, transaction
from django.db.models import Count, Exists, F, Max, OuterRef, Q
from django.db.models.functions import Now

from services.models import Plan, Repricing, RepricingStep, Service, Subscription
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
    return _drain(PRICE, _reprice_rows, seconds)


def stamp(seconds: float = 60.0) -> int:
    """Stamp the comments that are due, as `reprice` moves prices; return how many were stamped."""
    return _drain(COMMENT, _stamp_rows, seconds)


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
                # One that moves to another pair meanwhile is priced by its own write.
                return pair is not None and _reprice_rows(subscriptions, *pair, comment="") > 0
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
    return _write_stamp(subscriptions, comment) > 0 if comment else False


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


def _drain(kind: str, work: Callable[..., int], seconds: float) -> int:
    deadline = time.monotonic() + seconds
    moved = tries = 0
    blocked: set[int] = set()  # steps that somebody's open transaction holds up: others go first
    while time.monotonic() < deadline:
        planned = plan_due()
        chunk = _take_chunk(kind, work, blocked)
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
    for repricing in without_steps.order_by("pk"):
        if repricing.planned_at is not None:
            due.filter(pk=repricing.pk).update(finished_at=Now())
        else:
            try:
                _plan(repricing.pk)
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
                       (repricing_id, kind, service_id, plan_id, subscriptions, last_id)
                SELECT %(repricing)s, kind, service_id, plan_id, subscriptions, last_id
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
                "kinds": [PRICE, COMMENT] if repricing.comment else [PRICE],
            },
        )


def _take_chunk(kind: str, work: Callable[..., int], blocked: set[int]) -> int | None:
    """Do the next chunk of a step in one transaction; None when there is no step to take.

    A step that waits for a lock too long is put into `blocked`.
    """
    step = None
    try:
        with _giving_way():
            step = _claim(kind, blocked)
            return None if step is None else _do_chunk(step, work)
    except LockHeld:
        if step is not None:
            blocked.add(step.pk)
        return 0


def _claim(kind: str, blocked: set[int]) -> RepricingStep | None:
    """The oldest step that no other worker holds, locked; of one pair only ever the first."""
    siblings = RepricingStep.objects.filter(
        kind=kind, service_id=OuterRef("service_id"), plan_id=OuterRef("plan_id")
    )
    return (
        RepricingStep.objects.filter(kind=kind)
        .exclude(pk__in=blocked)
        .exclude(Exists(siblings.filter(pk__lt=OuterRef("pk"))))
        .select_related("repricing")
        .order_by("pk")
        .select_for_update(skip_locked=True, of=("self",))
        .first()
    )


def _do_chunk(step: RepricingStep, work: Callable[..., int]) -> int:
    if step.after_id == 0 and _has_successor(step):
        # A later edit of the same pair will look at the same rows, with the same rule. (One that
        # has begun goes on to its end, or edits in quick succession would starve the last rows.)
        step.delete()
        return 0

    pair = (step.service_id, step.plan_id)
    last_id, rows, done = step.last_id, step.subscriptions - step.checked, True
    if rows > CHUNK:
        last_id, rows = _end_of_chunk(step)
        done = rows < CHUNK
    # Equalities again: as a range, the planner would read the whole service for one of its plans.
    chunk = Subscription.objects.filter(
        service_id=step.service_id, plan_id=step.plan_id, id__gt=step.after_id, id__lte=last_id
    )
    moved = work(chunk, *pair, comment=step.repricing.comment)
    if done:
        step.delete()
    else:
        step.after_id = last_id
        step.checked = F("checked") + rows
        step.save(update_fields=["after_id", "checked"])
    if moved:
        # Last, because the other worker's chunk of this repricing waits for this row.
        counter = "repriced" if step.kind == PRICE else "stamped"
        Repricing.objects.filter(pk=step.repricing_id).update(**{counter: F(counter) + moved})
    return moved


def _end_of_chunk(step: RepricingStep) -> tuple[int, int]:
    """The last id of the next chunk, and how many rows it has; reads no more than these."""
    ahead = Subscription.objects.of_pair(
        step.service_id, step.plan_id, step.after_id, step.last_id
    )[:CHUNK].aggregate(last=Max("id"), rows=Count("id"))
    return ahead["last"] or step.last_id, ahead["rows"]


def _has_successor(step: RepricingStep) -> bool:
    return RepricingStep.objects.filter(
        kind=step.kind, service_id=step.service_id, plan_id=step.plan_id, pk__gt=step.pk
    ).exists()


def _reprice_rows(rows: SubscriptionQuerySet, service_id: int, plan_id: int, comment: str) -> int:
    """Write the rule's price where another one stands, among rows of one (service, plan).

    The lock comes first and in a statement of its own: what the next statement reads is then the
    newest catalogue, and it stays the newest until the commit. Without it a chunk that began
    before a second edit would finish after it, with the first one's price.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT lock_service(%s, false)", [service_id])
        cursor.execute("SELECT lock_plan(%s, false)", [plan_id])
    price = rule_price(
        Service.objects.values_list("full_price", flat=True).get(pk=service_id),
        Plan.objects.values_list("discount_percent", flat=True).get(pk=plan_id),
    )
    # One table and a constant: a row that somebody else has just written is judged anew by all
    # of these conditions when its lock is free.
    return (
        rows.filter(service_id=service_id, plan_id=plan_id)
        .active()
        .exclude(price=price)
        .update(price=price)
    )


def _stamp_rows(rows: SubscriptionQuerySet, service_id: int, plan_id: int, comment: str) -> int:
    return _write_stamp(rows.active(), comment)


def _write_stamp(rows: SubscriptionQuerySet, comment: str) -> int:
    """Stamp where there is no comment, or an earlier stamp; what a person wrote stays."""
    return (
        rows.filter(Q(comment="") | Q(comment=F("stamp")))
        .exclude(comment=comment)
        .update(comment=comment, stamp=comment)
    )
