"""The pages of a service and of a plan: its price over time, who pays it, and its changes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from desk.catalogue.changing import Kind, found_of
from desk.charts import Chart, chart
from desk.clients.pages import stepped
from desk.page import desk_page, show
from price_changes.kinds.words import Names
from price_changes.models import PriceChange
from price_changes.showing.sentences import sentence
from pricebook.kit import figures
from pricebook.kit.read_timeout import long_read
from pricebook.kit.scopes import (
    PLAN,
    VIEW_CHANGE,
    VIEW_CLIENT,
    VIEW_PLAN,
    VIEW_SERVICE,
    VIEW_SUBSCRIPTION,
)
from services.bounds import FIRST_DAY
from services.catalogue_subject import CatalogueSubject
from services.models import book_clock
from services.reading.catalogue_history import ByState, Pair, Step, by_state, course, pairs
from services.reading.total import Total

POINTS = 60  # values of the course
CHANGES = 10
PAIRS = 100  # rows of the table by plan or by service
# Subscriptions up to which a page counts them by state at once: it reads all of them.
COUNTED = 10_000


@dataclass(frozen=True)
class Value:
    """A value of the course, with the change that has brought it, if one has."""

    at: str
    value: str
    author: str
    why: str
    change: int | None
    title: str
    is_to_come: bool


@desk_page(VIEW_SERVICE, VIEW_PLAN, VIEW_SUBSCRIPTION)
@require_safe
def service(request: HttpRequest, pk: int) -> HttpResponse:
    """A service: the course of its list price, its subscriptions by plan, its price changes.

    Eight queries without the reader's own. One more counts up to COUNTED
    subscriptions by state, and more of them where it is asked for (`?count=1`).
    """
    return _page(request, "service", pk)


@desk_page(VIEW_SERVICE, VIEW_PLAN, VIEW_SUBSCRIPTION)
@require_safe
def plan(request: HttpRequest, pk: int) -> HttpResponse:
    """A plan: the course of its discount, its subscriptions by service, its price changes. As a
    service."""
    return _page(request, "plan", pk)


def _page(request: HttpRequest, kind: Kind, pk: int) -> HttpResponse:
    record, subject, now = found_of(kind, pk), CatalogueSubject(kind, pk), book_clock()
    sold = pairs(subject)
    number = sum(_number(pair) for pair in sold)
    counted = None
    if number <= COUNTED or "count" in request.GET:
        with long_read():
            counted = by_state(subject) if number else None
    steps = course(subject, POINTS)
    may = request.user.has_perm
    context: dict[str, Any] = {
        "kind": kind,
        "record": record,
        "value": _said(kind, getattr(record, subject.field)),
        "follow": _sum(pair.of_rule for pair in sold),
        "others": _sum(pair.others for pair in sold),
        "idle": sum(pair.idle for pair in sold),
        "number": number,
        "pairs": sold[:PAIRS],
        "more_pairs": len(sold) - PAIRS,
        "prices": _prices(kind, sold),
        "counted": counted,
        "own_prices": _own_prices(counted),
        "course": _values(kind, steps, now, may(VIEW_CHANGE)),
        "chart": _course_chart(kind, steps, now),
        "changes": _changes(kind, pk, may(VIEW_CLIENT)) if may(VIEW_CHANGE) else None,
        "may_change": may(f"services.change_{kind}"),
        "may_plan": may(VIEW_CHANGE) and may(PLAN),
        "value_url": "desk:change_list_price" if kind == "service" else "desk:change_discount",
        "plans": "list_price" if kind == "service" else "discount",
    }
    return show(request, "catalogue/one", str(record), **context)


def _number(pair: Pair) -> int:
    return pair.of_rule.subscriptions + pair.others.subscriptions + pair.idle


def _sum(totals: Iterable[Total]) -> Total:
    found = list(totals)
    amount = sum((each.amount for each in found), Decimal(0))
    return Total(amount, sum(each.subscriptions for each in found))


def _said(kind: Kind, value: Decimal | int) -> str:
    return figures.money(Decimal(value)) if kind == "service" else figures.percent(value)


def _values(kind: Kind, steps: list[Step], now: datetime, names_changes: bool) -> list[Value]:
    """The course, the last value first. One query; none for who may not see changes."""
    numbers = {step.change_id for step in steps if names_changes} - {None}
    changes = PriceChange.objects.only("title", "reason", "approved_by", "planned_by").in_bulk(
        numbers
    )
    found = []
    for step in reversed(steps):
        change = changes.get(step.change_id) if step.change_id else None
        decided = (change.approved_by or change.planned_by) if change else ""
        found.append(
            Value(
                _("from the first day") if step.at <= FIRST_DAY else figures.instant(step.at),
                _said(kind, step.value),
                step.author or decided,
                change.reason if change else "",
                step.change_id if names_changes else None,
                change.title if change else "",
                step.at > now,
            )
        )
    return found


def _course_chart(kind: Kind, steps: list[Step], now: datetime) -> Chart | None:
    past = [step for step in steps if step.at <= now]
    # The first value holds from the first day on: its chart begins with the day it was written.
    known = [(step.recorded_at if step.at <= FIRST_DAY else step.at, step) for step in past]
    drawn = [(at, step.value) for at, step in sorted(known, key=lambda each: each[0])]
    title = _("List price over time") if kind == "service" else _("Discount over time, in per cent")
    shown = figures.amount if kind == "service" else figures.percent
    return stepped("course", title, drawn, now, shown)


def _prices(kind: Kind, sold: list[Pair]) -> Chart | None:
    """The numbers of those that follow, by the price that they pay."""
    numbers: dict[Decimal, int] = {}
    for pair in sold:
        if pair.of_rule.subscriptions:
            before = numbers.get(pair.rule_price, 0)
            numbers[pair.rule_price] = before + pair.of_rule.subscriptions
    if len(numbers) < 2:
        return None
    rows = [(figures.amount(price), [numbers[price]]) for price in sorted(numbers)[:POINTS]]
    title = _("Those that follow, by their price")
    return chart("prices", "bar", title, _("Price"), [_("Subscriptions")], rows, _grouped)


def _own_prices(counted: ByState | None) -> Chart | None:
    if counted is None or not counted.negotiated:
        return None
    rows = [
        (
            figures.amount(low)
            if low == high
            else f"{figures.amount(low)} – {figures.amount(high)}",
            [number],
        )
        for low, high, number in counted.negotiated
    ]
    title = _("Negotiated prices")
    return chart("negotiated", "bar", title, _("Price"), [_("Subscriptions")], rows, _grouped)


def _grouped(number: Any) -> str:
    return figures.grouped(number or 0)


def _changes(kind: Kind, pk: int, names_clients: bool) -> list[dict[str, Any]]:
    """The last price changes of it, scheduled ones too. Up to four queries."""
    found = list(PriceChange.objects.filter(**{str(kind): pk}).order_by("-id")[:CHANGES])
    names = Names.of_changes(found, names_clients)
    return [{"change": change, "says": sentence(change, names)} for change in found]
