"""Changes of the catalogue: a new list price of a service, a new discount of a plan."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, Literal

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from price_changes.errors import ChangeError
from price_changes.kinds.kind import PlannedKind
from price_changes.kinds.plan_fields import COMMENT, LOCKED_UNTIL, WHEN_AND_WHY, PlanField
from price_changes.kinds.relations import IN_FORCE, SQL, STANDING, literal
from price_changes.kinds.values import find_record, parse_flag, parse_money, required
from price_changes.kinds.words import Names, shown_percent
from price_changes.models import PriceChange
from pricebook.kit import figures
from services.about_price_states import reason_of_state
from services.catalogue_subject import CatalogueSubject
from services.models import Plan
from services.reading.filter_kinds import Input
from services.repricing.keeping import BACK

Kind, WhenMoved = PriceChange.Kind, PriceChange.WhenMoved

CATALOGUE_ROWS = """
SELECT id, client_id, service_id, plan_id, price, state AS price_state, locked_until,
       CASE WHEN moves THEN target ELSE price END AS new_price,
       CASE WHEN moves THEN 'follows' ELSE state END AS new_state, NULL::timestamptz AS new_until,
       CASE WHEN moves THEN NULL WHEN ended THEN 'ended' WHEN state <> 'follows' THEN {held_back}
            ELSE 'unchanged' END AS reason, upcoming, boundary
  FROM (SELECT *, NOT ended AND state = 'follows' AND price <> target AS moves
          FROM (SELECT *, price_rule({full_price}, {discount_percent}) AS target
                  FROM ({standing}) standing {once}) targeted {once}) judged
"""
# The rows of the revert of a change for new subscriptions only, or of the revert of that: those
# whose state it restores, and the followers.
BACK_ROWS = """
SELECT id, client_id, service_id, plan_id, price, state AS price_state, locked_until,
       CASE WHEN reason IS NULL THEN target ELSE price END AS new_price,
       CASE WHEN reason IS NULL THEN coalesce(back_state, state) ELSE state END AS new_state,
       CASE WHEN reason IS NULL THEN back_until END AS new_until, reason, upcoming, boundary
  FROM (SELECT *, CASE WHEN ended THEN 'ended' WHEN back_state IS NOT NULL THEN NULL
                       WHEN state <> 'follows' THEN {held_back}
                       WHEN price = target THEN 'unchanged'
                   END AS reason
          FROM (SELECT standing.*, back_state, back_until,
                       CASE WHEN back_state <> 'follows' THEN back.price
                            ELSE price_rule({full_price}, {discount_percent}) END AS target
                  FROM ({standing}) standing
                  LEFT JOIN ({back}) back ON back.id = standing.id {once}) targeted {once}) judged
"""
KEPT_ROWS = """
SELECT id, client_id, service_id, plan_id, price, state AS price_state, locked_until,
       price AS new_price, CASE WHEN keeps THEN 'locked' ELSE state END AS new_state,
       CASE WHEN keeps THEN {until}::timestamptz END AS new_until,
       CASE WHEN keeps THEN NULL WHEN ended THEN 'ended' ELSE {held_back} END AS reason,
       upcoming, boundary
  FROM (SELECT *, NOT ended AND state = 'follows' AS keeps FROM ({standing}) standing) judged
"""

SERVICE = PlanField(
    "service",
    Input.RECORD,
    help="For a list price.",
    label=_lazy("Service"),
    option="--service",
    metavar="SERVICE",
    option_help="name or id: its list price moves; for a set, only its subscriptions",
    required=True,
)
PLAN = PlanField(
    "plan",
    Input.RECORD,
    help="For a discount.",
    label=_lazy("Plan"),
    option="--plan",
    metavar="PLAN",
    option_help='"student 10" or id: its discount moves; for a set, only its subscriptions',
    required=True,
)
NEW_VALUE = PlanField(
    "new_value",
    Input.AMOUNT,
    help="The list price, or the discount in per cent.",
    label=_lazy("New list price"),
    option="--to",
    metavar="VALUE",
    option_help="the new list price, or the new discount in per cent",
    required=True,
)
FOR_NEW_ONLY = PlanField(
    "for_new_only",
    Input.FLAG,
    help="Followers are locked at the price that they have.",
    label=_lazy("For new subscriptions only"),
    hint=_lazy("Those that follow the catalogue now are locked at the price they pay."),
    option="--new-only",
    option_help="only for new subscriptions: existing ones keep their price",
)
KEPT_UNTIL = replace(
    LOCKED_UNTIL, hint=_lazy("They keep their price until then; empty: until they are released.")
)
MOVES = (_lazy("Moved subscriptions"), (FOR_NEW_ONLY.name, KEPT_UNTIL.name, COMMENT.name))


class CatalogueKind(PlannedKind):
    """A change of the value of a service or a plan."""

    noun = _lazy("a change of the catalogue")
    is_of_catalogue = True
    when_moved = {
        WhenMoved.HOLD: _lazy(
            "Hold: if the catalogue has another value before it than the one"
            " that you see here, nothing happens and you are asked again."
        ),
        WhenMoved.CURRENT: _lazy(
            "Current: it takes effect, whatever value the catalogue has before it."
        ),
    }
    when_moved_label = _lazy("If another value is there by then")

    role: ClassVar[Literal["service", "plan"]]

    def subject(self, change: PriceChange) -> CatalogueSubject:
        """The service or plan of the change."""
        ids = {"service": change.service_id, "plan": change.plan_id}
        return CatalogueSubject(self.role, ids[self.role] or 0)

    def checked(self, given: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
        thing = find_record(self.role, required(self.role, given))
        new_value = parse_money("new_value", required("new_value", given))
        self.refuse_value(thing, new_value)
        for_new_only = parse_flag("for_new_only", given.get("for_new_only", False))
        if for_new_only and common["comment"]:
            raise ChangeError(
                "nothing_to_stamp",
                _("A change for new subscriptions only moves none: there is nothing to stamp."),
                parameter="comment",
            )
        if "locked_until" in given and not for_new_only:
            raise ChangeError(
                "unknown_field",
                _("locked_until belongs to a change for new subscriptions only."),
                parameter="locked_until",
            )
        return {
            self.role: thing,
            "old_value": getattr(thing, CatalogueSubject(self.role, thing.pk).field),
            "new_value": new_value,
            "for_new_only": for_new_only,
        }

    def refuse_value(self, thing: Any, new_value: Decimal) -> None:
        """Raise ChangeError if the service or plan can't have this value."""

    def rows(self, change: PriceChange, at: datetime, relations: Mapping[str, str] | None) -> SQL:
        subject = self.subject(change)
        where, relations = f"{subject.role}.id = {int(subject.id)}", relations or IN_FORCE
        standing = STANDING.format(at=literal(at), where=where, **relations)
        shape = {"standing": standing, "once": relations["once"]}
        shape["held_back"] = reason_of_state("state")
        if change.for_new_only:
            return KEPT_ROWS.format(until=literal(change.locked_until), **shape), []
        shape |= {"full_price": "full_price", "discount_percent": "discount_percent"}
        shape[subject.field] = self.as_sql(change.new_value)
        if change.first.for_new_only:
            back = BACK.format(at=literal(at), change=int(change.reverts_id or 0), only="")
            return BACK_ROWS.format(back=back, **shape), []
        return CATALOGUE_ROWS.format(**shape), []

    def as_sql(self, value: Decimal | None) -> str:
        """The value as SQL, in the type of the catalogue's column."""
        return literal(value)

    def sentence(self, change: PriceChange, names: Names) -> str:
        """Its effect, from the value that it will find, if `status_now.refresh` has set that."""
        old_value = change.old_value if change.finds is None else change.finds
        says = self.says(change, names, old_value)
        if change.for_new_only:
            if change.locked_until:
                return _(
                    "%(says)s, for new subscriptions only; those that are there keep their price"
                    " until %(until)s"
                ) % {"says": says, "until": figures.instant(change.locked_until)}
            return _(
                "%(says)s, for new subscriptions only; those that are there keep their price"
            ) % {"says": says}
        return says

    @abstractmethod
    def says(self, change: PriceChange, names: Names, old_value: Decimal | None) -> str:
        """Its effect on the value: "Discount of plan student: 10 → 15 %"."""

    def taken_back_by(self) -> PriceChange.Kind:
        return self.name


class ListPrice(CatalogueKind):
    name = Kind.LIST_PRICE
    heading = _lazy("New list price")
    about = _lazy(
        "For one service. Moves the subscriptions that follow the catalogue, or only new ones."
    )
    fields = (SERVICE, NEW_VALUE, FOR_NEW_ONLY, KEPT_UNTIL)
    sections = ((_lazy("Service and price"), ("service", "new_value")), MOVES, WHEN_AND_WHY)
    role = "service"

    def says(self, change: PriceChange, names: Names, old_value: Decimal | None) -> str:
        moved = _moved(figures.amount(old_value), figures.amount(change.new_value))
        return _("List price of %(service)s: %(moved)s %(currency)s") % {
            "service": names.service(change.service_id),
            "moved": moved,
            "currency": settings.CURRENCY,
        }


class Discount(CatalogueKind):
    name = Kind.DISCOUNT
    heading = _lazy("New discount")
    about = _lazy(
        "For one plan. Moves the subscriptions that follow the catalogue, or only new ones."
    )
    fields = (
        PLAN,
        replace(NEW_VALUE, label=_lazy("New discount, in per cent"), decimal_places=0),
        FOR_NEW_ONLY,
        KEPT_UNTIL,
    )
    sections = ((_lazy("Plan and discount"), ("plan", "new_value")), MOVES, WHEN_AND_WHY)
    role = "plan"

    def refuse_value(self, thing: Plan, new_value: Decimal) -> None:
        if new_value > 100 or new_value != int(new_value):
            raise ChangeError(
                "out_of_range",
                _("A discount is a whole number from 0 to 100; %(new_value)s is not.")
                % {"new_value": new_value},
                parameter="new_value",
                value=str(new_value),
            )
        other = Plan.objects.with_discount(thing.plan_type, int(new_value), thing.pk)
        if other is not None:
            raise ChangeError(
                "plan_exists",
                _(
                    "Plan %(pk)s (%(other)s) has the discount %(int)s %% already, or will by"
                    " what is approved, and there can't be two: move the subscriptions of one"
                    " to the other."
                )
                % {"pk": other.pk, "other": other, "int": int(new_value)},
                409,
                parameter="new_value",
                value=str(int(new_value)),
            )

    def as_sql(self, value: Decimal | None) -> str:
        return f"{literal(value)}::integer"

    def says(self, change: PriceChange, names: Names, old_value: Decimal | None) -> str:
        moved = _moved(shown_percent(old_value), shown_percent(change.new_value))
        return _("Discount of plan %(plan)s: %(moved)s %%") % {
            "plan": names.plan(change.plan_id),
            "moved": moved,
        }


def _moved(old: str, new: str) -> str:
    """A value of a service or plan that was deleted may be unknown."""
    return f"{old or '?'} → {new or '?'}"
