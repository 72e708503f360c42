"""Events are sent to each endpoint in their order, by whichever worker claims it.

    claim an endpoint that is due (one statement, SKIP LOCKED) → for each event behind its cursor:
    send it, outside of any transaction → 2xx: move the cursor; else: a pause, and try again

The claim is a lease. A worker that is killed leaves it to run out, and the next one sends the event
in turn once more, with the same `webhook-id`. A worker that loses its claim, because it was stopped
for longer or a person has moved the cursor, moves nothing any more.
"""

from __future__ import annotations

import json
import random
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
from django.conf import settings
from django.db import connection, transaction
from django.utils.translation import gettext_noop

from events.models import Attempt, Endpoint, Event, Happening
from events.sending import Answer, Sender, signed
from events.types import TEST
from pricebook.kit.points import at_point
from pricebook.words.stored import known
from services.models import Clock, book_clock

IN_A_ROW = 100  # events of one endpoint, before others have their turn
TURN_SECONDS = 5.0
RUN_SECONDS = 60.0  # of a task
LEASE = timedelta(seconds=30)  # longer than any look-up, connection and answer together

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 3 * 60 * 60.0
GIVE_UP_AFTER = timedelta(days=3)
GONE = 410
# Why an endpoint was disabled, as it is stored.
GONE_REASON = known(gettext_noop("The receiver answered %(code)s (Gone) to event %(number)s."))
GIVEN_UP_REASON = known(
    gettext_noop(
        "Nothing could be delivered for %(days)s days; event %(number)s waits, and its last attempt"
        " failed: %(error)s"
    )
)
ASKED_TO_WAIT = (429, 503)

IS_BEHIND = """endpoint.status = 'enabled' AND endpoint.next_attempt_at <= book_clock()
       AND endpoint.delivered_through < derived.number"""
IS_DUE = f"""(endpoint.test_requested_at IS NOT NULL OR {IS_BEHIND})
   AND (endpoint.claimed_until IS NULL OR endpoint.claimed_until < book_clock())"""
CLAIM = f"""
UPDATE events_endpoint SET claimed_until = book_clock() + %(lease)s::interval
  FROM (SELECT endpoint.id, derived.number, {IS_BEHIND} AS behind
          FROM events_endpoint endpoint CROSS JOIN events_derived derived
         WHERE {IS_DUE} AND (%(failing)s OR endpoint.failing_since IS NULL)
         ORDER BY endpoint.next_attempt_at, endpoint.id
         LIMIT 1 FOR UPDATE OF endpoint SKIP LOCKED) due
 WHERE events_endpoint.id = due.id
RETURNING events_endpoint.id, events_endpoint.claimed_until, due.number, due.behind
"""  # noqa: S608 - constants
DUE = f"""
SELECT count(*) FROM events_endpoint endpoint CROSS JOIN events_derived derived WHERE {IS_DUE}
"""  # noqa: S608 - constants
# No commit is waited for: what a crash of the server takes back is sent again, and known as that.
DELIVERED = """
WITH soon AS (SELECT set_config('synchronous_commit', 'off', true)),
moved AS (
    UPDATE events_endpoint
       SET delivered_through = %(number)s, attempts = 0, failing_since = NULL,
           claimed_until = book_clock() + %(lease)s::interval
     WHERE id = %(endpoint)s AND claimed_until = %(claim)s RETURNING claimed_until),
logged AS (
    INSERT INTO events_attempt
           (endpoint_id, number, webhook_id, type, status_code, duration_ms, answer)
    SELECT id, %(number)s, %(webhook_id)s, %(type)s, %(status)s, %(duration)s, %(answer)s
      FROM events_endpoint WHERE id = %(endpoint)s)
SELECT claimed_until FROM soon LEFT JOIN moved ON true
"""


class Lost(Exception):
    """The endpoint is another worker's now, or a person has decided something else about it."""


class Due(NamedTuple):
    """An endpoint that this worker has claimed, the last event there is, whether it is behind."""

    endpoint: Endpoint
    last_number: int
    behind: bool


_free = threading.BoundedSemaphore(settings.WEBHOOKS_AT_ONCE)
# Those that may take endpoints that fail: if many hang, half of all are left for the others.
_free_for_failing = threading.BoundedSemaphore(max(1, settings.WEBHOOKS_AT_ONCE // 2))


def wanted() -> int:
    """How many deliveries should run now: as many as endpoints wait, and no more than may.

    One query.
    """
    with connection.cursor() as cursor:
        cursor.execute(DUE)
        (waiting,) = cursor.fetchone()
    return min(int(waiting), settings.WEBHOOKS_AT_ONCE)


def deliver(seconds: float = RUN_SECONDS) -> int:
    """Send what is due, one endpoint after another; returns how many turns that took.

    No more than WEBHOOKS_AT_ONCE of these run in a process: another one returns at once, so that
    receivers that hang leave it free for other work.
    """
    until, turns = time.monotonic() + seconds, 0
    with _place(_free) as has_place, _place(_free_for_failing) as may_fail:
        while has_place and time.monotonic() < until and (found := _claim(may_fail)) is not None:
            _turn(found)
            turns += 1
    return turns


@contextmanager
def _place(places: threading.BoundedSemaphore) -> Iterator[bool]:
    """Whether there was one, which is taken until the end of the block."""
    taken = places.acquire(blocking=False)
    try:
        yield taken
    finally:
        if taken:
            places.release()


def _claim(may_fail: bool) -> Due | None:
    with connection.cursor() as cursor:
        cursor.execute(CLAIM, {"lease": str(LEASE), "failing": may_fail})
        row = cursor.fetchone()
    if row is None:
        return None
    id, claim, number, behind = row
    endpoint = Endpoint.objects.filter(pk=id, claimed_until=claim).first()
    return None if endpoint is None else Due(endpoint, number, behind)


def _turn(found: Due) -> None:
    """Send to one endpoint what waits for it, for a while; then leave it to whoever comes next."""
    endpoint = found.endpoint
    with Sender(endpoint.url) as sender, suppress(Lost):
        if endpoint.test_requested_at is not None:
            _send_test(sender, endpoint)
        if not found.behind or _send_events(sender, found):
            _leave(endpoint)


def _send_events(sender: Sender, found: Due) -> bool:
    """Send what waits, up to a failure; whether there was none, and it is ours still."""
    endpoint, until = found.endpoint, time.monotonic() + TURN_SECONDS
    behind = Event.objects.filter(number__gt=endpoint.delivered_through)
    events = list(behind.of_types(endpoint.types).order_by("number")[:IN_A_ROW])
    for event in events:
        text = body(event)
        answer = sender.post(text, signed(event.webhook_id, text, secrets_of(endpoint)))
        at_point("event delivered")
        if answer.error:
            _failed(endpoint, event, answer)
            return False
        _delivered(endpoint, event, answer)
        if time.monotonic() > until:
            return True
    if len(events) < IN_A_ROW:  # the others are of types that it is not sent
        # More may have been made, and sent, since the claim said which is the last.
        endpoint.delivered_through = max(endpoint.delivered_through, found.last_number)
    return True


def body(event: Event) -> str:
    """The body of an event: the same bytes each time that it is sent."""
    return _body(event.type, event.recorded_at, event.number, event.data)


def _body(type: str, at: datetime, number: int | None, data: str) -> str:
    # `data` goes on as it is stored: a reader and a writer of JSON might write its numbers anew.
    head = msgspec.json.encode({"type": type, "timestamp": at, "number": number}).decode()
    return f'{head[:-1]},"data":{data}}}'


def secrets_of(endpoint: Endpoint) -> list[str]:
    """The secrets that sign: while one is being rotated, the one before as well."""
    found = [endpoint.secret]
    until = endpoint.previous_secret_until
    if endpoint.previous_secret and until is not None and until > book_clock():
        found.append(endpoint.previous_secret)
    return found


def _send_test(sender: Sender, endpoint: Endpoint) -> None:
    """Send the test event that somebody has asked for: once, whatever comes of it."""
    asked = endpoint.test_requested_at
    assert asked is not None
    webhook_id = f"evt_{secrets.token_hex(16)}"
    text = _body(TEST, asked, None, json.dumps({"endpoint": endpoint.name}))
    answer = sender.post(text, signed(webhook_id, text, secrets_of(endpoint)))
    with transaction.atomic():
        _log(endpoint, None, webhook_id, TEST, answer)
        # Somebody may have asked again meanwhile.
        same = Endpoint.objects.filter(pk=endpoint.pk, test_requested_at=asked)
        same.update(test_requested_at=None)


def _delivered(endpoint: Endpoint, event: Event, answer: Answer) -> None:
    """Move the cursor behind an event, and log it. One query; raises Lost."""
    with connection.cursor() as cursor:
        cursor.execute(
            DELIVERED,
            {
                "endpoint": endpoint.pk,
                "claim": endpoint.claimed_until,
                "lease": str(LEASE),
                "number": event.number,
                "webhook_id": event.webhook_id,
                "type": event.type,
                "status": answer.status_code,
                "duration": answer.duration_ms,
                "answer": answer.excerpt,
            },
        )
        (claim,) = cursor.fetchone()
    if claim is None:
        raise Lost
    endpoint.claimed_until, endpoint.delivered_through = claim, event.number
    endpoint.attempts, endpoint.failing_since = 0, None


def _failed(endpoint: Endpoint, event: Event, answer: Answer) -> None:
    """Log an attempt that failed, and say when the next one is; or disable the endpoint."""
    with transaction.atomic():
        now = book_clock()
        since = endpoint.failing_since or now
        attempts = endpoint.attempts + 1
        _log(endpoint, event.number, event.webhook_id, event.type, answer)
        values: dict[str, object] = {
            "attempts": attempts,
            "failing_since": since,
            "next_attempt_at": now + timedelta(seconds=pause(attempts, answer)),
        }
        reason = ""
        if answer.status_code == GONE:
            reason = GONE_REASON % {"code": GONE, "number": event.number}
        elif now - since >= GIVE_UP_AFTER:
            reason = GIVEN_UP_REASON % {
                "days": GIVE_UP_AFTER.days,
                "number": event.number,
                "error": answer.error,
            }
        if reason:
            values |= {"status": "disabled", "disabled_at": now, "disabled_reason": reason[:500]}
        mine = Endpoint.objects.filter(pk=endpoint.pk, claimed_until=endpoint.claimed_until)
        if mine.update(claimed_until=None, **values) and reason:
            Happening.objects.note(
                "endpoint.disabled",
                endpoint=endpoint.pk,
                name=endpoint.name,
                reason=reason,
                waiting_number=event.number,
            )


def pause(attempts: int, answer: Answer) -> float:
    """Seconds until the next attempt: 5, 10, 20… up to three hours, a fifth more or less.

    A receiver that answers 429 or 503 may say when, within the same bounds.
    """
    if answer.status_code in ASKED_TO_WAIT and answer.retry_after is not None:
        return min(max(answer.retry_after, 1.0), LONGEST_PAUSE)
    grown = min(FIRST_PAUSE * 2.0 ** min(attempts - 1, 30), LONGEST_PAUSE)
    return grown * random.uniform(0.8, 1.2)  # noqa: S311 - no secret: it spreads the attempts


def _leave(endpoint: Endpoint) -> None:
    """Give the claim back; what still waits has its next turn after those who wait longer."""
    mine = Endpoint.objects.filter(pk=endpoint.pk, claimed_until=endpoint.claimed_until)
    values: dict[str, object] = {}
    if endpoint.failing_since is None:
        values["next_attempt_at"] = Clock()
    mine.update(claimed_until=None, delivered_through=endpoint.delivered_through, **values)


def _log(
    endpoint: Endpoint, number: int | None, webhook_id: str, type: str, answer: Answer
) -> None:
    """Log an attempt, within a transaction. Raises Lost if the endpoint is deleted by now."""
    there = Endpoint.objects.select_for_update(no_key=True).filter(pk=endpoint.pk).order_by()
    if not there.values_list("pk"):
        raise Lost
    Attempt.objects.create(
        endpoint=endpoint,
        number=number,
        webhook_id=webhook_id,
        type=type,
        status_code=answer.status_code,
        error=answer.error,
        duration_ms=answer.duration_ms,
        answer=answer.excerpt,
    )
