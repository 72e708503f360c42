"""How a subscription stands, and what a look says about it before and after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Max
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from desk.asking import Figure, Rows
from pricebook.kit import figures
from pricebook.kit.authors import in_words
from services.ledger.explanation import Explanation
from services.models import Correction, LedgerEntry, Plan
from services.reading.filters import BookFilter
from services.reading.one import one
from services.reading.total import figures as figures_of

Row = Mapping[str, Any]  # as `services.reading.one` has it


def plan_name(row: Row) -> str:
    plan = row["plan"]
    name = str(Plan(plan_type=plan["plan_type"], discount_percent=plan["discount_percent"]))
    return name.replace(" %", "\u00a0%")


def product(row: Row) -> str:
    """Phone, full 0 %"""
    return f"{row['service']['name']}, {plan_name(row)}"


def state_words(state: str, until: datetime | None) -> str:
    """The price state in words, with the end of a lock."""
    if state == "locked":
        if until is None:
            return _("locked until it is released")
        return _("locked until %(end)s") % {"end": figures.instant(until)}
    return _("negotiated") if state == "negotiated" else _("follows the catalogue")


def period(row: Row) -> str:
    """since 2026-01-01 00:00 UTC, until …"""
    since = _("since %(start)s") % {"start": figures.instant(row["started_at"])}
    if row["ended_at"] is None:
        return since
    return _("%(since)s, until %(end)s") % {
        "since": since,
        "end": figures.instant(row["ended_at"]),
    }


def why_words(why: Explanation) -> str:
    """Why it has its price, in a sentence: the rule or the decision, and by whose doing."""
    rule, state = why.rule, why.price_state
    if state != "follows":
        says = _("Its price is %(state)s") % {"state": state_words(state, why.locked_until)}
    elif rule is None:
        says = _("It followed the catalogue; its service or plan was deleted since")
    elif not why.in_line:
        says = _("Its price was corrected")
    elif rule.discount_percent:
        says = _("List price %(price)s less %(discount)s") % {
            "price": figures.money(rule.list_price),
            "discount": figures.percent(rule.discount_percent),
        }
    else:
        says = _("List price %(price)s") % {"price": figures.money(rule.list_price)}
    if why.price_reason:
        says += f" ({why.price_reason})"
    if why.change is not None:
        title = f" “{why.change.title}”" if why.change.title else ""
        says += _(", by price change %(number)s%(title)s") % {
            "number": why.change.id,
            "title": title,
        }
    return (
        says
        + (_(", decided by %(author)s") % {"author": in_words(why.author)} if why.author else "")
        + "."
    )


def pays(row: Row, at: datetime) -> bool:
    return bool(row["started_at"] <= at and (row["ended_at"] is None or row["ended_at"] > at))


def state_at(row: Row, at: datetime) -> str:
    if row["started_at"] > at:
        return "upcoming"
    return "active" if pays(row, at) else "ended"


def paid_by(client_id: int) -> Decimal:
    """The total that a client pays now. One query."""
    return figures_of(BookFilter(client=client_id)).paid.amount


def version(subscription_id: int) -> tuple[int, int]:
    """The version of a subscription: each move of its price or its period makes it another one.

    Two queries.
    """
    of_it = {"subscription_id": subscription_id}
    entry = LedgerEntry.objects.filter(**of_it).aggregate(last=Max("id"))["last"]
    correction = Correction.objects.filter(**of_it).aggregate(last=Max("id"))["last"]
    return entry or 0, correction or 0


@dataclass(frozen=True)
class Effect:
    """A subscription before and after a verb (None: it is new), and the client's total.

    The totals are those at `at`, from which the verb counts, by what is paid now.
    """

    before: Row | None
    after: Row
    at: datetime
    is_to_come: bool
    total: Decimal

    @property
    def total_after(self) -> Decimal:
        return self.total + self._paid(self.after) - self._paid(self.before)

    def _paid(self, row: Row | None) -> Decimal:
        price: Decimal = row["price"] if row is not None and pays(row, self.at) else Decimal(0)
        return price

    def figures(self) -> list[Figure]:
        before, after = self.before, self.after
        found = []
        if before is None:
            found.append(unmoved(_("Price"), figures.money(after["price"])))
        else:
            if product(before) != product(after):
                found.append(Figure(_("Service and plan"), product(before), product(after)))
            found.append(amount_figure(_("Price"), before["price"], after["price"]))
        found.append(_text_figure(_("Price state"), before, after, _state))
        if before is None or period(before) != period(after):
            found.append(_text_figure(_("It pays"), before, after, period))
        label = (
            _("The client's total, from %(at)s on, by today's prices")
            % {"at": figures.instant(self.at)}
            if self.is_to_come
            else _("The client's total")
        )
        return [*found, amount_figure(label, self.total, self.total_after)]

    def tables(self) -> list[Rows]:
        """The scheduled changes that meet it, with the prices that they give before and after."""
        before = {each["id"]: each for each in (self.before or {}).get("pending_changes", [])}
        after = {each["id"]: each for each in self.after["pending_changes"]}
        if not before and not after:
            return []
        rows = []
        for id, each in sorted(
            (before | after).items(), key=lambda item: (item[1]["effective_at"], item[0])
        ):
            was, will = (found.get(id) for found in (before, after))
            rows.append(
                (
                    each["title"] or _("Price change %(number)s") % {"number": id},
                    figures.instant(each["effective_at"]),
                    figures.amount(was["new_price"]) if was else "–",
                    figures.amount(will["new_price"]) if will else _("does not move it"),
                )
            )
        headings = (
            _("Price change"),
            _("From"),
            _("Its price, before this"),
            _("Its price, after this"),
        )
        return [Rows(_("Scheduled changes that meet it"), headings, rows, frozenset({2, 3}))]

    def seen(self, *but: str) -> tuple[object, ...]:
        """All that it shows, for a fingerprint; without fields that are the instant of the look."""
        after = {name: value for name, value in self.after.items() if name not in but}
        return (dict(self.before or {}), after, self.is_to_come, self.total)


def amount_figure(label: str, before: Decimal, after: Decimal) -> Figure:
    difference = after - before
    return Figure(
        label,
        figures.money(before),
        figures.money(after),
        figures.difference(difference) if difference else "",
        difference < 0,
    )


def unmoved(label: str, value: str) -> Figure:
    return Figure(label, value, value)


def _text_figure(label: str, before: Row | None, after: Row, said: Any) -> Figure:
    return Figure(label, said(after if before is None else before), said(after))


def _state(row: Row) -> str:
    reason = f" ({row['price_reason']})" if row["price_reason"] else ""
    return state_words(row["price_state"], row["locked_until"]) + reason


def as_it_stands(subscription_id: int) -> Row | None:
    """The subscription with what is scheduled for it. One query, more while changes are
    scheduled."""
    return one(subscription_id)


STATES = {
    "upcoming": gettext_lazy("begins later"),
    "active": gettext_lazy("active"),
    "ended": gettext_lazy("ended"),
}
