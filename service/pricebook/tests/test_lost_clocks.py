"""No host's clock, and no message's age, decides whether due work is done."""

import logging
import time
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client as Browser
from django.utils import timezone
from kombu import Connection

from celery_app import app
from pricebook import beat, queues, surroundings
from pricebook.kit import host_clock
from services import tasks

AN_HOUR_BEHIND = "SELECT extract(epoch FROM clock_timestamp() - interval '1 hour')::float8"


@pytest.fixture
def scheduler(tmp_path):
    """Beat as it starts on a host whose clock is an hour behind that of the last one."""
    made = beat.Scheduler(app=app, schedule_filename=str(tmp_path / "schedule"))
    for entry in made.schedule.values():
        entry.last_run_at = timezone.now() + timedelta(hours=1)
    yield made
    made.close()


@pytest.fixture
def an_empty_queue():
    with Connection(app.conf.broker_url) as messages:
        queue = app.amqp.queues[app.conf.task_default_queue](messages.default_channel)
        queue.declare()
        queue.purge()
        yield queue
        queue.purge()


class TestBeat:
    def test_sends_sweeps_at_once_whatever_a_clock_was_set_to(self, scheduler, monkeypatch):
        sent = []
        monkeypatch.setattr(scheduler, "apply_entry", lambda entry, **_: sent.append(entry.name))
        scheduler.populate_heap()
        soonest = min(at for at, _, _ in scheduler._heap)
        assert soonest - scheduler._when(None, 0) <= 1.0  # as often as events are told
        scheduler.sent = {}
        for entry in scheduler.schedule.values():
            entry.last_run_at = timezone.now() - timedelta(days=1)
        scheduler.populate_heap()
        while not scheduler.tick():
            pass
        assert sorted(sent) == sorted(scheduler.schedule)  # each once
        assert all(not scheduler.is_due(entry).is_due for entry in scheduler.schedule.values())

    def test_keeps_its_order_when_the_clock_is_put_back(self, scheduler, monkeypatch):
        before = scheduler._when(None, 0)
        hour_ago = time.time() - 3600
        monkeypatch.setattr(time, "time", lambda: hour_ago)
        assert scheduler._when(None, 1) > before

    def test_sends_no_sweep_to_a_queue_that_nobody_empties(
        self, scheduler, an_empty_queue, monkeypatch
    ):
        monkeypatch.setattr(queues, "MOST", 3)
        for _ in range(5):
            scheduler.apply_async(scheduler.schedule["reprice"], advance=False)
        channel = an_empty_queue.channel
        assert queues.waiting(channel, an_empty_queue.name) == 3
        scheduler.apply_async(scheduler.schedule["check the book"], advance=False)
        assert queues.waiting(channel, an_empty_queue.name) == 4

    def test_is_the_one_that_is_started(self):
        assert app.conf.beat_scheduler == "pricebook.beat:Scheduler"


class TestMessage:
    def test_is_good_for_ever_and_comes_when_it_is_sent(self, an_empty_queue, monkeypatch):
        monkeypatch.setattr(tasks, "_quiet_until", 0.0)
        tasks.wake(tasks.set_price)
        message = an_empty_queue.get()
        message.ack()
        assert (message.headers["expires"], message.headers["eta"]) == (None, None)

    def test_that_a_worker_has_taken_at_once_is_no_fault(self, an_empty_queue, monkeypatch, caplog):
        monkeypatch.setattr(tasks, "_quiet_until", 0.0)
        count = queues.waiting

        def taken_first(channel, queue):
            an_empty_queue.get().ack()
            return count(channel, queue)

        monkeypatch.setattr(queues, "waiting", taken_first)
        tasks.wake(tasks.set_price)
        assert (caplog.records, tasks._quiet_until) == ([], 0.0)

    def test_that_wakes_is_left_out_where_many_wait(self, an_empty_queue, monkeypatch):
        monkeypatch.setattr(tasks, "_quiet_until", 0.0)
        monkeypatch.setattr(queues, "MOST", 3)
        for _ in range(5):
            tasks.wake(tasks.set_price)
        assert queues.waiting(an_empty_queue.channel, an_empty_queue.name) == 3
        monkeypatch.setattr(tasks, "_quiet_until", 0.0)


class TestHostClock:
    def test_that_is_right_is_nothing_to_say(self, db):
        assert host_clock.compare().far == 0
        assert surroundings.wrong() == []

    def test_that_is_off_is_said_in_the_log_by_doctor_and_on_the_home_page(
        self, db, monkeypatch, caplog
    ):
        with monkeypatch.context() as patch:
            patch.setattr(host_clock, "NOW", AN_HOUR_BEHIND)
            patch.setattr(host_clock, "_compared_at", -host_clock.EVERY)
            host_clock.compare_now_and_then()
            [said] = [each for each in caplog.records if each.name == host_clock.__name__]
            assert said.levelno == logging.ERROR
            assert "is 3600 s ahead of the database's" in said.getMessage()
            assert surroundings.wrong() == [said.getMessage()]
            host_clock.compare_now_and_then()  # not again in the same minute
            assert len(caplog.records) == 1
        browser = Browser()
        browser.force_login(User.objects.create_superuser("ada"))
        [clock] = host_clock.far_off()
        assert f"The clock of host {clock.host} is 3,600 s off" in browser.get("/").content.decode()
        monkeypatch.setattr(host_clock, "_compared_at", -host_clock.EVERY)
        host_clock.compare_now_and_then()
        assert host_clock.far_off() == []
