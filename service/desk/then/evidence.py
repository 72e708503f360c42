"""A month's evidence: what moved the total, and who decided it, as the sheets of one workbook.

    total ─▶ bridge ─▶ total        and beside it what stands behind each step:
    price changes · catalogue edits · single decisions · corrections · brake · jobs · feed

All of it is read in one snapshot, by what is known when it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import IO, Any

from django.conf import settings
from django.db import connection
from django.db.models import Q
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from desk.then.moments import Month
from desk.then.words import STEPS
from price_changes.kinds.words import Names
from price_changes.models import Brake, PriceChange
from price_changes.showing.bridges import OTHERS, changes_of, is_plain_edit, names_of, table_of
from price_changes.showing.sentences import sentence
from pricebook.kit.session_limits import may_pause
from pricebook.kit.snapshot import one_snapshot
from services import lives
from services.audit import book_check
from services.ledger import seals
from services.ledger.bridge import Bridge, Step, bridge
from services.ledger.place import Place
from services.models import Correction, Job, book_clock
from services.reading.total import version_now
from services.transfer.sheets import workbook
from services.transfer.sheets.cells import iso
from services.transfer.sheets.headings import KINDS, STATUSES, in_words
from services.transfer.sheets.table import Column, Limits, Moment, Table, Type, Value, Written

CHUNK = 1_000  # rows that a statement reads
TYPES = {
    "amount": Type.AMOUNT,
    "price": Type.AMOUNT,
    "rows": Type.INTEGER,
    "rows_seen": Type.INTEGER,
    "lines": Type.INTEGER,
}
# The decisions about one subscription, in the order of recording: never a price change, which has a
# sheet of its own. An entry of a follower who only ended or began is among them.
DECISIONS = """
SELECT id, subscription_id, client_id, service_id, plan_id, price, price_state, locked_until,
       started_at, ended_at, effective_at, recorded_at, author, request_id
  FROM services_ledgerentry
 WHERE id > %s AND recorded_at >= %s AND recorded_at < %s AND change_id IS NULL
 ORDER BY id LIMIT %s
"""
FIRST_OF_THEN = "SELECT ledger_id_at(%s) - 1"
# The last entry of the feed that was recorded before an instant, by each of its three sources.
PLACE = """
SELECT xact, id FROM (
       (SELECT xact, id FROM services_ledgerentry WHERE recorded_at < %(at)s
         ORDER BY xact DESC, id DESC LIMIT 1)
        UNION ALL
       (SELECT xact, entry_ids[cardinality(entry_ids)] FROM services_movedfollowers
         WHERE recorded_at < %(at)s ORDER BY xact DESC, id DESC LIMIT 1)
        UNION ALL
       (SELECT xact, id FROM services_correctedentry WHERE recorded_at < %(at)s
         ORDER BY xact DESC, id DESC LIMIT 1)) last
 ORDER BY xact DESC, id DESC LIMIT 1
"""


def columns(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name, TYPES.get(name, Type.TEXT)) for name in names)


@dataclass
class Evidence:
    """The evidence of a month, up to its end or to now. Each property costs its queries once.

    `names_clients`: whether the reader may see the names of clients.
    """

    month: Month
    now: datetime
    names_clients: bool = True

    @property
    def since(self) -> datetime:
        return self.month.since

    @property
    def until(self) -> datetime:
        return min(self.month.until, self.now)

    @property
    def is_over(self) -> bool:
        return self.month.until <= self.now

    @cached_property
    def bridge(self) -> Bridge:
        return bridge(self.since, self.until)

    @cached_property
    def by(self) -> dict[str, Bridge]:
        return {by: bridge(self.since, self.until, by=by) for by in ("service", "plan")}

    @cached_property
    def changes(self) -> list[PriceChange]:
        """The price changes about which anything happened in the month, or that came into force.

        Plain edits are among them. Each has `says`, and `step`: its part of the bridge.
        """
        within = (self.since, self.until)
        happened = Q()
        for name in (
            "planned_at",
            "approved_at",
            "accepted_at",
            "effective_at",
            "started_at",
            "finished_at",
        ):
            happened |= Q(**{f"{name}__gte": within[0], f"{name}__lt": within[1]})
        steps = {step.change_id: step for step in self.bridge.steps if step.kind == "change"}
        happened |= Q(pk__in=[id for id in steps if id is not None])
        found: list[Any] = list(
            PriceChange.objects.filter(happened).select_related("reverts").order_by("id")
        )
        names = Names.of_changes(found, self.names_clients)
        back = dict(
            PriceChange.objects.filter(reverts__in=found)
            .exclude(status=PriceChange.Status.CANCELLED)
            .values_list("reverts_id", "pk")
        )
        for change in found:
            change.says = sentence(change, names)
            change.step = steps.get(change.pk)
            change.taken_back_by = back.get(change.pk)
        return found

    @property
    def decided(self) -> list[PriceChange]:
        return [change for change in self.changes if not is_plain_edit(change)]

    @property
    def edits(self) -> list[PriceChange]:
        return [change for change in self.changes if is_plain_edit(change)]

    @cached_property
    def corrections(self) -> list[Correction]:
        """Those that were recorded in the month, or say what was paid in it."""
        recorded = Q(recorded_at__gte=self.since, recorded_at__lt=self.until)
        about = Q(since__lt=self.until, until__gt=self.since)
        return list(Correction.objects.filter(recorded | about).order_by("id"))

    @cached_property
    def brakes(self) -> list[Brake]:
        """The times for which the brake was on in the month."""
        on = Q(released_at=None) | Q(released_at__gte=self.since)
        return list(Brake.objects.filter(on, pulled_at__lt=self.until).order_by("pk"))

    @cached_property
    def jobs(self) -> list[Job]:
        asked = Job.objects.filter(asked_at__gte=self.since, asked_at__lt=self.until)
        return list(asked.order_by("pk"))

    @cached_property
    def places(self) -> tuple[str, str]:
        """The places of the feed behind the last entry before the month, and before its end.

        Empty where there is no entry. Two queries.
        """
        return self._place(self.since), self._place(self.until)

    @staticmethod
    def _place(at: datetime) -> str:
        with connection.cursor() as cursor:
            cursor.execute(PLACE, {"at": at})
            found = cursor.fetchone()
        return str(lives.proven(Place(*found))) if found else ""

    def decisions(self, limit: int | None = None) -> Iterator[tuple[Any, ...]]:
        """The decisions about one subscription: up to `limit`, in order. A query for
        each thousand, and one.
        """
        with connection.cursor() as cursor:
            cursor.execute(FIRST_OF_THEN, [self.since])
            (after,) = cursor.fetchone()
            left = limit
            while left != 0:
                size = CHUNK if left is None else min(CHUNK, left)
                cursor.execute(DECISIONS, [after, self.since, self.until, size])
                rows = cursor.fetchall()
                yield from rows
                if len(rows) < size:
                    return
                after = rows[-1][0]
                left = None if left is None else left - len(rows)

    # --- The file

    def write(self, file: IO[bytes], limits: Limits) -> list[Written]:
        """Write the workbook, in one snapshot. Raises as `workbook.write`."""
        with one_snapshot():
            may_pause()  # a large one is put together for longer than others may be idle
            return workbook.write_all(map(_in_words, self.tables()), file, limits)

    def tables(self) -> Iterator[Table]:
        moment = Moment(version_now(), False)

        def table(name: str, names: tuple[Column, ...], rows: Iterable[tuple[Value, ...]]) -> Table:
            return Table(name, names, rows, lambda: moment)

        yield table("Summary", columns("what", "value"), self._summary())
        changes = changes_of(self.bridge)
        yield table_of(self.bridge, None, changes, {}, {})
        for by, found in self.by.items():
            of_groups = table_of(found, by, changes, names_of(found, by), {})
            yield replace(of_groups, name=f"Bridge by {by}")
        yield table("Price changes", columns(*CHANGE), map(_change, self.decided))
        yield table("Catalogue edits", columns(*EDIT), map(_edit, self.edits))
        yield table("Single decisions", columns(*DECISION), map(_texts(DECISION), self.decisions()))
        rows = (tuple(getattr(each, name) for name in CORRECTION) for each in self.corrections)
        yield table("Corrections", columns(*CORRECTION), map(_texts(CORRECTION), rows))
        rows = (tuple(getattr(each, name) for name in BRAKE) for each in self.brakes)
        yield table("Brake", columns(*BRAKE), map(_texts(BRAKE), rows))
        rows = (tuple(getattr(each, name) for name in JOB) for each in self.jobs)
        yield table("Imports and jobs", columns(*JOB), map(_texts(JOB), rows))

    def _summary(self) -> Iterator[tuple[Value, ...]]:
        found = self.bridge
        check = book_check.last_book_check()
        moved = found.total_until.amount - found.total_since.amount
        before, until = self.places
        told: Mapping[str, object] = {
            _("Month"): str(self.month),
            _("From"): iso(self.since),
            _("To"): iso(self.until),
            _("The month is over"): _("yes") if self.is_over else _("no: it goes on"),
            _("Currency"): settings.CURRENCY,
            _("Total at its beginning"): f"{found.total_since.amount:f}",
            _("Subscriptions at its beginning"): found.total_since.subscriptions,
            _("Total at its end"): f"{found.total_until.amount:f}",
            _("Subscriptions at its end"): found.total_until.subscriptions,
            _("Difference, which the bridge adds up to"): f"{moved:f}",
            _("Price changes"): len(self.decided),
            _("Catalogue edits"): len(self.edits),
            _("Corrections"): len(self.corrections),
            _("Times for which the brake was on"): len(self.brakes),
            _("Imports and jobs"): len(self.jobs),
            _("Feed: read from behind this place"): before or _("the beginning"),
            _("Feed: up to this place"): until or _("there is no entry"),
            _("Last book check that is kept"): (
                f"{iso(check.at)}: {check}" if check else _("none is kept")
            ),
            _("By what was known at"): iso(self.now),
            _("Newest sealed block of the ledger"): seals.head() or _("none is sealed"),
        }
        for name, value in told.items():
            yield name, str(value)


CHANGE = (
    "id", "title", "reason", "does", "status", "effective_at", "planned_by", "planned_at",
    "fingerprint", "rows_seen", "figures_seen", "approved_by", "approved_at", "needs_another",
    "accepted_by", "accepted_at", "paused_by", "cancelled_by", "finished_at", "takes_back",
    "taken_back_by", "rows", "amount",
)  # fmt: skip
EDIT = ("id", "does", "status", "author", "effective_at", "taken_back_by", "rows", "amount")
DECISION = (
    "entry", "subscription", "client", "service", "plan", "price", "price_state", "locked_until",
    "started_at", "ended_at", "effective_at", "recorded_at", "author", "request_id",
)  # fmt: skip
CORRECTION = ("id", "subscription_id", "since", "until", "price", "reason", "author", "recorded_at")
BRAKE = (
    "id", "pulled_at", "pulled_by", "reason", "released_at", "released_by", "release_reason",
)  # fmt: skip
JOB = (
    "id", "kind", "author", "status", "dry_run", "asked_at", "finished_at", "lines", "counts",
    "sha256", "undoes_id",
)  # fmt: skip


# The words of codes, by the name of their sheet.
OF_BRIDGES = {
    "step": {**STEPS, "total_from": _lazy("Total before"), "total_to": _lazy("Total after")},
    "name": {OTHERS: _lazy("others")},
}
OF_CHANGES = {"status": {each.value: each.label for each in PriceChange.Status}}
WORDS: dict[str, Mapping[str, Mapping[str, Any]]] = {
    "Bridge": OF_BRIDGES,
    "Bridge by service": OF_BRIDGES,
    "Bridge by plan": OF_BRIDGES,
    "Price changes": OF_CHANGES,
    "Catalogue edits": OF_CHANGES,
    "Imports and jobs": {"status": STATUSES, "kind": KINDS},
}


def _in_words(table: Table) -> Table:
    return in_words(replace(table, words=WORDS.get(table.name, {})))


def _texts(names: tuple[str, ...]) -> Callable[[tuple[Any, ...]], tuple[Value, ...]]:
    """A row with texts in the columns of texts: instants exact, in UTC."""
    is_text = [TYPES.get(name, Type.TEXT) is Type.TEXT for name in names]

    def row(values: tuple[Any, ...]) -> tuple[Value, ...]:
        return tuple(
            _text(value) if text else value for text, value in zip(is_text, values, strict=True)
        )

    return row


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, dict):
        return ", ".join(f"{name}: {each}" for name, each in value.items())
    return "" if value is None else str(value)


def _change(change: Any) -> tuple[Value, ...]:
    preview = change.preview or {}
    seen = {name: value for name, value in preview.items() if not isinstance(value, list | dict)}
    step: Step | None = change.step
    told = (
        change.pk, change.title, change.reason, change.says, change.status, change.effective_at,
        change.planned_by, change.planned_at, change.fingerprint, preview.get("moves"), seen,
        change.approved_by, change.approved_at, change.why_another, change.accepted_by,
        change.accepted_at, change.paused_by, change.cancelled_by, change.finished_at,
        change.reverts_id, change.taken_back_by, step and step.rows, step and step.amount,
    )  # fmt: skip
    return _texts(CHANGE)(told)


def _edit(change: Any) -> tuple[Value, ...]:
    step: Step | None = change.step
    told = (
        change.pk, change.says, change.status, change.approved_by, change.effective_at,
        change.taken_back_by, step and step.rows, step and step.amount,
    )  # fmt: skip
    return _texts(EDIT)(told)


def evidence_of(month: Month) -> Evidence:
    """The evidence of a month that has begun; ValueError for a later one. One query."""
    now = book_clock()
    if month.since >= now:
        raise ValueError(f"{month} has not begun.")
    return Evidence(month, now)
