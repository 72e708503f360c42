"""The paid total of today and its course over the last twelve months, for the home page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.utils.translation import gettext as _

from desk.charts import Chart, chart
from pricebook.kit.figures import day
from services.ledger.course import GROUPS, course
from services.ledger.months import last_months
from services.models import Plan, Service
from services.reading.total import Total

MONTHS = 12
SHOWN = 5  # services or plans with a series of their own; the others are one


@dataclass(frozen=True)
class Course:
    """The paid total since each month's beginning, and now. `by`: service or plan."""

    by: str
    instants: list[datetime]
    totals: list[dict[int, Total] | None]

    @classmethod
    def until(cls, now: datetime, by: str) -> Course:
        """Two queries."""
        instants = [*last_months(now, MONTHS), now]
        return cls(by, instants, course(instants, by))

    @property
    def has_gaps(self) -> bool:
        """Whether a month is missing until a worker has made its sums."""
        return any(each is None for each in self.totals)

    @property
    def since_month(self) -> Decimal | None:
        """The difference of the total since this month's beginning."""
        began, now = self.totals[-2], self.totals[-1]
        return None if began is None or now is None else _sum(now) - _sum(began)

    def chart(self) -> Chart:
        """The chart of the largest, and of the others together. One query for their names."""
        largest = self._largest()
        named = self._names(largest)
        others = {pk for each in self.totals if each for pk in each} - {*largest}
        series = [named.get(pk, _("deleted")) for pk in largest]
        rows: list[tuple[str, list[Any]]] = []
        for at, totals in zip(self.instants, self.totals, strict=True):
            figures: list[Decimal | None] = [
                None if totals is None else _of(totals, [pk]) for pk in largest
            ]
            if others:
                figures.append(None if totals is None else _of(totals, others))
            rows.append((day(at), figures))
        title = {
            "service": _("Paid at the beginning of each month, and now, by service"),
            "plan": _("Paid at the beginning of each month, and now, by plan"),
        }[self.by]
        if others:
            series.append(_("Others"))
        return chart("course", "stacked", title, _("Instant"), series, rows)

    def _largest(self) -> list[int]:
        last = next((each for each in reversed(self.totals) if each), None) or {}
        return sorted(last, key=lambda pk: last[pk].amount, reverse=True)[:SHOWN]

    def _names(self, ids: list[int]) -> dict[int, str]:
        model: Any = {"service": Service, "plan": Plan}[self.by]
        return {each.pk: str(each) for each in model.objects.filter(pk__in=ids)}


def asked_by(given: str) -> str:
    """The grouping that an address asks for; by service if it asks for none that there is."""
    return given if given in GROUPS else GROUPS[0]


def _sum(totals: dict[int, Total]) -> Decimal:
    return sum((each.amount for each in totals.values()), Decimal(0))


def _of(totals: dict[int, Total], ids: Any) -> Decimal:
    return sum((totals[pk].amount for pk in ids if pk in totals), Decimal(0))
