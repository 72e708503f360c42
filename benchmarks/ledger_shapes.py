"""Two shapes of history for those who follow the catalogue: an entry a row, or the catalogue's own.

*Entries*: a move of prices writes an entry for each subscription, with its price. *Facts*: a value
of the catalogue is one fact; a subscription has a fact for each decision of its own (start, end,
price), and its price at an instant is the rule's of the two values in force. A point for each
service and plan and each month has the number of followers and what the others pay, so that a total
needs only a point and the facts after it.

Both hold the same history: every list price moves once a month for ten months, and in each month
one subscription of a hundred gets a price of its own and one of a hundred ends. Then, each in turn:
the writes of a change of one list price (its prices are copies and are moved in both), and the cost
of questions about an instant. Both must give the same answers.
"""

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from django.db import connection, transaction

from benchmarks import results
from benchmarks.scratch import say, scratch_book
from benchmarks.stopwatch import one_session, session_seconds

MONTHS = 10
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
MONTH = timedelta(days=30)

TABLES = """
CREATE TABLE entry (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, xact bigint NOT NULL DEFAULT 0,
    subscription_id bigint NOT NULL, client_id bigint NOT NULL, service_id bigint NOT NULL,
    plan_id bigint NOT NULL, price numeric(12, 2), price_state varchar(10) NOT NULL,
    locked_until timestamptz, effective_at timestamptz NOT NULL, recorded_at timestamptz NOT NULL,
    change_id bigint, author varchar(150) NOT NULL DEFAULT ''
);
CREATE TABLE value (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, service_id bigint, plan_id bigint,
    value numeric(12, 2) NOT NULL, effective_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL
);
CREATE TABLE fact (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, subscription_id bigint NOT NULL,
    client_id bigint NOT NULL, service_id bigint NOT NULL, plan_id bigint NOT NULL,
    price numeric(12, 2), active boolean NOT NULL, effective_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL
);
CREATE TABLE copy (LIKE services_subscription INCLUDING ALL) WITH (fillfactor = 85);
INSERT INTO copy OVERRIDING SYSTEM VALUE SELECT * FROM services_subscription ORDER BY id;
CREATE TABLE point (
    service_id bigint NOT NULL, plan_id bigint NOT NULL, at timestamptz NOT NULL,
    follow bigint NOT NULL, others bigint NOT NULL, amount_of_others numeric NOT NULL
);
"""
INDEXES = """
CREATE INDEX ON entry (subscription_id, id);
CREATE INDEX ON entry (xact, id);
CREATE INDEX ON entry (change_id, subscription_id) WHERE change_id IS NOT NULL;
CREATE INDEX ON entry (client_id, subscription_id) WHERE change_id IS NULL;
CREATE INDEX ON value (service_id, effective_at, id) INCLUDE (value) WHERE service_id IS NOT NULL;
CREATE INDEX ON value (plan_id, effective_at, id) INCLUDE (value) WHERE plan_id IS NOT NULL;
CREATE INDEX ON fact (subscription_id, effective_at, id);
CREATE INDEX ON fact (client_id);
CREATE INDEX ON fact (effective_at);
CREATE UNIQUE INDEX ON point (at, service_id, plan_id);
CREATE FUNCTION service_at(service bigint, at timestamptz) RETURNS numeric LANGUAGE sql STABLE
RETURN (SELECT value FROM value WHERE service_id = service AND effective_at <= at
         ORDER BY effective_at DESC, id DESC LIMIT 1);
CREATE FUNCTION plan_at(plan bigint, at timestamptz) RETURNS integer LANGUAGE sql STABLE
RETURN (SELECT value FROM value WHERE plan_id = plan AND effective_at <= at
         ORDER BY effective_at DESC, id DESC LIMIT 1);
"""

# The starts, and month by month the list prices, then the prices of single rows, then the ends.
FIRST = """
INSERT INTO value (service_id, value, effective_at, recorded_at)
SELECT id, full_price, %(at)s, %(at)s FROM services_service;
INSERT INTO value (plan_id, value, effective_at, recorded_at)
SELECT id, discount_percent, %(at)s, %(at)s FROM services_plan;
INSERT INTO fact (subscription_id, client_id, service_id, plan_id, active, effective_at,
                  recorded_at)
SELECT id, client_id, service_id, plan_id, true, %(at)s, %(at)s
  FROM services_subscription ORDER BY id;
INSERT INTO entry (subscription_id, client_id, service_id, plan_id, price, price_state,
                   effective_at, recorded_at)
SELECT id, client_id, service_id, plan_id, price, 'follows', %(at)s, %(at)s
  FROM services_subscription ORDER BY id;
CREATE TEMPORARY TABLE own (id bigint PRIMARY KEY, price numeric(12, 2));
"""
MOVE = """
INSERT INTO value (service_id, value, effective_at, recorded_at)
SELECT id, full_price + %(month)s, %(at)s, %(at)s FROM services_service;
INSERT INTO entry (subscription_id, client_id, service_id, plan_id, price, price_state,
                   effective_at, recorded_at, change_id)
SELECT row.id, client_id, service_id, plan_id,
       price_rule(full_price + %(month)s, discount_percent::int), 'follows', %(at)s, %(at)s,
       %(month)s
  FROM services_subscription row JOIN services_service service ON service.id = service_id
  JOIN services_plan plan ON plan.id = plan_id
 WHERE NOT EXISTS (SELECT FROM own WHERE own.id = row.id)
 ORDER BY row.id;
"""
OWN = """
WITH own AS (
    INSERT INTO own SELECT id, 7 FROM services_subscription row
     WHERE id %% 100 = %(month)s AND NOT EXISTS (SELECT FROM own WHERE own.id = row.id)
    RETURNING id, price
), fact AS (
    INSERT INTO fact (subscription_id, client_id, service_id, plan_id, price, active, effective_at,
                      recorded_at)
    SELECT id, client_id, service_id, plan_id, own.price, true, %(at)s, %(at)s
      FROM own JOIN services_subscription row USING (id)
)
INSERT INTO entry (subscription_id, client_id, service_id, plan_id, price, price_state,
                   effective_at, recorded_at)
SELECT id, client_id, service_id, plan_id, own.price, 'negotiated', %(at)s, %(at)s
  FROM own JOIN services_subscription row USING (id);
"""
END = """
WITH own AS (
    INSERT INTO own SELECT id, NULL FROM services_subscription row
     WHERE id %% 100 = 50 + %(month)s RETURNING id
), fact AS (
    INSERT INTO fact (subscription_id, client_id, service_id, plan_id, active, effective_at,
                      recorded_at)
    SELECT id, client_id, service_id, plan_id, false, %(at)s, %(at)s
      FROM own JOIN services_subscription row USING (id)
)
INSERT INTO entry (subscription_id, client_id, service_id, plan_id, price_state, effective_at,
                   recorded_at)
SELECT id, client_id, service_id, plan_id, 'follows', %(at)s, %(at)s
  FROM own JOIN services_subscription row USING (id);
"""
POINT = """
INSERT INTO point
SELECT service_id, plan_id, %(at)s, count(*) FILTER (WHERE price IS NULL),
       count(price), coalesce(sum(price), 0)
  FROM (SELECT DISTINCT ON (subscription_id) * FROM fact WHERE effective_at <= %(at)s
         ORDER BY subscription_id, effective_at DESC, id DESC) last
 WHERE active GROUP BY service_id, plan_id
"""

# --- The writes of a change of one list price ----------------------------------------------------

COPIES = """
UPDATE copy row SET price = price_rule(%(value)s, discount_percent::int)
  FROM services_plan plan WHERE plan.id = plan_id AND service_id = %(service)s
"""
WITH_ENTRIES = f"""
WITH moved AS ({COPIES} RETURNING row.*)
INSERT INTO entry (subscription_id, client_id, service_id, plan_id, price, price_state,
                   effective_at, recorded_at, change_id)
SELECT id, client_id, service_id, plan_id, price, 'follows', %(at)s, %(at)s, 99
  FROM moved ORDER BY id
"""
ONE_FACT = """
INSERT INTO value (service_id, value, effective_at, recorded_at)
VALUES (%(service)s, %(value)s, %(at)s, %(at)s)
"""
WRITES = {
    "entries, with the copies": WITH_ENTRIES,
    "facts, with the copies": f"{ONE_FACT};{COPIES}",
    "facts, until it is true": ONE_FACT,
}

# --- The questions --------------------------------------------------------------------------------

LAST_ENTRY = """
SELECT DISTINCT ON (subscription_id) subscription_id AS id, price FROM entry
 WHERE {which} effective_at <= %(at)s
 ORDER BY subscription_id, effective_at DESC, id DESC
"""
LAST_FACT = """
SELECT subscription_id AS id,
       CASE WHEN active THEN coalesce(price, price_rule(service_at(service_id, %(at)s),
                                                        plan_at(plan_id, %(at)s))) END AS price
  FROM (SELECT DISTINCT ON (subscription_id) * FROM fact WHERE {which} effective_at <= %(at)s
         ORDER BY subscription_id, effective_at DESC, id DESC) last
"""
ONE, CLIENT = "subscription_id = %(one)s AND", "client_id = %(client)s AND"
PAGE = "subscription_id BETWEEN %(one)s AND %(one)s + 99 AND"
TOTAL = "SELECT coalesce(sum(price), 0), count(price) FROM ({}) last"
# The last point of the book, and the facts since: each with the one before it.
TOTAL_OF_POINTS = """
WITH last AS (SELECT max(at) AS at FROM point WHERE at <= %(at)s),
later AS MATERIALIZED (
    SELECT fact.*, before.price AS price_before, before.active AS active_before
      FROM last JOIN fact ON fact.effective_at > last.at AND fact.effective_at <= %(at)s
      LEFT JOIN LATERAL (
           SELECT price, active, service_id, plan_id FROM fact earlier
            WHERE earlier.subscription_id = fact.subscription_id
              AND (earlier.effective_at, earlier.id) < (fact.effective_at, fact.id)
            ORDER BY earlier.effective_at DESC, earlier.id DESC LIMIT 1) before ON true
), pair AS (
    SELECT service_id, plan_id, follow, others, amount_of_others
      FROM last JOIN point USING (at)
     UNION ALL
    SELECT service_id, plan_id,
           (active AND price IS NULL)::int
           - coalesce(active_before AND price_before IS NULL, false)::int,
           (active AND price IS NOT NULL)::int
           - coalesce(active_before AND price_before IS NOT NULL, false)::int,
           CASE WHEN active THEN coalesce(price, 0) ELSE 0 END
           - CASE WHEN active_before THEN coalesce(price_before, 0) ELSE 0 END
      FROM later
), service AS MATERIALIZED (SELECT id, service_at(id, %(at)s) AS value FROM services_service),
plan AS MATERIALIZED (SELECT id, plan_at(id, %(at)s) AS value FROM services_plan)
SELECT sum(follow * price_rule(service.value, plan.value) + amount), sum(follow + others)::bigint
  FROM (SELECT service_id, plan_id, sum(follow) AS follow, sum(others) AS others,
               sum(amount_of_others) AS amount
          FROM pair GROUP BY service_id, plan_id) pair
  JOIN service ON service.id = service_id JOIN plan ON plan.id = plan_id
"""
HISTORY_OF_ENTRIES = """
SELECT effective_at, price FROM entry WHERE subscription_id = %(one)s ORDER BY effective_at, id
"""
# Each instant at which its own facts or the values of its service and plan moved.
HISTORY_OF_FACTS = """
WITH stretch AS (
    SELECT *, lead(effective_at, 1, 'infinity') OVER (ORDER BY effective_at, id) AS ends
      FROM fact WHERE subscription_id = %(one)s
)
SELECT at, CASE WHEN active THEN coalesce(price, price_rule(service_at(service_id, at),
                                                            plan_at(plan_id, at))) END
  FROM stretch CROSS JOIN LATERAL (
       SELECT stretch.effective_at AS at
        UNION
       SELECT value.effective_at FROM value
        WHERE value.service_id = stretch.service_id AND price IS NULL AND active
          AND value.effective_at > stretch.effective_at AND value.effective_at < ends
        UNION
       SELECT value.effective_at FROM value
        WHERE value.plan_id = stretch.plan_id AND price IS NULL AND active
          AND value.effective_at > stretch.effective_at AND value.effective_at < ends) moves
 ORDER BY at
"""
QUESTIONS = {
    "one": (LAST_ENTRY.format(which=ONE), LAST_FACT.format(which=ONE)),
    "history of one": (HISTORY_OF_ENTRIES, HISTORY_OF_FACTS),
    "a client": (LAST_ENTRY.format(which=CLIENT), LAST_FACT.format(which=CLIENT)),
    "page of 100": (LAST_ENTRY.format(which=PAGE), LAST_FACT.format(which=PAGE)),
    "total of the book, just after a point": (
        TOTAL.format(LAST_ENTRY.format(which="")),
        TOTAL_OF_POINTS,
    ),
    "total of the book, long after it": (
        TOTAL.format(LAST_ENTRY.format(which="")),
        TOTAL_OF_POINTS,
    ),
    "total, no points": (
        TOTAL.format(LAST_ENTRY.format(which="")),
        TOTAL.format(LAST_FACT.format(which="")),
    ),
}


def main(arguments: list[str]) -> None:
    parser = results.options(__doc__, rows=[250_000], quick=[10_000], rounds=5)
    chosen = results.parse(parser, arguments)
    under = results.conditions(chosen)
    written: list[dict[str, Any]] = []
    read: list[dict[str, Any]] = []
    for rows in chosen.rows:
        with scratch_book("ledger_shapes", rows):
            one_session()
            make_history()
            read += questions(rows, chosen.rounds)
            written += writes(rows, chosen.rounds)
    results.table("A change of one list price", written)
    results.table("Questions about an instant in the past", read)
    results.save("ledger_shapes", chosen, under, [*written, *read])


def make_history() -> None:
    with connection.cursor() as cursor:
        cursor.execute(TABLES)
    step(FIRST, at=BEGAN)
    for month in range(1, MONTHS + 1):
        say(f"  month {month} of {MONTHS}")
        at = BEGAN + month * MONTH
        step(MOVE, month=month, at=at)
        step(OWN, month=month, at=at + MONTH / 3)
        step(END, month=month, at=at + MONTH / 2)
    with connection.cursor() as cursor:
        cursor.execute(INDEXES)
        cursor.execute("ANALYZE entry; ANALYZE value; ANALYZE fact")
    for month in range(MONTHS + 1):
        step(POINT, at=BEGAN + month * MONTH + MONTH / 4)
    with connection.cursor() as cursor:
        for table in ("entry", "value", "fact", "point", "copy"):
            cursor.execute(f"VACUUM ANALYZE {table}")
    ((entries, facts),) = fetch(
        "SELECT (SELECT count(*) FROM entry), (SELECT count(*) FROM value)"
        "     + (SELECT count(*) FROM fact)"
    )
    say(f"  {entries:,} entries, {facts:,} facts")


def step(statements: str, **values: Any) -> None:
    with connection.cursor() as cursor:
        for statement in filter(str.strip, statements.split(";")):
            cursor.execute(statement, values)


# --- Reading --------------------------------------------------------------------------------------


def questions(rows: int, rounds: int) -> list[dict[str, Any]]:
    (one,) = fetch(
        "SELECT id, client_id FROM services_subscription ORDER BY id OFFSET %(n)s LIMIT 1",
        n=rows // 2,
    )
    values = {"one": one[0], "client": one[1]}
    figures = []
    for what, (of_entries, of_facts) in QUESTIONS.items():
        # After a month's last decision a total needs the most facts beside its point: two of each
        # hundred subscriptions have one.
        values["at"] = BEGAN + (5.3 if "just after" in what else 5.9) * MONTH
        answers = [sorted(fetch(sql, **values), key=str) for sql in (of_entries, of_facts)]
        if answers[0] != answers[1]:
            raise AssertionError(f"{what}: {answers[0][:3]} by entries, {answers[1][:3]} by facts")
        times = results.interleaved(
            {
                sql: partial(milliseconds, partial(fetch, sql, **values))
                for sql in (of_entries, of_facts)
            },
            rounds,
        )
        figures.append(
            {
                "rows": rows,
                "question": what,
                "entries, ms": statistics.median(times[of_entries]),
                "facts, ms": statistics.median(times[of_facts]),
                "×": results.ratio_to(times[of_entries], times[of_facts]),
            }
        )
    return figures


def milliseconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)


def fetch(sql: str, **values: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return list(cursor.fetchall())


# --- Writing --------------------------------------------------------------------------------------


def writes(rows: int, rounds: int) -> list[dict[str, Any]]:
    ((service, price, followers),) = fetch(
        "SELECT service_id, max(full_price), count(*) FROM services_subscription row"
        "  JOIN services_service service ON service.id = service_id"
        " GROUP BY service_id ORDER BY service_id LIMIT 1"
    )
    values = {"service": service, "value": price + 50, "at": BEGAN + (MONTHS + 1) * MONTH}
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WRITES}

    def once(way: str) -> float:
        found[way].append(write(WRITES[way], values))
        return found[way][-1][0]

    results.interleaved({way: partial(once, way) for way in WRITES}, rounds)
    return [
        {
            "rows": rows,
            "followers": followers,
            "shape": way,
            "CPU, ms": 1000 * statistics.median(cpu for cpu, _ in taken),
            "WAL bytes a follower": statistics.median(wal for _, wal in taken) / followers,
        }
        for way, taken in found.items()
    ]


def write(sql: str, values: dict[str, Any]) -> tuple[float, float]:
    """The session's CPU in seconds, and the bytes of WAL; the write is undone.

    The copies are a table without triggers, so that nothing but the shapes is compared.
    """
    with transaction.atomic():
        before, cpu = position(), session_seconds()
        step(sql, **values)
        taken = session_seconds() - cpu, float(position() - before)
        transaction.set_rollback(True)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM copy, entry, value")
    return taken


def position() -> int:
    return int(fetch("SELECT pg_current_wal_insert_lsn() - '0/0'")[0][0])
