"""The verbs of webhook endpoints. The API, the admin and the command call these.

    create ──▶ enabled ──disable, or three days of failures──▶ disabled ──enable──▶ enabled
                  │
                  └──rotate──▶ enabled, with two secrets until the old one ends

A secret signs, so it is stored as it is; it is shown when it is made, and not again. All that a
verb does is undone by another one, but for `delete`.
"""

from __future__ import annotations

import base64
import logging
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet, Value
from django.db.models.functions import Coalesce

from events import addresses
from events.models import Derived, Endpoint, Event
from events.types import TYPES
from pricebook.kit.refusal import Refusal
from services.ledger.changes_feed import Place
from services.models import book_clock

LONGEST_NAME, LONGEST_REASON = 100, 300
MOST = 100  # endpoints: each is looked at whenever there is an event
OVERLAP_HOURS, LONGEST_OVERLAP_HOURS = 24, 720
STATES = ("delivering", "failing", "disabled")
logger = logging.getLogger(__name__)


class EndpointRefused(Refusal):
    """An endpoint can't be made, changed or asked this, and nothing was done."""


def for_readers() -> QuerySet[Endpoint]:
    """Endpoints, each with `last`, the number of the newest event, and so how far it is behind."""
    newest = Derived.objects.values("number")[:1]
    return Endpoint.objects.annotate(last=Coalesce(newest, Value(0)))


def state_of(endpoint: Endpoint) -> str:
    """One of STATES."""
    if endpoint.status == Endpoint.Status.DISABLED:
        return "disabled"
    return "failing" if endpoint.failing_since is not None else "delivering"


def behind(endpoint: Any) -> int:
    """How many events lie between what it has had and the newest one, whatever their types."""
    return max(0, int(endpoint.last) - int(endpoint.delivered_through))


def last_number() -> int:
    """The number of the newest event; 0 if there has been none. One query."""
    return Derived.objects.values_list("number", flat=True).first() or 0


def oldest_number() -> int:
    """The number of the oldest event that is still there, or of the next one. Two queries."""
    kept = Event.objects.order_by("number").values_list("number", flat=True).first()
    return kept if kept is not None else last_number() + 1


def create(name: Any, url: Any, types: Any, author: str) -> Endpoint:
    """A new endpoint, which is sent what happens from now on. Its `secret` is to be shown once.

    The address is looked up: see `addresses.checked`.
    """
    given = {"name": checked_name(name), "types": checked_types(types), "url": checked_url(url)}
    with transaction.atomic():
        if Endpoint.objects.count() >= MOST:
            raise EndpointRefused(
                "too_many_endpoints",
                f"There are {MOST} endpoints, which is the most: delete one first.",
                409,
            )
        endpoint = Endpoint(
            **given, secret=new_secret(), created_by=author, delivered_through=last_number()
        )
        _save(endpoint, force_insert=True)
    note("made", endpoint, author)
    return _shown(endpoint)


def change(pk: int, author: str, **given: Any) -> Endpoint:
    """Another `name`, `url` or `types`. A new address is tried at once."""
    checks = {"name": checked_name, "url": checked_url, "types": checked_types}
    fields = {name: checks[name](value) for name, value in given.items()}
    with transaction.atomic():
        endpoint = _held(pk)
        for name, value in fields.items():
            setattr(endpoint, name, value)
        _save(endpoint, update_fields=[*fields])
        if "url" in fields:
            _of(pk).go_on_after(endpoint.delivered_through)
    note(f"changed ({', '.join(fields) or 'nothing'})", endpoint, author)
    return _shown(endpoint)


def rotate(pk: int, author: str, hours: Any = OVERLAP_HOURS) -> Endpoint:
    """A new `secret`, to be shown once; the one before it signs too, for so many hours."""
    if isinstance(hours, bool) or not isinstance(hours, int):
        hours = -1
    if not 0 <= hours <= LONGEST_OVERLAP_HOURS:
        raise EndpointRefused(
            "out_of_range",
            "Both secrets sign together for a whole number of hours, from 0 to"
            f" {LONGEST_OVERLAP_HOURS}.",
            parameter="overlap_hours",
        )
    with transaction.atomic():
        endpoint = _held(pk)
        if hours:
            endpoint.previous_secret = endpoint.secret
            endpoint.previous_secret_until = book_clock() + timedelta(hours=hours)
        else:
            endpoint.previous_secret, endpoint.previous_secret_until = "", None
        endpoint.secret = new_secret()
        endpoint.save(update_fields=["secret", "previous_secret", "previous_secret_until"])
    note("given a new secret", endpoint, author)
    return _shown(endpoint)


def end_rotation(pk: int, author: str) -> Endpoint:
    """From now on the new secret alone signs. Once more, it stays as it is."""
    with transaction.atomic():
        endpoint = _held(pk)
        endpoint.previous_secret, endpoint.previous_secret_until = "", None
        endpoint.save(update_fields=["previous_secret", "previous_secret_until"])
    note("left with its new secret alone", endpoint, author)
    return _shown(endpoint)


def enable(pk: int, author: str) -> Endpoint:
    """Go on after the last event that it has had. One that is enabled stays as it is."""
    with transaction.atomic():
        endpoint = _held(pk)
        if endpoint.status == Endpoint.Status.ENABLED:
            return _shown(endpoint)
        oldest = oldest_number()
        if endpoint.delivered_through + 1 < oldest:
            raise forgotten(
                oldest,
                f"It has had the events up to {endpoint.delivered_through}, and those before"
                f" {oldest} are deleted by now: replay from {oldest} on, then enable it, and let"
                " the receiver read what it lacks in the ledger.",
            )
        endpoint.status = Endpoint.Status.ENABLED
        endpoint.disabled_at, endpoint.disabled_reason = None, ""
        endpoint.save(update_fields=["status", "disabled_at", "disabled_reason"])
        _of(pk).go_on_after(endpoint.delivered_through)
    note("enabled", endpoint, author)
    return _shown(endpoint)


def disable(pk: int, author: str, reason: Any = "") -> Endpoint:
    """Send it nothing more; events wait for it. One that is disabled stays as it is."""
    if not isinstance(reason, str) or len(reason) > LONGEST_REASON or not reason.isprintable():
        raise EndpointRefused(
            "bad_reason",
            f"A reason is a text of up to {LONGEST_REASON} characters on one line.",
            parameter="reason",
        )
    with transaction.atomic():
        endpoint = _held(pk)
        if endpoint.status == Endpoint.Status.DISABLED:
            return _shown(endpoint)
        endpoint.status, endpoint.disabled_at = Endpoint.Status.DISABLED, book_clock()
        endpoint.disabled_reason = f"{author}: {reason.strip()}" if reason.strip() else author
        endpoint.claimed_until = None  # a worker that is sending stops
        endpoint.save(update_fields=["status", "disabled_at", "disabled_reason", "claimed_until"])
    note("disabled", endpoint, author)
    return _shown(endpoint)


def delete(pk: int, author: str) -> None:
    """For ever, with its log. Events stay, for the other endpoints."""
    with transaction.atomic():
        endpoint = _held(pk)
        number = endpoint.pk
        endpoint.delete()
        endpoint.pk = number
    note("deleted", endpoint, author)


def test(pk: int, author: str) -> Endpoint:
    """Have a test event sent to it soon, before all that waits; to one that is disabled, too."""
    with transaction.atomic():
        endpoint = _held(pk)
        endpoint.test_requested_at = book_clock()
        endpoint.save(update_fields=["test_requested_at"])
    note("asked for a test", endpoint, author)
    return _shown(endpoint)


def replay(
    pk: int,
    author: str,
    number: int | None = None,
    place: Place | None = None,
    since: datetime | None = None,
) -> Endpoint:
    """Send it events again, or skip some: it gets all from one on, each with the id that it had.

    From event `number` on, or what stands in the ledger's feed behind `place`, or what was recorded
    at `since` or later: one of the three. One that is disabled goes on there when it is enabled.
    """
    if sum(each is not None for each in (number, place, since)) != 1:
        raise EndpointRefused(
            "replay_from_one",
            "Say from where on, in one way: the number of an event (from), a place of the ledger's"
            " feed (place), or an instant (since).",
            parameter="from",
        )
    with transaction.atomic():
        _held(pk)
        last, oldest = last_number(), oldest_number()
        if number is None:
            number = _first(place, since, oldest, last)
        if number > last + 1:
            raise EndpointRefused(
                "event_ahead",
                f"The newest event has the number {last}: replay from {last + 1} on at most.",
                parameter="from",
                value=str(number),
            )
        if number < oldest:
            raise forgotten(oldest)
        _of(pk).go_on_after(number - 1)
        endpoint = _held(pk)
    note(f"sent events from {number} on", endpoint, author)
    return _shown(endpoint)


def _first(place: Place | None, since: datetime | None, oldest: int, last: int) -> int:
    """The number of the first event behind a place or since an instant; refuses to skip what was
    there and is deleted."""
    kept = Event.objects.filter(number=oldest).first()
    if oldest > 1 and (
        kept is None
        or (place is not None and (place.xact, place.id) < (kept.xact, kept.entry_id))
        or (since is not None and since < kept.recorded_at)
    ):
        raise forgotten(oldest)
    found = (
        Event.objects.behind(place)
        if place is not None
        else Event.objects.recorded_since(since or book_clock())
    )
    return found.values_list("number", flat=True).first() or last + 1


def forgotten(oldest: int, detail: str = "") -> EndpointRefused:
    """The refusal to begin before the oldest event that is there."""
    return EndpointRefused(
        "events_forgotten",
        detail
        or f"The events before {oldest} are deleted by now: take {oldest} or a later one, and read"
        " what came before in the ledger's feed.",
        410,
        oldest=oldest,
    )


# Checks of what is given -------------------------------------------------------------------------


def checked_name(name: Any) -> str:
    text = name.strip() if isinstance(name, str) else ""
    if not 0 < len(text) <= LONGEST_NAME or not text.isprintable():
        raise EndpointRefused(
            "bad_name",
            f"An endpoint has a name of 1 to {LONGEST_NAME} characters on one line, such as that of"
            " the program that receives.",
            parameter="name",
            value=str(name)[:100].encode(errors="replace").decode(),
        )
    return text


def checked_url(url: Any) -> str:
    addresses.checked(url)
    return str(url)


def checked_types(types: Any) -> list[str]:
    """Types of events, each once, in the order in which they are listed; none stands for all."""
    if not isinstance(types, list) or not all(isinstance(each, str) for each in types):
        raise EndpointRefused(
            "bad_types",
            "Give the types as a list of words; an empty list stands for all.",
            parameter="types",
        )
    return [each for each in TYPES if each in known_types(types)]


def known_types(types: Iterable[str]) -> set[str]:
    given = set(types)
    if unknown := sorted(given - TYPES.keys()):
        shown = unknown[0][:100].encode(errors="replace").decode()
        raise EndpointRefused(
            "unknown_type",
            f"{shown!r} is no type of event; there are {', '.join(TYPES)}.",
            parameter="types",
            value=shown,
            allowed=list(TYPES),
        )
    return given


def new_secret() -> str:
    """A secret as Standard Webhooks has it. Base64 that is for URLs would lose letters."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


# -------------------------------------------------------------------------------------------------


def _of(pk: int) -> Any:
    return Endpoint.objects.filter(pk=pk)


def _held(pk: int) -> Endpoint:
    """The endpoint, locked until the end of the transaction."""
    endpoint = Endpoint.objects.select_for_update(no_key=True).filter(pk=pk).first()
    if endpoint is None:
        raise EndpointRefused("not_found", f"There is no webhook endpoint {pk}.", 404)
    return endpoint


def _shown(endpoint: Endpoint) -> Endpoint:
    """As it is in the database now; with `last`."""
    return for_readers().get(pk=endpoint.pk)


def _save(endpoint: Endpoint, **how: Any) -> None:
    try:
        with transaction.atomic():
            endpoint.save(**how)
    except IntegrityError as error:
        if "name" not in str(error):
            raise
        raise EndpointRefused(
            "name_taken",
            f"Another webhook endpoint has the name {endpoint.name!r}: take another one.",
            409,
            parameter="name",
            value=endpoint.name,
        ) from None


def note(done: str, endpoint: Endpoint, author: str) -> None:
    """The server's log says who did what; the log of deliveries says what came of it."""
    logger.info("Webhook endpoint %s (%s) was %s by %s.", endpoint.pk, endpoint.name, done, author)
