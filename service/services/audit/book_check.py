"""The book check: proves price = rule, total = rows and ledger = rows, and mends the first two.

Who calls it: the command `check_book`, and the task of that name, by beat. Triggers keep all, so
a difference means that something went around the triggers: a restore, `session_replication_role`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

import msgspec
from django.core.cache import cache
from django.db import connection, transaction

from services import repricing
from services.models import Repricing, book_clock
from services.repricing import chunks

ACTIVE = "(ended_at IS NULL OR ended_at > (SELECT book_now()))"
FOLLOWER = "price_state = 'follows' AND ended_at IS NULL"  # as subtotals count them

# Beside each subscription what its last entry says; NULL where there is none, or no row any more.
# Each table is read once or twice and joined by hashes: of a million rows and three million
# entries that takes seconds. An entry of a period says what is in force, where the copy may be
# late; one of an end that has passed says what it has ended with.
LEDGER = """
    SELECT coalesce(subscription.id, entry.subscription_id) AS id,
           subscription.id IS NOT NULL AS is_there, entry.id IS NOT NULL AS is_known,
           subscription.price, subscription.price_state, subscription.locked_until,
           entry.price AS recorded_price, entry.price_state AS recorded_price_state,
           entry.locked_until AS recorded_locked_until
      FROM (SELECT max(id) FILTER (WHERE NOT period_only OR ended_at <= effective_at) AS id
              FROM services_ledgerentry GROUP BY subscription_id) last
      JOIN services_ledgerentry entry USING (id)
      FULL JOIN services_subscription subscription ON subscription.id = entry.subscription_id
"""
# Who is gone has a last entry without a price; what state it was in does not matter.
UNRECORDED = """(
    CASE WHEN is_there
         THEN NOT is_known OR (price, price_state, locked_until) IS DISTINCT FROM
                              (recorded_price, recorded_price_state, recorded_locked_until)
         ELSE recorded_price IS NOT NULL END
)"""

# One statement, so one snapshot, and no writer can raise a false alarm: a catalogue edit becomes
# visible together with its repricing, a row together with its part of the total. One pass over
# the subscriptions. Examples are read of pairs that differ, along (service_id, plan_id, id): for
# an equality and a LIMIT the planner would walk the primary key instead, for each of the pairs.
CHECK = f"""
WITH unrecorded AS MATERIALIZED (
    SELECT * FROM ({LEDGER}) compared WHERE {UNRECORDED}
), ledger AS (
    SELECT (SELECT count(*) FROM unrecorded) AS unrecorded,
           (SELECT coalesce(json_agg(example), '[]')
              FROM (SELECT id, price::text, price_state,
                           recorded_price::text, recorded_price_state
                      FROM unrecorded ORDER BY id LIMIT %s) example) AS unrecorded_examples
), service AS MATERIALIZED (
    SELECT id, list_price_at(id, book_now()) AS full_price FROM services_service
), plan AS MATERIALIZED (
    SELECT id, discount_at(id, book_now()) AS discount_percent FROM services_plan
), catalogue AS (
    SELECT service.id AS service_id, plan.id AS plan_id,
           price_rule(service.full_price, plan.discount_percent) AS rule_price,
           EXISTS (SELECT FROM services_cataloguevalue value
                    WHERE NOT started AND effective_at <= (SELECT book_now())
                      AND (value.service_id = service.id OR value.plan_id = plan.id))
           OR EXISTS (SELECT FROM services_repricing repricing
                    WHERE repricing.finished_at IS NULL AND repricing.kind <> 'rows'
                      AND coalesce(repricing.service_id, service.id) = service.id
                      AND coalesce(repricing.plan_id, plan.id) = plan.id) AS waits,
           EXISTS (SELECT FROM services_repricing repricing
                    WHERE repricing.finished_at IS NULL AND repricing.kind <> 'rows'
                      AND repricing.paused_at IS NOT NULL
                      AND coalesce(repricing.service_id, service.id) = service.id
                      AND coalesce(repricing.plan_id, plan.id) = plan.id) AS paused
      FROM service CROSS JOIN plan
), priced AS (
    SELECT service_id, plan_id, price, count(*) AS subscriptions,
           count(*) FILTER (WHERE {FOLLOWER}) AS followers,
           count(*) FILTER (WHERE {ACTIVE} AND price_state = 'follows') AS active
      FROM services_subscription GROUP BY service_id, plan_id, price
), found AS (
    SELECT service_id, plan_id, sum(subscriptions)::bigint AS subscriptions,
           sum(subscriptions * price) AS amount, sum(followers)::bigint AS followers,
           sum(followers * price) AS followers_amount,
           coalesce(sum(active) FILTER (WHERE price <> rule_price), 0)::bigint AS differ
      FROM priced JOIN catalogue USING (service_id, plan_id)
     GROUP BY service_id, plan_id
), counted AS (
    SELECT service_id, plan_id, sum(subscriptions)::bigint AS subscriptions, sum(amount) AS amount,
           sum(followers)::bigint AS followers, sum(followers_amount) AS followers_amount
      FROM services_subtotal GROUP BY service_id, plan_id
)
SELECT service_id, plan_id,
       coalesce(found.subscriptions, 0), coalesce(found.amount, 0),
       coalesce(found.followers, 0), coalesce(found.followers_amount, 0),
       coalesce(counted.subscriptions, 0), coalesce(counted.amount, 0),
       coalesce(counted.followers, 0), coalesce(counted.followers_amount, 0),
       coalesce(differ, 0), coalesce(waits, false), coalesce(paused, false), examples,
       unrecorded, unrecorded_examples
  FROM found
  FULL JOIN counted USING (service_id, plan_id)
  LEFT JOIN catalogue USING (service_id, plan_id)
 CROSS JOIN LATERAL (
       SELECT coalesce(json_agg(example), '[]') AS examples
         FROM (SELECT subscription.id, company_name AS client, service.name AS service,
                      format('%%s %%s %%%%', plan_type, discount_percent) AS plan,
                      price::text, rule_price::text
                 FROM services_subscription subscription
                 JOIN clients_client client ON client.id = client_id
                 JOIN services_service service ON service.id = service_id
                 JOIN services_plan plan ON plan.id = plan_id
                WHERE differ > 0 AND NOT waits
                  AND (service_id, plan_id, subscription.id)
                      > (found.service_id, found.plan_id, 0)
                  AND (service_id, plan_id) <= (found.service_id, found.plan_id)
                  AND price <> rule_price AND {ACTIVE} AND price_state = 'follows'
                ORDER BY service_id, plan_id, subscription.id LIMIT %s) example) example
 RIGHT JOIN ledger ON true
 ORDER BY service_id, plan_id
"""  # noqa: S608 - a constant, no input

# What is missing from the total, in one statement: rows that writers append at the same moment
# belong to a later snapshot, and the sum takes both.
MEND_TOTAL = f"""
INSERT INTO services_subtotal
       (service_id, plan_id, subscriptions, amount, followers, followers_amount)
SELECT service_id, plan_id, sum(subscriptions), sum(amount), sum(followers), sum(followers_amount)
  FROM (SELECT service_id, plan_id, 1 AS subscriptions, price AS amount,
               ({FOLLOWER})::int AS followers,
               CASE WHEN {FOLLOWER} THEN price ELSE 0 END AS followers_amount
          FROM services_subscription
         UNION ALL
        SELECT service_id, plan_id, -subscriptions, -amount, -followers, -followers_amount
          FROM services_subtotal) part
 GROUP BY service_id, plan_id
HAVING sum(subscriptions) <> 0 OR sum(amount) <> 0 OR sum(followers) <> 0
    OR sum(followers_amount) <> 0
"""  # noqa: S608 - constants

# Of those of these ids that still differ. Of who is gone the last entry tells whose price it was.
MEND_LEDGER = f"""
INSERT INTO services_ledgerentry
       (subscription_id, client_id, service_id, plan_id, price, price_state, locked_until,
        started_at, ended_at, author)
SELECT id, client_id, service_id, plan_id, price, coalesce(price_state, recorded_price_state),
       locked_until, started_at, ended_at, 'check_book'
  FROM (SELECT wanted.id, subscription.id IS NOT NULL AS is_there, entry.id IS NOT NULL AS is_known,
               coalesce(subscription.client_id, entry.client_id) AS client_id,
               coalesce(subscription.service_id, entry.service_id) AS service_id,
               coalesce(subscription.plan_id, entry.plan_id) AS plan_id,
               subscription.price, subscription.price_state, subscription.locked_until,
               coalesce(subscription.started_at, entry.started_at) AS started_at,
               coalesce(subscription.ended_at, entry.ended_at) AS ended_at,
               entry.price AS recorded_price, entry.price_state AS recorded_price_state,
               entry.locked_until AS recorded_locked_until
          FROM unnest(%s::bigint[]) wanted (id)
          LEFT JOIN services_subscription subscription ON subscription.id = wanted.id
          LEFT JOIN LATERAL (SELECT * FROM services_ledgerentry
                              WHERE subscription_id = wanted.id
                                AND (NOT period_only OR ended_at <= effective_at)
                              ORDER BY subscription_id DESC, id DESC LIMIT 1) entry ON true
       ) compared
 WHERE {UNRECORDED} AND (is_there OR is_known)
"""  # noqa: S608 - a constant, no input


@dataclass(frozen=True)
class Mispriced:
    """An active subscription whose price is not the rule's, and that no worker will reach."""

    id: int
    client: str
    service: str
    plan: str
    price: Decimal
    rule_price: Decimal

    @property
    def difference(self) -> Decimal:
        return self.price - self.rule_price


@dataclass(frozen=True)
class Unrecorded:
    """A subscription of which the ledger's last entry says something else than the row.

    `price` is None of one that is gone, `recorded_price_state` of one that the ledger never knew.
    """

    id: int
    price: Decimal | None
    price_state: str | None
    recorded_price: Decimal | None
    recorded_price_state: str | None


@dataclass(frozen=True)
class WrongSubtotal:
    """A (service, plan) whose part of the total is not what its rows add up to."""

    service_id: int | None
    plan_id: int | None
    subscriptions: int
    amount: Decimal
    followers: int  # that have no end
    followers_amount: Decimal
    counted_subscriptions: int
    counted_amount: Decimal
    counted_followers: int
    counted_followers_amount: Decimal


@dataclass
class BookCheck:
    """What one snapshot of the book holds. `mispriced` and `unrecorded` have the first rows."""

    subscriptions: int = 0
    amount: Decimal = Decimal(0)
    waiting: int = 0  # prices that a due repricing has yet to reach: late, not wrong
    paused: int = 0  # of these, where somebody has paused the price change
    differing: int = 0
    mispriced: list[Mispriced] = field(default_factory=list)
    wrong_subtotals: list[WrongSubtotal] = field(default_factory=list)
    mispriced_pairs: list[tuple[int, int]] = field(default_factory=list)
    differing_from_ledger: int = 0
    unrecorded: list[Unrecorded] = field(default_factory=list)

    @property
    def differs(self) -> bool:
        return bool(self.differing or self.wrong_subtotals or self.differing_from_ledger)

    def __str__(self) -> str:
        paused = f" ({self.paused:,} of them for a price change that is paused)"
        return (
            f"{self.subscriptions:,} subscriptions, total {self.amount:,.2f}; "
            f"{self.differing:,} prices differ from the rule, {self.waiting:,} wait for a worker"
            f"{paused if self.paused else ''}, "
            f"{len(self.wrong_subtotals):,} subtotals differ from the rows, "
            f"{self.differing_from_ledger:,} rows from the ledger's last entry"
        )


@dataclass(frozen=True)
class Repair:
    """What was mended: prices moved, pairs whose part of the total was put right, and
    subscriptions of which the ledger got an entry that says what the row says.
    """

    prices: int
    subtotals: int
    entries: int


LAST = "last_book_check"
KEPT_FOR = 7 * 24 * 60 * 60


@dataclass(frozen=True)
class LastCheck:
    """What the last book check has found, when, and in words."""

    at: datetime
    differs: bool
    says: str


def remember(report: BookCheck) -> None:
    """Keep what a check has found for `last()`: in the cache, for it can be had again."""
    found = {"at": book_clock().isoformat(), "differs": report.differs, "says": str(report)}
    cache.set(LAST, found, KEPT_FOR)


def last() -> LastCheck | None:
    """The last check of this week, if the cache still knows it. No query."""
    kept = cache.get(LAST)
    if kept is None:
        return None
    return LastCheck(datetime.fromisoformat(kept["at"]), kept["differs"], kept["says"])


def check(limit: int = 20) -> BookCheck:
    """Check the whole book, with up to `limit` examples of each kind (1 query)."""
    book = BookCheck()
    with connection.cursor() as cursor:
        cursor.execute(CHECK, [limit, limit])
        for (
            service_id,
            plan_id,
            *found,
            differing,
            waits,
            paused,
            examples,
            count,
            unrecorded,
        ) in cursor:
            if not book.differing_from_ledger:  # the same in each line
                book.differing_from_ledger = count
                book.unrecorded = msgspec.convert(unrecorded, list[Unrecorded])
            of_rows, of_subtotals = found[:4], found[4:]
            book.subscriptions += of_rows[0]
            book.amount += of_rows[1]
            if of_rows != of_subtotals:
                book.wrong_subtotals.append(WrongSubtotal(service_id, plan_id, *found))
            if waits:
                book.waiting += differing
                book.paused += differing if paused else 0
            elif differing:
                book.differing += differing
                book.mispriced_pairs.append((service_id, plan_id))
                book.mispriced += msgspec.convert(examples, list[Mispriced])
    book.mispriced = sorted(book.mispriced, key=lambda row: row.id)[:limit]
    return book


def repair(seconds: float = 600.0) -> Repair:
    """Mend all that differs; prices for at most `seconds`, then workers go on.

    Prices take the way of every repricing: the pairs are recorded to be looked at again, and
    done at once, in chunks, together with the workers. The ledger gets another entry, in force
    from now on: what was paid since the price went around it, nobody knows.
    """
    pairs = check(limit=0).mispriced_pairs
    again = Repricing.objects.bulk_create(
        Repricing(service_id=service_id, plan_id=plan_id, author="check_book")
        for service_id, plan_id in pairs
    )
    if again:
        repricing.reprice(seconds)
    moved = Repricing.objects.filter(pk__in=[each.pk for each in again])
    with transaction.atomic(), connection.cursor() as cursor:
        # Two repairs at once would each add what is missing.
        cursor.execute("SELECT pg_advisory_xact_lock('services_subtotal'::regclass::oid::int, 0)")
        cursor.execute(MEND_TOTAL)
        subtotals = cursor.rowcount
    return Repair(sum(moved.values_list("repriced", flat=True)), subtotals, _mend_ledger())


def _mend_ledger() -> int:
    mended = 0
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id FROM ({LEDGER}) compared WHERE {UNRECORDED} ORDER BY id")  # noqa: S608
        ids = [id for (id,) in cursor.fetchall()]
        for first in range(0, len(ids), chunks.CHUNK):
            chunk = ids[first : first + chunks.CHUNK]
            with transaction.atomic():
                # In a statement of its own: what their writers left is seen by the next one.
                cursor.execute(
                    "SELECT FROM services_subscription WHERE id = ANY (%s)"
                    " ORDER BY id FOR NO KEY UPDATE",
                    [chunk],
                )
                # Of who is gone no row can be locked, and two repairs would each add an entry.
                cursor.execute(
                    "SELECT pg_advisory_xact_lock('services_ledgerentry'::regclass::oid::int, 0)"
                )
                cursor.execute(MEND_LEDGER, [chunk])
                mended += cursor.rowcount
    return mended
