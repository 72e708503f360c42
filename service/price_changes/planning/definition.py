"""The values of a plan, checked, and the price change that they make.

values (API, form, command line) → `plan()` → PriceChange
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from price_changes.errors import ChangeError
from price_changes.models import PriceChange
from price_changes.planning.local_instant import said_instant
from price_changes.planning.values import (
    flag,
    in_future,
    money,
    number,
    record,
    refuse_lock_that_has_ended,
    refusing,
    required,
    text,
    word,
)
from pricebook.kit.points import at_point
from services.bounds import HIGHEST_PRICE
from services.models import Plan, Service
from services.parsing import CENT
from services.reading.filters import FILTERS, LASTING, BookFilter

Kind, Adjustment = PriceChange.Kind, PriceChange.Adjustment


def row_filter(given: Any) -> dict[str, Any]:
    """A filter, checked, as JSON values that are stored. An empty one means the whole book.

    The filters are those of the list, with the same meaning, but for `pending`.
    """
    if not isinstance(given, Mapping):
        raise ChangeError("bad_filter", "filter is an object of names and values.")
    for name in given:
        if name in FILTERS and name not in LASTING:
            raise ChangeError(
                "not_for_a_change",
                f"{name} depends on what is scheduled, so a price change can't use it: choose the"
                " subscriptions in another way.",
                parameter=name,
                allowed=LASTING,
            )
    return refusing(BookFilter.of)(given).kept()


COMMON = ["kind", "title", "reason", "comment", "effective_at", "time_zone"]
OF_KIND = {
    Kind.LIST_PRICE: ["service", "new_value", "for_new_only", "locked_until"],
    Kind.DISCOUNT: ["plan", "new_value", "for_new_only", "locked_until"],
    Kind.SET: [
        "filter",
        "adjustment",
        "operand",
        "floor",
        "ceiling",
        "rounding_step",
        "locked_until",
    ],
}


def plan(values: Mapping[str, Any], author: str) -> PriceChange:
    """Plan a change; raises ChangeError. Nothing moves before it is approved. 2 to 6 queries.

    `values`: kind (list_price, discount, set), its own fields (`OF_KIND`), and those in `COMMON`.
    """
    change = PriceChange(planned_by=author, **checked(values))
    change.save(force_insert=True)
    change.refresh_from_db()
    at_point("change planned")
    return change


def checked(values: Mapping[str, Any]) -> dict[str, Any]:
    kinds = [Kind.LIST_PRICE, Kind.DISCOUNT, Kind.SET]
    kind = word("kind", required("kind", values, f"; it may be {', '.join(kinds)}"), kinds)
    known = [*COMMON, *OF_KIND[Kind(kind)]]
    for name in values:
        if name not in known:
            raise ChangeError(
                "unknown_field",
                f"A change of kind {kind} has no {str(name)[:100]!r}; it has {', '.join(known)}.",
                parameter=str(name)[:100],
                allowed=known,
            )
    given = {name: value for name, value in values.items() if value is not None}
    fields: dict[str, Any] = {"kind": kind}
    for name, length in (("title", 100), ("reason", 1000), ("comment", 50)):
        fields[name] = text(name, given.get(name, ""), length)
    if "effective_at" in given:
        fields |= said_instant("effective_at", given["effective_at"], given.get("time_zone"))
    elif "time_zone" in given:
        raise ChangeError(
            "missing",
            "time_zone is that of effective_at: give both, or neither for at once.",
            parameter="effective_at",
        )
    if "locked_until" in given:
        fields["locked_until"] = in_future("locked_until", given["locked_until"])
        refuse_lock_that_has_ended(fields["locked_until"], fields.get("effective_at"))
    if kind == Kind.SET:
        return fields | set_fields(given, fields)
    return fields | catalogue_fields(kind, given, fields)


def catalogue_fields(
    kind: str, given: Mapping[str, Any], fields: Mapping[str, Any]
) -> dict[str, Any]:
    name = "service" if kind == Kind.LIST_PRICE else "plan"
    thing = record(name, required(name, given), Service if name == "service" else Plan)
    new_value = money("new_value", required("new_value", given))
    if kind == Kind.DISCOUNT and (new_value > 100 or new_value != int(new_value)):
        raise ChangeError(
            "out_of_range",
            f"A discount is a whole number from 0 to 100; {new_value} is not.",
            parameter="new_value",
            value=str(new_value),
        )
    if kind == Kind.DISCOUNT:
        refuse_second_plan(thing, int(new_value))
    old_value = thing.full_price if kind == Kind.LIST_PRICE else thing.discount_percent
    for_new_only = flag("for_new_only", given.get("for_new_only", False))
    if for_new_only and fields["comment"]:
        raise ChangeError(
            "nothing_to_stamp",
            "A change for new subscriptions only moves none: there is nothing to stamp.",
            parameter="comment",
        )
    if "locked_until" in given and not for_new_only:
        raise ChangeError(
            "unknown_field",
            "locked_until belongs to a change for new subscriptions only.",
            parameter="locked_until",
        )
    return {
        name: thing,
        "old_value": old_value,
        "new_value": new_value,
        "for_new_only": for_new_only,
    }


def refuse_second_plan(plan: Plan, discount_percent: int) -> None:
    same = Plan.objects.filter(plan_type=plan.plan_type, discount_percent=discount_percent)
    other = same.exclude(pk=plan.pk).first()
    if other is not None:
        raise ChangeError(
            "plan_exists",
            f"Plan {other.pk} is {other} already, and there can't be two: move the subscriptions"
            " of one to the other.",
            409,
            parameter="new_value",
            value=str(discount_percent),
        )


def set_fields(given: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    kept_filter = row_filter(
        required("filter", given, ": say which subscriptions; {} means the whole book")
    )
    adjustment = word(
        "adjustment",
        required("adjustment", given, f"; it may be {', '.join(Adjustment.values)}"),
        Adjustment.values,
    )
    moves = adjustment in (Adjustment.AMOUNT, Adjustment.ADD, Adjustment.PERCENT)
    kept: dict[str, Any] = {"filter": kept_filter, "adjustment": adjustment}
    for name in ("operand", "floor", "ceiling", "rounding_step"):
        if name in given and not moves:
            raise ChangeError(
                "unknown_field",
                f"{name} belongs to amount, add and percent, not to {adjustment}.",
                parameter=name,
            )
    if moves:
        required("operand", given)
        if adjustment == Adjustment.AMOUNT:
            kept["operand"] = money("operand", given["operand"])
        elif adjustment == Adjustment.ADD:
            kept["operand"] = money("operand", given["operand"], lowest=-HIGHEST_PRICE)
        else:
            kept["operand"] = number("operand", given["operand"])
            if not -100 <= kept["operand"] <= 10_000:
                raise ChangeError(
                    "out_of_range",
                    "A percentage must be from -100 to 10000.",
                    parameter="operand",
                    value=str(given["operand"])[:100],
                )
        for name in ("floor", "ceiling"):
            if name in given:
                kept[name] = money(name, given[name])
        if "rounding_step" in given:
            kept["rounding_step"] = money("rounding_step", given["rounding_step"], lowest=CENT)
        if kept.get("floor", 0) > kept.get("ceiling", HIGHEST_PRICE):
            raise ChangeError(
                "out_of_range",
                "The floor is above the ceiling.",
                parameter="floor",
                value=str(kept["floor"]),
            )
    if "locked_until" in given and adjustment != Adjustment.LOCK:
        raise ChangeError(
            "unknown_field",
            "locked_until belongs to the adjustment lock.",
            parameter="locked_until",
        )
    return kept
