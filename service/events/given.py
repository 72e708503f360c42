"""Checks of what a caller gives of a webhook endpoint; each returns what is stored."""

from __future__ import annotations

import base64
import secrets
from datetime import timedelta
from typing import Any

from django.utils.translation import gettext as _

from events import addresses
from events.types import TYPES
from pricebook.kit.refusal import Refusal
from services.ledger.place import Place

LONGEST_NAME, LONGEST_REASON = 100, 300
OVERLAP_HOURS, LONGEST_OVERLAP_HOURS = 24, 720


class EndpointRefused(Refusal):
    """An endpoint can't be made, changed or asked this, and nothing was done."""


def checked_name(name: Any) -> str:
    text = name.strip() if isinstance(name, str) else ""
    if not 0 < len(text) <= LONGEST_NAME or not text.isprintable():
        raise EndpointRefused(
            "bad_name",
            _(
                "An endpoint has a name of 1 to %(longest_name)s characters on one line, such"
                " as that of the program that receives."
            )
            % {"longest_name": LONGEST_NAME},
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
            _("Give the types as a list of words; an empty list stands for all."),
            parameter="types",
        )
    given = set(types)
    if unknown := sorted(given - TYPES.keys()):
        shown = unknown[0][:100].encode(errors="replace").decode()
        raise EndpointRefused(
            "unknown_type",
            _("%(shown)s is no type of event; there are %(types)s.")
            % {"shown": repr(shown), "types": ", ".join(TYPES)},
            parameter="types",
            value=shown,
            allowed=list(TYPES),
        )
    return [each for each in TYPES if each in given]


def new_secret() -> str:
    """A secret as Standard Webhooks has it. Base64 that is for URLs would lose letters."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


def checked_overlap(hours: Any) -> timedelta:
    if isinstance(hours, bool) or not isinstance(hours, int):
        hours = -1
    if not 0 <= hours <= LONGEST_OVERLAP_HOURS:
        raise EndpointRefused(
            "out_of_range",
            _(
                "Both secrets sign together for a whole number of hours, from 0 to"
                " %(longest_overlap_hours)s."
            )
            % {"longest_overlap_hours": LONGEST_OVERLAP_HOURS},
            parameter="overlap_hours",
        )
    return timedelta(hours=hours)


def checked_reason(reason: Any) -> str:
    if not isinstance(reason, str) or len(reason) > LONGEST_REASON or not reason.isprintable():
        raise EndpointRefused(
            "bad_reason",
            _("A reason is a text of up to %(longest_reason)s characters on one line.")
            % {"longest_reason": LONGEST_REASON},
            parameter="reason",
        )
    return reason.strip()


def checked_place(place: Any) -> Place:
    try:
        return Place.parse(place if isinstance(place, str) else "")
    except ValueError:
        raise EndpointRefused(
            "bad_parameter",
            _("This is no place in the ledger; take one of its feed, such as next."),
            parameter="place",
            value=str(place)[:100].encode(errors="replace").decode(),
        ) from None
