"""The goals of writing: inserts, the save of a list price, repricings."""

import statistics
import threading
import time
from functools import partial

from django.db import connection

from benchmarks import repricing, results
from benchmarks.goals.line import BIG, Figures, goal
from benchmarks.scratch import fill, outside
from benchmarks.stopwatch import once
from services.models import Service, Subscription

CONNECTIONS = 8

# In the server, so that no client's time dilutes the ratio.
INSERTS = """
DO $$
BEGIN
    FOR n IN 1..{number} LOOP
        INSERT INTO services_subscription (client_id, service_id, plan_id, comment)
        VALUES ({client}, {service}, {plan}, '');
        COMMIT;
    END LOOP;
END $$
"""


def inserts(rows: int, rounds: int) -> Figures:
    """Eight connections insert into one service and plan, against the same without subtotals."""
    fill(min(rows, 10_000))
    one = Subscription.objects.earliest("pk")
    each = 50 if rows <= 10_000 else 500
    statement = INSERTS.format(
        number=each, client=one.client_id, service=one.service_id, plan=one.plan_id
    )

    def insert(kept: bool) -> float:
        state = "ENABLE" if kept else "DISABLE"
        execute(f"ALTER TABLE services_subscription {state} TRIGGER subtotal_of_insert")
        connections = [outside() for _ in range(CONNECTIONS)]
        threads = [
            threading.Thread(target=other.execute, args=(statement,)) for other in connections
        ]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        taken = time.perf_counter() - began
        for other in connections:
            other.close()
        return CONNECTIONS * each / taken

    before = Subscription.objects.count()
    rates = results.interleaved(
        {"without": partial(insert, False), "kept": partial(insert, True)}, max(rounds, 3)
    )
    expected = before + 2 * CONNECTIONS * each * len(rates["kept"])
    if Subscription.objects.count() != expected:
        raise AssertionError("not all rows were inserted")
    return [
        goal(
            "inserts/s of eight connections, total kept",
            results.ratio_to(rates["without"], rates["kept"]),
            at_least=0.8,
        )
    ]


def list_price(rows: int, rounds: int) -> Figures:
    """The save of a list price that 100,000 subscriptions follow against one that 100 follow."""
    many = min(rows, 100_000)
    fill(many, (1, 8))
    few = Service.objects.create(name="A service of few", full_price=100)
    execute(
        "INSERT INTO services_subscription (client_id, service_id, plan_id, comment)"
        f" SELECT client_id, {few.pk}, plan_id, '' FROM services_subscription ORDER BY id LIMIT 100"
    )

    def save(service: Service) -> float:
        taken = []
        for _ in range(5):
            service.full_price += 1
            taken.append(once(service.save)[2])
        return statistics.median(taken)

    services = {"many": Service.objects.earliest("pk"), "few": few}
    times = results.interleaved(
        {name: partial(save, service) for name, service in services.items()}, max(rounds, 5)
    )
    return [
        goal(
            f"list price: {many:,} affected against 100",
            results.ratio_to(times["few"], times["many"]),
            at_most=1.2,
        )
    ]


def repricings(rows: int, rounds: int) -> Figures:
    """All services: one worker against one UPDATE; two workers against the tutorial's way.

    That way is a task for each subscription through its queue, on all cores, hence two workers; see
    benchmarks/repricing.py.
    """
    fill(rows)
    measured = repricing.measure(rows, rounds)
    results.table("Subscriptions repriced a second", measured)
    ways = {figure["way"]: figure for figure in measured}
    ours, two = ways["Pricebook"], ways["Pricebook, two workers"]
    growth = max(ours["heap +%"], ours["indexes +%"])
    return [
        goal("repricing against one UPDATE", ours["× one UPDATE"], at_least=1.3, small=rows < BIG),
        goal("heap and indexes grow by a repricing, %", growth, at_most=15, unit="%"),
        goal(
            "repricing by two workers against one task a row",
            two["rows/s"] / ways["one task a row"]["rows/s"],
            at_least=500,
            small=rows < BIG,
        ),
    ]


def execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)
