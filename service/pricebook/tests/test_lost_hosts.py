"""Workers whose host, path, clock or broker is lost, with the limits as they are.

A tier of its own:

    ./pricebook test -m lost

RabbitMQ and libfaketime are tried where they are: `apt-get install rabbitmq-server`, and
LIBFAKETIME with the path of libfaketime.so.1 (PyPI's libfaketime has one).
"""

import os
import signal
import time
from pathlib import Path

import pytest
from conftest import sweep_until
from django.db import connection

from pricebook.tests.path_between import PathBetween, to_postgres
from pricebook.tests.rabbits import RABBIT, Rabbits
from pricebook.tests.servers import Beat, Worker, until
from services import tasks
from services.models import Service, Subscription
from services.tests.factories import a_book

pytestmark = [
    pytest.mark.lost,
    pytest.mark.long,
    pytest.mark.timeout(300),
    pytest.mark.django_db(transaction=True),
]

ROWS = 40_000
IN_TRANSACTION = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'idle in transaction'
"""
FAKETIME = os.environ.get("LIBFAKETIME", "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")


@pytest.fixture(autouse=True)
def a_broker_that_was_never_down(monkeypatch):
    monkeypatch.setattr(tasks, "_quiet_until", 0.0)


@pytest.fixture
def start(tmp_path, broker, start_workers):
    """A worker with variables of its own; `start_workers` ends it."""

    def start(name, url=broker.broker_url, **variables):
        worker = Worker(name, tmp_path / f"{name}.log", url, **variables)
        until(worker.is_ready, 60)
        return worker

    return start


def drained():
    return not Subscription.objects.mispriced().exists()


def stands_in_a_transaction():
    with connection.cursor() as cursor:
        cursor.execute(IN_TRANSACTION)
        return cursor.fetchone()[0] > 0


def stop_in_a_transaction(worker, path):
    """Stop a worker, and the path to its database, where it holds locks."""
    for _ in range(2000):
        sweep_until(stands_in_a_transaction)
        path.hush()
        os.killpg(worker.process.pid, signal.SIGSTOP)
        if stands_in_a_transaction():
            return
        os.killpg(worker.process.pid, signal.SIGCONT)
        path.go_on()
    raise AssertionError("it was never in a transaction")


@pytest.mark.parametrize("comes_back", [True, False])
def test_a_worker_that_hangs_or_is_gone_holds_its_service_up_for_15_s_at_most(start, comes_back):
    a_book(subscriptions=ROWS, services=1, plans=1)
    path = PathBetween(to_postgres())
    lost = start("lost", DB_HOST="127.0.0.1", PGPORT=str(path.port))
    Service.objects.update(full_price=333)
    stop_in_a_transaction(lost, path)
    began = time.monotonic()
    if not comes_back:
        lost.kill()
        start("other")
    Service.objects.update(full_price=334)
    waited = time.monotonic() - began
    if comes_back:
        os.killpg(lost.process.pid, signal.SIGCONT)
        path.go_on()
    sweep_until(drained, 60)
    assert waited < 15
    assert comes_back or time.monotonic() - began < 15
    assert Subscription.objects.filter(price=334).count() == ROWS
    lost.kill()
    path.close()


@pytest.mark.skipif(not Path(FAKETIME).is_file(), reason="no libfaketime: set LIBFAKETIME")
@pytest.mark.parametrize("off", ["+300s", "-300s"])
def test_a_worker_whose_clock_is_off_works_and_says_so(start, off):
    a_book(subscriptions=10, services=1, plans=1)
    worker = start("off", LD_PRELOAD=FAKETIME, FAKETIME=off, FAKETIME_DONT_FAKE_MONOTONIC="1")
    Service.objects.update(full_price=333)
    began = time.monotonic()
    sweep_until(drained)
    assert time.monotonic() - began < 15
    assert worker.says("s ahead of the database's" if off[0] == "+" else "s behind the database's")
    assert not worker.says("Discarding revoked task")


@pytest.fixture
def rabbit(tmp_path):
    if not RABBIT.is_file():
        pytest.skip("no RabbitMQ: apt-get install rabbitmq-server")
    rabbits = Rabbits(tmp_path / "rabbit")
    try:
        rabbits.start()
        yield rabbits
    finally:
        rabbits.end()


def test_a_worker_and_beat_outlive_rabbitmq(start, rabbit, tmp_path):
    a_book(subscriptions=ROWS, services=2, plans=2)
    worker = start("worker", rabbit.url)
    beat = Beat(tmp_path / "beat.log", rabbit.url)
    Service.objects.update(full_price=333)
    until(lambda: Subscription.objects.filter(price=333).exists())
    rabbit.kill()
    until(lambda: worker.says("Connection to broker lost") or worker.says("Cannot connect to"), 30)
    rabbit.start()
    Service.objects.update(full_price=334)
    until(drained, 90)
    assert worker.process.poll() is None
    beat.kill()
