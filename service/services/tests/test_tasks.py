"""Tasks and their messages: a wake-up may be lost, be late or not be sent, and harms nothing."""

import time

import celery
import pytest
from conftest import sweep_until, use_broker
from django.conf import settings
from django.db import connection
from kombu import Connection, Queue

import celery_app
from celery_app import app, debug_task
from pricebook.tests.servers import until
from services import tasks
from services.models import Repricing, Service, Subscription
from services.tests.factories import a_book, a_service, a_subscription

# The seconds that a request may lose to a broker that doesn't answer, on a busy machine; without
# our limits it would lose more, as the last test here shows.
PATIENCE = 1.5


def waiting(broker_url):
    """How many messages wait in the queue."""
    with Connection(broker_url) as broker, broker.channel() as channel:
        return channel.client.llen(app.conf.task_default_queue)


@pytest.fixture
def own_broker(start_valkey, monkeypatch):
    """A broker that this test may break."""
    valkey = start_valkey()
    monkeypatch.setattr(tasks, "_quiet_until", 0.0)
    with monkeypatch.context() as patch:
        use_broker(valkey, patch)
        yield valkey
    app._after_fork()
    valkey.kill()


def seconds_of(call):
    began = time.monotonic()
    call()
    return time.monotonic() - began


class TestDebugTask:
    def test_says_hello(self, capsys):
        assert debug_task() is None
        assert capsys.readouterr().out == "Hello form debug_task\n"


class TestSettings:
    def test_reach_celery_by_their_namespace(self):
        for name in (
            "TASK_ACKS_LATE", "TASK_IGNORE_RESULT", "TASK_SERIALIZER", "ACCEPT_CONTENT",
            "TASK_REJECT_ON_WORKER_LOST", "WORKER_PREFETCH_MULTIPLIER",
            "BROKER_TRANSPORT_OPTIONS", "BEAT_SCHEDULE",
        ):  # fmt: skip
            assert app.conf[name.lower()] == getattr(settings, f"CELERY_{name}"), name

    def test_are_ignored_without_it(self):
        other = celery.Celery("other", set_as_current=False)
        other.config_from_object("django.conf:settings")
        assert not other.conf.task_acks_late

    def test_messages_are_json_late_acknowledged_and_leave_no_result(self):
        assert app.conf.accept_content == ["json"]
        assert app.conf.task_serializer == "json"
        assert app.conf.task_acks_late
        assert app.conf.task_ignore_result
        assert type(app.backend).__name__ == "DisabledBackend"

    def test_a_killed_workers_message_comes_again_long_after_any_task_ends(self):
        visibility = app.conf.broker_transport_options["visibility_timeout"]
        longest = 60  # seconds of one run: reprice() stops by itself
        assert 2 * longest < visibility < 3600

    def test_no_number_of_failures_makes_a_worker_or_beat_give_its_broker_up(self):
        assert app.conf.broker_connection_max_retries is None

    def test_the_schedule_names_tasks_that_exist(self):
        app.loader.import_default_modules()
        scheduled = {entry["task"] for entry in app.conf.beat_schedule.values()}
        assert scheduled <= set(app.tasks)
        assert {"services.tasks.set_price", "services.tasks.set_comment"} <= scheduled
        for entry in app.conf.beat_schedule.values():
            assert "options" not in entry  # no `expires`: the worker's host would judge it

    def test_the_application_is_where_the_tutorial_looks_for_it(self):
        assert celery_app.app is app
        assert tasks.set_price.app.main == app.main


@pytest.mark.django_db
class TestSetPrice:
    def test_of_one_subscription(self):
        subscription = a_subscription(service=a_service(full_price=100))
        other = a_subscription(service=subscription.service)
        Service.objects.update(full_price=200)
        tasks.set_price(subscription.pk)
        prices = dict(Subscription.objects.values_list("pk", "price"))
        assert prices == {subscription.pk: 200, other.pk: 100}

    def test_without_an_argument_takes_what_is_due(self):
        a_book(subscriptions=10)
        Service.objects.update(full_price=200)
        tasks.set_price(sent_by="a publisher of another version")
        assert not Subscription.objects.mispriced().exists()

    def test_of_one_that_is_gone_does_nothing(self):
        tasks.set_price(0)


@pytest.mark.django_db
class TestSetComment:
    def test_of_one_subscription(self):
        subscription, other = a_subscription(), a_subscription(comment="typed")
        for each in (subscription, other):
            tasks.set_comment(each.pk, "2027", sent_by="a publisher of another version")
        assert list(Subscription.objects.order_by("pk").values_list("comment", flat=True)) == [
            "2027",
            "typed",
        ]


class TestWake:
    def test_sends_a_message_for_each_task(self, own_broker):
        tasks.wake(tasks.set_price, tasks.set_comment)
        assert waiting(own_broker.broker_url) == 2

    def test_costs_little_and_raises_nothing_when_the_broker_is_dead(self, own_broker):
        own_broker.kill()
        assert seconds_of(lambda: tasks.wake(tasks.set_price, tasks.set_comment)) < PATIENCE

    def test_costs_little_and_raises_nothing_when_the_broker_hangs(self, own_broker):
        tasks.wake(tasks.set_price)
        own_broker.hang()
        assert seconds_of(lambda: tasks.wake(tasks.set_price, tasks.set_comment)) < PATIENCE

    def test_raises_nothing_when_the_broker_refuses(self, own_broker, monkeypatch, caplog):
        own_broker.kill()
        own_broker.start("--maxmemory", "1")  # OOM: command not allowed
        tasks.wake(tasks.set_price)
        assert "took no message" in caplog.text

    def test_raises_nothing_when_the_password_is_wrong(self, own_broker, caplog):
        own_broker.kill()
        own_broker.start("--requirepass", "secret")
        tasks.wake(tasks.set_price)
        assert "took no message" in caplog.text

    def test_after_a_failure_asks_no_more_for_a_while(self, own_broker, monkeypatch):
        own_broker.hang()
        tasks.wake(tasks.set_price)
        many = seconds_of(lambda: [tasks.wake(tasks.set_price) for _ in range(100)])
        assert many < 0.1

        own_broker.resume()
        tasks.wake(tasks.set_price)
        quiet = waiting(own_broker.broker_url)
        monkeypatch.setattr(tasks, "_quiet_until", time.monotonic())  # PAUSE is over
        tasks.wake(tasks.set_price)
        assert waiting(own_broker.broker_url) == quiet + 1

    def test_as_celery_comes_a_hung_broker_would_hold_the_request_up(self, own_broker):
        own_broker.hang()
        held = []

        def publish():
            with Connection(
                own_broker.broker_url,
                transport_options={"socket_timeout": PATIENCE + 0.1, "max_retries": 1},
            ) as broker:
                tasks.set_price.apply_async(connection=broker, retry=False)

        def attempt():
            try:
                publish()
            except Exception as error:
                held.append(error)

        assert seconds_of(attempt) > PATIENCE
        assert held


@pytest.mark.django_db(transaction=True)
class TestWorker:
    def test_does_what_the_messages_wake_it_for_and_refuses_pickles(self, start_workers, broker):
        subscription = a_subscription(service=a_service(full_price=100))
        [worker] = start_workers(1)

        with Connection(broker.broker_url) as messages:
            producer = messages.Producer(serializer="pickle")
            producer.publish(
                ((), {}, {}),
                routing_key=app.conf.task_default_queue,
                declare=[Queue(app.conf.task_default_queue)],
                headers={"task": "celery_app.debug_task", "id": "pickled", "lang": "py"},
            )
        until(lambda: worker.says("pickle"))
        assert not worker.says("Hello form debug_task")

        debug_task.delay()
        until(lambda: worker.says("Hello form debug_task"))

        service = subscription.service
        service.full_price = 200
        service.save()
        sweep_until(lambda: not Subscription.objects.mispriced().exists())

        # Its session has ended, as after a restart of the database: the next task takes a new one.
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                "   AND backend_type = 'client backend'"
            )
            assert cursor.fetchone()[0] > 0
        Service.objects.update(full_price=300)  # by a path that wakes nobody
        sweep_until(lambda: Subscription.objects.get().price == 300)
        assert Repricing.objects.count() == 2
