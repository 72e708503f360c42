"""Settings that the address of a cache or a broker makes, and messages that are sent again."""

import ssl
import time

import pytest
from celery.beat import SchedulingError
from django.core.exceptions import ImproperlyConfigured
from kombu.exceptions import OperationalError

from celery_app import app
from pricebook import beat, brokers, queues, surroundings, worker
from pricebook.kit import amqp, sentinel
from pricebook.local.external import numbered
from services import tasks

SENTINELS = "sentinel://:secret@s1;sentinel://s2:26380/1?master_name=book&sentinel_password=other"


@pytest.fixture
def server(monkeypatch):
    def server(url, schemes=brokers.BROKERS):
        monkeypatch.setenv("CELERY_BROKER_URL", url)
        return brokers.server("CELERY_BROKER_URL", "", schemes)

    return server


class TestAddress:
    @pytest.mark.parametrize(
        ("url", "said"),
        [
            ("kafka://a", "begins with one of redis://, rediss://"),
            ("localhost:6379", "is no address that is known"),
            ("redis://a;redis://b", r"redis:// names one host\. Several are for sentinel, amqp"),
            ("amqp://a;sentinel://b", "amqp:// and sentinel:// don't mix"),
            ("amqp://a;;amqp://b", "one of its 3 hosts is empty"),
            ("amqp://a:port", "the port of a is not known"),
            ("amqp://a/?heartbeat=5", "parameter heartbeat is not known; there are none"),
            (
                "amqps://a?ssl_version=3",
                "ssl_version is not known; it may be ssl_cert_reqs",
            ),
            ("amqps://a?ssl_ca_certs=/no.pem", r"ssl_ca_certs=/no\.pem is no file"),
            ("sentinel://a/0", r"master_name is missing\. Fix: sentinel://host:26379/0\?master_n"),
            ("sentinel://a?master_name=b&x=1", "parameter x is not known; it may be master_name"),
            ("sentinel://a?master_name=b&ssl_cert_reqs=none", "is not spoken over TLS here"),
        ],
    )
    def test_that_can_not_be_used_is_refused_by_its_variable(self, server, url, said):
        with pytest.raises(ImproperlyConfigured, match=rf"^CELERY_BROKER_URL.*{said}"):
            server(url)

    def test_of_a_cache_is_no_brokers(self, server):
        with pytest.raises(ImproperlyConfigured, match=r"begins with one of"):
            server("amqp://a", brokers.CACHES)

    def test_is_that_of_each_host_with_what_one_of_them_says(self, server):
        found = server("amqp://user:secret@a;b:5673;amqp://c/books")
        assert found.url == (
            "amqp://user:secret@a/books;amqp://user:secret@b:5673/books;amqp://user:secret@c/books"
        )
        assert found.tls is None

    def test_over_tls_compares_each_hosts_own_name(self, server, monkeypatch):
        found = server("amqps://a;b/books")
        assert found.url == "amqps://a/books;amqps://b/books"
        assert found.tls == {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": None}
        met = []
        monkeypatch.setattr(
            amqp.pyamqp.Transport, "establish_connection", lambda self: met.append(self.client.ssl)
        )
        with app.connection_for_write(found.url) as to:
            assert isinstance(to.transport, amqp.SecureTransport)
            for host in ("a", "b"):
                to.hostname, to.ssl = host, found.tls
                to.transport.establish_connection()
        assert [each["server_hostname"] for each in met] == ["a", "b"]

    def test_of_sentinels_has_another_number_for_another_use(self):
        assert numbered(SENTINELS, 5) == SENTINELS.replace("/1?", "/5?")


class TestOptions:
    def test_of_rabbitmq_confirm_messages_and_wait_for_no_answer_for_ever(
        self, server, monkeypatch
    ):
        hurry = server("amqp://a").options(brokers.HURRY)
        assert (hurry["confirm_publish"], hurry["patience"]) == (True, brokers.HURRY)
        waited = []

        def wait(self, timeout=None):
            waited.append(timeout)

        monkeypatch.setattr(amqp.pyamqp.Connection, "drain_events", wait)
        for timeout in (None, 0, 2):
            amqp.Connection(patience=0.15).drain_events(timeout)
        assert waited == [0.15, 0, 2]

    def test_of_sentinels_name_the_master_and_ask_each_once(self, server):
        options = server(SENTINELS).options(0.15)
        asked = options["sentinel_kwargs"]
        assert options["master_name"] == "book"
        assert (asked["password"], asked["socket_timeout"]) == ("other", 0.15)
        assert asked["retry"].get_retries() == 0

    def test_of_a_cache_lead_to_the_master_by_all_sentinels(self, server):
        found = server(SENTINELS, brokers.CACHES)
        options = found.pool(0.2) | {"socket_timeout": 0.2}
        assert options.pop("pool_class") == f"{sentinel.__name__}.Pool"
        pool = sentinel.Pool.from_url(found.url, **options)
        hosts = [each.connection_pool.connection_kwargs for each in pool.sentinel_manager.sentinels]
        assert [(each["host"], each["port"]) for each in hosts] == [("s1", 26379), ("s2", 26380)]
        assert pool.service_name == "book"
        assert pool.connection_kwargs["password"] == "secret"
        assert pool.connection_kwargs["db"] == 1

    def test_of_one_server_are_its_address_alone(self, server):
        assert server("redis://a/1", brokers.CACHES).pool(0.2) == {}


class TestQueue:
    def test_of_rabbitmq_is_on_several_nodes_and_known_by_its_short_name(self):
        ours = queues.Queues([amqp.quorum_queue("pricebook")], create_missing_queue_type="quorum")
        assert [each.name for each in ours.consume_from.values()] == ["pricebook-quorum"]
        ours.select(["pricebook-events"])
        [events] = ours.consume_from.values()
        assert events.name == "pricebook-events-quorum"
        assert events.queue_arguments == {"x-queue-type": "quorum", "x-delivery-limit": 20}

    def test_of_another_broker_is_celerys(self):
        made = queues.Queues(create_missing_queue_type="classic")["pricebook-events"]
        assert (made.name, made.queue_arguments) == ("pricebook-events", None)

    def test_is_all_that_a_worker_sets_up(self):
        steps = worker.Consumer.Blueprint.default_steps
        assert not [each for each in steps if "delayed" in each]
        assert len(steps) > 5


class TestMessage:
    @pytest.mark.parametrize("when", ["countdown", "eta", "expires"])
    def test_waits_for_no_time(self, when):
        with pytest.raises(TypeError, match=f"set_price takes no {when}"):
            tasks.set_price.apply_async(**{when: 5})

    def test_that_is_refused_for_a_moment_is_sent_again(self, monkeypatch, caplog):
        monkeypatch.setattr(tasks, "_quiet_until", 0.0)
        tried = refused(monkeypatch, times=2)
        tasks.wake(tasks.set_price)
        assert (len(tried), tasks._quiet_until, caplog.text) == (3, 0.0, "")
        # Not at once: Celery's own tries are, and a queue's new leader takes a moment.
        assert tried[-1] - tried[0] >= 2 * tasks.BREATH

    def test_that_is_refused_on_and_on_is_given_up(self, monkeypatch, caplog):
        monkeypatch.setattr(tasks, "_quiet_until", 0.0)
        tried = refused(monkeypatch, times=100)
        tasks.wake(tasks.set_price)
        assert len(tried) == 3
        assert "took no message" in caplog.text

    def test_is_not_tried_again_when_the_first_try_took_long(self, monkeypatch):
        monkeypatch.setattr(tasks, "_quiet_until", 0.0)
        tried = refused(monkeypatch, times=100, longest=0.0)
        tasks.wake(tasks.set_price)
        assert len(tried) == 1


def refused(monkeypatch, times, longest=60.0):
    """Let the broker refuse so many messages; the instants of all."""
    tried = []
    monkeypatch.setattr(tasks, "LONGEST", longest)  # whatever this machine does meanwhile

    def send(self, *args, **options):
        tried.append(time.monotonic())
        if len(tried) <= times:
            raise OperationalError  # a nack has no text

    monkeypatch.setattr(tasks.Task, "apply_async", send)
    monkeypatch.setattr(queues, "is_crowded", lambda task: False)
    return tried


def test_beat_sends_an_hourly_message_again_soon(tmp_path, monkeypatch):
    scheduler = beat.Scheduler(app=app, schedule_filename=str(tmp_path / "schedule"))
    refused(monkeypatch, times=1)
    entry = scheduler.reserve(scheduler.schedule["check the book"])
    with pytest.raises(SchedulingError):
        scheduler.apply_async(entry, advance=False)
    assert 0 < scheduler.is_due(entry).next <= beat.AGAIN
    assert scheduler._when(entry, 3600.0) - time.monotonic() <= beat.AGAIN
    scheduler.reserve(entry)
    assert scheduler.is_due(entry).next > beat.AGAIN
    scheduler.close()


def test_what_can_not_be_reached_is_said_with_its_fix(monkeypatch):
    def refuse():
        raise OperationalError("[SSL: CERTIFICATE_VERIFY_FAILED] …: Hostname mismatch, …")

    monkeypatch.setattr(surroundings, "_ask_broker", refuse)
    [said] = surroundings.silent()
    assert said.startswith("CELERY_BROKER_URL: it can't be used: OperationalError [SSL")
    assert "Fix: use the name of the certificate in the address" in said
