"""The verbs of webhook endpoints. The API, the admin and the command call these.

    create ──▶ enabled ──disable, or three days of failures──▶ disabled ──enable──▶ enabled
                  │
                  └──rotate──▶ enabled, with two secrets until the old one ends

A secret signs, so it is stored as it is; it is shown when it is made, and not again. All that a
verb does is undone by another one, but for `delete`.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from events.given import (
    OVERLAP_HOURS,
    EndpointRefused,
    checked_name,
    checked_overlap,
    checked_reason,
    checked_types,
    checked_url,
    new_secret,
)
from events.models import Endpoint, Event
from events.queues import forgotten, found, last_number, oldest_number, unknown
from services import lives
from services.ledger.place import Place
from services.models import book_clock

MOST = 100  # endpoints: each is looked at whenever there is an event
logger = logging.getLogger(__name__)


def create(name: Any, url: Any, types: Any, author: str) -> Endpoint:
    """A new endpoint, which is sent what happens from now on. Its `secret` is to be shown once.

    The address is looked up: see `addresses.checked`.
    """
    given = {"name": checked_name(name), "types": checked_types(types), "url": checked_url(url)}
    with transaction.atomic():
        if Endpoint.objects.count() >= MOST:
            raise EndpointRefused(
                "too_many_endpoints",
                _("There are %(most)s endpoints, which is the most: delete one first.")
                % {"most": MOST},
                409,
            )
        endpoint = Endpoint(
            **given, secret=new_secret(), created_by=author, delivered_through=last_number()
        )
        _save(endpoint, force_insert=True)
    note("made", endpoint, author)
    return found(endpoint.pk)


def change(pk: int, author: str, **given: Any) -> Endpoint:
    """Another `name`, `url` or `types`. A new address, or new types, are tried at once: what has
    failed before may wait no longer."""
    checks = {"name": checked_name, "url": checked_url, "types": checked_types}
    fields = {name: checks[name](value) for name, value in given.items()}
    with transaction.atomic():
        endpoint = _held(pk)
        for name, value in fields.items():
            setattr(endpoint, name, value)
        _save(endpoint, update_fields=[*fields])
        if fields.keys() & {"url", "types"}:
            _of(pk).go_on_after(endpoint.delivered_through)
    note(f"changed ({', '.join(fields) or 'nothing'})", endpoint, author)
    return found(endpoint.pk)


def rotate(pk: int, author: str, hours: Any = OVERLAP_HOURS) -> Endpoint:
    """A new `secret`, to be shown once; the one before it signs too, for so many hours."""
    overlap = checked_overlap(hours)
    with transaction.atomic():
        endpoint = _held(pk)
        if overlap:
            endpoint.previous_secret = endpoint.secret
            endpoint.previous_secret_until = book_clock() + overlap
        else:
            endpoint.previous_secret, endpoint.previous_secret_until = "", None
        endpoint.secret = new_secret()
        endpoint.save(update_fields=["secret", "previous_secret", "previous_secret_until"])
    note("given a new secret", endpoint, author)
    return found(endpoint.pk)


def end_rotation(pk: int, author: str) -> Endpoint:
    """From now on the new secret alone signs. Once more, it stays as it is."""
    with transaction.atomic():
        endpoint = _held(pk)
        endpoint.previous_secret, endpoint.previous_secret_until = "", None
        endpoint.save(update_fields=["previous_secret", "previous_secret_until"])
    note("left with its new secret alone", endpoint, author)
    return found(endpoint.pk)


def enable(pk: int, author: str) -> Endpoint:
    """Go on after the last event that it has had. One that is enabled stays as it is."""
    with transaction.atomic():
        endpoint = _held(pk)
        if endpoint.status == Endpoint.Status.ENABLED:
            return found(endpoint.pk)
        oldest = oldest_number()
        if endpoint.delivered_through + 1 < oldest:
            raise forgotten(
                oldest,
                _(
                    "It has had the events up to %(delivered_through)s, and those before"
                    " %(oldest)s are deleted by now: replay from %(oldest)s on, then enable"
                    " it, and let the receiver read what it lacks in the ledger."
                )
                % {"delivered_through": endpoint.delivered_through, "oldest": oldest},
            )
        endpoint.status = Endpoint.Status.ENABLED
        endpoint.disabled_at, endpoint.disabled_reason = None, ""
        endpoint.save(update_fields=["status", "disabled_at", "disabled_reason"])
        _of(pk).go_on_after(endpoint.delivered_through)
    note("enabled", endpoint, author)
    return found(endpoint.pk)


def disable(pk: int, author: str, reason: Any = "") -> Endpoint:
    """Send it nothing more; events wait for it. One that is disabled stays as it is."""
    reason = checked_reason(reason)
    with transaction.atomic():
        endpoint = _held(pk)
        if endpoint.status == Endpoint.Status.DISABLED:
            return found(endpoint.pk)
        endpoint.status, endpoint.disabled_at = Endpoint.Status.DISABLED, book_clock()
        endpoint.disabled_reason = f"{author}: {reason}" if reason else author
        endpoint.claimed_until = None  # a worker that is sending stops
        endpoint.save(update_fields=["status", "disabled_at", "disabled_reason", "claimed_until"])
    note("disabled", endpoint, author)
    return found(endpoint.pk)


def delete(pk: int, author: str) -> None:
    """For ever, with its log. Events stay, for the other endpoints."""
    with transaction.atomic():
        endpoint = _held(pk, no_key=False)  # no worker logs anything of it meanwhile
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
    return found(endpoint.pk)


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
            _(
                "Say from where on, in one way: the number of an event (from), a place of the"
                " ledger's feed (place), or an instant (since)."
            ),
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
                _("The newest event has the number %(last)s: replay from %(value)s on at most.")
                % {"last": last, "value": last + 1},
                parameter="from",
                value=str(number),
            )
        if number < oldest:
            raise forgotten(oldest)
        _of(pk).go_on_after(number - 1)
        endpoint = _held(pk)
    note(f"sent events from {number} on", endpoint, author)
    return found(endpoint.pk)


def _first(place: Place | None, since: datetime | None, oldest: int, last: int) -> int:
    """The number of the first event there; refuses to skip what is deleted."""
    kept = Event.objects.filter(number=oldest).first()
    if oldest > 1 and (
        kept is None
        or (place is not None and (place.xact, place.id) < (kept.xact, kept.entry_id))
        or (since is not None and since < kept.recorded_at)
    ):
        raise forgotten(oldest)
    if place is not None:
        try:
            lives.check(place)
        except lives.Parted as error:
            raise EndpointRefused(
                "place_of_another_life",
                error.detail,
                410,
                parameter="place",
                value=str(place),
                common_until=error.common,
            ) from None
    events = (
        Event.objects.behind(place)
        if place is not None
        else Event.objects.recorded_since(since or book_clock())
    )
    return events.values_list("number", flat=True).first() or last + 1


def _of(pk: int) -> Any:
    return Endpoint.objects.filter(pk=pk)


def _held(pk: int, no_key: bool = True) -> Endpoint:
    """The endpoint, locked until the end of the transaction."""
    endpoint = Endpoint.objects.select_for_update(no_key=no_key).filter(pk=pk).first()
    if endpoint is None:
        raise unknown(pk)
    return endpoint


def _save(endpoint: Endpoint, **how: Any) -> None:
    try:
        with transaction.atomic():
            endpoint.save(**how)
    except IntegrityError as error:
        if "name" not in str(error):
            raise
        raise EndpointRefused(
            "name_taken",
            _("Another webhook endpoint has the name %(name)s: take another one.")
            % {"name": repr(endpoint.name)},
            409,
            parameter="name",
            value=endpoint.name,
        ) from None


def note(done: str, endpoint: Endpoint, author: str) -> None:
    """The server's log says who did what; the log of deliveries says what came of it."""
    logger.info("Webhook endpoint %s (%s) was %s by %s.", endpoint.pk, endpoint.name, done, author)
