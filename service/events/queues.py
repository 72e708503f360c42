"""How far each endpoint has got the events, for readers, and which events there are."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet, Value
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from events.given import EndpointRefused
from events.models import Derived, Endpoint, Event
from pricebook.kit.figures import grouped, instant
from pricebook.words.stored import shown

NO_CHANCE = 3  # attempts in vain
STATES = ("delivering", "failing", "disabled")


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


def troubled() -> list[str]:
    """A sentence for each endpoint that is disabled, or has failed for so long that it is no chance
    any more, for pages and `doctor`. One query."""
    found = for_readers().exclude(status="enabled", failing_since=None).order_by("name")
    return [
        f"{endpoint.name} {_trouble(endpoint)}"
        for endpoint in found
        if endpoint.status == Endpoint.Status.DISABLED or endpoint.attempts >= NO_CHANCE
    ]


def why_disabled(endpoint: Any) -> str:
    """By whom or by what it was disabled, in the reader's language; empty if it was not."""
    return shown(endpoint.disabled_reason)


def _trouble(endpoint: Any) -> str:
    if endpoint.status == Endpoint.Status.DISABLED:
        said = _("is disabled (%(reason)s)") % {"reason": why_disabled(endpoint)}
    else:
        said = _("fails since %(instant)s") % {"instant": instant(endpoint.failing_since)}
    waiting = behind(endpoint)
    return ngettext(
        "%(said)s, and is %(number)s event behind",
        "%(said)s, and is %(number)s events behind",
        waiting,
    ) % {"said": said, "number": grouped(waiting)}


def last_number() -> int:
    """The number of the newest event; 0 if there has been none. One query."""
    return Derived.objects.values_list("number", flat=True).first() or 0


def oldest_number() -> int:
    """The number of the oldest event that is still there, or of the next one. Two queries."""
    kept = Event.objects.order_by("number").values_list("number", flat=True).first()
    return kept if kept is not None else last_number() + 1


def forgotten(oldest: int, detail: str = "") -> EndpointRefused:
    """The refusal to begin before the oldest event that is there."""
    return EndpointRefused(
        "events_forgotten",
        detail
        or _(
            "The events before %(oldest)s are deleted by now: take %(oldest)s or a later"
            " one, and read what came before in the ledger's feed."
        )
        % {"oldest": oldest},
        410,
        oldest=oldest,
    )


def found(pk: int) -> Endpoint:
    """One endpoint, with `last`. Raises EndpointRefused, 404."""
    endpoint = for_readers().filter(pk=pk).first()
    if endpoint is None:
        raise unknown(pk)
    return endpoint


def unknown(pk: int) -> EndpointRefused:
    return EndpointRefused("not_found", _("There is no webhook endpoint %(pk)s.") % {"pk": pk}, 404)
