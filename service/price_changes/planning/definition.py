"""What a price change says, checked: the values of a plan, and the SQL that follows from them.

    values (API, form, command line) → `plan()` → PriceChange
    PriceChange → `rows_sql()` → one row a subscription: what it pays, what it is to pay, or why not

Preview, the frozen list and the list old → new all read the same statement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from django.db import connection
from django.db.models import Q
from django.utils import timezone

from price_changes.errors import ChangeError
from price_changes.models import PriceChange
from pricebook.kit.points import at_point
from services import parsing
from services.bounds import HIGHEST_PRICE
from services.models import Plan, Service, Subscription
from services.parsing import CENT, BadValue
from services.reading.filters import FILTERS, LASTING, BookFilter
from services.repricing.followers import BACK

Kind, Adjustment = PriceChange.Kind, PriceChange.Adjustment
Given = ParamSpec("Given")
Value = TypeVar("Value")

# --- Values -----------------------------------------------------------------------------------


def refusing(parse: Callable[Given, Value]) -> Callable[Given, Value]:
    """The same function, with a ChangeError where the value can't be used."""

    @wraps(parse)
    def checked(*args: Given.args, **kwargs: Given.kwargs) -> Value:
        try:
            return parse(*args, **kwargs)
        except BadValue as error:
            raise ChangeError(error.code, error.detail, **error.about) from None

    return checked


money = refusing(parsing.money)
number = refusing(parsing.number)
instant = refusing(parsing.instant)
word = refusing(parsing.word)
identifier = refusing(parsing.identifier)


def in_future(name: str, value: Any) -> datetime:
    at = instant(name, value)
    if at <= timezone.now():
        raise ChangeError(
            "in_the_past",
            f"{name} is {at.isoformat()}, which has passed; give a later one, or none for at once.",
            parameter=name,
            value=at.isoformat(),
        )
    return at


def refuse_lock_that_has_ended(until: datetime | None, at: datetime | None) -> None:
    if until is not None and at is not None and until <= at:
        raise ChangeError(
            "lock_ends_too_early",
            f"The locks would end at {until.isoformat()}, and not be there when the change comes"
            f" into force, at {at.isoformat()}; let them end later.",
            parameter="locked_until",
            value=until.isoformat(),
        )


def required(name: str, given: Mapping[str, Any], hint: str = "") -> Any:
    """The value; refused with the hint where there is none."""
    if given.get(name) is None:
        raise ChangeError("missing", f"{name} is missing{hint}.", parameter=name)
    return given[name]


def text(name: str, value: Any, length: int) -> str:
    return refusing(parsing.text)(name, value, length).strip()


def record(name: str, value: Any, model: type[Service] | type[Plan]) -> Any:
    pk = identifier(name, value)
    found = model.objects.filter(pk=pk).first()
    if found is None:
        raise ChangeError("not_found", f"There is no {name} {pk}.", parameter=name, value=str(pk))
    return found


def flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ChangeError(
            "not_a_flag", f"{name} is true or false.", parameter=name, value=str(value)[:100]
        )
    return value


def row_filter(given: Any) -> dict[str, Any]:
    """A filter as it is kept: JSON values, checked. An empty one means the whole book.

    It takes the filters that the list takes, but for `pending`, and means the same by them.
    """
    if not isinstance(given, Mapping):
        raise ChangeError("bad_filter", "filter is an object of names and values.")
    for name in given:
        if name in FILTERS and name not in LASTING:
            raise ChangeError(
                "not_for_a_change",
                f"{name} moves with what is scheduled, so a price change can't be for that: name"
                " the subscriptions in another way.",
                parameter=name,
                allowed=LASTING,
            )
    return refusing(BookFilter.of)(given).kept()


def condition(kept: Mapping[str, Any]) -> Q:
    return refusing(BookFilter.of)(kept).condition()


# --- The plan ---------------------------------------------------------------------------------

COMMON = ["kind", "title", "reason", "comment", "effective_at"]
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
    """Plan a change; raises ChangeError. Nothing moves before it is approved. 1-2 queries.

    `values`: kind (list_price, discount, set) and what belongs to it (`OF_KIND`), and `COMMON`.
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
        fields["effective_at"] = in_future("effective_at", given["effective_at"])
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
                    "A percentage lies from -100 to 10000.",
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
                "The floor lies above the ceiling.",
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


# --- The rows ---------------------------------------------------------------------------------

# One row a subscription that the change is about. `reason` is NULL where it is to become
# (new_price, new_state, new_until). Rows are judged as they stand at the effective instant: a lock
# that has ended by then is none, and its price is the rule's.
STANDING = """
SELECT subscription.id, client_id, subscription.service_id, subscription.plan_id,
       CASE WHEN price_state = 'locked' AND locked_until <= {at} THEN 'follows' ELSE price_state
        END AS state,
       CASE WHEN price_state = 'locked' AND locked_until <= {at} THEN price_rule(full_price,
            discount_percent) ELSE price END AS price,
       price_state, CASE WHEN locked_until > {at} THEN locked_until END AS locked_until,
       coalesce(ended_at <= {at}, false) AS ended,
       full_price, discount_percent
  FROM services_subscription subscription
  JOIN services_service service ON service.id = subscription.service_id
  JOIN services_plan plan ON plan.id = subscription.plan_id
 WHERE {where}
"""

CATALOGUE_ROWS = """
SELECT id, client_id, service_id, plan_id, price, state AS price_state, locked_until,
       CASE WHEN moves THEN target ELSE price END AS new_price,
       CASE WHEN moves THEN 'follows' ELSE state END AS new_state, NULL::timestamptz AS new_until,
       CASE WHEN moves THEN NULL WHEN ended THEN 'ended' WHEN state <> 'follows' THEN state
            ELSE 'unchanged' END AS reason
  FROM (SELECT *, NOT ended AND state = 'follows' AND price <> target AS moves
          FROM (SELECT *, price_rule({full_price}, {discount_percent}) AS target
                  FROM ({standing}) standing) targeted) judged
"""

# The revert of a change for new subscriptions only, or the revert of that: those whose state it
# puts back, and the followers.
BACK_ROWS = """
SELECT id, client_id, service_id, plan_id, price, state AS price_state, locked_until,
       CASE WHEN reason IS NULL THEN target ELSE price END AS new_price,
       CASE WHEN reason IS NULL THEN coalesce(back_state, state) ELSE state END AS new_state,
       CASE WHEN reason IS NULL THEN back_until END AS new_until, reason
  FROM (SELECT *, CASE WHEN ended THEN 'ended' WHEN back_state IS NOT NULL THEN NULL
                       WHEN state <> 'follows' THEN state WHEN price = target THEN 'unchanged'
                   END AS reason
          FROM (SELECT standing.*, back_state, back_until,
                       CASE WHEN back_state <> 'follows' THEN back.price
                            ELSE price_rule({full_price}, {discount_percent}) END AS target
                  FROM ({standing}) standing
                  LEFT JOIN ({back}) back ON back.id = standing.id) targeted) judged
"""

KEPT_ROWS = """
SELECT id, client_id, service_id, plan_id, price, state AS price_state, locked_until,
       price AS new_price, CASE WHEN keeps THEN 'locked' ELSE state END AS new_state,
       CASE WHEN keeps THEN {until}::timestamptz END AS new_until,
       CASE WHEN keeps THEN NULL WHEN ended THEN 'ended' ELSE state END AS reason
  FROM (SELECT *, NOT ended AND state = 'follows' AS keeps FROM ({standing}) standing) judged
"""

SET_ROWS = """
SELECT id, client_id, service_id, plan_id, price, state AS price_state, locked_until,
       CASE WHEN reason IS NULL THEN target ELSE price END AS new_price,
       CASE WHEN reason IS NULL THEN new_state ELSE state END AS new_state,
       CASE WHEN reason IS NULL THEN new_until END AS new_until, reason
  FROM (SELECT *, CASE WHEN ended THEN 'ended' WHEN {stays} THEN {stays_because}
                       WHEN {unchanged} THEN 'unchanged' END AS reason
          FROM (SELECT *, {target} AS target, '{new_state}' AS new_state,
                       {until}::timestamptz AS new_until
                  FROM ({standing}) standing) targeted) judged
"""

# What a change of a set has moved, and what each of these rows was before it.
REVERT_ROWS = """
SELECT id, client_id, service_id, plan_id, price, price_state, locked_until,
       CASE WHEN reason IS NULL THEN target ELSE price END AS new_price,
       CASE WHEN reason IS NULL THEN before_state ELSE price_state END AS new_state,
       CASE WHEN reason IS NULL THEN before_until END AS new_until, reason
  FROM (SELECT *, CASE WHEN before_state = 'follows' THEN price_rule(full_price, discount_percent)
                       ELSE before_price END AS target,
               CASE WHEN gone THEN 'deleted' WHEN ended THEN 'ended'
                    WHEN newest_change IS DISTINCT FROM {change} AND NOT has_last_word({change}, id)
                      OR {reason_is_anothers} THEN 'touched_since' END AS reason
          FROM (SELECT moved.subscription_id AS id,
                       coalesce(subscription.client_id, last.client_id) AS client_id,
                       coalesce(subscription.service_id, last.service_id) AS service_id,
                       coalesce(subscription.plan_id, last.plan_id) AS plan_id,
                       coalesce(subscription.price, 0) AS price,
                       coalesce(subscription.price_state, 'follows') AS price_state,
                       subscription.locked_until, price_reason, subscription.id IS NULL AS gone,
                       coalesce(ended_at <= {at}, false) AS ended,
                       last.change_id AS newest_change, before.price AS before_price,
                       CASE WHEN before.locked_until <= {at} THEN 'follows'
                            ELSE coalesce(before.price_state, 'follows') END AS before_state,
                       CASE WHEN before.locked_until > {at} THEN before.locked_until
                        END AS before_until,
                       full_price, discount_percent
                  FROM (SELECT subscription_id, min(id) AS first_id
                          FROM services_ledgerentry WHERE change_id = {change}
                         GROUP BY subscription_id) moved
                  LEFT JOIN services_subscription subscription
                    ON subscription.id = moved.subscription_id
                  LEFT JOIN services_service service ON service.id = subscription.service_id
                  LEFT JOIN services_plan plan ON plan.id = subscription.plan_id
                 CROSS JOIN LATERAL (
                       SELECT change_id, client_id, service_id, plan_id FROM services_ledgerentry
                        WHERE subscription_id = moved.subscription_id
                        ORDER BY id DESC LIMIT 1) last
                  LEFT JOIN LATERAL (
                       SELECT price, price_state, locked_until FROM services_ledgerentry
                        WHERE subscription_id = moved.subscription_id AND id < first_id
                        ORDER BY id DESC LIMIT 1) before ON true) known) judged
"""

SQL = tuple[str, list[Any]]


def rows_sql(change: PriceChange, at: datetime | None = None) -> SQL:
    """The statement of the change's rows, judged as of `at` (its effective instant; else now)."""
    at = at or change.effective_at or timezone.now()
    if change.kind == Kind.REVERT:
        assert change.reverts is not None
        anothers, params = reason_is_anothers(change.reverts)
        return REVERT_ROWS.format(
            at=literal(at), change=int(change.reverts.pk), reason_is_anothers=anothers
        ), params
    if change.kind == Kind.SET:
        return _set_rows(change, at)
    if change.kind == Kind.LIST_PRICE:
        where, full_price, discount = f"service.id = {int(change.service_id or 0)}", "{}", None
    else:
        where, full_price, discount = f"plan.id = {int(change.plan_id or 0)}", None, "{}"
    standing = STANDING.format(at=literal(at), where=where)
    if change.for_new_only:
        return KEPT_ROWS.format(standing=standing, until=literal(change.locked_until)), []
    value = literal(change.new_value)
    shape = {
        "standing": standing,
        "full_price": value if full_price else "full_price",
        "discount_percent": f"{value}::integer" if discount else "discount_percent",
    }
    if change.first.for_new_only:
        back = BACK.format(at=literal(at), change=int(change.reverts_id or 0), of="")
        return BACK_ROWS.format(back=back, **shape), []
    return CATALOGUE_ROWS.format(**shape), []


def reason_is_anothers(undone: PriceChange) -> SQL:
    """The condition that somebody has given a price state his reason, at the price that it had.

    That leaves no entry in the ledger.
    """
    if undone.reverts_id is not None:
        return "false", []
    return "(price_state <> 'follows' AND price_reason <> %s)", [undone.why]


def _set_rows(change: PriceChange, at: datetime) -> SQL:
    query = Subscription.objects.filter(condition(change.filter or {})).order_by()
    ids, params = query.values("pk").query.sql_with_params()
    whole = not change.filter
    where = "true" if whole else f"subscription.id IN ({ids})"
    standing = STANDING.format(at=literal(at), where=where)
    adjustment = change.adjustment
    rule = "price_rule(full_price, discount_percent)"
    locked = "state = 'locked'"
    if adjustment == Adjustment.LOCK:
        shape = (
            "price",
            "locked",
            "false",
            "NULL",
            f"{locked} AND locked_until IS NOT DISTINCT FROM new_until",
        )
    elif adjustment == Adjustment.RELEASE:
        shape = (rule, "follows", "state <> 'locked'", "'unchanged'", "false")
    elif adjustment == Adjustment.FOLLOW:
        shape = (rule, "follows", locked, "'locked'", "state = 'follows'")
    else:
        shape = (new_price_sql(change), "negotiated", locked, "'locked'", "price = target")
    target, new_state, stays, because, unchanged = shape
    return SET_ROWS.format(
        standing=standing,
        target=target,
        new_state=new_state,
        stays=stays,
        stays_because=because,
        unchanged=unchanged,
        until=literal(change.locked_until),
    ), list(params) if not whole else []


def new_price_sql(change: PriceChange) -> str:
    """The new price as an expression over `price`: adjusted, rounded to the step, bounded."""
    operand = literal(change.operand)
    price = {
        Adjustment.AMOUNT: f"{operand}::numeric",
        Adjustment.ADD: f"price + {operand}",
        # Multiplied and not divided: of a high price the quotient would have six digits, and be
        # rounded twice.
        Adjustment.PERCENT: f"price * (100 + {operand}) * 0.01",
    }[Adjustment(change.adjustment)]
    if change.rounding_step is not None:
        step = literal(change.rounding_step)
        # The whole steps in it and a half, for the same reason: div() is exact.
        price = f"sign({price}) * div(abs({price}) + {step} * 0.5, {step}) * {step}"
    if change.floor is not None:
        price = f"greatest({price}, {literal(change.floor)})"
    if change.ceiling is not None:
        price = f"least({price}, {literal(change.ceiling)})"
    return f"round({price}, 2)"


def literal(value: Decimal | datetime | None) -> str:
    """A checked value as SQL: numbers and instants only, which have no quotes in them."""
    if value is None:
        return "NULL"
    if isinstance(value, datetime):
        return f"'{value.isoformat()}'::timestamptz"
    return f"({value})"


def fetch(sql: str, params: list[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params or None)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found
