"""The figures of a price change as the desk shows them: its preview in pictures, and its outcome
with the money."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from django.db import models
from django.utils.translation import gettext as _

from desk.ahead import of_sets, paid_difference, scheduled_until
from desk.charts import Chart, Number, chart
from desk.numbers import in_percent
from price_changes.admin.figures import Outcome, Preview
from price_changes.kinds import is_of_catalogue
from price_changes.kinds.relations import fetch
from price_changes.models import PriceChange
from price_changes.planning.around import counted_at
from price_changes.planning.counting import LARGEST
from pricebook.kit import figures
from services.ledger.course import course
from services.models import Skip, book_clock
from services.reading import total

PAIRS = 30  # services and plans that the page shows
WIDEST = 12  # bars of a chart


class PreviewShown(Preview):
    """A stored preview in pictures. Two queries, as `Preview`."""

    def __init__(self, change: PriceChange, names_clients: bool) -> None:
        super().__init__(change, names_clients)
        stored: Any = change.preview
        money = stored.get("stays_total", {})
        self.staying = [
            {
                "reason": reason,
                "label": str(Skip.Reason(reason).label),
                "rows": rows,
                "pays": Decimal(money[reason]) if reason in money else None,
            }
            for reason, rows in stored["stays"].items()
        ]
        self.all_pairs = len(self.pairs)
        self.pairs = [with_percent(pair) for pair in self.pairs[:PAIRS]]
        self.clients = [with_percent(client) for client in self.clients]
        self.percent = in_percent(self.before, self.after)
        self.charts = list(filter(None, (self._by_money(stored), self._by_percent(stored))))
        if by_service := self._by_service(stored):
            self.charts.append(by_service)

    @property
    def alike(self) -> dict[str, Any] | None:
        """One of the largest movers, if each of them moves by the same: then a list says nothing
        more."""
        alike = {(each["rows"], each["before"], each["after"]) for each in self.clients}
        return self.clients[0] if len(self.clients) == LARGEST and len(alike) == 1 else None

    @property
    def moves_money(self) -> bool:
        return self.before != self.after

    @staticmethod
    def _by_money(stored: Any) -> Chart | None:
        found = [(edges(each), (each["rows"],)) for each in stored["distribution"]]
        return _histogram(
            "by-money", _("Rows by their difference in money"), _("Difference"), found
        )

    @staticmethod
    def _by_percent(stored: Any) -> Chart | None:
        found = [(edges(each, "\u00a0%"), (each["rows"],)) for each in stored.get("percents", [])]
        return _histogram(
            "by-percent", _("Rows by their difference in per cent"), _("Difference"), found
        )

    @staticmethod
    def _by_service(stored: Any) -> Chart | None:
        sums: dict[str, list[Decimal]] = {}
        for pair in stored["by_service_and_plan"]:
            if pair["moves"]:
                both = sums.setdefault(pair["service_name"] or _("deleted"), [Decimal(0)] * 2)
                both[0] += Decimal(pair["before"])
                both[1] += Decimal(pair["after"])
        if len(sums) < 2:
            return None
        widest = sorted(sums.items(), key=lambda each: -abs(each[1][1] - each[1][0]))[:WIDEST]
        return chart(
            "by-service",
            "bar",
            _("Total before and after, by service"),
            _("Service"),
            [_("Before"), _("After")],
            widest,
        )


def _histogram(id: str, title: str, of: str, found: list[Any]) -> Chart | None:
    if not found:
        return None
    return chart(id, "bar", title, of, [_("Rows")], found, shown=_grouped)


def _grouped(number: Number) -> str:
    return figures.grouped(number or 0)


def edges(bucket: dict[str, Any], unit: str = "") -> str:
    """The bounds of a bar: "1 to 10"."""
    low, high = (
        None if bucket[end] is None else f"{figures.grouped(bucket[end])}{unit}"
        for end in ("from", "to")
    )
    if low is None:
        return _("below %(high)s") % {"high": high}
    if high is None:
        return _("%(low)s and more") % {"low": low}
    return _("%(low)s to %(high)s") % {"low": low, "high": high}


def with_percent(group: dict[str, Any]) -> dict[str, Any]:
    return {**group, "percent": in_percent(group["before"], group["after"])}


def whole_book(change: PriceChange, preview: PreviewShown) -> dict[str, Any]:
    """The total of the whole book that is paid without this change, and with it.

    At its instant, with all that is scheduled until then, or now (`at` is None). `rough`: previews
    don't say it exactly. One query for now, up to five for an instant to come.
    """
    at, found = counted_at(change), None
    is_ahead = at is not None and at > book_clock()
    if at is not None and is_ahead:
        [found] = course([at], "plan")
    rough = "paid" not in (change.preview or {})
    # Its figures are of the catalogue as it is now.
    rough = rough or (is_of_catalogue(change) and bool(preview.scheduled_before))
    if found is None:
        before = total.figures().paid.amount
        rough = rough or is_ahead
    else:
        assert at is not None
        sets = of_sets(scheduled_until(at, change), at)
        before = sum((each.amount for each in found.values()), sets.difference)
        rough = rough or sets.rough
    difference = paid_difference(change)
    if is_of_catalogue(change) and change.status == PriceChange.Status.SCHEDULED:
        before -= 0 if change.will_be_held else difference  # it is in the total of its instant
    after = before + difference
    return {
        "at": at if found is not None else None,
        "before": before,
        "after": after,
        "percent": in_percent(before, after),
        "rough": rough,
    }


# --- The outcome ------------------------------------------------------------------------------

# A chunk of followers has one price, and had one.
MOVED_MONEY = """
SELECT change_id, sum(old_price * number), sum(price * number), sum(number)
  FROM services_movedfollowers WHERE change_id = ANY(%s) GROUP BY change_id
"""


def moved_money(changes: Sequence[int]) -> dict[int, tuple[Decimal, Decimal, int]]:
    """The total before and after, and the number, of the followers that each change has moved. One
    query, over chunks; none for no change."""
    if not changes:
        return {}
    found = fetch(MOVED_MONEY, [list(changes)])
    return {pk: (before, after, number) for pk, before, after, number in found}


class OutcomeShown(Outcome):
    """The outcome of a change that has begun, with the money. Up to nine queries, over counters and
    chunks, and one more over the rows that were skipped by name."""

    def __init__(self, change: PriceChange) -> None:
        super().__init__(change)
        self.before: Decimal | None = None
        self.after: Decimal | None = None
        preview = change.preview or {}
        if self.applied:
            before, after, number = moved_money([change.pk]).get(change.pk, (None, None, 0))
            if number == self.applied:
                self.before, self.after = before, after
            elif self.applied == preview.get("moves"):
                # As many rows as were approved: those that stay are in both totals of the preview.
                stays = sum(map(Decimal, preview.get("stays_total", {}).values()))
                self.before = Decimal(preview["total_before"]) - stays
                self.after = Decimal(preview["total_after"]) - stays
                if len(preview["stays"]) != len(preview.get("stays_total", {})):
                    self.before = self.after = None  # a preview of an earlier release
        pays = _paid_by_skipped(change) if any(each["listed"] for each in self.skipped) else {}
        counted = preview.get("stays_total", {})
        skipped: list[Any] = self.skipped
        for each in skipped:
            reason = each["reason"]
            each["label"] = str(Skip.Reason(reason).label)
            if each["listed"]:
                each["pays"] = pays.get(reason)
            elif preview.get("stays", {}).get(reason) == each["rows"] and reason in counted:
                each["pays"] = Decimal(counted[reason])

    @property
    def difference(self) -> Decimal | None:
        return None if self.after is None or self.before is None else self.after - self.before

    @property
    def left(self) -> bool:
        """Whether it has left rows that are known one by one: the rest of it can be planned."""
        return bool(self.failed) or any(each["listed"] for each in self.skipped)


# Only rows that are named; a deleted one pays nothing.
PAID_BY_SKIPPED = """
SELECT reason, sum(price)
  FROM services_skip skip
  JOIN services_repricing work ON work.id = skip.repricing_id
  JOIN services_subscription subscription ON subscription.id = skip.subscription_id
 WHERE change_id = %s GROUP BY reason
"""


def _paid_by_skipped(change: PriceChange) -> dict[str, Decimal]:
    return dict(fetch(PAID_BY_SKIPPED, [change.pk]))


def named(change: PriceChange, preview: PreviewShown | None, outcome: OutcomeShown | None) -> Any:
    """The changes that its page names, and those that take it back. One query."""
    ids = {change.reverts_id}
    if preview:
        ids |= {*preview.scheduled_before, *preview.scheduled_after}
    if outcome:
        ids |= {*outcome.held_by, *outcome.holds, outcome.taken_back_by}
    asked = models.Q(pk__in=ids - {None}) | models.Q(reverts=change.pk)
    return {each.pk: each for each in PriceChange.objects.filter(asked).defer("preview")}
