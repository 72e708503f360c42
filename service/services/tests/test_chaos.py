"""Two real workers, a real broker, and everything that is killed under them.

Short bursts of edits, a fault, then the workers drain and the book is checked: long hot runs heal
themselves and would prove nothing. The test itself sends the messages that beat sends every two
seconds.
"""

import random
import time

import pytest
from conftest import sweep_until
from django.db import connection
from django.db.models import Count, Sum

from pricebook.tests.servers import until
from services import tasks
from services.models import Plan, Repricing, Service, Subscription, Subtotal
from services.tests.factories import a_book
from services.tests.interleaving import a_person, replaced

pytestmark = [pytest.mark.long, pytest.mark.django_db(transaction=True)]

ROWS = 3000


@pytest.fixture
def book():
    return a_book(subscriptions=ROWS, services=3, plans=2)


@pytest.fixture(autouse=True)
def a_broker_that_was_never_down(monkeypatch):
    monkeypatch.setattr(tasks, "_quiet_until", 0.0)


def drained():
    return not Repricing.objects.due().exists()


def assert_the_book_is_right():
    assert Subscription.objects.mispriced().count() == 0
    rows = Subscription.objects.aggregate(subscriptions=Count("pk"), amount=Sum("price"))
    assert rows == Subtotal.objects.aggregate(
        subscriptions=Sum("subscriptions"), amount=Sum("amount")
    )
    assert rows["subscriptions"] == ROWS


def edit(chance, services, plans):
    """Move a list price or a discount, by a path that `chance` picks."""
    service, plan = chance.choice(services), chance.choice(plans)
    full_price, percent = chance.randrange(1, 1000), chance.randrange(1, 90)
    path = chance.randrange(5)
    if path == 0:
        service.full_price = full_price
        service.save()
    elif path == 1:
        Service.objects.filter(pk=service.pk).update(full_price=full_price)
    elif path == 2:
        service.full_price = full_price
        Service.objects.bulk_update([service], ["full_price"])
    elif path == 3:
        with connection.cursor() as cursor:
            cursor.execute("UPDATE services_service SET full_price = %s", [full_price])
    else:
        Plan.objects.filter(pk=plan.pk).exclude(discount_percent=percent).update(
            plan_type="discount" if plan == plans[0] else "student", discount_percent=percent
        )


def burst(chance, seconds, fault):
    """Edits at random moments with heavy-tailed pauses, and one fault somewhere among them."""
    services, plans = list(Service.objects.all()), list(Plan.objects.all())
    ends = time.monotonic() + seconds
    strikes = time.monotonic() + chance.uniform(0, seconds)
    while time.monotonic() < ends:
        edit(chance, services, plans)
        if fault is not None and time.monotonic() > strikes:
            fault()
            fault = None
        time.sleep(min(0.01 * chance.paretovariate(1.1), 0.3))
    if fault is not None:
        fault()


def test_killed_workers_leave_no_price_behind(book, start_workers, request):
    chance = random.Random(request.node.name)
    workers = start_workers(2)
    for _ in range(2):
        burst(chance, 1.0, fault=workers.pop(chance.randrange(2)).kill)
        workers += start_workers(1)
        sweep_until(drained)
        assert_the_book_is_right()


def test_terminated_sessions_leave_no_price_behind(book, start_workers, request):
    chance = random.Random(request.node.name)
    start_workers(2)

    def terminate():
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                "   AND backend_type = 'client backend' AND random() < 0.7"
            )

    for _ in range(2):
        burst(chance, 0.7, fault=terminate)
        sweep_until(drained)
        assert_the_book_is_right()


def test_an_edit_does_not_wait_for_a_broker_that_hangs_or_is_dead(book, start_workers, broker):
    start_workers(1)
    service = Service.objects.first()
    faults = [(broker.hang, broker.resume), (broker.kill, broker.start)]
    for number, (fault, fix) in enumerate(faults):
        fault()
        try:
            began = time.monotonic()
            service.full_price = 1000 + number
            service.save()
            took = time.monotonic() - began
            # It is in the database already, with the work that follows.
            assert Service.objects.get(pk=service.pk).full_price == 1000 + number
            assert Repricing.objects.filter(new_value=1000 + number).exists()
        finally:
            fix()
        assert took < 1  # of which half is the machine's; test_tasks.py measures the message
        sweep_until(drained)
        assert_the_book_is_right()


def waits_for(person):
    """Whether a session waits for a lock of this person's."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT bool_or(%s = ANY (pg_blocking_pids(pid))) FROM pg_stat_activity",
            [person.info.backend_pid],
        )
        return cursor.fetchone()[0]


def test_a_worker_outlives_a_broker_that_dies_while_a_task_runs(book, start_workers, broker):
    [worker] = start_workers(1)
    subscription = Subscription.objects.first()
    with a_person() as person:
        # Holds the task up for as long as the test needs.
        person.execute(
            "UPDATE services_service SET full_price = 2000 WHERE id = %s",
            [subscription.service_id],
        )
        task = tasks.set_price.delay(subscription.pk)
        until(lambda: waits_for(person))
        broker.kill()
        broker.start()
        until(lambda: worker.says("Connected to") == 2)
        person.commit()
    until(lambda: worker.says(f"[{task.id}] succeeded"))
    # The same one, as there is no other.
    Service.objects.update(full_price=3000)
    sweep_until(drained)
    assert_the_book_is_right()


@pytest.mark.thorough
def test_a_worker_leaves_a_broker_that_answers_no_more(book, start_workers, broker):
    start_workers(1)
    with broker.replaced_in_silence():
        Service.objects.update(full_price=2000)
        sweep_until(drained)
    assert_the_book_is_right()


def test_the_harness_catches_a_fault_that_was_sown(book, start_workers, request):
    def forgets(definition):
        return definition.replace("BEGIN", "BEGIN RETURN NULL;")

    start_workers(1)
    with replaced("service_price_moved", forgets), replaced("plan_discount_moved", forgets):
        burst(random.Random(request.node.name), 1.0, fault=None)
    sweep_until(drained)
    with pytest.raises(AssertionError):
        assert_the_book_is_right()
