"""Plans that stand in the place of edits beyond a limit, and wait for another person's approval.

Such a plan does what the edit would have done: that of a list price or a discount is a change of
the catalogue, in force from its approval; that of one subscription's price is a set of this one,
`for_one`. An edit that is tried again finds its plan, and makes no second one.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction

from price_changes.kinds import OF_CATALOGUE
from price_changes.models import PriceChange
from price_changes.planning import preview as previews
from price_changes.planning.definition import checked
from price_changes.running import limits
from pricebook.words.stored import in_english
from services.catalogue_subject import CatalogueSubject
from services.moves import Effect, Mover, WaitingPlan

KIND_OF = {"service": PriceChange.Kind.LIST_PRICE, "plan": PriceChange.Kind.DISCOUNT}
assert sorted(KIND_OF.values()) == sorted(OF_CATALOGUE)


def plan_for_one(
    subscription_id: int,
    adjustment: str,
    author: str,
    why: str,
    *,
    operand: Decimal | None = None,
    locked_until: datetime | None = None,
    reason: str = "",
) -> WaitingPlan:
    """Plan what a verb would do to one subscription's price; raises ChangeError."""
    values: dict[str, Any] = {
        "kind": PriceChange.Kind.SET.value,
        "filter": {"subscription": subscription_id},
        "adjustment": adjustment,
        "operand": operand,
        "locked_until": locked_until,
        "reason": reason,
    }
    return _planned(values, author, why, for_one=True)


def plan_value(
    subject: CatalogueSubject, value: Decimal, comment: str, author: str, why: str
) -> WaitingPlan:
    """Plan the new list price of a service, or discount of a plan; raises ChangeError."""
    values = {
        "kind": KIND_OF[subject.role].value,
        subject.role: subject.id,
        "new_value": value,
        "comment": comment,
    }
    return _planned(values, author, why)


def would_move(subject: CatalogueSubject, value: Decimal, author: str, rows: int = 0) -> Effect:
    """The effect of a new list price or discount now, counted as a preview counts it.

    Nothing stays written: it is planned and previewed in a transaction that is undone.
    """
    values = {"kind": KIND_OF[subject.role].value, subject.role: subject.id, "new_value": value}
    with transaction.atomic():
        change = PriceChange(planned_by=author, **checked(values))
        change.save(force_insert=True)
        change.refresh_from_db()
        previews.preview(change)
        first = previews.first_rows(change, rows) if rows else []
        transaction.set_rollback(True)
    assert change.preview is not None
    movers = (
        Mover(
            each["client"],
            each["client_name"],
            each["rows"],
            Decimal(each["before"]),
            Decimal(each["after"]),
        )
        for each in change.preview["largest_movers"]
    )
    return Effect(limits.move_of(change), tuple(movers), tuple(first))


def _planned(values: Mapping[str, Any], author: str, why: str, **more: bool) -> WaitingPlan:
    with transaction.atomic():
        fields = {**checked(values), **more}
        known = {name: value for name, value in fields.items() if name != "old_value"}
        same = PriceChange.objects.select_for_update().filter(
            status=PriceChange.Status.PLANNED, planned_by=author, **known
        )
        change = same.exclude(needs_another="").first()
        if change is None:
            change = PriceChange(planned_by=author, **fields)
            change.save(force_insert=True)
            change.refresh_from_db()
        made_to_wait(previews.preview(change), why)
    return WaitingPlan(change.pk, why)


def made_to_wait(change: PriceChange, why: str) -> PriceChange:
    """Note on a planned change why it takes another person. One query."""
    change.needs_another = in_english(why)[:500]
    change.save(update_fields=["needs_another"])
    return change
