"""The cost of one change of a list price, beside one UPDATE with a history that a trigger writes.

A book of one service, all of whose subscriptions follow. Each way gives them another price, in
turn:

- UPDATE, history by a trigger: the same rows in a table with the same indexes and none of our
  triggers, one statement, and a trigger that writes the whole row into a table of events, row by
  row, as history packages for Django do (two indexes, one of them a foreign key's)
- UPDATE: the same without the trigger
- Pricebook: planned, previewed, approved, and copied by a worker to the last row

CPU is that of this process and of its PostgreSQL session. The last line is a change of a service
that has one follower: the cost of any change, however few rows it has.
"""

import statistics
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import transaction

from benchmarks import results
from benchmarks.ledger import execute
from benchmarks.price_changes import approve, position
from benchmarks.scratch import say, scratch_book
from benchmarks.stopwatch import cpu_seconds, one_session
from clients.models import Client
from services import repricing
from services.models import Plan, Repricing, Service, Subscription

PLANS = 4

OTHERS = """
CREATE TABLE copied (LIKE services_subscription INCLUDING ALL) WITH (fillfactor = 85);
INSERT INTO copied OVERRIDING SYSTEM VALUE SELECT * FROM services_subscription ORDER BY id;
CREATE TABLE traced (LIKE services_subscription INCLUDING ALL) WITH (fillfactor = 85);
INSERT INTO traced OVERRIDING SYSTEM VALUE SELECT * FROM services_subscription ORDER BY id;
CREATE TABLE event AS
    SELECT 0::bigint AS event_id, now() AS created_at, 'update'::text AS label,
           0::bigint AS object_id, NULL::uuid AS context_id, * FROM traced WHERE false;
CREATE SEQUENCE event_ids;
ALTER TABLE event ALTER event_id SET DEFAULT nextval('event_ids'), ADD PRIMARY KEY (event_id);
CREATE INDEX ON event (object_id);
CREATE FUNCTION trace() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO event SELECT nextval('event_ids'), now(), 'update', NEW.id, NULL, NEW.*;
    RETURN NULL;
END $$;
CREATE TRIGGER trace AFTER UPDATE ON traced FOR EACH ROW
WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION trace();
"""
UPDATE = """
UPDATE {table} SET price = price_rule(%s, discount_percent::int)
  FROM services_plan plan WHERE plan.id = plan_id
"""


class Cost(NamedTuple):
    cpu: float  # seconds
    wal: int
    kept: int  # bytes by which the history has grown


def main(arguments: list[str]) -> None:
    parser = results.options(__doc__, rows=[5_000, 50_000], quick=[2_000], rounds=7)
    chosen = results.parse(parser, arguments)
    under = results.conditions(chosen)
    figures = []
    for rows in chosen.rows:
        with scratch_book("list_price", rows, (1, PLANS)):
            figures += measure(rows, chosen.rounds)
    results.table("One list price", figures)
    results.save("list_price", chosen, under, figures)


def measure(rows: int, rounds: int) -> list[dict[str, Any]]:
    one_session()
    execute(OTHERS)
    few = Service.objects.create(name="of one", full_price=100)
    Subscription.objects.create(
        client=Client.objects.earliest("pk"), service=few, plan=Plan.objects.earliest("pk")
    )
    service = Service.objects.exclude(pk=few.pk).get()
    for table in ("copied", "traced", "services_subscription"):
        execute(f"VACUUM ANALYZE {table}")
    ways: dict[str, Callable[[int], None]] = {
        "UPDATE, history by a trigger": lambda price: update("traced", price),
        "UPDATE": lambda price: update("copied", price),
        "Pricebook": lambda price: change(service, price),
        "Pricebook, of one follower": lambda price: change(few, price),
    }
    taken: dict[str, list[Cost]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            cost = cost_of(way, 200 + number)
            if number:  # the first one fills caches, and pages of the log
                taken[name].append(cost)
        for table in ("copied", "traced", "services_subscription"):
            execute(f"VACUUM {table}")
    assert_same(service, 200 + rounds)
    yardstick = statistics.median(cost.cpu for cost in taken["UPDATE, history by a trigger"])
    figures = []
    for name, costs in taken.items():
        followers = 1 if "one follower" in name else rows
        cpu = statistics.median(cost.cpu for cost in costs)
        figures.append(
            {
                "followers": followers,
                "what": name,
                "CPU, ms": 1000 * cpu,
                "×": cpu / yardstick,
                "WAL bytes a row": statistics.median(cost.wal for cost in costs) / followers,
                "history bytes a row": statistics.median(cost.kept for cost in costs) / followers,
            }
        )
    say(f"  {rows:,}: {figures[2]['×']:.2f} × of {1000 * yardstick:.0f} ms")
    return figures


def cost_of(way: Callable[[int], None], price: int) -> Cost:
    kept, wal, cpu = history_bytes(), position(), cpu_seconds()
    way(price)
    return Cost(cpu_seconds() - cpu, position() - wal, history_bytes() - kept)


def update(table: str, price: int) -> None:
    with transaction.atomic():
        execute(UPDATE.format(table=table), [price])


def change(service: Service, price: int) -> None:
    approve({"kind": "list_price", "service": service.pk, "new_value": Decimal(price)})
    repricing.reprice(seconds=3600)
    if Repricing.objects.due().exists():
        raise AssertionError("a repricing is still due")


def history_bytes() -> int:
    ((size,),) = execute(
        "SELECT sum(pg_total_relation_size(name))"
        "  FROM unnest('{event, services_ledgerentry, services_movedfollowers}'::regclass[]) name"
    )
    return int(size)


def assert_same(service: Service, price: int) -> None:
    """Assert that all ways have led to the same prices."""
    ((differ,),) = execute(
        "SELECT count(*) FROM services_subscription ours JOIN copied USING (id)"
        "  JOIN traced USING (id) JOIN services_plan plan ON plan.id = ours.plan_id"
        " WHERE ours.service_id = %s AND (ours.price <> price_rule(%s, discount_percent::int)"
        "       OR ours.price <> copied.price OR ours.price <> traced.price)",
        [service.pk, price],
    )
    if differ:
        raise AssertionError(f"{differ} prices differ")
