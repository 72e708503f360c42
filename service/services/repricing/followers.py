"""Moves the followers of a change of the catalogue, among rows of one (service, plan).

Each function requires the catalogue's locks. A worker may come late, and rows may have been written
between the change's instant and its start. So that instant decides what a row owes: a row that came
later follows the new value since it came; a row that was there then is moved, or kept, from then
on.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from django.db import connection
from django.db.models import Exists, F, Func, OuterRef

from services.models import (
    BookNow,
    Subscription,
    SubscriptionQuerySet,
    WholeLedger,
)
from services.repricing import accounts
from services.repricing.locks import LockHeld, lock_rows
from services.repricing.writes import CLIENT_THEN, ledger_origin, move_price, write_price

FOLLOWS = Subscription.PriceState.FOLLOWS
# The rule's price at the moment before the subscription's end.
PRICE_AT_END = Func(
    F("service_id"),
    F("plan_id"),
    F("ended_at") - timedelta(microseconds=1),
    function="price_rule_at",
)

# The instant since which a subscription has followed without a break, in this service and plan.
FOLLOWED_SINCE = """(
    SELECT effective_at
      FROM (SELECT id, effective_at, (price_state, service_id, plan_id) IS DISTINCT FROM
                   (lag(price_state) OVER written, lag(service_id) OVER written,
                    lag(plan_id) OVER written) AS came
              FROM services_ledgerentry
             WHERE subscription_id = {subscription} AND NOT period_only
            WINDOW written AS (ORDER BY id)) entry
     WHERE came ORDER BY id DESC LIMIT 1
)"""


class Keeping(NamedTuple):
    """Work that keeps followers at their price, and is still to be done or planned."""

    instants: list[datetime]  # at each of them all followers are kept
    again: bool  # whether some are kept again, because a revert was reverted

    def __bool__(self) -> bool:
        return bool(self.instants) or self.again


NONE_KEPT = Keeping([], False)


class Event(NamedTuple):
    """A change of the catalogue that concerns a pair."""

    position: int
    change_id: int | None
    effective_at: datetime
    due: bool
    of_service: bool  # its list price; else its plan's discount


def move(rows: SubscriptionQuerySet, service_id: int, plan_id: int, alone: bool = True) -> int:
    """Write the rule's price into rows that have another one; return how many."""
    return moved_by(rows, service_id, plan_id, alone)[0]


def moved_by(
    rows: SubscriptionQuerySet,
    service_id: int,
    plan_id: int,
    alone: bool = True,
    number: int | None = None,
) -> tuple[int, int | None]:
    """Like `move`; also return the change, if each row has got the entry of that change alone.

    The ledger gets an entry for each change that fell due, though the row is written once. `alone`:
    no step of the pair is done at the same time. `number` of the rows, if it is known.
    """
    # The price is as of the last event, to which the last entry belongs: a value in force since
    # then whose copying has not begun brings its own work. Work of the same instant has to begin
    # first: otherwise nobody could tell which change the price comes from.
    events, price, to_begin, later, keeps = _due(service_id, plan_id)
    if price is None:
        return 0, None  # the service or the plan was deleted
    if to_begin and events:
        if alone:
            raise LockHeld("Work of the same instant has not begun.")
        return 0, None
    # The conditions are on one table and constants: so all of them are checked again for a row that
    # somebody else has just written, when its lock is free. A row that has ended since the first
    # instant was there at it.
    there_at = events[0].effective_at if events else BookNow()
    followers = rows.filter(service_id=service_id, plan_id=plan_id).following(there_at)
    if not events:
        differing = followers.exclude(price=price)
        if keeps:
            unkept = _unkept(differing)
            if not unkept:
                return 0, None
            differing = differing.filter(pk__in=unkept)
        return write_price(differing, price), None
    if len(events) > 1 or keeps:
        pair = service_id, plan_id
        return _move_through(events, followers, pair, price, alone, later, keeps), None
    [event] = events
    differing = followers.active().exclude(price=price)
    moved = _moved(differing, price, event, later, event.effective_at)
    if moved == number:
        return moved, event.change_id  # so none has ended
    # The writer of an end that has passed has already given the row the price of then, so the
    # ledger tells what it owes. A row whose end is still to come has been moved above.
    ended = followers.filter(ended_at__lte=BookNow())
    pair = service_id, plan_id
    moved_too = _move_through(events, ended, pair, price, alone, later, NONE_KEPT)
    return moved + moved_too, None if moved_too else event.change_id


def _moved(
    rows: SubscriptionQuerySet,
    price: Decimal,
    event: Event,
    later: datetime | None,
    effective_at: datetime | None = None,
) -> int:
    if later is not None:
        before = _written_before(later, rows)
        if not before:
            return 0
        rows = rows.filter(pk__in=before)
    if event.change_id is None:
        return write_price(rows, price)
    return move_price(rows, price, event.change_id, effective_at)


def _unkept(followers: SubscriptionQuerySet) -> list[int]:
    """The followers that are not to be locked by a step which is still to be done or planned."""
    locked = lock_rows(followers)
    if not locked:
        return []
    follow = Subscription.objects.in_force().filter(pk__in=locked, price_state=FOLLOWS)
    return list(follow.values_list("pk", flat=True))


def _written_before(later: datetime, rows: SubscriptionQuerySet) -> list[int]:
    """The rows without an entry from `later` on: those with one have the price of that change."""
    since = WholeLedger.objects.filter(
        subscription_id=OuterRef("pk"),
        effective_at__gte=later,
        period_only=False,
        correction_id=None,
    )
    locked = Subscription.objects.filter(pk__in=lock_rows(rows))
    return list(locked.exclude(Exists(since)).values_list("pk", flat=True))


# The changes of the catalogue for a pair, from the first one that is due, and what is asked as of
# the last of them: a row for each, or one without a change if none is due. Not those for new
# subscriptions only: their own steps write the entries of the subscriptions that they keep, and
# later subscriptions begin with their price.
DUE = """
WITH work AS NOT MATERIALIZED (
    SELECT * FROM services_repricing
     WHERE kind = 'catalogue' AND new_value IS NOT NULL
       AND (service_id = %(service)s OR service_id IS NULL)
       AND (plan_id = %(plan)s OR plan_id IS NULL)
), event AS MATERIALIZED (
    SELECT position, change_id, effective_at, finished_at IS NULL AS due,
           service_id IS NOT NULL AS of_service, id
      FROM work
     WHERE effective_at >= (SELECT min(effective_at) FROM work
                             WHERE finished_at IS NULL AND paused_at IS NULL)
)
SELECT price_rule_at(%(service)s, %(plan)s, coalesce(at, book_clock())),
       EXISTS (SELECT FROM services_cataloguevalue
                WHERE NOT started AND effective_at = at
                  AND (service_id = %(service)s OR plan_id = %(plan)s)),
       (SELECT min(effective_at) FROM services_cataloguevalue
         WHERE NOT started AND NOT for_new_only
           AND effective_at > at AND effective_at <= (SELECT book_clock())
           AND (service_id = %(service)s OR plan_id = %(plan)s)),
       ARRAY(SELECT effective_at FROM services_repricing
              WHERE finished_at IS NULL AND kind = 'keep'
                AND (service_id = %(service)s OR plan_id = %(plan)s)
              UNION
             SELECT effective_at FROM services_cataloguevalue
              WHERE NOT started AND for_new_only AND effective_at <= (SELECT book_clock())
                AND (service_id = %(service)s OR plan_id = %(plan)s)),
       EXISTS (SELECT FROM services_cataloguevalue value
                WHERE again AND for_new_only AND effective_at <= (SELECT book_clock())
                  AND (service_id = %(service)s OR plan_id = %(plan)s)
                  AND (NOT started OR EXISTS (
                       SELECT FROM services_repricing
                        WHERE finished_at IS NULL AND change_id = value.change_id))),
       position, change_id, effective_at, due, of_service
  FROM (SELECT max(effective_at) AS at FROM event) last
  LEFT JOIN event ON true
 ORDER BY effective_at, id
"""


class Due(NamedTuple):
    """The changes that are due for a pair, and the rule's price as of the last of them (now).

    `to_begin`: whether work of just that instant has yet to begin. `later`: the first instant after
    it that has come, and whose work has yet to begin.
    """

    events: list[Event]
    price: Decimal | None
    to_begin: bool
    later: datetime | None
    keeps: Keeping


def _due(service_id: int, plan_id: int) -> Due:
    with connection.cursor() as cursor:
        cursor.execute(DUE, {"service": service_id, "plan": plan_id})
        rows = cursor.fetchall()
    price, to_begin, later, instants, again, *_ = rows[0]
    events = [Event(*row[5:]) for row in rows if row[5] is not None]
    return Due(events, price, to_begin, later, Keeping(instants, again))


# Whether a subscription has an entry of a change already.
KNOWN = """(EXISTS (
                   SELECT FROM services_ledgerentry known
                    WHERE known.change_id = event.change_id
                      AND known.subscription_id = {subscription})
                OR EXISTS (
                   SELECT FROM services_movedfollowers known
                    WHERE known.change_id = event.change_id
                      AND {subscription} BETWEEN first_id AND last_id
                      AND {subscription} = ANY (subscription_ids)))"""
# A subscription owes an entry for each due change that its newest entry does not know of, and
# another one for each later change, since the price in force from then on is another: a worker may
# come late. A later one that it has already is entered again only behind a new entry. It owes none
# for a change that left its price as it was; and if several changes of one instant give the same
# service or plan a value, only one for the last of them: it would have no others if workers had
# come in time. It owes only the last one of the changes before it came, from when it came, unless
# it came with that price. An earlier worker may have entered what was in force at that instant
# before the last of them was decided: then it owes what differs from that. If a change kept it and
# this was taken back, the next writer of the row has entered that before this work began. A
# subscription that is to be kept owes nothing from then on. One that was recorded when a change had
# come, and starts before it, owes nothing: its writer has entered that move.
THROUGH = f"""
WITH event AS MATERIALIZED (
    SELECT position, change_id, effective_at, due, number,
           price_rule_at(%(service)s, %(plan)s, effective_at) AS price,
           price_rule_at(%(service)s, %(plan)s, effective_at - interval '1 microsecond') AS before,
           row_number() OVER (PARTITION BY of_service, effective_at ORDER BY number DESC) > 1
               AS beaten, count(*) OVER (PARTITION BY effective_at) > 1 AS beside_others,
           (SELECT min(value.position) FROM services_cataloguevalue value
             WHERE value.change_id = event.change_id) AS decided
      FROM unnest(%(position)s::bigint[], %(change_id)s::bigint[],
                  %(effective_at)s::timestamptz[], %(due)s::boolean[], %(of_service)s::boolean[])
           WITH ORDINALITY event (position, change_id, effective_at, due, of_service, number)
), owing AS MATERIALIZED (
    SELECT subscription.*, since,
           CASE WHEN newest.effective_at > since
                THEN {FOLLOWED_SINCE.format(subscription="subscription.id")} ELSE since END AS came,
           CASE WHEN %(keeps)s::timestamptz[] <> '{{}}'
                THEN {FOLLOWED_SINCE.format(subscription="subscription.id")} END AS followed
      FROM services_subscription subscription
     CROSS JOIN LATERAL (
           SELECT id, effective_at, recorded_at FROM services_ledgerentry
            WHERE subscription_id = subscription.id AND NOT period_only
            ORDER BY id DESC LIMIT 1) newest
     CROSS JOIN LATERAL (
           SELECT min(effective_at) AS since FROM event
            WHERE due AND position > newest.id
              AND NOT (decided < newest.id AND effective_at <= newest.recorded_at AND NOT EXISTS (
                  SELECT FROM services_ledgerentry earlier
                   WHERE earlier.subscription_id = subscription.id AND earlier.id < newest.id))
              AND NOT {KNOWN.format(subscription="subscription.id")}) due
     WHERE subscription.id = ANY (%(ids)s) AND since IS NOT NULL
), owed AS (
    SELECT owing.id, client_id, service_id, plan_id, started_at, ended_at, number, change_id,
           {KNOWN.format(subscription="owing.id")} AS known,
           greatest(event.effective_at, came) AS effective_at,
           CASE WHEN event.effective_at < came THEN price_rule_at(service_id, plan_id, came)
                ELSE event.price END AS price,
           CASE WHEN event.effective_at < came THEN (
                SELECT said.price FROM services_ledgerentry said
                 WHERE said.subscription_id = owing.id AND said.effective_at = came
                   AND NOT period_only
                 ORDER BY said.id DESC LIMIT 1)
                WHEN beside_others THEN coalesce(
               (SELECT copied.price FROM entries_of(owing.id) copied
                 WHERE copied.effective_at = event.effective_at AND NOT period_only
                 ORDER BY copied.id DESC LIMIT 1), before) ELSE before END AS before
      FROM owing JOIN event ON event.effective_at >= since
     WHERE NOT beaten AND (ended_at IS NULL OR event.effective_at < ended_at)
       AND NOT EXISTS (SELECT FROM unnest(%(keeps)s::timestamptz[]) kept_at
                        WHERE kept_at > followed AND kept_at <= event.effective_at)
       AND (NOT %(again)s OR coalesce(
           (SELECT kept.price_state = 'follows'
              FROM kept_entries(owing.id, least((SELECT book_now()), ended_at))
                   WITH ORDINALITY kept
             WHERE kept.effective_at <= event.effective_at
             ORDER BY ordinality DESC LIMIT 1), true))
       AND (event.effective_at >= came
        OR number = (SELECT max(number) FROM event WHERE effective_at < came))
)
INSERT INTO services_ledgerentry
       (subscription_id, client_id, service_id, plan_id, price, price_state, started_at, ended_at,
        effective_at, recorded_at, change_id)
SELECT id, {CLIENT_THEN.format(subscription="entry", at="entry.effective_at")}, service_id, plan_id,
       entry.price, 'follows', started_at, ended_at, entry.effective_at, (SELECT book_clock()),
       change_id
  FROM (SELECT *, bool_or(NOT known) OVER (PARTITION BY id ORDER BY number) AS is_behind
          FROM owed WHERE price <> before) entry
 WHERE is_behind
 ORDER BY id, number
RETURNING id, subscription_id
"""  # noqa: S608 - constants


def _move_through(
    events: list[Event],
    followers: SubscriptionQuerySet,
    pair: tuple[int, int],
    price: Decimal,
    alone: bool,
    later: datetime | None,
    keeps: Keeping,
) -> int:
    locked = lock_rows(followers)
    if not locked:
        return 0
    columns = dict(zip(Event._fields, map(list, zip(*events, strict=True)), strict=True))
    with connection.cursor() as cursor:
        cursor.execute(
            THROUGH,
            {
                **columns,
                "service": pair[0],
                "plan": pair[1],
                "ids": locked,
                "keeps": keeps.instants,
                "again": keeps.again,
            },
        )
        entries = cursor.fetchall()
    written = {id for _, id in entries}
    if entries:
        accounts.correct(written, min(id for id, _ in entries) - 1)
    with ledger_origin(writes_entries=True):
        owing = followers.filter(pk__in=written)
        active = owing.active()
        # A change of a set that checks the row at the same time must find a new version of it.
        moved = (active.exclude(price=price) if alone else active).update(price=price)
        moved += owing.exclude(pk__in=active.values("pk")).update(price=PRICE_AT_END)
    if keeps:
        return moved
    # The rows that are left bypassed the ledger: nobody knows since when.
    left = followers.active().exclude(price=price)
    return moved + _moved(left, price, events[-1], later)
