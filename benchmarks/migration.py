"""The migration of a book with history to facts, from the last release with entries only.

A year of list prices, each with an entry for every follower; one row of a hundred negotiated, ended
or deleted; started_at a year before the first entry for one in ten, as imports left it; a scheduled
change for each service. `as_of` is read before by the SQL of that release, restricted to
subscriptions that pay, and afterwards by the present code. The totals must be the same.
"""

import time
from typing import Any

from django.core.management import call_command
from django.db import connection

from benchmarks import results
from benchmarks.ledger import execute
from benchmarks.scratch import fill, on_server, say
from services import ledger

BEFORE = {"services": "0018_reasons_of_bounds", "price_changes": "0008_preview_seed"}
MONTHS = 12
AT = f"(now() - interval '{MONTHS} months' + %(month)s * interval '1 month')"

# The entries that workers wrote each month, a chunk a transaction; here they are written at once.
MONTH = f"""
UPDATE services_service SET full_price = full_price + 1;
INSERT INTO price_changes_pricechange
       (kind, service_id, old_value, new_value, comment, status, when_moved, effective_at,
        planned_by, approved_by, approved_at, approval, started_at, finished_at)
SELECT 'list_price', id, full_price - 1, full_price, '', 'applied', 'current', {AT}, 'ann', 'bob',
       {AT}, nextval('price_changes_approval'), {AT}, {AT}
  FROM services_service;
INSERT INTO services_repricing
       (service_id, old_value, new_value, author, requested_at, planned_at, finished_at,
        effective_at, change_id)
SELECT service_id, old_value, new_value, approved_by, {AT}, {AT}, {AT}, {AT}, id
  FROM price_changes_pricechange WHERE effective_at = {AT};
UPDATE services_subscription row
   SET price = price_rule(service.full_price, plan.discount_percent::int)
  FROM services_service service, services_plan plan
 WHERE service.id = service_id AND plan.id = plan_id AND price_state = 'follows';
INSERT INTO services_ledgerentry
       (subscription_id, client_id, service_id, plan_id, price, price_state, effective_at,
        recorded_at, change_id)
SELECT row.id, client_id, row.service_id, row.plan_id, price, price_state, {AT}, {AT}, change.id
  FROM services_subscription row
  JOIN price_changes_pricechange change
    ON change.service_id = row.service_id AND change.effective_at = {AT}
 WHERE price_state = 'follows' AND (ended_at IS NULL OR ended_at > {AT})
 ORDER BY row.id;
UPDATE services_subscription SET price_state = 'negotiated', price = 7, price_reason = 'deal'
 WHERE id %% 1200 = %(month)s AND ended_at IS NULL;
INSERT INTO services_ledgerentry
       (subscription_id, client_id, service_id, plan_id, price, price_state, effective_at,
        recorded_at, author)
SELECT id, client_id, service_id, plan_id, 7, 'negotiated', {AT} + interval '1 day',
       {AT} + interval '1 day', 'ann'
  FROM services_subscription WHERE id %% 1200 = %(month)s AND ended_at IS NULL;
UPDATE services_subscription SET ended_at = {AT} + interval '10 days'
 WHERE id %% 1200 = 100 + %(month)s;
"""
FIRST = """
UPDATE services_subscription SET started_at = now() - interval '13 months';
UPDATE services_subscription SET started_at = now() - interval '25 months' WHERE id % 10 = 0;
INSERT INTO services_ledgerentry
       (subscription_id, client_id, service_id, plan_id, price, price_state, effective_at,
        recorded_at)
SELECT id, client_id, service_id, plan_id, price, price_state, now() - interval '13 months',
       now() - interval '13 months'
  FROM services_subscription ORDER BY id;
INSERT INTO services_subtotal (service_id, plan_id, subscriptions, amount)
SELECT service_id, plan_id, count(*), sum(price) FROM services_subscription
 GROUP BY service_id, plan_id;
"""
LAST = """
TRUNCATE services_subtotal;
INSERT INTO services_subtotal (service_id, plan_id, subscriptions, amount)
SELECT service_id, plan_id, count(*), sum(price) FROM services_subscription
 GROUP BY service_id, plan_id;
INSERT INTO price_changes_pricechange
       (kind, service_id, old_value, new_value, comment, status, when_moved, effective_at,
        planned_by, approved_by, approved_at, approval)
SELECT 'list_price', id, full_price, full_price + 1, '', 'scheduled', 'current',
       now() + interval '1 month', 'ann', 'bob', now(), nextval('price_changes_approval')
  FROM services_service;
"""
# The query of that release: the last recorded entry, even of subscriptions that have ended since.
AS_OF_BEFORE = """
SELECT count(*), coalesce(sum(entry.price), 0)
  FROM (SELECT DISTINCT ON (subscription_id) subscription_id, price FROM services_ledgerentry
         WHERE effective_at <= %(at)s ORDER BY subscription_id, id DESC) entry
  JOIN services_subscription row ON row.id = subscription_id
 WHERE started_at <= %(at)s AND (ended_at IS NULL OR ended_at > %(at)s)
"""


def main(arguments: list[str]) -> None:
    parser = results.options(__doc__, rows=[1_000_000], quick=[10_000], rounds=1)
    chosen = results.parse(parser, arguments)
    under = results.conditions(chosen)
    figures = [figure for rows in chosen.rows for figure in measure(rows)]
    results.table("Migration to facts", figures)
    results.save("migration", chosen, under, figures)


def measure(rows: int) -> list[dict[str, Any]]:
    original = connection.settings_dict["NAME"]
    name = "bench_migration"
    connection.close()
    on_server(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    on_server(f'CREATE DATABASE "{name}"')
    connection.settings_dict["NAME"] = name
    try:
        return migrated(rows)
    finally:
        connection.close()
        connection.settings_dict["NAME"] = original
        on_server(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def migrated(rows: int) -> list[dict[str, Any]]:
    for app in ("contenttypes", "auth", "clients"):
        call_command("migrate", app, verbosity=0)
    for app, migration in BEFORE.items():
        call_command("migrate", app, migration, verbosity=0)
    # The history is written by the code below, at instants of the past.
    triggers("DISABLE")
    fill(rows)
    execute(FIRST)
    for month in range(MONTHS):
        say(f"month {month + 1} of {MONTHS}…")
        with connection.cursor() as cursor:
            cursor.execute(MONTH, {"month": month})
    execute(LAST)
    triggers("ENABLE")
    execute("VACUUM ANALYZE")
    instants = months_ago(0, 1, 5, 11, 12)
    before = [asked(AS_OF_BEFORE, {"at": at}) for at in instants]
    size = asked("SELECT pg_database_size(current_database()), count(*) FROM services_ledgerentry")

    began = time.perf_counter()
    call_command("migrate", verbosity=0)
    seconds = time.perf_counter() - began
    after = [(total.subscriptions, total.amount) for total in map(ledger.total_as_of, instants)]
    assert after == before, f"as_of before and after: {list(zip(before, after, strict=True))}"
    grown = asked("SELECT pg_database_size(current_database()), count(*) FROM services_ledgerentry")
    return [
        {
            "rows": rows,
            "entries before": size[1],
            "entries after": grown[1],
            "seconds": round(seconds, 1),
            "MB before": size[0] // 2**20,
            "MB after": grown[0] // 2**20,
        }
    ]


def triggers(word: str) -> None:
    for table in ("service", "plan", "subscription", "repricing", "ledgerentry"):
        execute(f"ALTER TABLE services_{table} {word} TRIGGER USER")


def months_ago(*months: int) -> list[Any]:
    return [asked(f"SELECT now() - interval '{number} months 1 hour'")[0] for number in months]


def asked(sql: str, params: Any = None) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchone()
