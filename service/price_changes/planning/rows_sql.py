"""The statement of a change's rows: what each pays, what it is to pay, or why it stays.

Preview, the frozen list and the list old → new all read the same statement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from price_changes.models import PriceChange
from price_changes.planning import members
from price_changes.planning.definition import Adjustment, Kind
from price_changes.planning.relations import IN_FORCE, SQL, late_at, literal, standing_at
from price_changes.planning.reverted_rows import REVERT_ROWS
from price_changes.planning.values import refusing
from services.models import book_clock
from services.reading.filters import FILTERS, LASTING, BookFilter
from services.repricing.keeping import BACK

# A row for each subscription that the change is about. `reason` is NULL if it moves, to (new_price,
# new_state, new_until). Rows are judged as they stand at the effective instant: a lock that has
# ended by then counts as none, and the price is the rule's.
STANDING = """
SELECT subscription.id, client_id, subscription.service_id, subscription.plan_id,
       CASE WHEN price_state = 'locked' AND locked_until <= {at} THEN 'follows' ELSE price_state
        END AS state,
       CASE WHEN price_state = 'locked' AND locked_until <= {at} THEN price_rule(full_price,
            discount_percent) ELSE coalesce(price, price_rule(full_price, discount_percent))
        END AS price,
       price_state, CASE WHEN locked_until > {at} THEN locked_until END AS locked_until,
       coalesce(ended_at <= {at}, false) AS ended, started_at > {at} AS upcoming,
       full_price, discount_percent
  FROM {subscriptions} subscription
  JOIN {services} service ON service.id = subscription.service_id
  JOIN {plans} plan ON plan.id = subscription.plan_id
 WHERE {where} {once}
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
# The rows of the revert of a change for new subscriptions only, or of the revert of that: those
# whose state it restores, and the followers.
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
  FROM (SELECT *, CASE WHEN ended THEN 'ended' {stays} END AS reason
          FROM (SELECT *, {target} AS target, '{new_state}' AS new_state,
                       {until}::timestamptz AS new_until
                  FROM ({standing}) standing {asked}) targeted) judged
"""
# The filters whose result can change by time alone: applied to a row as it stands at the instant,
# not as it is written.
ASKED = {name: FILTERS[name].then for name in LASTING if FILTERS[name].then}


def rows_sql(
    change: PriceChange, at: datetime | None = None, of: Mapping[str, str] | None = None
) -> SQL:
    """The statement of the change's rows, judged as of `at` (its effective instant; else now).

    `of`: the relations that say how the rows stand. The default is what is in force for a change of
    the catalogue, and what will be at the instant for a set (one query).
    """
    at = at or change.effective_at or book_clock()
    if change.kind == Kind.REVERT:
        assert change.reverts is not None
        anothers, params = reason_is_anothers(change.reverts)
        return REVERT_ROWS.format(
            at=literal(at), change=int(change.reverts.pk), reason_is_anothers=anothers
        ), params
    if change.kind == Kind.SET:
        return _set_rows(change, at, standing_at(at) if of is None else of)
    if change.kind == Kind.LIST_PRICE:
        where, full_price, discount = f"service.id = {int(change.service_id or 0)}", "{}", None
    else:
        where, full_price, discount = f"plan.id = {int(change.plan_id or 0)}", None, "{}"
    standing = STANDING.format(at=literal(at), where=where, **(of or IN_FORCE))
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


def few_rows_sql(changes: Sequence[PriceChange]) -> list[SQL]:
    """The statement of the rows of each change, to read a few of them. One query."""
    at = {
        change.pk: (change.effective_at or book_clock()) if change.kind == Kind.SET else None
        for change in changes
    }
    late = late_at(at.values())
    return [
        rows_sql(change, at[change.pk], standing_at(at[change.pk], whole=False, late=late))
        for change in changes
    ]


def reason_is_anothers(undone: PriceChange) -> SQL:
    """The condition that somebody has given a row's price state another reason, at the same price.

    The ledger has no entry of that.
    """
    if undone.reverts_id is not None:
        return "false", []
    return "(price_state <> 'follows' AND price_reason <> %s)", [undone.why]


def _set_rows(change: PriceChange, at: datetime, of: Mapping[str, str]) -> SQL:
    where, params = members.matching(change, ASKED)
    given = refusing(BookFilter.of)(change.filter or {}).given
    asked = {name: given[name] for name in ASKED if name in given}
    standing = STANDING.format(at=literal(at), where=where, **of)
    rule = "price_rule(full_price, discount_percent)"
    target, new_state = {
        Adjustment.LOCK: ("price", "locked"),
        Adjustment.RELEASE: (rule, "follows"),
        Adjustment.FOLLOW: (rule, "follows"),
    }.get(Adjustment(change.adjustment)) or (new_price_sql(change), "negotiated")
    return SET_ROWS.format(
        standing=standing,
        target=target,
        new_state=new_state,
        stays=stays_sql(change),
        until=literal(change.locked_until),
        asked=f"WHERE {' AND '.join(ASKED[name] for name in asked)}" if asked else "",
    ), [*params, *asked.values()]


def stays_sql(change: PriceChange) -> str:
    """The reason for which a row of a set stays, as WHENs over the row and its `target` or
    `new_until`.

    A rise lowers no price and a cut raises none, whatever the bounds and the rounding; and no
    rounding makes a price 0. A given amount is taken as it is.
    """
    adjustment = Adjustment(change.adjustment)
    if adjustment == Adjustment.LOCK:
        so = "state = 'locked' AND locked_until IS NOT DISTINCT FROM new_until"
        return f"WHEN {so} THEN 'unchanged'"
    if adjustment == Adjustment.RELEASE:
        return "WHEN state <> 'locked' THEN 'unchanged'"
    locked = "WHEN state = 'locked' THEN 'locked'"
    if adjustment == Adjustment.FOLLOW:
        return f"{locked} WHEN state = 'follows' THEN 'unchanged'"
    moves = ""
    if adjustment != Adjustment.AMOUNT:
        assert change.operand is not None
        moves = f" WHEN target = 0 AND price > 0 AND {_adjusted(change)} > 0 THEN 'becomes_free'"
        if change.operand:
            other_way = "<" if change.operand > 0 else ">"
            moves += f" WHEN target {other_way} price THEN 'against_sign'"
    return f"{locked}{moves} WHEN price = target THEN 'unchanged'"


def new_price_sql(change: PriceChange) -> str:
    """The new price as an expression over `price`: adjusted, rounded to the step, bounded."""
    price = _adjusted(change)
    if change.rounding_step is not None:
        step = literal(change.rounding_step)
        # The number of whole steps, half up. div() is exact, where a quotient would be rounded.
        price = f"sign({price}) * div(abs({price}) + {step} * 0.5, {step}) * {step}"
    if change.floor is not None:
        price = f"greatest({price}, {literal(change.floor)})"
    if change.ceiling is not None:
        price = f"least({price}, {literal(change.ceiling)})"
    return f"round({price}, 2)"


def _adjusted(change: PriceChange) -> str:
    """The new price before it is rounded and bounded."""
    operand = literal(change.operand)
    return {
        Adjustment.AMOUNT: f"{operand}::numeric",
        Adjustment.ADD: f"price + {operand}",
        # Multiplied and not divided: the quotient of a high price would have six digits, and would
        # be rounded twice.
        Adjustment.PERCENT: f"price * (100 + {operand}) * 0.01",
    }[Adjustment(change.adjustment)]
