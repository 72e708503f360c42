"""Events reach each endpoint in order, at least once, and an endpoint that fails waits alone."""

import json
import subprocess
import sys
import threading
from datetime import timedelta
from itertools import pairwise

import pytest
from django.db import connection

from events import delivering, keeping, tasks
from events.delivering import GIVE_UP_AFTER, LEASE, deliver, pause
from events.models import Attempt, Endpoint, Event, Happening
from events.sending import Answer
from events.tests import receiving
from events.tests.making import LOOPBACK, an_endpoint, some_events
from events.tests.receiving import ACCEPTED, Delivery, a_receiver
from pricebook.kit import points
from pricebook.tests.servers import SERVICE, on_this_database, until
from services.models import book_clock

pytestmark = pytest.mark.django_db
REFUSED: receiving.Answer = (500, {}, b"no")


@pytest.fixture(autouse=True)
def loopback_allowed(settings):
    settings.WEBHOOKS_TO_PRIVATE = LOOPBACK


def numbers(got: list[Delivery]) -> list[int | None]:
    return [json.loads(each.body)["number"] for each in got]


def again(moved_clock, endpoint: Endpoint) -> Endpoint:
    """Deliver once more, when it is due."""
    endpoint.refresh_from_db()
    moved_clock.to(max(endpoint.next_attempt_at, book_clock()))
    deliver()
    endpoint.refresh_from_db()
    return endpoint


class TestDeliver:
    def test_sends_all_in_order_and_each_once(self):
        events = some_events(1, 5)
        with a_receiver() as receiver:
            endpoint = an_endpoint(url=receiver.url)
            assert deliver() == 1
            assert deliver() == 0
        assert numbers(receiver.got) == [1, 2, 3, 4, 5]
        assert [each.id for each in receiver.got] == [event.webhook_id for event in events]
        assert json.loads(receiver.got[0].body) == {
            "type": events[0].type,
            "timestamp": "2027-01-02T00:00:00Z",
            "number": 1,
            "data": {"id": 1, "amount": "90071992547409.93"},
        }
        endpoint.refresh_from_db()
        assert (endpoint.delivered_through, endpoint.claimed_until) == (5, None)
        assert [(log.number, log.status_code, log.error) for log in endpoint.log.all()] == [
            (number, 204, "") for number in (5, 4, 3, 2, 1)
        ]

    def test_passes_over_types_that_it_is_not_sent(self):
        events = some_events(1, 9)
        with a_receiver() as receiver:
            endpoint = an_endpoint(url=receiver.url, types=[events[3].type])
            deliver()
        assert numbers(receiver.got) == [4]
        endpoint.refresh_from_db()
        assert endpoint.delivered_through == 9

    def test_sends_once_what_came_between_the_claim_and_the_look_at_what_waits(self):
        some_events(1, 2)
        with a_receiver() as receiver:
            endpoint = an_endpoint(url=receiver.url)
            found = delivering._claim(may_fail=True)
            assert found is not None
            some_events(3, 3)
            delivering._turn(found)
            deliver()
        assert numbers(receiver.got) == [1, 2, 3]
        endpoint.refresh_from_db()
        assert endpoint.delivered_through == 3

    def test_gives_others_their_turn(self, monkeypatch):
        monkeypatch.setattr(delivering, "IN_A_ROW", 2)
        some_events(1, 4)
        with a_receiver() as receiver:
            for name in ("one", "other"):
                an_endpoint(name, url=f"{receiver.url}&to={name}")
            assert deliver() == 4
        got = [each.path[-3:] for each in receiver.got]
        assert got == ["one"] * 2 + ["her"] * 2 + ["one"] * 2 + ["her"] * 2

    def test_sends_nothing_to_one_that_is_disabled_but_a_test(self):
        some_events(1, 2)
        now = book_clock()
        with a_receiver() as receiver:
            endpoint = an_endpoint(
                url=receiver.url, status="disabled", disabled_at=now, test_requested_at=now
            )
            deliver()
        [test] = receiver.got
        assert json.loads(test.body)["type"] == "endpoint.test"
        assert numbers(receiver.got) == [None]
        endpoint.refresh_from_db()
        assert (endpoint.test_requested_at, endpoint.delivered_through) == (None, 0)


class TestFailures:
    def test_keep_nobody_waiting_but_the_endpoint_itself(self):
        some_events(1, 3)
        with a_receiver(lambda _: REFUSED) as failing, a_receiver() as receiver:
            one = an_endpoint("one", url=failing.url)
            an_endpoint("other", url=receiver.url)
            deliver()
        assert numbers(failing.got) == [1]
        assert numbers(receiver.got) == [1, 2, 3]
        one.refresh_from_db()
        assert (one.attempts, one.delivered_through) == (1, 0)
        assert one.next_attempt_at > book_clock()
        assert one.log.get().answer == "no"

    def test_are_tried_again_with_the_same_bytes_and_id_until_one_succeeds(self, moved_clock):
        some_events(1, 2)
        answers = iter([REFUSED, (302, {"Location": "/"}, b""), ACCEPTED, ACCEPTED])
        with a_receiver(lambda _: next(answers)) as receiver:
            endpoint = an_endpoint(url=receiver.url)
            deliver()
            assert deliver() == 0  # it is not due
            assert again(moved_clock, endpoint).attempts == 2
            again(moved_clock, endpoint)
        first, second, third, _ = receiver.got
        assert first.id == second.id == third.id
        assert first.body == second.body == third.body
        assert numbers(receiver.got) == [1, 1, 1, 2]
        assert (endpoint.attempts, endpoint.failing_since) == (0, None)

    def test_pause_anew_after_a_success(self):
        """An event that fails behind one that was delivered is in its first attempt."""
        some_events(1, 2)
        answers = iter([ACCEPTED, REFUSED])
        with a_receiver(lambda _: next(answers)) as receiver:
            endpoint = an_endpoint(url=receiver.url, attempts=9, failing_since=book_clock())
            deliver()
        endpoint.refresh_from_db()
        assert (endpoint.delivered_through, endpoint.attempts) == (1, 1)
        assert endpoint.next_attempt_at < book_clock() + timedelta(seconds=10)

    def test_pause_longer_each_time(self):
        pauses = [pause(attempt, Answer(500, "no", 1)) for attempt in range(1, 30)]
        assert 4 <= pauses[0] <= 6
        assert all(later > 1.2 * earlier for earlier, later in pairwise(pauses[:9]))
        assert max(pauses) <= 1.2 * delivering.LONGEST_PAUSE
        assert pause(10**9, Answer(None, "no", 1)) > 0

    @pytest.mark.parametrize(
        ("status", "asked", "seconds"),
        [(429, "120", 120), (503, "0", 1), (503, "999999999", 3 * 60 * 60), (429, "nan", None)],
    )
    def test_that_say_when_are_tried_then(self, status, asked, seconds):
        some_events(1, 1)
        with a_receiver(lambda _: (status, {"Retry-After": asked}, b"")) as receiver:
            endpoint = an_endpoint(url=receiver.url)
            before = book_clock()
            deliver()
        endpoint.refresh_from_db()
        waits = (endpoint.next_attempt_at - before).total_seconds()
        assert 0 <= waits - (seconds or 4) < 10

    def test_of_three_days_disable_it_and_are_told(self, moved_clock):
        some_events(1, 1)
        with a_receiver(lambda _: REFUSED) as receiver:
            endpoint = an_endpoint(url=receiver.url)
            deliver()
            endpoint.refresh_from_db()
            moved_clock.to(endpoint.failing_since + GIVE_UP_AFTER - timedelta(hours=1))
            assert again(moved_clock, endpoint).status == "enabled"
            moved_clock.to(endpoint.failing_since + GIVE_UP_AFTER)
            assert again(moved_clock, endpoint).status == "disabled"
            assert deliver() == 0
        assert "for 3 days" in endpoint.disabled_reason
        [happening] = Happening.objects.filter(type="endpoint.disabled")
        assert happening.data["name"] == "biller"
        assert happening.data["waiting_number"] == 1

    def test_of_one_that_is_gone_disable_it_at_once(self):
        some_events(1, 1)
        with a_receiver(lambda _: (410, {}, b"")) as receiver:
            endpoint = an_endpoint(url=receiver.url)
            deliver()
        endpoint.refresh_from_db()
        assert endpoint.status == "disabled"
        assert "410" in endpoint.disabled_reason


class TestClaims:
    def test_of_a_worker_that_is_stopped_run_out_and_move_nothing_then(self, moved_clock):
        """Another one has sent all meanwhile; the first one comes back, and takes nothing back."""
        some_events(1, 3)
        with a_receiver() as receiver:
            endpoint = an_endpoint(url=receiver.url)

            def stopped(name: str) -> None:
                points.POINT = None
                assert deliver() == 0  # it is claimed
                moved_clock.passes(LEASE + timedelta(seconds=1))
                assert deliver() == 1

            points.POINT = stopped
            try:
                deliver()
            finally:
                points.POINT = None
        assert numbers(receiver.got) == [1, 1, 2, 3]
        endpoint.refresh_from_db()
        assert (endpoint.delivered_through, endpoint.claimed_until) == (3, None)

    def test_end_where_a_person_sends_it_elsewhere(self):
        some_events(1, 3)
        with a_receiver() as receiver:
            endpoint = an_endpoint(url=receiver.url, delivered_through=2)

            def replayed(name: str) -> None:
                points.POINT = None
                Endpoint.objects.filter(pk=endpoint.pk).go_on_after(0)

            points.POINT = replayed
            try:
                deliver()
            finally:
                points.POINT = None
        assert numbers(receiver.got) == [3, 1, 2, 3]

    @pytest.mark.parametrize("answer", [REFUSED, ACCEPTED])
    @pytest.mark.parametrize("asked", [None, book_clock])
    @pytest.mark.django_db(transaction=True)
    def test_end_where_the_endpoint_is_deleted(self, answer, asked):
        """The worker has nothing to log then, and goes on with the others."""
        some_events(1, 2)

        def deleted(_: Delivery) -> receiving.Answer:
            threading.Thread(target=delete).start()
            gone.wait(10)
            return answer

        def delete() -> None:
            Endpoint.objects.filter(name="biller").delete()
            connection.close()
            gone.set()

        gone = threading.Event()
        with a_receiver(deleted) as receiver, a_receiver() as other:
            an_endpoint(url=receiver.url, test_requested_at=asked and asked())
            an_endpoint("other", url=other.url)
            deliver()
        assert len(receiver.got) == 1
        assert numbers(other.got) == [1, 2]
        assert set(Attempt.objects.values_list("endpoint__name", flat=True)) == {"other"}

    def test_take_the_cursor_over_events_made_meanwhile(self, monkeypatch):
        """They are sent with those that were there when it was claimed, and not once more."""
        some_events(1, 2)
        claim = delivering._claim

        def claimed(may_fail: bool) -> delivering.Due | None:
            found = claim(may_fail)
            if found and found.last_number == 2:
                some_events(3, 4)
            return found

        monkeypatch.setattr(delivering, "_claim", claimed)
        with a_receiver() as receiver:
            an_endpoint(url=receiver.url)
            deliver()
        assert numbers(receiver.got) == [1, 2, 3, 4]

    def test_are_no_more_at_once_than_may_be(self, monkeypatch):
        some_events(1, 1)
        monkeypatch.setattr(delivering, "_free", threading.BoundedSemaphore(1))
        with a_receiver() as receiver:
            an_endpoint(url=receiver.url)
            inner = []
            points.POINT = lambda name: inner.append(deliver())
            try:
                assert deliver() == 1
            finally:
                points.POINT = None
        assert inner == [0]

    def test_of_those_that_fail_leave_places_for_the_others(self, monkeypatch):
        some_events(1, 1)
        monkeypatch.setattr(delivering, "_free_for_failing", threading.BoundedSemaphore(1))
        with a_receiver(lambda _: REFUSED) as failing, a_receiver() as receiver:
            for name in "abc":
                an_endpoint(name, url=failing.url, failing_since=book_clock())
            inner = []

            def also(name: str) -> None:
                points.POINT = None
                an_endpoint("healthy", url=receiver.url)
                inner.append(deliver())

            points.POINT = also
            try:
                assert deliver() == 3
            finally:
                points.POINT = None
        assert inner == [1]
        assert len(receiver.got) == 1


DELIVER = "import django; django.setup(); from events.delivering import deliver; deliver()"


@pytest.mark.django_db(transaction=True)
class TestKills:
    def test_lose_nothing_and_send_the_event_in_turn_once_more(self, shared_clock):
        """A worker is killed in the middle of its third delivery, and another one goes on."""
        events = some_events(1, 5)
        held, let_go = threading.Event(), threading.Event()

        def hold(delivery: Delivery):
            if numbers([delivery]) == [3] and not held.is_set():
                held.set()
                let_go.wait(20)
            return ACCEPTED

        with a_receiver(hold) as receiver:
            endpoint = an_endpoint(url=receiver.url)
            variables = {
                "DJANGO_SETTINGS_MODULE": "pricebook.settings",
                "WEBHOOKS_TO_PRIVATE": "127.0.0.0/8",
            }
            worker = subprocess.Popen(
                [sys.executable, "-c", DELIVER], cwd=SERVICE, env=on_this_database() | variables
            )
            until(held.is_set)
            worker.kill()
            worker.wait()
            let_go.set()
            assert deliver() == 0  # nobody knows yet that it is dead
            shared_clock.passes(LEASE + timedelta(seconds=1))
            deliver()
        assert numbers(receiver.got) == [1, 2, 3, 3, 4, 5]
        ids = [event.webhook_id for event in events]
        assert [each.id for each in receiver.got] == [*ids[:3], *ids[2:]]
        assert receiver.got[2].body == receiver.got[3].body
        endpoint.refresh_from_db()
        assert endpoint.delivered_through == 5


class TestTasks:
    def test_wake_as_many_deliveries_as_endpoints_wait(self, monkeypatch, settings):
        settings.WEBHOOKS_AT_ONCE = 2
        some_events(1, 1)
        woken = []
        monkeypatch.setattr(tasks, "wake", woken.append)
        tasks.tell_events()
        assert woken == []
        for name in "abc":
            an_endpoint(name)
        an_endpoint("d", claimed_until=book_clock() + LEASE)
        tasks.tell_events()
        assert woken == [tasks.deliver_events] * 2


class TestForget:
    def test_keeps_what_an_enabled_endpoint_has_not_had(self, moved_clock, monkeypatch):
        monkeypatch.setattr(keeping, "AT_ONCE", 2)
        some_events(1, 6)
        slow = an_endpoint("slow", delivered_through=4)
        an_endpoint("off", status="disabled", disabled_at=book_clock())
        for number in range(3):
            log = {"number": number, "webhook_id": "evt", "type": "a.b", "duration_ms": 1}
            Attempt.objects.create(endpoint=slow, **log)
        moved_clock.to(Event.objects.get(number=6).recorded_at + timedelta(days=91))

        assert keeping.forget_old() == 4
        assert [event.number for event in Event.objects.all()] == [5, 6]
        assert Attempt.objects.count() == 0
        Endpoint.objects.update(delivered_through=6)
        assert keeping.forget_old() == 2

    def test_leaves_no_gap_where_an_older_event_has_a_later_instant(self, moved_clock):
        """Events stand in the order of transactions, and a long one records earlier than others."""
        _, second, third = some_events(1, 3)
        Event.objects.filter(pk=1).update(recorded_at=third.recorded_at)
        moved_clock.to(second.recorded_at + timedelta(days=90, hours=1))
        assert keeping.forget_old() == 0
        moved_clock.to(third.recorded_at + timedelta(days=90, hours=1))
        assert keeping.forget_old() == 3
