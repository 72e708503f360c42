"""Brokers of several hosts, which lose one under load; and pools, and two beats.

A tier of its own, beside that of more database hosts:

    ./pricebook test -m hosts

RabbitMQ is tried where it is (`apt-get install rabbitmq-server`, and haproxy for one address of
several nodes). Sentinels are the venv's Valkey.
"""

import json
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest
from django.db import connection
from kombu import Connection

from price_changes.models import PriceChange
from price_changes.running import outcomes
from price_changes.tests.changes import SECOND, approved, clock, planned
from pricebook.kit.amqp import DELIVERIES, quorum_queue
from pricebook.tests.asking_servers import surroundings
from pricebook.tests.rabbits import RABBIT, Rabbits, free_ports
from pricebook.tests.sentinels import Sentinels
from pricebook.tests.servers import SERVICE, Beat, Worker, on_this_database, until
from pricebook.tests.web import WebServer
from services.models import Service, Subscription, WholeLedger
from services.tests.factories import a_book

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.timeout(400),
    pytest.mark.django_db(transaction=True),
]

ROWS = 20_000
# Publishes as a request does until its input ends, and prints how that went.
PUBLISHER = """
import json, sys, threading, time

import django
django.setup()
from services import tasks

failures = 0

class Counting:
    def warning(self, *said):
        global failures
        failures += 1
        print(*said, file=sys.stderr)

def wake():
    tasks._quiet_until = 0.0
    began = time.monotonic()
    tasks.wake(tasks.set_price)
    return time.monotonic() - began

tasks.logger = Counting()

end = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), end.set()), daemon=True).start()
wake()  # imports
print("ready", flush=True)
times = []
while not end.wait(0.02):
    times.append(wake())
print(json.dumps({"sent": len(times), "failed": failures, "longest": round(max(times), 2)}))
"""
SESSIONS = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    """Three nodes of RabbitMQ."""
    if not RABBIT.is_file():
        pytest.skip("no RabbitMQ: apt-get install rabbitmq-server")
    rabbits = Rabbits(tmp_path_factory.mktemp("rabbits") / "nodes", 3)
    try:
        rabbits.start()
        yield rabbits
    finally:
        rabbits.end()


@pytest.fixture
def one_address(nodes, tmp_path):
    """HAProxy before the three nodes."""
    if not (program := shutil.which("haproxy", path="/usr/sbin:/usr/bin")):
        pytest.skip("no HAProxy: apt-get install haproxy")
    [port] = free_ports(1)
    lines = [
        "defaults",
        "  mode tcp",
        "  timeout connect 2s",
        "  timeout client 1h",
        "  timeout server 1h",
        "  option redispatch",
        "  retries 3",
        f"listen rabbits\n  bind 127.0.0.1:{port}",
        "  default-server check inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions",
        *(f"  server n{n} 127.0.0.1:{each}" for n, each in enumerate(nodes.ports, 1)),
    ]
    file = tmp_path / "haproxy.cfg"
    file.write_text("\n".join(lines) + "\n")
    process = subprocess.Popen([program, "-db", "-f", file])
    yield f"amqp://guest:guest@127.0.0.1:{port}//"
    process.kill()
    process.wait()


class Publisher:
    """A process that publishes until it is asked how that went, or the test ends."""

    def __init__(self, url):
        environment = on_this_database() | {"CELERY_BROKER_URL": url, "PYTHONPATH": str(SERVICE)}
        environment["DJANGO_SETTINGS_MODULE"] = "pricebook.settings"
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", PUBLISHER]
        self.process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe)
        assert self.process.stdout.readline() == b"ready\n"

    def told(self):
        return json.loads(self.process.communicate()[0])


@pytest.fixture
def publish():
    started = []

    def publish(url):
        started.append(Publisher(url))
        return started[-1]

    yield publish
    for each in started:
        each.process.kill()
        each.process.communicate()


@pytest.fixture
def start(tmp_path, start_workers):
    """Workers of any pool and beats, which end with the test."""
    beats = []

    def start(url, *pools, beats_at_once=1, **variables):
        workers = [
            Worker(f"worker{number}", tmp_path / f"worker{number}.log", url, pool, **variables)
            for number, pool in enumerate(pools)
        ]
        for worker in workers:
            until(worker.is_ready, 60)
        for number in range(beats_at_once):
            beats.append(Beat(tmp_path / f"beat{number}.log", url, **variables))
        return workers

    yield start
    for beat in beats:
        beat.kill()


def is_drained():
    return not Subscription.objects.mispriced().exists()


@pytest.mark.parametrize("address", ["hosts", "one"])
def test_work_goes_on_while_nodes_of_rabbitmq_are_killed(nodes, start, publish, request, address):
    url = nodes.url if address == "hosts" else request.getfixturevalue("one_address")
    a_book(subscriptions=ROWS, services=2, plans=2)
    workers = start(url, "prefork:2", "prefork:2")
    publisher = publish(url)
    waits = []
    for node, price in enumerate((331, 332, 333)):
        Service.objects.update(full_price=price)
        until(lambda price=price: Subscription.objects.filter(price=price).exists())
        began = time.monotonic()
        nodes.kill(node)
        Service.objects.update(full_price=price + 100)
        until(is_drained, 60)
        waits.append(round(time.monotonic() - began, 1))
        nodes.start()
    told = publisher.told()
    print(address, waits, told)
    assert [worker.process.poll() for worker in workers] == [None, None]
    assert told["longest"] < 2
    assert told["failed"] <= told["sent"] / 20


def test_a_node_that_hangs_is_left(nodes, start):
    a_book(subscriptions=100, services=1, plans=1)
    [worker] = start(nodes.url, "prefork:2")
    Service.objects.update(full_price=333)
    until(is_drained)
    nodes.hush(0)  # it is the first of the list, so all are connected to it
    began = time.monotonic()
    try:
        until(lambda: worker.says("Connection to broker lost"), 60)
        Service.objects.update(full_price=334)
        until(is_drained, 60)
        print("hung", round(time.monotonic() - began, 1))
    finally:
        nodes.kill(0)
        nodes.start()
    assert worker.process.poll() is None


def test_a_queue_that_is_deleted_comes_again(nodes, start):
    a_book(subscriptions=100, services=1, plans=1)
    [worker] = start(nodes.url, "prefork:2")
    Service.objects.update(full_price=333)
    until(is_drained)
    with Connection(nodes.url) as to:
        to.default_channel.queue_delete(quorum_queue("pricebook").name)
    Service.objects.update(full_price=334)
    until(is_drained, 30)
    assert worker.process.poll() is None


def test_a_message_that_ends_each_worker_is_dropped_at_last(nodes):
    with Connection(nodes.url) as to:
        queue = quorum_queue("poisoned")(to.default_channel)
        queue.declare()
        to.Producer().publish({}, routing_key=queue.name)
        deliveries = 0
        deadline = time.monotonic() + 10
        while deliveries <= DELIVERIES and time.monotonic() < deadline:
            if message := queue.get():
                deliveries += 1
                message.requeue()
        time.sleep(0.2)
        assert (deliveries, queue.get()) == (DELIVERIES + 1, None)


class TestSentinel:
    @pytest.fixture
    def sentinels(self, tmp_path):
        sentinels = Sentinels(tmp_path / "sentinels")
        try:
            sentinels.start()
            yield sentinels
        finally:
            sentinels.end()

    def test_the_site_answers_and_work_goes_on_while_the_master_is_lost(
        self, sentinels, start, publish, tmp_path
    ):
        a_book(subscriptions=ROWS, services=2, plans=2)
        broker, cache = sentinels.url(0), sentinels.url(1)
        [worker] = start(broker, "prefork:2", REDIS_URL=cache)
        web = WebServer(tmp_path / "web.log", CELERY_BROKER_URL=broker, REDIS_URL=cache)
        publisher = publish(broker)
        answers, longest = Counter(), 0.0
        end = threading.Event()

        def read():
            nonlocal longest
            while not end.wait(0.05):
                began = time.monotonic()
                answers[web.get("/admin/login/").status] += 1
                longest = max(longest, time.monotonic() - began)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        waits = []
        for price, lose in ((331, sentinels.kill_master), (332, sentinels.hush_master)):
            Service.objects.update(full_price=price)
            until(lambda price=price: Subscription.objects.filter(price=price).exists())
            before = sentinels.master()
            began = time.monotonic()
            lose()
            Service.objects.update(full_price=price + 100)
            until(is_drained, 60)
            waits.append(round(time.monotonic() - began, 1))
            until(lambda before=before: sentinels.master() != before, 30)
            sentinels.bring_back()
        end.set()
        reader.join()
        told = publisher.told()
        print(waits, told, answers, round(longest, 2))
        web.stop()
        assert worker.process.poll() is None
        assert set(answers) == {200}
        assert told["longest"] < 2

    def test_a_cache_without_a_master_is_none_and_no_error(self, sentinels, tmp_path):
        sentinels.kill_master()
        said = surroundings(REDIS_URL=sentinels.url(1, "nobody"))
        assert "REDIS_URL: it can't be used: MasterNotFoundError" in said
        assert "or name it as the Sentinels do (master_name)" in said
        web = WebServer(tmp_path / "web.log", REDIS_URL=sentinels.url(1, "nobody"))
        assert [web.get("/admin/login/").status for _ in range(3)] == [200] * 3
        web.stop()


@pytest.mark.parametrize("pools", [["prefork:8"], ["threads:8"], ["prefork:2", "threads:2"]])
def test_any_pool_and_two_beats_do_all_work_once(start, broker, pools):
    a_book(subscriptions=2_000, services=8, plans=2)
    workers = start(broker.broker_url, *pools, beats_at_once=2)
    now, rows = clock(), 2_000 // 8
    made = [
        approved(
            planned(
                kind="list_price",
                service=service.pk,
                new_value=price,
                effective_at=now + after * SECOND,
            )
        )
        for after, price in ((8, 331), (9, 332))
        for service in Service.objects.all()
    ]
    done = PriceChange.objects.filter(status="applied")
    until(lambda: done.count() == len(made), 60)
    for change in made:
        outcome = outcomes.outcome(change)
        assert (outcome["rows"], outcome["applied"]) == (rows, rows)
        assert WholeLedger.objects.filter(change_id=change.pk).count() == rows  # each once
    with connection.cursor() as cursor:
        cursor.execute(SESSIONS)
        [sessions] = cursor.fetchone()
    most = sum(int(pool.split(":")[1]) for pool in pools)
    assert sessions <= most + len(pools)
    for worker in workers:
        worker.process.terminate()
        assert worker.process.wait(30) == 0

    def are_closed():
        with connection.cursor() as cursor:
            cursor.execute(SESSIONS)
            return cursor.fetchone() == (0,)

    until(are_closed)
