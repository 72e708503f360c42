"""One subscription: created, changed, ended, restarted, moved, deleted.

Starts and ends are facts, and may lie in the past or be still to come. A move takes effect at once.
The ledger has an entry of each, under the author's name, and keeps all of it if the row is deleted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.db import connection
from django.utils.translation import gettext as _

from clients.models import Client
from pricebook.kit.prepared import prepared_cursor
from pricebook.kit.request_id import current_id
from services.counted_moves import counted
from services.models import Plan, Service, Subscription, book_clock
from services.writing.bodies import COMMENT, IDS, INSTANT, RECORD, Field
from services.writing.refusals import (
    WriteRefused,
    moved_by,
    not_there,
    refuse_source_alike,
    told_by_constraints,
    unknown_here,
)

RECORDS = {"client": Client, "service": Service, "plan": Plan}
BY_MOVE = moved_by("POST …/move/ does")
FIELDS: dict[str, Field] = {
    **{name: RECORD(fixed=BY_MOVE) for name in RECORDS},
    "comment": COMMENT,
    **IDS,
    "started_at": INSTANT(),
    "ended_at": INSTANT(null=None, fixed=moved_by("POST …/end/ and POST …/restart/ do")),
}
END = {"ended_at": INSTANT(required=True)}
RESTART = {"ended_at": INSTANT(null=None)}
MOVE = {name: RECORD(required=False) for name in RECORDS}

# The rows that it names are locked against deletion, as the foreign keys would do at the commit: so
# one that is gone is found here, and not then. Author and request are set before the triggers run.
INSERT = """
WITH author AS MATERIALIZED (SELECT set_config('pricebook.author', %(author)s, true),
                                    set_config('pricebook.request', %(request)s, true))
INSERT INTO services_subscription
       (client_id, service_id, plan_id, comment, source, external_id, started_at, ended_at)
SELECT client.id, service.id, plan.id, %(comment)s, %(source)s, %(external_id)s,
       coalesce(%(started_at)s::timestamptz, book_now()), %(ended_at)s::timestamptz
  FROM author, clients_client client, services_service service, services_plan plan
 WHERE client.id = %(client)s AND service.id = %(service)s AND plan.id = %(plan)s
   FOR KEY SHARE OF client, service, plan
RETURNING id
"""
# Those that have begun, or of which that was said at any time: an entry held until the next one.
HAVE_PAID = """
SELECT id FROM services_subscription book
 WHERE id = ANY (%(ids)s) AND (started_at <= %(now)s OR EXISTS (
       SELECT FROM (SELECT started_at,
                           lead(recorded_at, 1, %(now)s::timestamptz) OVER (ORDER BY id) AS until
                      FROM entries_of(book.id)) said
        WHERE started_at IS NULL OR started_at < until))
"""


def create(values: Mapping[str, Any], author: str) -> int:
    """Insert a subscription with the price of the rule; return its id. One query.

    `WriteRefused` if a client, service or plan is not there, if the external id is taken, or if the
    end is not after the start.
    """
    given = {**dict.fromkeys(FIELDS), "comment": "", **values}
    given |= {"author": author, "request": current_id() or ""}
    with told_by_constraints(), prepared_cursor() as cursor:
        cursor.execute(INSERT, given)
        found = cursor.fetchone()
    if found is None:
        raise _unknown_of(values)
    (id,) = found
    return int(id)


def change(id: int, values: Mapping[str, Any], author: str) -> None:
    """Write its comment, its ids elsewhere, its start. Four queries, three if nothing differs."""
    with _held(id, author) as subscription, told_by_constraints():
        _write(subscription, values)


def end(id: int, at: datetime, author: str) -> None:
    """Set its end, past or to come, instead of an end that is to come.

    One that has ended may be said to have ended earlier. Four queries, three if it is its end.
    `WriteRefused` for a later end of one that has ended, and for an end not after the start.
    """
    with _held(id, author) as subscription, told_by_constraints():
        ended = subscription.ended_at
        if ended is not None and ended < at:
            refuse_later_end(id, ended, book_clock())
        _write(subscription, {"ended_at": at})


def restart(id: int, until: datetime | None, author: str) -> None:
    """Take back its end: it goes on, without an end or until a later one.

    If the end has passed, it pays from now on, and nothing for the gap. Five queries.
    `WriteRefused` if it has no end, and for a new end that has passed.
    """
    with _held(id, author) as subscription, told_by_constraints():
        if subscription.ended_at is None:
            raise WriteRefused(
                "not_ended",
                _("Subscription %(id)s has no end, so there is nothing to take back.") % {"id": id},
                409,
            )
        if until is not None and until <= book_clock():
            raise WriteRefused(
                "in_the_past",
                _("ended_at is %(isoformat)s, which has passed; give a later one, or none.")
                % {"isoformat": until.isoformat()},
                parameter="ended_at",
                value=until.isoformat(),
            )
        _write(subscription, {"ended_at": until})


def move(id: int, to: Mapping[str, int], author: str) -> None:
    """Move it to another client, service or plan from now on, whose names are those of `to`.

    Another service or plan gives it the rule's price: it ends a lock and a negotiated price. Up to
    eight queries. `WriteRefused` for one that has ended, and for what is not there.
    """
    with _held(id, author) as subscription:
        if subscription.ended_at is not None:
            refuse_move_of_ended(id, subscription.ended_at, book_clock())
        for name, record in to.items():
            _hold_record(name, record)
        with counted(subscription, author):
            _write(subscription, {f"{name}_id": record for name, record in to.items()})


def delete(id: int, author: str) -> None:
    """Delete one that has never paid, and has not begun. Its entries stay in the ledger.

    Five queries. `WriteRefused` for any other one.
    """
    with _held(id, author):
        if have_paid([id], book_clock()):
            raise has_paid(id)
        Subscription.objects.filter(pk=id).delete()


def have_paid(ids: Collection[int], now: datetime) -> list[int]:
    """Those that have begun, or were said to have. One query."""
    with connection.cursor() as cursor:
        cursor.execute(HAVE_PAID, {"ids": list(ids), "now": now})
        return [id for (id,) in cursor.fetchall()]


def has_paid(id: int) -> WriteRefused:
    return WriteRefused(
        "has_paid",
        _("Subscription %(id)s has begun, and bills may name it: end it with POST …/end/.")
        % {"id": id},
        409,
    )


# --- One row, its lock and its author -----------------------------------------------------------


@contextmanager
def _held(id: int, author: str) -> Iterator[Subscription]:
    """The subscription, locked, as its row stands; the block's entries have this author."""
    subscription = Subscription.objects.select_for_update(no_key=True).filter(pk=id).first()
    if subscription is None:
        raise not_there("subscription", id)
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('pricebook.author', %s, true)", [author])
        yield subscription
        # The setting lasts as long as the transaction; an outer one that goes on has another
        # author.
        cursor.execute("SELECT set_config('pricebook.author', '', true)")


def _write(subscription: Subscription, values: Mapping[str, Any]) -> None:
    """Write the values that differ, and nothing if none does: then the book is as it was."""
    differing = {
        name: value for name, value in values.items() if getattr(subscription, name) != value
    }
    if differing.get("source"):
        refuse_source_alike("subscription", subscription.pk, differing["source"])
    if differing:
        Subscription.objects.filter(pk=subscription.pk).update(**differing)


def _hold_record(name: str, id: int) -> None:
    """Refuse a client, service or plan that is not there; one that is stays until the commit."""
    table = RECORDS[name]._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT FROM {table} WHERE id = %s FOR KEY SHARE", [id])
        if cursor.fetchone() is None:
            raise unknown_here(name, id)


def _unknown_of(values: Mapping[str, Any]) -> WriteRefused:
    for name, model in RECORDS.items():
        if not model._default_manager.filter(pk=values[name]).exists():
            return unknown_here(name, values[name])
    # Made since: the same request again finds them.
    return unknown_here("client", values["client"])


# --- Refusals because of an end that has passed; bulks make them, too ----------------------------


def refuse_later_end(id: int, ended: datetime, now: datetime) -> None:
    if ended <= now:
        raise _ended(id, ended, _("POST …/restart/ opens it again from now on"))


def refuse_move_of_ended(id: int, ended: datetime, now: datetime) -> None:
    if ended <= now:
        raise _ended(id, ended, _("it stays what it was"))


def _ended(id: int, ended: datetime, instead: str) -> WriteRefused:
    return WriteRefused(
        "subscription_ended",
        _("Subscription %(id)s ended at %(isoformat)s; %(instead)s.")
        % {"id": id, "isoformat": ended.isoformat(), "instead": instead},
        409,
    )
