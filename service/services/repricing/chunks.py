"""One transaction of a worker: it claims steps, moves their next rows, saves how far it came."""

from __future__ import annotations

import logging
import time
from datetime import datetime
from typing import Any

from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.db.models import F

from pricebook.kit.log_context import about
from pricebook.kit.points import at_point
from services.hooks import Chunk
from services.models import Repricing, RepricingStep, Skip
from services.repricing.locks import LockHeld, giving_way, wait_for_listing
from services.repricing.movers import COMMENT, MOVERS, PRICE, next_row, stamp_pair

logger = logging.getLogger(__name__)

# The rows that one transaction looks at: no price edit has to wait for more.
CHUNK = 4_000
# Rows that a set moves in the one transaction that lists it; a larger one moves chunk by chunk.
AT_ONCE = 4_000
# If steps are small, one transaction takes several, because its end costs as much as a hundred
# rows: STEPS at most, and it begins none after SECONDS.
STEPS = 20
SECONDS = 0.1

OF_STEP = [field.attname for field in RepricingStep._meta.concrete_fields]
OF_WORK = [field.attname for field in Repricing._meta.concrete_fields]
# In SQL, because each chunk asks, and Django would take longer to write it than the database to
# answer it.
CLAIM = f"""
SELECT {", ".join([f"step.{name}" for name in OF_STEP] + [f"work.{name}" for name in OF_WORK])}
  FROM services_repricingstep step
  JOIN services_repricing work ON work.id = step.repricing_id
 WHERE step.kind = %(lane)s AND work.paused_at IS NULL AND step.id <> ALL (%(blocked)s::bigint[])
   AND (%(up_to)s::timestamptz IS NULL OR step.effective_at <= %(up_to)s::timestamptz)
   AND (%(rows)s::bigint IS NULL OR step.subscriptions <= step.checked + %(rows)s::bigint)
   AND NOT EXISTS (
       SELECT FROM services_repricingstep earlier
         JOIN services_repricing its_work ON its_work.id = earlier.repricing_id
        WHERE (earlier.kind, earlier.service_id, earlier.plan_id)
              = (step.kind, step.service_id, step.plan_id)
          AND (earlier.effective_at, earlier.id) < (step.effective_at, step.id)
          AND (its_work.paused_at IS NULL OR its_work.kind = 'rows'))
   AND (work.kind = 'rows' OR NOT EXISTS (
       SELECT FROM services_repricingstep other
         JOIN services_repricing its_work ON its_work.id = other.repricing_id
        WHERE (other.kind, other.service_id, other.plan_id)
              = (step.kind, step.service_id, step.plan_id)
          AND its_work.kind <> 'rows' AND its_work.paused_at IS NOT NULL))
 ORDER BY step.effective_at, step.id
 LIMIT %(number)s
   FOR UPDATE OF step SKIP LOCKED
"""  # noqa: S608 - names of columns


def take_chunk(
    lane: str,
    blocked: set[int],
    sizes: dict[int, int] | None = None,
    up_to: datetime | None = None,
) -> int | None:
    """Do the next chunk in one transaction; None when there is no step to take.

    `up_to`: only steps that came into force by then; a set of that instant has yet to be listed,
    and steps that came after it would move its rows first.

    The chunk is of one step, or of several that are small. A step that waits for a lock too long is
    put into `blocked`. A chunk that fails is halved until the row that can't be written is alone;
    that row is left out, with the reason, and the step goes on in small chunks that grow (`sizes`).
    """
    sizes = {} if sizes is None else sizes
    failed, reason = None, ""
    while True:
        step, alone = None, False
        done: list[tuple[RepricingStep, Chunk]] = []
        try:
            with giving_way():
                wait_for_listing()  # before the claim, which then sees the steps of the set
                step = next(iter(_claim(lane, blocked, up_to=up_to)), None)
                if step is None:
                    return None
                size = sizes.get(step.pk, CHUNK)
                alone = size == 0 and failed == (step.pk, step.after_id)
                if alone:
                    _leave_out_next(step, reason)
                else:
                    deadline = time.monotonic() + SECONDS
                    done.append((step, _do_chunk(step, size or 1)))
                    if size == CHUNK and up_to is None:
                        _fill_up(lane, done, blocked, deadline)
                    _save(lane, done)
            if size < CHUNK:
                sizes[step.pk] = min(CHUNK, 2 * size or 1)
            return sum(chunk.moved if chunk.written is None else chunk.written for _, chunk in done)
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
            with about(change_id=step.repricing.change_id):
                logger.info("A chunk of %s has failed, and is halved: %s", step, reason)
            failed = (step.pk, step.after_id)
            sizes[step.pk] = sizes.get(step.pk, CHUNK) // 2


def do_all(repricing: Repricing) -> bool:
    """Do all price steps of a repricing in the caller's transaction, if they have no more than
    AT_ONCE rows; return whether it did.
    """
    steps = list(
        RepricingStep.objects.filter(kind=PRICE, repricing=repricing)
        .select_related("repricing")
        .order_by("pk")
    )
    if sum(step.subscriptions for step in steps) > AT_ONCE:
        return False
    for step in steps:
        while not (chunk := _do_chunk(step, AT_ONCE)).done:
            _save(PRICE, [(step, chunk)])
            step.after_id = chunk.last_id
        _save(PRICE, [(step, chunk)])
    return True


def _fill_up(
    lane: str, done: list[tuple[RepricingStep, Chunk]], blocked: set[int], deadline: float
) -> None:
    """Do small steps in this transaction too, while there is room and until the deadline.

    Adds to `done`. A step that can't be done at once is left: the next transaction takes it first.
    """
    [(first, chunk)] = done
    if 2 * chunk.rows > CHUNK:
        return  # there is no room for another one like it
    room = _room() - chunk.rows
    # No more steps than will be done if they are like the first: others may take the rest.
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
    """Have each step done by itself, because it is not known which one made them fail together.

    The cause may be a counter that somebody holds, or a constraint that is checked at the commit.
    """
    sizes.update((step.pk, CHUNK // 2) for step, _ in done)


def _room() -> int:
    """How many rows one transaction may move of several pairs, which are mixed in the same pages.

    The old versions of rows keep their room until its end; a page has room for a seventh of its
    rows.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT reltuples FROM pg_class WHERE oid = 'services_subscription'::regclass"
        )
        return min(CHUNK, int(cursor.fetchone()[0]) // 20)


def _claim(
    lane: str,
    blocked: set[int],
    number: int = 1,
    rows: int | None = None,
    up_to: datetime | None = None,
) -> list[RepricingStep]:
    """Lock the first steps that no other worker holds; only the very first one of each pair.

    Steps with more than `rows` left are skipped.

    The first one has the earliest instant, or was planned first. A paused step of the catalogue
    holds up only other steps of the catalogue, which would move its rows to the rule's price.
    """
    asked: dict[str, Any] = {
        "lane": lane,
        "blocked": list(blocked),
        "number": number,
        "rows": rows,
        "up_to": up_to,
    }
    with connection.cursor() as cursor:
        cursor.execute(CLAIM, asked)
        return [_step_of(row) for row in cursor.fetchall()]


def _step_of(row: tuple[Any, ...]) -> RepricingStep:
    """A step with its repricing, of a row of `CLAIM`."""
    step = RepricingStep.from_db(connection.alias, OF_STEP, row[: len(OF_STEP)])
    step.repricing = Repricing.from_db(connection.alias, OF_WORK, row[len(OF_STEP) :])
    return step


def _do_chunk(step: RepricingStep, size: int) -> Chunk:
    at_point("chunk begun")
    mover = stamp_pair if step.kind == COMMENT else MOVERS[step.repricing.kind]
    chunk = mover(step, size)
    at_point("chunk moved")
    return chunk


def _save(lane: str, done: list[tuple[RepricingStep, Chunk]]) -> None:
    """Save the cursors, and last the counts: other workers' chunks wait for a repricing's row."""
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
    """Skip the next row of a step, which can't be written, and store the reason."""
    of_prices = step.kind == PRICE
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
        with about(change_id=step.repricing.change_id):
            logger.warning("Subscription %s could not be moved: %s", subscription_id, reason)
