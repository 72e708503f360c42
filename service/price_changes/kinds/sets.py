"""Changes of a set: the subscriptions that a filter finds, and one adjustment for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from price_changes.errors import ChangeError
from price_changes.kinds import members
from price_changes.kinds.adjustments import ADJUSTMENTS
from price_changes.kinds.filter_words import subscriptions
from price_changes.kinds.kind import PlannedKind
from price_changes.kinds.plan_fields import LOCKED_UNTIL, PlanField
from price_changes.kinds.relations import SQL, STANDING, literal, relations_at
from price_changes.kinds.values import parse_word, refusing, required
from price_changes.kinds.words import Names
from price_changes.models import PriceChange
from services.reading.filter_kinds import Input
from services.reading.filters import FILTERS, LASTING, BookFilter

WhenMoved = PriceChange.WhenMoved

SET_ROWS = """
SELECT id, client_id, service_id, plan_id, price, state AS price_state, locked_until,
       CASE WHEN reason IS NULL THEN target ELSE price END AS new_price,
       CASE WHEN reason IS NULL THEN new_state ELSE state END AS new_state,
       CASE WHEN reason IS NULL THEN new_until END AS new_until, reason, upcoming, boundary
  FROM (SELECT *, CASE WHEN ended THEN 'ended' {stays} END AS reason
          FROM (SELECT *, {target} AS target, '{new_state}' AS new_state,
                       {until}::timestamptz AS new_until
                  FROM ({standing}) standing {asked} {once}) targeted {once}) judged
"""
# The filters whose result can change by time alone: applied to a row as it stands at the instant,
# not as it is written.
ASKED = {name: FILTERS[name].then for name in LASTING if FILTERS[name].then}

FILTER = PlanField(
    "filter",
    Input.FILTER,
    help="The subscriptions of a set; required for one, where an empty filter means all. Names:"
    f" {', '.join(LASTING)}.",
    option="--filter",
    metavar="NAME=VALUE",
    option_help=f"a set of subscriptions; all given ones must match. NAME: {', '.join(LASTING)}",
)
ADJUSTMENT = PlanField(
    "adjustment",
    Input.CHOICE,
    label=_lazy("Effect on their price"),
    required=True,
    choices=tuple(PriceChange.Adjustment.choices),
)
OPERAND = PlanField(
    "operand",
    Input.AMOUNT,
    help="For amount, add and percent.",
    label=_lazy("By how much"),
    hint=_lazy("The new amount, or plus or minus (-5) an amount or per cent."),
    decimal_places=4,  # a percentage's
    negative=True,
)
FLOOR = PlanField(
    "floor",
    Input.AMOUNT,
    label=_lazy("At least"),
    option="--floor",
    metavar="PRICE",
    option_help="no price of the set goes below it",
)
CEILING = PlanField(
    "ceiling",
    Input.AMOUNT,
    label=_lazy("At most"),
    option="--ceiling",
    metavar="PRICE",
    option_help="no price of the set goes above it",
)
ROUNDING_STEP = PlanField(
    "rounding_step",
    Input.AMOUNT,
    label=_lazy("Round to"),
    hint=_lazy("Empty: to the smallest amount of the currency."),
    option="--step",
    metavar="PRICE",
    option_help="round to multiples of it, half up",
)


class SetOfSubscriptions(PlannedKind):
    name = PriceChange.Kind.SET
    noun = _lazy("a set")
    heading = _lazy("Set of subscriptions")
    about = _lazy(
        "Those that a filter finds: a new amount, plus or minus an amount or per cent,"
        " locked, released, or following the catalogue again."
    )
    fields = (
        FILTER,
        ADJUSTMENT,
        OPERAND,
        FLOOR,
        CEILING,
        ROUNDING_STEP,
        replace(LOCKED_UNTIL, hint=_lazy("For locks alone; empty: until they are released.")),
    )
    sections = (
        (_lazy("Which subscriptions"), ("filter",)),
        (
            _lazy("Their price"),
            ("adjustment", "operand", "rounding_step", "floor", "ceiling", "locked_until"),
        ),
        (_lazy("When and why"), ("effective_at", "notice_days", "title", "reason", "comment")),
    )
    may_be_empty = False
    is_judged_ahead = True
    when_moved = {
        WhenMoved.HOLD: _lazy(
            "Hold: if any of these rows has moved by then, nothing happens and you are asked again."
        ),
        WhenMoved.FROZEN: _lazy(
            "Frozen: the rows of this preview that nobody has moved by then"
            " are moved; the others are skipped, with the reason."
        ),
        WhenMoved.CURRENT: _lazy(
            "Current: all rows that match then are moved, from the price that they have then."
        ),
    }
    when_moved_label = _lazy("If rows have moved by then")

    def checked(self, given: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
        which = row_filter(
            required("filter", given, _(": say which subscriptions; {} means the whole book"))
        )
        words = list(ADJUSTMENTS)
        adjustment = parse_word(
            "adjustment",
            required(
                "adjustment", given, _("; it may be %(allowed)s") % {"allowed": ", ".join(words)}
            ),
            words,
        )
        fields = ADJUSTMENTS[adjustment].checked(given)
        if "locked_until" in given and not ADJUSTMENTS[adjustment].takes_until:
            takers = [word for word, each in ADJUSTMENTS.items() if each.takes_until]
            raise ChangeError(
                "unknown_field",
                _("locked_until belongs to the adjustment %(takers)s.")
                % {"takers": _(" or ").join(takers)},
                parameter="locked_until",
            )
        return {"filter": which, "adjustment": adjustment, **fields}

    def rows(self, change: PriceChange, at: datetime, relations: Mapping[str, str] | None) -> SQL:
        where, params = members.matching(change, ASKED)
        given = refusing(BookFilter.of)(change.filter or {}).given
        asked = {name: given[name] for name in ASKED if name in given}
        relations = relations_at(at) if relations is None else relations
        adjustment = ADJUSTMENTS[change.adjustment]
        return SET_ROWS.format(
            standing=STANDING.format(at=literal(at), where=where, **relations),
            target=adjustment.target(change),
            new_state=adjustment.new_state,
            stays=adjustment.stays(change),
            until=literal(change.locked_until),
            asked=f"WHERE {' AND '.join(ASKED[name] for name in asked)}" if asked else "",
            once=relations["once"],
        ), [*params, *asked.values()]

    def stays_if_frozen(self, change: PriceChange) -> str:
        return ADJUSTMENTS[change.adjustment].stays_if_frozen(change)

    def sentence(self, change: PriceChange, names: Names) -> str:
        says = ADJUSTMENTS[change.adjustment].says(change)
        if change.for_one:
            number = (change.filter or {}).get("subscription")
            return _("Subscription %(number)s: %(says)s") % {"number": number, "says": says}
        return f"{subscriptions(change.filter or {}, names)}: {says}"


def row_filter(given: Any) -> dict[str, Any]:
    """A filter, checked, as JSON values that are stored. An empty one means the whole book.

    The filters are those of the list, with the same meaning, but for some that say why.
    """
    if not isinstance(given, Mapping):
        raise ChangeError("bad_filter", _("filter is an object of names and values."))
    refuse_filters(given)
    return refusing(BookFilter.of)(given).as_json()


def refuse_filters(given: Mapping[str, Any]) -> None:
    """Refuse a filter that can't choose whose price moves; a change of before may have one."""
    for name in given:
        if name in FILTERS and name not in LASTING:
            raise ChangeError(
                "not_for_a_change",
                _(
                    "%(name)s %(not_for_a_change)s, so it can't choose whose price moves:"
                    " look up whom you mean, and give their service, plan, client, e-mail,"
                    " comment or source."
                )
                % {"name": name, "not_for_a_change": FILTERS[name].not_for_a_change},
                parameter=name,
                allowed=LASTING,
            )
