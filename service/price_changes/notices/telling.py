"""The facts of who was told of a price change, recorded by hand or by a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.db import connection, transaction
from django.utils.translation import gettext as _

from price_changes.errors import ChangeError
from price_changes.kinds import is_of_catalogue, subject_of
from price_changes.kinds.values import parse_text
from price_changes.models import PriceChange, Told, ToTell
from price_changes.notices import holding
from price_changes.notices.lists import Standing, standing, to_tell
from price_changes.planning import status_now
from price_changes.planning.notice_days import zone_of
from pricebook.kit.figures import instant
from services.bounds import FIRST_DAY
from services.models import book_clock

Status = PriceChange.Status

LONGEST_NOTE = 200
NAMED = 10  # clients that a refusal names
MAY_BE_TOLD = (Status.SCHEDULED, Status.APPLYING, Status.PAUSED, Status.APPLIED)

# A client whose latest fact says the same already is left alone; a mark without a note says nothing
# of the note. `in_time` follows only from facts that are recorded before the instant.
TELL = """
WITH mark AS (
    SELECT * FROM unnest(%(clients)s::bigint[], %(days)s::date[], %(notes)s::text[])
        AS mark (client_id, told_on, note)
), turned AS (
    UPDATE price_changes_totell listed
       SET told_on = mark.told_on, note = mark.note, told_at = %(now)s, told_by = %(author)s,
           way = %(way)s,
           in_time = CASE WHEN %(counts)s THEN coalesce(mark.told_on <= %(by)s, false)
                          ELSE in_time END
      FROM mark
     WHERE change_id = %(change)s AND listed.client_id = mark.client_id
       AND (listed.told_on IS DISTINCT FROM mark.told_on OR mark.note NOT IN ('', listed.note))
    RETURNING listed.client_id, listed.told_on, listed.note
)
INSERT INTO price_changes_told
       (change_id, approval, client_id, told_on, recorded_at, recorded_by, way, note)
SELECT %(change)s, %(approval)s, client_id, told_on, %(now)s, %(author)s, %(way)s, note
  FROM turned ORDER BY client_id
"""

Mark = tuple[int, date | None, str]  # a client, the day on which it was told, a note


@dataclass(frozen=True)
class Outcome:
    """What `tell` has done: `recorded` clients told or not told after all, `unchanged` ones that
    stood so already, and the numbers of the change now."""

    recorded: int
    unchanged: int
    standing: Standing


def tell(
    change: PriceChange,
    marks: Iterable[Mark],
    way: str,
    author: str,
    told_of: datetime | None = None,
) -> Outcome:
    """Record the days on which clients were told of a change (None: not told after all), all or
    none; raises ChangeError.

    `way`: "hand" or "file". `told_of`: the instant that the clients were told of, if it is known;
    the change must not have another one by now. It has to be approved, and neither held nor ended:
    it is locked meanwhile. If it asks for a notice, and its instant is to come, it comes from now
    on once all are told in time, and no longer comes if one was not told after all.
    About ten queries, however many clients; one over its rows if it has no list yet.
    """
    marks = [(client, day, parse_text("note", note, LONGEST_NOTE)) for client, day, note in marks]
    with transaction.atomic():
        locked = _locked(change)
        if locked.notice_days is not None and is_of_catalogue(locked):
            subject_of(locked).lock()  # as all who write its facts; the clock is read after that
        now = book_clock()
        _refuse_state(locked)
        _refuse_another_instant(locked, told_of)
        to_tell(locked)  # makes the list, if there is none
        _refuse_marks(locked, marks, now)
        assert locked.effective_at is not None
        counts = now < locked.effective_at
        recorded = _record(locked, marks, way, author, now, counts)
        if counts and locked.notice_days is not None:
            holding.turn(locked, now, author)
        return Outcome(recorded, len(marks) - recorded, standing(locked))


def _locked(change: PriceChange) -> PriceChange:
    """The change, that nobody starts, undoes or tells of meanwhile."""
    return PriceChange.objects.select_for_update().get(pk=change.pk)


def _refuse_state(change: PriceChange) -> None:
    status_now.refresh([change])
    if change.status in MAY_BE_TOLD:
        return
    allowed = [state.value for state in MAY_BE_TOLD]
    raise ChangeError(
        "wrong_state",
        _(
            "Price change %(pk)s is %(status)s: clients are told of one that is approved, and is"
            " neither held nor ended."
        )
        % {"pk": change.pk, "status": str(change.get_status_display()).lower()},
        409,
        state=change.status,
        allowed=allowed,
    )


def _refuse_another_instant(change: PriceChange, told_of: datetime | None) -> None:
    if told_of is None or told_of == change.effective_at:
        return
    raise ChangeError(
        "another_instant",
        _(
            "Price change %(pk)s comes %(at)s, and these clients were told of %(told_of)s: it was"
            " approved anew since. Tell them of the new instant, and look at its list again."
        )
        % {"pk": change.pk, "at": instant(change.effective_at), "told_of": instant(told_of)},
        409,
        parameter="effective_at",
        value=told_of.isoformat(),
        effective_at=change.effective_at and change.effective_at.isoformat(),
    )


def _refuse_marks(change: PriceChange, marks: list[Mark], now: datetime) -> None:
    given = [client for client, _day, _note in marks]
    twice = {client for client, times in Counter(given).items() if times > 1}
    if twice:
        raise ChangeError(
            "given_twice",
            _("Each client is given once; twice: %(clients)s.") % {"clients": _said(twice)},
            **_about(twice),
        )
    listed = ToTell.objects.filter(change_id=change.pk, client_id__in=given)
    unknown = set(given) - set(listed.values_list("client_id", flat=True))
    if unknown:
        raise ChangeError(
            "not_to_be_told",
            _("The change moves no price of these clients: %(clients)s. Leave them out.")
            % {"clients": _said(unknown)},
            **_about(unknown),
        )
    today = now.astimezone(zone_of(change.effective_zone)).date()
    for client, day, _note in marks:
        if day is not None and not FIRST_DAY.date() <= day <= today:
            raise ChangeError(
                "not_told_yet",
                _(
                    "Client %(client)s can't have been told on %(day)s: give a day up to today,"
                    " %(today)s, and not before %(first)s."
                )
                % {
                    "client": client,
                    "day": day.isoformat(),
                    "today": today.isoformat(),
                    "first": FIRST_DAY.date().isoformat(),
                },
                parameter="told_on",
                value=day.isoformat(),
                client=client,
            )


def _said(clients: set[int]) -> str:
    """The first of these clients, by their numbers."""
    more = ", …" if len(clients) > NAMED else ""
    return ", ".join(map(str, sorted(clients)[:NAMED])) + more


def _about(clients: set[int]) -> dict[str, Any]:
    named = sorted(clients)[:NAMED]
    return {"parameter": "client", "value": str(named[0]), "clients": named}


def _record(
    change: PriceChange, marks: list[Mark], way: str, author: str, now: datetime, counts: bool
) -> int:
    asked: dict[str, Any] = {
        "change": change.pk,
        "approval": change.approval,
        "clients": [client for client, _day, _note in marks],
        "days": [day for _client, day, _note in marks],
        "notes": [note for _client, _day, note in marks],
        "way": Told.Way(way).value,
        "author": author,
        "now": now,
        "by": change.notice_by,
        "counts": counts,
    }
    with connection.cursor() as cursor:
        cursor.execute(TELL, asked)
        return int(cursor.rowcount)
