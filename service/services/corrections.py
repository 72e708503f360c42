"""Corrections: a subscription should have paid another price since an instant that has passed.

    correct()   do it, for one or many, all or none
    show()      what it would do; nothing is written

A correction is about [since, until), and about no other instant. If its end is left out, it lasts
up to the next instant at which the price, the price state, the service or the plan has changed, or
at which the subscription has ceased to pay; if nothing has, the price goes on from now, as a move
of today. docs/decisions/0022 has the reasons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from itertools import groupby

from django.db import connection, transaction
from django.utils.translation import gettext as _

from pricebook.kit.figures import grouped
from pricebook.kit.refusal import Refusal
from services import price_state
from services.hooks import price_changes
from services.ledger.paid_since import Told, paid_since
from services.ledger.point_in_time import at_each
from services.models import Correction, Subscription, book_clock
from services.moves import Move, NeedsAnotherPerson, largest_percent
from services.writing.refusals import not_there

SHOWN = 100  # refused lines in the refusal of all


@dataclass(frozen=True)
class Line:
    """The price that a subscription should have paid, since when, and until when, if it is said."""

    subscription: int
    since: datetime
    price: Decimal
    until: datetime | None = None


@dataclass(frozen=True)
class Interval:
    """A part of a correction in which one price was paid: that price, and the corrected one."""

    since: datetime
    until: datetime | None  # None: it goes on
    old_price: Decimal
    new_price: Decimal
    price_state: str


@dataclass(frozen=True)
class Corrected:
    """A line that was corrected, or would be.

    `until` is None if the price goes on from now. `id` is None where nothing was written: in a dry
    run, and if it has paid this price all along (`moves`).
    """

    subscription: int
    since: datetime
    until: datetime | None
    price: Decimal
    intervals: tuple[Interval, ...]
    id: int | None = None

    @property
    def moves(self) -> bool:
        return any(part.old_price != part.new_price for part in self.intervals)

    @property
    def goes_on(self) -> bool:
        return self.until is None

    @property
    def old_price(self) -> Decimal:
        return self.intervals[0].old_price


class CorrectionRefused(Refusal):
    """A correction that can't be made; nothing was written."""


class LinesRefused(Refusal):
    """Lines that can't be corrected, so that none was: the refusal of each, by its place."""

    def __init__(self, refusals: Mapping[int, Refusal]) -> None:
        first = min(refusals)
        super().__init__(
            "lines_refused",
            _("Nothing was corrected: %(number)s of the lines can't be. Line %(line)s: %(detail)s")
            % {
                "number": grouped(len(refusals)),
                "line": first + 1,
                "detail": refusals[first].detail,
            },
            refused=len(refusals),
            lines=[
                {"line": number + 1, "code": each.code, "detail": each.detail, **each.about}
                for number, each in sorted(refusals.items())[:SHOWN]
            ],
        )
        self.refusals = refusals


def correct(lines: Sequence[Line], reason: str, author: str) -> list[Corrected]:
    """Correct all lines, or none. Eight queries, and eight more for each that goes on from now.

    `LinesRefused` for an instant that has not passed, an empty interval, a subscription that is not
    there, is there twice, or did not pay then; `CorrectionRefused` while a set is not listed;
    `NeedsAnotherPerson` beyond the limits of the author, with the corrected lines as its `after`.
    """
    price_state.check_text("reason", reason, price_state.LONGEST_REASON, required=True)
    price_state.check_text("author", author, price_state.LONGEST_AUTHOR)
    with transaction.atomic():
        rows = _locked([line.subscription for line in lines])
        now = book_clock()
        refuse_while_a_set_waits()
        found = _found(lines, rows, now)
        written = _write([each for each in found if each.moves], reason, author)
        done = [written.get(each.subscription, each) for each in found]
        try:
            _count(list(written.values()), rows, author)
        except NeedsAnotherPerson as needs:
            needs.after = done
            raise
    return done


def show(lines: Sequence[Line], reason: str, author: str) -> tuple[list[Corrected], str]:
    """The lines as they would be corrected, and why that takes another person (empty: it does not).

    It is done, and undone. Raises as `correct` does.
    """
    why = ""
    with transaction.atomic():
        try:
            done = correct(lines, reason, author)
        except NeedsAnotherPerson as needs:
            why, done = needs.detail, needs.after
        transaction.set_rollback(True)
    return [replace(each, id=None) for each in done], why


def totals(done: Sequence[Corrected]) -> tuple[int, Decimal, Decimal]:
    """How many lines move; the sum of the prices at their beginnings, before and after."""
    moved = [each for each in done if each.moves]
    before = sum((each.old_price for each in moved), Decimal(0))
    return len(moved), before, sum((each.price for each in moved), Decimal(0))


# --- Before anything is written -----------------------------------------------------------------


def _locked(ids: Sequence[int]) -> dict[int, Subscription]:
    """The rows, locked, and their catalogue. A set of a later instant is not listed before the end
    of this transaction, as that waits for all who began to write before."""
    rows = Subscription.objects.filter(pk__in=ids).order_by("pk").select_for_update(no_key=True)
    found = {row.pk: row for row in rows}
    pairs = [[row.service_id for row in found.values()], [row.plan_id for row in found.values()]]
    with connection.cursor() as cursor:
        cursor.execute("SELECT lock_pairs(%s::bigint[], %s::bigint[])", pairs)
    return found


def _found(
    lines: Sequence[Line], rows: Mapping[int, Subscription], now: datetime
) -> list[Corrected]:
    """The corrections that the lines come to; LinesRefused if any of them can't be made."""
    told = paid_since([(line.subscription, line.since) for line in lines], now)
    found: dict[int, Corrected] = {}
    refused: dict[int, Refusal] = {}
    for number, line in enumerate(lines):
        try:
            if line.subscription not in rows:
                raise not_there("subscription", line.subscription)
            if line.subscription in found:
                raise CorrectionRefused(
                    "twice_in_one",
                    _(
                        "An earlier line corrects subscription %(subscription)s too: correct"
                        " one interval of it at a time."
                    )
                    % {"subscription": line.subscription},
                    parameter="subscription",
                    value=str(line.subscription),
                )
            found[line.subscription] = _corrected(line, told[number], now)
        except Refusal as refusal:
            refused[number] = refusal
    if refused:
        raise LinesRefused(refused)
    return list(found.values())


def refuse_while_a_set_waits() -> None:
    """Nobody knows what was paid since the instant of a set before a worker has listed its rows.

    It may stand behind a paused change, whose rows it depends on.
    """
    for change in price_changes().waiting_for(None)[:1]:
        raise CorrectionRefused(
            "set_waits",
            _(
                "Price change %(id)s has come at %(isoformat)s, and no worker has listed its"
                " rows yet, so it isn't known what was paid since then: try again in a"
                " moment. If another change is paused before it, resume or cancel that first."
            )
            % {"id": change.id, "isoformat": change.effective_at.isoformat()},
            409,
            change=change.id,
        )


def _corrected(line: Line, told: list[Told], now: datetime) -> Corrected:
    """The correction that a line comes to; refused if nothing was paid, or it is not past."""
    if line.since >= now:
        raise CorrectionRefused(
            "not_past",
            _(
                "since is %(isoformat)s, which has not passed: negotiate a price from now on,"
                " and plan a price change for a later instant."
            )
            % {"isoformat": line.since.isoformat()},
            parameter="since",
            value=line.since.isoformat(),
        )
    if line.until is not None and not line.since < line.until <= now:
        raise CorrectionRefused(
            "bad_until",
            _(
                "until is %(isoformat)s: it lies after since, and has passed. Leave it out"
                " for a price that goes on."
            )
            % {"isoformat": line.until.isoformat()},
            parameter="until",
            value=line.until.isoformat(),
        )
    if not (told and told[0].at == line.since and told[0].pays):
        raise CorrectionRefused(
            "not_paid_then",
            _(
                "Subscription %(subscription)s did not pay at %(isoformat)s: it had not"
                " begun, or had ended."
            )
            % {"subscription": line.subscription, "isoformat": line.since.isoformat()},
            409,
            parameter="since",
            value=line.since.isoformat(),
        )
    moved = (part.at for part in told[1:] if part[1:] != told[0][1:])
    until = line.until if line.until is not None else next(moved, None)
    within = [part for part in told if until is None or part.at < until]
    parts = [next(same) for _, same in groupby(within, lambda part: part[1:])]
    ends = [*(part.at for part in parts[1:]), until]
    intervals = tuple(
        Interval(part.at, end, part.price, line.price, part.price_state)
        for part, end in zip(parts, ends, strict=True)
        if part.pays
    )
    return Corrected(line.subscription, line.since, until, line.price, intervals)


# --- Writing ------------------------------------------------------------------------------------

# The corrected price at the beginning, and behind each entry within; at the end what follows,
# unless the price goes on: that has an entry of its own.
ENTER = f"""
INSERT INTO services_correctedentry
       (subscription_id, client_id, service_id, plan_id, price, price_state, locked_until,
        started_at, ended_at, effective_at, recorded_at, author, correction_id)
SELECT moment_of.id, told.client_id, told.service_id, told.plan_id,
       CASE WHEN moment_of.at < moment_of.until THEN moment_of.price ELSE told.price END,
       told.price_state, told.locked_until, one.started_at, one.ended_at, moment_of.at,
       moment_of.recorded_at, moment_of.author, moment_of.correction
  FROM {
    at_each('''(
       SELECT DISTINCT correction.id AS correction, subscription_id AS id, since, until, price,
              recorded_at, author, at
         FROM services_correction correction
        CROSS JOIN LATERAL (
              SELECT since AS at UNION ALL SELECT until
               UNION ALL
              SELECT effective_at FROM entries_of(subscription_id)
               WHERE effective_at > since AND effective_at < until
               UNION ALL
              SELECT effective_at FROM services_correctedentry earlier
               WHERE earlier.subscription_id = correction.subscription_id
                 AND effective_at > since AND effective_at < until) instant
        WHERE correction.id = ANY (%(ids)s)
          AND (at < until OR correction.id <> ALL (%(going_on)s))) moment_of''')
}
  JOIN services_subscription one ON one.id = moment_of.id
 ORDER BY moment_of.id, moment_of.at
"""  # noqa: S608 - constants


def _write(found: Sequence[Corrected], reason: str, author: str) -> dict[int, Corrected]:
    """Write what moves: first prices that go on, whose instant is the end of what is corrected."""
    ends = {}
    for each in found:
        ends[each.subscription] = each.until or price_state.go_on_at(
            each.subscription, each.price, reason, author
        )
    now = book_clock()
    corrections = Correction.objects.bulk_create(
        Correction(
            subscription_id=each.subscription,
            since=each.since,
            until=ends[each.subscription],
            price=each.price,
            reason=reason,
            author=author,
            recorded_at=now,
        )
        for each in found
    )
    if corrections:
        with connection.cursor() as cursor:
            ids = [correction.pk for correction in corrections]
            going_on = [id for id, each in zip(ids, found, strict=True) if each.goes_on]
            cursor.execute(ENTER, {"ids": ids, "going_on": going_on})
    return {
        each.subscription: replace(each, id=correction.pk)
        for each, correction in zip(found, corrections, strict=True)
    }


def _count(done: list[Corrected], rows: Mapping[int, Subscription], author: str) -> None:
    """Ask the policy for all of it as one move; raises NeedsAnotherPerson beyond a limit."""
    if not done or not price_changes().has_limits():
        return
    number, before, after = totals(done)
    parts = [part for each in done for part in each.intervals]
    percents = [largest_percent(part.old_price, part.new_price) for part in parts]
    counted = [percent for percent in percents if percent is not None]
    percent = max(counted, default=Decimal(0)) if len(counted) == len(percents) else None
    names = {}
    if len(done) == 1:
        row = rows[done[0].subscription]
        names = {
            "subscription": row.pk,
            "client": row.client_id,
            "service": row.service_id,
            "plan": row.plan_id,
        }
    movement = sum(
        (max(abs(part.new_price - part.old_price) for part in each.intervals) for each in done),
        Decimal(0),
    )
    price_changes().moved_alone(author, Move(number, before, after, movement, percent, names))
