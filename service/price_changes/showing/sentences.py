"""Sentences that say what a price change does, for people."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Self

from django.conf import settings
from django.utils import timezone

from clients.models import Client
from price_changes.models import PriceChange
from services.models import Plan, Service, Skip, Subscription
from services.reading.filter_kinds import Input
from services.reading.filters import FILTERS

Kind, Adjustment = PriceChange.Kind, PriceChange.Adjustment


@dataclass(frozen=True)
class Names:
    """The names of services, plans and clients by their ids; a deleted one is called deleted."""

    services: dict[int, str]
    plans: dict[int, str]
    clients: dict[int, str]

    @classmethod
    def of(
        cls,
        services: Iterable[int | None] = (),
        plans: Iterable[int | None] = (),
        clients: Iterable[int | None] = (),
    ) -> Self:
        """The names of these ids. Up to three queries, whatever the number of ids."""
        return cls(
            services={each.pk: each.name for each in _those(Service, services)},
            plans={each.pk: str(each) for each in _those(Plan, plans)},
            clients={each.pk: each.company_name for each in _those(Client, clients)},
        )

    @classmethod
    def of_changes(cls, changes: Iterable[PriceChange]) -> Self:
        changes = list(changes)
        filters = [change.filter or {} for change in changes]
        return cls.of(
            [*(each.service_id for each in changes), *(kept.get("service") for kept in filters)],
            [*(each.plan_id for each in changes), *(kept.get("plan") for kept in filters)],
            [kept.get("client") for kept in filters],
        )

    def service(self, pk: int | None) -> str:
        return self.services.get(pk or 0, f"deleted service {pk}")

    def plan(self, pk: int | None) -> str:
        return self.plans.get(pk or 0, f"deleted plan {pk}")

    def client(self, pk: int | None) -> str:
        return self.clients.get(pk or 0, f"deleted client {pk}")


def _those(model: Any, ids: Iterable[int | None]) -> Iterable[Any]:
    wanted = {pk for pk in ids if pk}
    return model.objects.filter(pk__in=wanted) if wanted else ()


def sentence(change: PriceChange, names: Names) -> str:
    """The effect of a change in a sentence: "List price of Fibre: 250.00 → 260.00 USD".

    The old value is the one that a scheduled change will find, if `as_they_stand` has set that.
    """
    if change.kind == Kind.SET:
        return f"{_set(change.filter or {}, names)}: {_adjustment(change)}"
    if change.kind == Kind.REVERT:
        return f"What price change {change.reverts_id} has moved goes back"
    old_value = change.old_value if change.finds is None else change.finds
    if change.kind == Kind.LIST_PRICE:
        says = f"List price of {names.service(change.service_id)}"
        says += f": {_amount(old_value)} → {_amount(change.new_value)} {settings.CURRENCY}"
    else:
        says = f"Discount of {names.plan(change.plan_id)}"
        says += f": {_percent(old_value)} → {_percent(change.new_value)} %"
    if change.for_new_only:
        until = f" until {_instant(change.locked_until)}" if change.locked_until else ""
        says += f", for new subscriptions only; those that are there keep their price{until}"
    return says


def cancelled(outcome: dict[str, Any]) -> str:
    """The outcome of a change that was cancelled after its instant, in a sentence."""
    left = outcome["skipped"].get(Skip.Reason.CANCELLED, 0)
    says = f"Moved {outcome['applied']:,}"
    if outcome["taken_back_by"] is not None:
        says += f", taken back by price change {outcome['taken_back_by']}"
    if left:
        says += f"; {left:,} {'was' if left == 1 else 'were'} not moved"
    return f"{says}."


def _set(kept: dict[str, Any], names: Names) -> str:
    """A filter in words: "Active, locked subscriptions of service Fibre, price from 100.00"."""
    if not kept:
        return "All subscriptions"
    adjectives = [value for name, value in kept.items() if FILTERS[name].adjective]
    said = []
    for name, value in kept.items():
        kind = FILTERS[name].kind
        if kind.input == Input.RECORD:
            said.append(f"{name} {getattr(names, name)(value)}")
        elif kind.input == Input.INSTANT:
            said.append(f"{_label(name)} {_instant(datetime.fromisoformat(value))}")
        elif not FILTERS[name].adjective:
            said.append(f"{_label(name)} {value}")
    subject = " ".join([*_comma_separated(adjectives), "subscriptions"]).capitalize()
    return f"{subject} of {', '.join(said)}" if said else subject


def _comma_separated(adjectives: list[str]) -> list[str]:
    said = ["following" if word == "follows" else word for word in adjectives]
    return [", ".join(said)] if said else []


def _label(name: str) -> str:
    return name.replace("_", " ")


def _adjustment(change: PriceChange) -> str:
    operand = change.operand or Decimal(0)
    sign = "minus" if operand < 0 else "plus"
    says = {
        Adjustment.AMOUNT: f"a price of {_amount(operand)} {settings.CURRENCY}",
        Adjustment.ADD: f"{sign} {_amount(abs(operand))} {settings.CURRENCY}",
        Adjustment.PERCENT: f"{sign} {_percent(abs(operand))} %",
        Adjustment.LOCK: "locked at the price they have",
        Adjustment.RELEASE: "released from their lock",
        Adjustment.FOLLOW: "to follow the catalogue",
    }[Adjustment(change.adjustment)]
    if change.adjustment == Adjustment.LOCK and change.locked_until:
        says += f" until {_instant(change.locked_until)}"
    if change.rounding_step is not None:
        says += f", rounded to {_amount(change.rounding_step)}"
    if change.floor is not None:
        says += f", at least {_amount(change.floor)}"
    if change.ceiling is not None:
        says += f", at most {_amount(change.ceiling)}"
    return says


def _amount(value: Decimal | None) -> str:
    return "?" if value is None else f"{value:,.2f}"


def _percent(value: Decimal | None) -> str:
    return "?" if value is None else f"{value.normalize():f}"


def _instant(at: datetime | None) -> str:
    """An instant in the deployment's time zone, with the zone's name."""
    return f"{timezone.localtime(at):%Y-%m-%d %H:%M %Z}" if at else ""


# The states of a subscription's price.
PRICE_STATES = {
    Subscription.PriceState.FOLLOWS: "follows the catalogue",
    Subscription.PriceState.LOCKED: "locked",
    Subscription.PriceState.NEGOTIATED: "negotiated",
}
