"""The price changes that need a person: to be approved, held, paused, not approved, or failed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Q, Sum
from django.utils.translation import gettext as _

from price_changes.kinds.words import Names
from price_changes.models import PriceChange
from price_changes.planning import status_now
from price_changes.running import limits
from price_changes.showing.instants import in_force_from, zone_rules_differ
from price_changes.showing.sentences import sentence
from pricebook.kit.access import author
from pricebook.kit.authors import in_words
from pricebook.kit.scopes import VIEW_CLIENT
from services.models import Repricing, book_clock

Status = PriceChange.Status
SHOWN = 10
FAILED_DAYS = 30  # for which a change with rows that could not be moved is shown
NEEDING = (
    Q(status__in=[Status.PLANNED, Status.HELD, Status.PAUSED])
    | Q(status__in=[Status.APPLYING, Status.APPLIED], approved_at__isnull=False)
    & ~Q(needs_another="")
    | Q(status=Status.SCHEDULED)
)


@dataclass(frozen=True)
class Item:
    """A change that needs somebody. `mine`: whether the reader is one who can do it.

    `tone`: a class of desk.css.
    """

    change: PriceChange
    says: str
    needs: str
    why: str
    tone: str
    mine: bool


def items(user: Any) -> list[Item]:
    """The changes that need a person, the most urgent first.

    Some eight queries, whatever the book's size; up to six for each that waits for an approval, if
    limits are set.
    """
    now = book_clock()
    failed = _failed(now)
    changes = list(
        PriceChange.objects.filter(NEEDING | Q(pk__in=failed)).order_by("-id")[: SHOWN * 5]
    )
    status_now.refresh(changes)
    names = Names.of_changes(changes, user.has_perm(VIEW_CLIENT))
    found = [
        item
        for change in changes
        if (item := _item(change, names, user, failed.get(change.pk, 0))) is not None
    ]
    order = ("alarm", "warn", "")
    found.sort(key=lambda item: (not item.mine, order.index(item.tone), -item.change.pk))
    return found[:SHOWN]


def _item(change: PriceChange, names: Names, user: Any, failed: int) -> Item | None:
    needs, why, tone = _need(change, failed)
    if not needs:
        return None
    mine = user.has_perm("price_changes.approve_pricechange")
    if mine and change.status == Status.PLANNED:
        mine = limits.why_not(change, author(user)) is None
    return Item(change, change.title or sentence(change, names), needs, why, tone, mine)


def _need(change: PriceChange, failed: int) -> tuple[str, str, str]:
    """The need of a change, why, and how urgent it is; empty if nothing."""
    if change.not_approved:
        return _("Not approved"), in_words(change.why_another), "alarm"
    if change.status == Status.HELD:
        return _("Held"), in_words(change.remark), "alarm"
    if failed:
        why = _("%(rows)s rows could not be moved.") % {"rows": failed}
        return _("Failed in part"), why, "alarm"
    if change.status == Status.PAUSED:
        why = _("%(person)s has paused it.") % {"person": in_words(change.paused_by)}
        return _("Paused"), why, "warn"
    if change.status == Status.SCHEDULED:
        if change.untold is not None and change.brake is None:
            return _("Clients to tell"), status_now.warning(change), "warn"
        why = status_now.warning(change) if change.will_be_held else zone_rules_differ(change)
        return (_("Will be held"), why, "warn") if why else ("", "", "")
    if change.status == Status.PLANNED:
        return _("Waits for approval"), in_words(change.why_another) or _by(change), ""
    return "", "", ""


def _by(change: PriceChange) -> str:
    when = in_force_from(change) if change.effective_at else _("the moment of its approval")
    return _("Planned by %(person)s, in force from %(when)s.") % {
        "person": in_words(change.planned_by),
        "when": when,
    }


def _failed(now: Any) -> dict[int, int]:
    """The rows that could not be moved, by the change, of the last days. One query."""
    since = now - timedelta(days=FAILED_DAYS)
    works: Iterable[tuple[int, int]] = (
        Repricing.objects.filter(failed__gt=0, change_id__isnull=False, requested_at__gt=since)
        .order_by()
        .values_list("change_id")
        .annotate(rows=Sum("failed"))
    )
    return dict(works)
