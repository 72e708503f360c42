"""Bulks beside other writers, on connections of their own, and bulks that are killed."""

import json
import threading

import pytest
from django.db import connection

from keys.tests.making import a_key
from pricebook.kit.scopes import SCOPES
from services.audit import book_check
from services.bulk import lines, running
from services.bulk.clients import ClientSteps
from services.bulk.steps import Steps
from services.bulk.subscriptions import SAY, SubscriptionSteps
from services.models import LedgerEntry, Service, Subscription
from services.tests.factories import a_client, a_plan, a_service, a_subscription
from services.tests.interleaving import (
    MOVE_SERVICE,
    Pause,
    a_person,
    execute_in_background,
    in_background,
)
from services.tests.programs import a_writer
from services.views import bulk as bulk_view

pytestmark = pytest.mark.django_db(transaction=True)

SUBSCRIPTIONS = "/api/subscriptions/bulk/"
SKIP = "?on_error=skip"


@pytest.fixture(autouse=True)
def room(monkeypatch):
    monkeypatch.setattr(bulk_view, "begun", threading.BoundedSemaphore(9))


@pytest.fixture
def key():
    return a_key("erp", *SCOPES)[1]


def post(key, sent, address=SUBSCRIPTIONS, **headers):
    """The status, and the results or the refusal."""
    answer = a_writer(key).post(address, {"lines": sent}, headers=headers or None)
    content = answer.getvalue() if answer.streaming else answer.content
    return answer.status_code, json.loads(content), answer.get("Idempotency-Replayed")


def outcomes(found):
    status, said, _ = found
    assert status == 200, said
    return [line["outcome"] for line in said["lines"]]


def a_line(number, record, **given):
    return {
        "source": "crm",
        "external_id": str(number),
        "client": record.client_id,
        "service": record.service_id,
        "plan": record.plan_id,
        **given,
    }


@pytest.fixture
def one():
    return a_subscription()


@pytest.fixture
def without_sources(monkeypatch):
    monkeypatch.setattr(SubscriptionSteps, "lock_before", lambda self: None)


@pytest.fixture
def one_attempt(monkeypatch):
    monkeypatch.setattr(running, "ATTEMPTS", 1)


def two_at_once(key, one, monkeypatch):
    """Two bulks of the same ids, one the other way round: the second comes while the first writes.

    Some are there, and some are new to both.
    """
    for number in (2, 4):
        a_subscription(source="crm", external_id=str(number))
    first = [a_line(n, one, comment="first") for n in range(1, 6)]
    second = [a_line(n, one, comment="second") for n in range(5, 0, -1)]
    pause = Pause(monkeypatch, SubscriptionSteps, "write")
    earlier = in_background(post, key, first)
    pause.until_reached()
    later = in_background(post, key, second).until_it_waits()
    pause.go_on()
    return earlier.result(), later.result()


class TestTwoOfTheSameIds:
    def test_come_one_after_the_other(self, key, one, monkeypatch):
        earlier, later = two_at_once(key, one, monkeypatch)
        assert outcomes(earlier) == ["created", "changed", "created", "changed", "created"]
        assert outcomes(later) == ["changed"] * 5
        comments = Subscription.objects.filter(source="crm").values_list("comment", flat=True)
        assert list(comments) == ["second"] * 5
        assert not book_check.check().differs

    def test_do_so_by_a_second_attempt_too(self, key, one, monkeypatch, without_sources):
        """As with a writer of SQL, who holds no lock of ours."""
        earlier, later = two_at_once(key, one, monkeypatch)
        assert (outcomes(earlier)[0], outcomes(later)) == ("created", ["changed"] * 5)

    def test_would_be_refused_without_both(
        self, key, one, monkeypatch, without_sources, one_attempt
    ):
        _, (status, said, _) = two_at_once(key, one, monkeypatch)
        assert (status, said["code"]) == (503, "crossed_writes")


def beside_a_person(key, one):
    """A bulk of an id that a person has just taken, and has not committed for a second."""
    with a_person() as ann:
        ann.execute(
            "INSERT INTO services_subscription (client_id, service_id, plan_id, comment, source,"
            " external_id) VALUES (%s, %s, %s, '', 'crm', '1')",
            [one.client_id, one.service_id, one.plan_id],
        )
        bulk = in_background(post, key, [a_line(1, one, comment="bulk")]).until_it_waits()
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(0.7)")
        ann.commit()
    return bulk.result()


class TestAnIdThatIsBeingTaken:
    def test_is_changed_when_it_is_there(self, key, one):
        assert outcomes(beside_a_person(key, one)) == ["changed"]
        assert Subscription.objects.get(source="crm").comment == "bulk"

    def test_would_be_a_conflict_without_a_second_attempt(self, key, one, one_attempt):
        status, said, _ = beside_a_person(key, one)
        assert (status, said["code"]) == (503, "crossed_writes")


KNOW = "UPDATE services_subscription SET source = %s, external_id = %s WHERE id = %s"
END_NOW = """
UPDATE services_subscription SET ended_at = clock_timestamp() WHERE id = %s AND ended_at IS NULL
"""


class TestWhatIsChangedMeanwhile:
    def test_is_compared_as_it_is_then(self, key, one):
        known = a_subscription(source="crm", external_id="1", comment="before")
        with a_person() as ann:
            ann.execute(
                "UPDATE services_subscription SET comment = 'bulk' WHERE id = %s", [known.pk]
            )
            sent = [{"source": "crm", "external_id": "1", "comment": "bulk"}]
            bulk = in_background(post, key, sent).until_it_waits()
            ann.commit()
        assert outcomes(bulk.result()) == ["unchanged"]

    def test_is_locked_before_it_is_judged(self, key, one, monkeypatch):
        """It was not there when those that differ were locked, and ends when it has been read."""
        came = []

        def and_somebody_comes(self, sql, params=None, execute=Steps.execute):
            execute(self, sql, params)
            if "TEMP TABLE bulk_held" in sql and not came:
                came.append(in_background(a_subscription, None, one.service, one.plan).result())
                with a_person() as ann:
                    ann.execute(KNOW, ["crm", "1", came[0].pk])
                    ann.commit()
            if "TEMP TABLE bulk_found" in sql:
                with a_person() as ann:
                    ann.execute(END_NOW, [came[0].pk])
                    ann.commit()

        monkeypatch.setattr(SubscriptionSteps, "execute", and_somebody_comes)
        status, said, _ = post(key, [a_line(1, one, plan=a_plan(30).pk)])
        assert (status, said["lines"][0]["code"]) == (400, "subscription_ended")

    @pytest.mark.parametrize("name", ["client", "service", "plan"])
    def test_is_not_there_if_it_was_deleted(self, key, name):
        named = {"client": a_client(), "service": a_service(), "plan": a_plan()}
        line = {"source": "crm", "external_id": "1", **{each: of.pk for each, of in named.items()}}
        with a_person() as ann:
            table = named[name]._meta.db_table
            ann.execute(f"DELETE FROM {table} WHERE id = %s", [named[name].pk])
            bulk = in_background(post, key, [line]).until_it_waits()
            ann.commit()
        status, said, _ = bulk.result()
        assert (status, said["lines"][0]["code"]) == (400, "not_found")
        assert said["lines"][0]["parameter"] == name

    def test_is_paid_by_the_new_list_price(self, key, one):
        """The bulk waits for an edit of the catalogue, and holds none of its locks then."""
        with a_person() as ann:
            ann.execute(MOVE_SERVICE, [999, one.service_id])
            bulk = in_background(post, key, [a_line(1, one)]).until_it_waits()
            ann.commit()
        outcomes(bulk.result())
        assert Subscription.objects.get(source="crm").price == 999

    def test_waits_for_the_bulk_and_not_the_bulk_for_it(self, key, one, monkeypatch):
        pause = Pause(monkeypatch, SubscriptionSteps, "write")
        bulk = in_background(post, key, [a_line(1, one)])
        pause.until_reached()
        with a_person() as ann:
            edit = execute_in_background(ann, MOVE_SERVICE, [999, one.service_id])
            edit.until_it_waits()
            pause.go_on()
            assert outcomes(bulk.result()) == ["created"]
            edit.result()
            ann.commit()
        assert Service.objects.get(pk=one.service_id).full_price == 999

    def test_finds_all_locks_taken_that_the_bulk_needs(self, key, one, monkeypatch, one_attempt):
        """An edit that comes between two of its statements waits, and can't be in its way."""
        known = a_subscription(one.client, source="crm", external_id="1")
        with a_person() as ann:
            edits = []

            def and_an_edit_comes(self, sql, params=None, execute=Steps.execute):
                execute(self, sql, params)
                if sql == SAY and not edits:
                    edit = execute_in_background(ann, MOVE_SERVICE, [999, one.service_id])
                    edits.append(edit.until_it_waits_or_ends())

            monkeypatch.setattr(SubscriptionSteps, "execute", and_an_edit_comes)
            sent = [a_line(1, known, ended_at="9000-01-01T00:00:00Z"), a_line(2, one)]
            assert outcomes(post(key, sent)) == ["changed", "created"]
            edits[0].result()
            ann.commit()


class TestClients:
    def test_two_of_one_e_mail_are_one(self, key, monkeypatch):
        line = {"source": "crm", "company_name": "Ann", "email": "ann@example.com"}
        pause = Pause(monkeypatch, ClientSteps, "write")
        address = f"/api/clients/bulk/{SKIP}"
        earlier = in_background(post, key, [line | {"external_id": "1"}], address)
        pause.until_reached()
        later = in_background(post, key, [line | {"external_id": "2"}], address).until_it_waits()
        single = in_background(
            lambda: a_writer(key).post("/api/clients/", line | {"external_id": "3"})
        ).until_it_waits()
        pause.go_on()
        assert outcomes(earlier.result()) == ["created"]
        assert outcomes(later.result()) == ["refused"]
        assert single.result().json()["code"] == "email_taken"


class TestKilledBulk:
    @pytest.fixture(autouse=True)
    def chunks(self, monkeypatch):
        monkeypatch.setattr(lines, "CHUNK", 2)

    def killed(self, key, sent, address, monkeypatch, after=0):
        """Kill the session of a bulk when it has written a chunk and not committed it."""
        begun = []

        def count(self, write=SubscriptionSteps.write):
            write(self)
            begun.append(self)
            if len(begun) == after + 1:
                with a_person() as killer:
                    pid = connection.connection.info.backend_pid
                    killer.execute("SELECT pg_terminate_backend(%s)", [pid])

        with monkeypatch.context() as patched:
            patched.setattr(SubscriptionSteps, "write", count)
            return in_background(
                lambda: post(key, sent, address, **{"Idempotency-Key": "one"})
            ).result()

    def test_of_all_or_nothing_leaves_nothing(self, key, one, monkeypatch):
        before = LedgerEntry.objects.count()
        sent = [a_line(n, one) for n in range(5)]
        status, said, _ = self.killed(key, sent, SUBSCRIPTIONS, monkeypatch)
        assert (status, said["code"]) == (503, "database_unavailable")
        assert not Subscription.objects.filter(source="crm").exists()
        assert LedgerEntry.objects.count() == before
        again = post(key, sent, **{"Idempotency-Key": "one"})
        assert (outcomes(again), again[2]) == (["created"] * 5, None)

    def test_line_by_line_goes_on_where_it_was(self, key, one, monkeypatch):
        sent = [a_line(n, one) for n in range(5)]
        status, *_ = self.killed(key, sent, SUBSCRIPTIONS + SKIP, monkeypatch, after=1)
        assert status == 503
        assert Subscription.objects.filter(source="crm").count() == 2
        again = post(key, sent, SUBSCRIPTIONS + SKIP, **{"Idempotency-Key": "one"})
        assert (outcomes(again), again[2]) == (["created"] * 5, None)
        third = post(key, sent, SUBSCRIPTIONS + SKIP, **{"Idempotency-Key": "one"})
        assert third == (200, again[1], "true")
        assert Subscription.objects.filter(source="crm").count() == 5

    def test_without_a_key_finds_what_was_written(self, key, one, monkeypatch):
        sent = [a_line(n, one) for n in range(5)]
        self.killed(key, sent, SUBSCRIPTIONS + SKIP, monkeypatch, after=1)
        again = post(key, sent, SUBSCRIPTIONS + SKIP)
        assert outcomes(again) == ["unchanged"] * 2 + ["created"] * 3


def test_two_with_one_key_have_one_effect(key, one, monkeypatch):
    sent = [a_line(n, one) for n in range(3)]
    pause = Pause(monkeypatch, SubscriptionSteps, "write")
    first = in_background(lambda: post(key, sent, **{"Idempotency-Key": "one"}))
    pause.until_reached()
    second = in_background(lambda: post(key, sent, **{"Idempotency-Key": "one"})).until_it_waits()
    pause.go_on()
    assert (first.result()[1], second.result()[1]) == (first.result()[1],) * 2
    assert second.result()[2] == "true"
    assert outcomes(second.result()) == ["created"] * 3
    assert Subscription.objects.filter(source="crm").count() == 3


def test_others_wait_for_a_chunk_and_not_for_all(key, one, monkeypatch):
    """Line by line: what a chunk has written is free when the next one begins."""
    monkeypatch.setattr(lines, "CHUNK", 2)
    known = [a_subscription(source="crm", external_id=str(n)) for n in range(4)]
    sent = [{"source": "crm", "external_id": str(n), "comment": "bulk"} for n in range(4)]
    seen = []

    def look(self, write=SubscriptionSteps.write):
        write(self)
        with a_person() as ann:
            found = ann.execute(
                "SELECT id FROM services_subscription WHERE id = ANY (%s) ORDER BY id"
                "   FOR NO KEY UPDATE SKIP LOCKED",
                [[each.pk for each in known]],
            )
            seen.append([id for (id,) in found])

    monkeypatch.setattr(SubscriptionSteps, "write", look)
    assert outcomes(post(key, sent, SUBSCRIPTIONS + SKIP)) == ["changed"] * 4
    ids = [each.pk for each in known]
    assert seen == [ids[2:], ids[:2]]


def test_those_that_find_no_thread_free_are_told_to_come_again(key, one, monkeypatch):
    monkeypatch.setattr(bulk_view, "begun", threading.BoundedSemaphore(1))
    pause = Pause(monkeypatch, SubscriptionSteps, "write")
    first = in_background(post, key, [a_line(1, one)])
    pause.until_reached()
    answer = a_writer(key).post(SUBSCRIPTIONS, {"lines": []})
    assert (answer.status_code, answer.json()["code"]) == (503, "too_many_bulks")
    assert answer["Retry-After"] == "10"
    pause.go_on()
    assert outcomes(first.result()) == ["created"]
    assert outcomes(post(key, [a_line(1, one)])) == ["unchanged"]
