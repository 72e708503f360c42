"""One service or plan: created, changed, deleted if it was never used.

A new list price or discount moves the prices of all that follow it. It is written at once if its
author may do so alone; beyond a limit (docs/limits.md) it becomes a plan that waits.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, Literal

from django.db import connection, transaction
from django.utils.translation import gettext as _

from services import fields, parsing
from services.catalogue_subject import CatalogueSubject
from services.counted_moves import counted_edit
from services.hooks import price_changes
from services.models import CatalogueValue, Plan, Repricing, Service, Subtotal
from services.moves import NOTHING, ROWS_SHOWN, Effect, NeedsAnotherPerson, WaitingPlan
from services.repricing import catalogue_edit
from services.repricing.locks import GIVE_WAY, WAIT_AGAIN
from services.writing.bodies import IDS, Field, percent, words
from services.writing.refusals import (
    WriteRefused,
    not_there,
    refuse_source_alike,
    told_by_constraints,
)

Kind = Literal["service", "plan"]
MODELS: dict[Kind, type[Service | Plan]] = {"service": Service, "plan": Plan}
FIELDS: dict[Kind, dict[str, Field]] = {
    "service": {
        "name": Field(words(fields.SERVICE_NAME), required=True),
        "full_price": Field(parsing.money, required=True),
        **IDS,
    },
    "plan": {
        "plan_type": Field(words(fields.plan_type), required=True),
        "discount_percent": Field(percent, required=True),
        **IDS,
    },
}

# A change may be a look only.
CHANGES = {kind: {**fields, "dry_run": Field(parsing.flag)} for kind, fields in FIELDS.items()}


def create(kind: Kind, values: Mapping[str, Any], author: str) -> int:
    """Insert a service or a plan; return its id. Three queries.

    `WriteRefused` if the name, the discount of a type or the external id is taken.
    """
    made = MODELS[kind](**values)
    with catalogue_edit(author=author), told_by_constraints():
        made.save(force_insert=True)
    return int(made.pk)


def change(kind: Kind, id: int, values: Mapping[str, Any], author: str) -> WaitingPlan | None:
    """Write the values that differ; if a new list price or discount among them is beyond a limit of
    its author, plan that instead, and write nothing else.

    Four queries, three if nothing differs; with a list price or a discount one more, and those of
    `counted_edit`. `WriteRefused` in the cases of `create()`, and if it is not there.
    """
    try:
        with transaction.atomic():
            _write(kind, id, values, author)
    except NeedsAnotherPerson as needs:
        subject = CatalogueSubject(kind, id)
        value = Decimal(values[subject.field])
        plan = price_changes().plan_value(subject, value, "", author, needs.detail)
        return replace(plan, unwritten=tuple(name for name in values if name != subject.field))
    return None


def show_change(kind: Kind, id: int, values: Mapping[str, Any], author: str) -> Effect:
    """The effect of a change on prices: it is counted, done, and undone. Raises as `change()`."""
    why, effect = "", Effect(NOTHING)
    with transaction.atomic():
        held = _held(kind, id)
        subject = CatalogueSubject(kind, id)
        value = values.get(subject.field)
        if value is not None and value != _in_force(held, subject):
            effect = price_changes().would_move(subject, Decimal(value), author, ROWS_SHOWN)
        try:
            _write(kind, id, values, author)
        except NeedsAnotherPerson as needs:
            why = needs.detail
        transaction.set_rollback(True)
    return replace(effect, needs_another=why)


def _write(kind: Kind, id: int, values: Mapping[str, Any], author: str) -> None:
    held, subject = _held(kind, id), CatalogueSubject(kind, id)
    others = {name: value for name, value in values.items() if name != subject.field}
    written = [name for name, value in others.items() if getattr(held, name) != value]
    value, edit = values.get(subject.field), catalogue_edit(author=author)
    if value is not None and value != _in_force(held, subject):
        written.append(subject.field)
        edit = counted_edit(subject, Decimal(value), author)
    if "source" in written:
        refuse_source_alike(kind, id, values["source"])
    for name in written:
        setattr(held, name, values[name])
    with told_by_constraints(), edit:
        if written:
            held.save(update_fields=written)


def _in_force(held: Service | Plan, subject: CatalogueSubject) -> Decimal | int:
    """Its list price or discount by now, which a worker may not have copied yet. One query."""
    rows = type(held)._default_manager.in_force()
    value: Decimal | int = rows.values_list(subject.field, flat=True).get(pk=held.pk)
    return value


def delete(kind: Kind, id: int, author: str) -> None:
    """Delete one that no subscription was ever of, and that no price change has moved.

    `WriteRefused` for any other one. It waits for those who insert a subscription of it, under the
    lock that they take too, and while its row lets their foreign keys be checked: so it finds what
    they have inserted, and neither waits for the other in a circle. LockNotAvailable for one who
    holds the row and is still to come to that lock.
    """
    held = _held(kind, id)
    CatalogueSubject(kind, id).lock()
    if refusal := used(kind, [id]).get(id):
        raise refusal
    with catalogue_edit(author=author), connection.cursor() as cursor:
        cursor.execute(GIVE_WAY)
        held.delete()
        cursor.execute(WAIT_AGAIN)


def used(kind: Kind, ids: Collection[int]) -> dict[int, WriteRefused]:
    """Those that subscriptions or price changes name, with the refusals to delete them.

    Three queries.
    """
    name = f"{kind}_id"
    of_them = {f"{name}__in": list(ids)}
    moved = {
        id: _("A price change moves %(kind)s %(id)s, or has moved it: it stays.")
        % {"kind": _(kind), "id": id}
        for rows in (
            CatalogueValue.objects.filter(**of_them).exclude(change_id=None),
            Repricing.objects.filter(**of_them),
        )
        for id in rows.values_list(name, flat=True)
    }
    # Subtotals stay when the last subscription is gone.
    sold = {
        id: _(
            "%(kind)s %(id)s has or had subscriptions, and their history names it: it stays. End"
            " those that it has."
        )
        % {"kind": str(_(kind)).capitalize(), "id": id}
        for id in Subtotal.objects.filter(**of_them).values_list(name, flat=True)
    }
    return {id: WriteRefused("in_use", said, 409) for id, said in (moved | sold).items()}


def _held(kind: Kind, id: int) -> Service | Plan:
    """The service or plan, locked; subscriptions of it can be created meanwhile."""
    rows = MODELS[kind]._default_manager.select_for_update(no_key=True)
    found = rows.filter(pk=id).first()
    if found is None:
        raise not_there(kind, id)
    return found
