"""The ledger of one subscription in words, newest first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.http import Http404
from django.utils.translation import gettext as _

from desk.clients.standing import state_words
from price_changes.kinds.words import Names
from price_changes.models import PriceChange
from services.ledger.entries import newest

SHOWN = 20  # entries on a page
Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Told:
    """An entry in words. `change`: the number of the price change that wrote it, if one did."""

    id: int
    says: str
    effective_at: datetime
    recorded_at: datetime
    old_price: Decimal | None
    price: Decimal | None
    state: str
    author: str
    reason: str
    change: int | None
    title: str


@dataclass(frozen=True)
class History:
    entries: list[Told]
    older: int | None  # the id before which the next page begins
    newer: bool


def page_of(subscription_id: int, before: str, names_clients: bool) -> History:
    """A page of a subscription's history, by keyset. Up to seven queries.

    `names_clients`: whether the reader may see them.
    """
    limit = None
    if before:
        if not (before.isascii() and before.isdigit() and len(before) < 19):
            raise Http404(_("“%(place)s” is no place in this history.") % {"place": before[:40]})
        limit = int(before)
    found = newest(subscription_id, limit, SHOWN + 1)
    names = Names.of(
        (entry["service_id"] for entry in found),
        (entry["plan_id"] for entry in found),
        (entry["client_id"] for entry in found if names_clients),
    )
    changes = PriceChange.objects.only("title", "reason", "approved_by", "planned_by").in_bulk(
        {entry["change_id"] for entry in found} - {None}
    )
    told = [
        _told(entry, found[place + 1] if place + 1 < len(found) else None, names, changes)
        for place, entry in enumerate(found[:SHOWN])
    ]
    more = len(found) > SHOWN
    return History(told, told[-1].id if more else None, limit is not None)


def _told(
    entry: Entry, earlier: Entry | None, names: Names, changes: Mapping[int, PriceChange]
) -> Told:
    change = changes.get(entry["change_id"]) if entry["change_id"] else None
    by_change = (change.approved_by or change.planned_by) if change else ""
    return Told(
        entry["id"],
        _says(entry, earlier, names),
        entry["effective_at"],
        entry["recorded_at"],
        None if earlier is None else earlier["price"],
        entry["price"],
        state_words(entry["price_state"], entry["locked_until"]),
        entry["author"] or by_change,
        entry["correction_reason"] or (change.reason if change else ""),
        entry["change_id"],
        change.title if change else "",
    )


def _says(entry: Entry, earlier: Entry | None, names: Names) -> str:
    """The subject of an entry, by how it differs from the one before it."""
    if entry["price"] is None:
        return _("Deleted")
    if entry["correction_id"] is not None:
        return _("Corrected")
    if earlier is None:
        return _("Began to be kept here")
    if earlier["client_id"] != entry["client_id"]:
        if not names.clients:
            return _("Moved to another client")
        return _("Moved to %(name)s") % {"name": names.client(entry["client_id"])}
    if (earlier["service_id"], earlier["plan_id"]) != (entry["service_id"], entry["plan_id"]):
        return _("Moved to %(service)s, %(plan)s") % {
            "service": names.service(entry["service_id"]),
            "plan": names.plan(entry["plan_id"]),
        }
    if entry["unpaid_since"] is not None:
        return _("Restarted")
    if earlier["ended_at"] != entry["ended_at"]:
        return _("Its end was set") if entry["ended_at"] else _("Its end was taken back")
    if earlier["started_at"] != entry["started_at"]:
        return _("Its start was set")
    return _price_says(entry, earlier)


def _price_says(entry: Entry, earlier: Entry) -> str:
    was, state = earlier["price_state"], entry["price_state"]
    if state == "locked" and (was, earlier["locked_until"]) != (state, entry["locked_until"]):
        return _("Locked")
    if state == "negotiated" and (was, earlier["price"]) != (state, entry["price"]):
        return _("Negotiated")
    if state == "follows" and was == "locked":
        return _("Released")
    if state == "follows" and was == "negotiated":
        return _("Let follow the catalogue")
    if earlier["price"] == entry["price"]:
        return _("Written again")
    return _("Moved by the catalogue") if entry["change_id"] is None else _("Price change")
