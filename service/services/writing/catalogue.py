"""One service or plan: created, changed, deleted if it was never used.

A list price and a discount are given at the creation, when nobody pays by them. Later they move the
prices of many, which is a price change.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from services import fields, parsing
from services.models import CatalogueValue, Plan, Repricing, Service, Subtotal
from services.repricing import catalogue_edit
from services.writing.bodies import IDS, Field, percent, words
from services.writing.refusals import (
    WriteRefused,
    needs_price_change,
    not_there,
    told_by_constraints,
)

Kind = Literal["service", "plan"]
MODELS: dict[Kind, type[Service | Plan]] = {"service": Service, "plan": Plan}
FIELDS: dict[Kind, dict[str, Field]] = {
    "service": {
        "name": Field(words(fields.SERVICE_NAME), required=True),
        "full_price": Field(parsing.money, required=True, fixed=needs_price_change),
        **IDS,
    },
    "plan": {
        "plan_type": Field(words(fields.plan_type), required=True),
        "discount_percent": Field(percent, required=True, fixed=needs_price_change),
        **IDS,
    },
}


def create(kind: Kind, values: Mapping[str, Any], author: str) -> int:
    """Insert a service or a plan; return its id. Three queries.

    `WriteRefused` if the name, the discount of a type or the external id is taken.
    """
    made = MODELS[kind](**values)
    with catalogue_edit(author=author), told_by_constraints():
        made.save(force_insert=True)
    return int(made.pk)


def change(kind: Kind, id: int, values: Mapping[str, Any], author: str) -> None:
    """Write its name or type, and its ids elsewhere. Four queries, three if nothing differs.

    `WriteRefused` in the same cases, and if it is not there.
    """
    held = _held(kind, id)
    for name, value in values.items():
        setattr(held, name, value)
    with catalogue_edit(author=author), told_by_constraints():
        if held.changed_fields():
            held.save()


def delete(kind: Kind, id: int, author: str) -> None:
    """Delete one that no subscription was ever of, and that no price change has moved.

    `WriteRefused` for any other one.
    """
    held = _held(kind, id, to_delete=True)
    if refusal := used(kind, [id]).get(id):
        raise refusal
    with catalogue_edit(author=author):
        held.delete()


def used(kind: Kind, ids: Collection[int]) -> dict[int, WriteRefused]:
    """Those that subscriptions or price changes name, with the refusals to delete them.

    Three queries.
    """
    name = f"{kind}_id"
    of_them = {f"{name}__in": list(ids)}
    moved = {
        id: f"A price change moves {kind} {id}, or has moved it: it stays."
        for rows in (
            CatalogueValue.objects.filter(**of_them).exclude(change_id=None),
            Repricing.objects.filter(**of_them),
        )
        for id in rows.values_list(name, flat=True)
    }
    # Subtotals stay when the last subscription is gone.
    sold = {
        id: f"{kind.capitalize()} {id} has or had subscriptions, and their history names it: it"
        " stays. End those that it has."
        for id in Subtotal.objects.filter(**of_them).values_list(name, flat=True)
    }
    return {id: WriteRefused("in_use", said, 409) for id, said in (moved | sold).items()}


def _held(kind: Kind, id: int, to_delete: bool = False) -> Service | Plan:
    """The service or plan, locked; against new subscriptions too if it is to be deleted."""
    rows = MODELS[kind]._default_manager.select_for_update(no_key=not to_delete)
    found = rows.filter(pk=id).first()
    if found is None:
        raise not_there(kind, id)
    return found
