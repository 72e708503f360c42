"""The rows of a set, judged behind the sets that are scheduled before it.

A set is previewed as its rows will stand at its instant. The catalogue is known for that instant.
The effect of a set that comes before it is not: it follows from the rows that the earlier set would
move, judged in turn behind those before that one.

    set of 1 February ──▶ its rows ──▶ set of 1 March ──▶ its rows ──▶ …

A frozen set moves the rows on its list that will stand as they were listed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from price_changes.kinds import OF_ROWS, kind_of
from price_changes.kinds.relations import SQL, STANDING, late_at, literal, relations_at
from price_changes.kinds.rows import rows_sql
from price_changes.models import PriceChange
from price_changes.planning.around import counted_at
from price_changes.planning.noticed import is_stopped
from services.models import book_clock

Status = PriceChange.Status

MOVED = "{name} AS {way} (SELECT * FROM ({rows}) change_row WHERE reason IS NULL)"
# The rows of a set are computed once, however many sets come behind it; but not for a few rows of
# the last one: then the ids of these lead to few rows of each, if there are not too many to plan.
INLINE = 3
# The subscriptions as they stand at an instant, on top of that as a set has moved them. A price of
# NULL stands for the rule's.
ON_TOP = """(
       SELECT before.id, before.client_id, before.service_id, before.plan_id, started_at, ended_at,
              CASE WHEN moved.id IS NULL THEN before.price
                   WHEN moved.new_state <> 'follows' THEN moved.new_price
                   WHEN ended_at <= {at}
                   THEN price_rule_at(before.service_id, before.plan_id,
                                      ended_at - interval '1 microsecond')
               END AS price,
              coalesce(moved.new_state, before.price_state) AS price_state,
              CASE WHEN moved.id IS NULL THEN before.locked_until ELSE moved.new_until
               END AS locked_until
         FROM {subscriptions} before
         LEFT JOIN {name} moved ON moved.id = before.id)"""
LISTED = """subscription.id IN (
       SELECT unnest(ids) FROM price_changes_listedrows WHERE change_id = {change})"""
FROZEN = """
SELECT listed.id, new_price, new_state, new_until, CASE WHEN ended THEN 'ended' END AS reason
  FROM ({standing}) standing
  JOIN (SELECT item.*, service_id, plan_id
          FROM price_changes_listedrows,
               unnest(ids, prices, price_states, untils, new_prices, new_states, new_untils)
               AS item (id, price, state, until, new_price, new_state, new_until)
         WHERE change_id = {change}) listed
    ON listed.id = standing.id
   AND (listed.price, listed.state, listed.until, listed.service_id, listed.plan_id)
       IS NOT DISTINCT FROM (standing.price, standing.state, standing.locked_until,
                             standing.service_id, standing.plan_id)
"""


def rows_behind(change: PriceChange, at: datetime) -> SQL:
    """The statement of a change's rows, as `rows_sql`, behind the sets that come before it.

    Two queries for a set, one more for each instant of a set before it; none for others.
    """
    if not kind_of(change).is_judged_ahead:
        return rows_sql(change, at)
    return rows_behind_sets(change, at, _before(change, at, scheduled_sets()))


def few_rows_behind(
    changes: Sequence[PriceChange], sets: Sequence[PriceChange] | None = None
) -> list[SQL]:
    """The statements of the rows of changes, to read a few of them, each behind the sets before it.

    `sets`: the scheduled sets in their order. One query; one more if they are not given.
    """
    sets = scheduled_sets() if sets is None else sets
    at = {
        change.pk: (counted_at(change) or book_clock()) if kind_of(change).is_judged_ahead else None
        for change in changes
    }
    late = late_at([*at.values(), *(each.effective_at for each in sets)])
    found = []
    for change in changes:
        instant = at[change.pk]
        if instant is None:
            found.append(rows_sql(change, None, relations_at(None, whole=False, late=late)))
        else:
            before = _before(change, instant, sets)
            found.append(rows_behind_sets(change, instant, before, whole=False, late=late))
    return found


def scheduled_sets() -> list[PriceChange]:
    """The scheduled sets, and reverts of sets, in the order in which they come. One query.

    By what is known now: none that the brake or its notice holds.
    """
    sets = PriceChange.objects.filter(~is_stopped(), status=Status.SCHEDULED, kind__in=OF_ROWS)
    return list(sets.select_related("reverts").order_by("effective_at", "approval"))


def _before(
    change: PriceChange, at: datetime, sets: Sequence[PriceChange]
) -> list[tuple[PriceChange, datetime]]:
    """The sets that come before a set that would come at `at`, with their instants.

    At one instant the earlier approval comes first; a set that is not approved yet comes last.
    """
    approval = change.approval if change.status == Status.SCHEDULED else None
    return [
        (each, each.effective_at)
        for each in sets
        if each.pk != change.pk
        and each.effective_at is not None
        and (
            each.effective_at < at
            or (each.effective_at == at and (approval is None or (each.approval or 0) < approval))
        )
    ]


def rows_behind_sets(
    change: PriceChange,
    at: datetime,
    before: Sequence[tuple[PriceChange, datetime]],
    whole: bool = True,
    late: Collection[datetime | None] | None = None,
) -> SQL:
    """The statement of a set's rows behind these sets, in their order, each with its instant.

    `whole`: all of its rows are read, and not a few. `late`: the result of `late_at` for all of
    these instants; if left out, each is asked for by a query.
    """
    names: list[str] = []
    tables, params = [], []
    once = whole or len(before) > INLINE
    for each, instant in before:
        rows, given = _moves(each, instant, _relations(names, instant, whole, late))
        name = f"moved_by_{each.pk}"
        way = "MATERIALIZED" if once else "NOT MATERIALIZED"
        tables.append(MOVED.format(name=name, way=way, rows=rows))
        names.append(name)
        params += given
    rows, given = rows_sql(change, at, _relations(names, at, whole, late))
    with_tables = f"WITH {', '.join(tables)} " if tables else ""
    return with_tables + rows, [*params, *given]


def _relations(
    names: Sequence[str], at: datetime, whole: bool, late: Collection[datetime | None] | None
) -> Mapping[str, str]:
    """The relations that say how rows stand at an instant, with the sets of these names moved."""
    relations = dict(relations_at(at, whole, late))
    for name in names:
        relations["subscriptions"] = ON_TOP.format(
            subscriptions=relations["subscriptions"], name=name, at=literal(at)
        )
    return relations


def _moves(change: PriceChange, at: datetime, relations: Mapping[str, str]) -> SQL:
    """The statement of the rows that a scheduled set moves; those of a frozen one are listed."""
    if change.when_moved != PriceChange.WhenMoved.FROZEN:
        return rows_sql(change, at, relations)
    number = int(change.pk)
    standing = STANDING.format(at=literal(at), where=LISTED.format(change=number), **relations)
    return FROZEN.format(standing=standing, change=number), []
