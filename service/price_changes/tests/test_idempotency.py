"""A request that comes twice has one effect: with a key, without one, and at the same time."""

from datetime import timedelta

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.db import connection, transaction
from django.utils import timezone

from keys.models import ApiKey
from price_changes import verbs
from price_changes.models import PriceChange
from price_changes.running import lifecycle
from price_changes.tests.api import ALL, URL, a_program, approve, planned
from pricebook.kit.scopes import READ_SCOPES
from pricebook.kit.tables import AnsweredRequest
from pricebook.tasks import forget_answers
from pricebook.tests.authorship import who
from services.tests.factories import a_book
from services.tests.interleaving import Pause, in_background

BODY = {"kind": "set", "filter": {}, "adjustment": "percent", "operand": 10}


def plan(program, key, **more):
    return program.post(URL, BODY | more, headers={"Idempotency-Key": key})


@pytest.mark.django_db
class TestKey:
    @pytest.fixture(autouse=True)
    def book(self):
        return a_book(6)

    def test_gives_the_same_answer_again(self):
        erp = a_program(**ALL)
        first, second = plan(erp, "a"), plan(erp, "a")
        assert (first.status_code, second.status_code) == (201, 201)
        assert first.content == second.content
        assert second.headers["Idempotency-Replayed"] == "true"
        assert "Idempotency-Replayed" not in first.headers
        assert PriceChange.objects.count() == 1
        assert plan(erp, "b").content != first.content

    def test_keeps_the_language_of_the_answer_and_says_it(self):
        erp = a_program(**ALL)
        headers = {"Idempotency-Key": "a", "Accept-Language": "ru"}
        first = erp.post(URL, BODY, headers=headers)
        second = plan(erp, "a")
        assert second.content == first.content
        assert [each["Content-Language"] for each in (first, second)] == ["ru", "ru"]
        plan(erp, "b")
        again = erp.post(URL, BODY, headers=headers | {"Idempotency-Key": "b"})
        assert again["Content-Language"] == "en"

    def test_is_each_program_s_own(self):
        assert plan(a_program("erp", **ALL), "a").status_code == 201
        second = plan(a_program("erp", **ALL), "a")  # of the same name, with another key
        assert "Idempotency-Replayed" not in second.headers
        assert PriceChange.objects.count() == 2

    def test_is_for_one_request(self):
        erp = a_program(**ALL)
        change = plan(erp, "a").json()
        for response in (
            plan(erp, "a", title="other"),
            erp.post(f"{URL}{change['id']}/cancel/", headers={"Idempotency-Key": "a"}),
        ):
            body = response.json()
            assert (response.status_code, body["code"]) == (422, "idempotency_key_reused")
        assert PriceChange.objects.get().status == "planned"

    def test_keeps_no_refusal(self):
        erp = a_program(**ALL)
        change = planned(erp, **BODY)
        url, headers = f"{URL}{change['id']}/resume/", {"Idempotency-Key": "a"}
        assert erp.post(url, headers=headers).status_code == 409
        assert not AnsweredRequest.objects.exists()
        PriceChange.objects.update(status="paused")
        assert erp.post(url, headers=headers).status_code == 200
        assert erp.post(url, headers=headers).headers["Idempotency-Replayed"] == "true"

    def test_keeps_nothing_of_a_request_that_fails_after_its_effect(self, monkeypatch):
        erp = a_program(**ALL)
        erp.raise_request_exception = False
        with monkeypatch.context() as broken:
            broken.setattr("price_changes.views.answer", lambda *args: 1 / 0)
            assert plan(erp, "a").status_code == 500
        assert not PriceChange.objects.exists()
        assert plan(erp, "a").status_code == 201

    @pytest.mark.parametrize("key", ["", " ", "a b", "x" * 101, "ключ", "\x00", "a,b\t"])
    def test_has_a_form(self, key):
        response = plan(a_program(**ALL), key)
        assert (response.status_code, response.json()["code"]) == (400, "bad_idempotency_key")
        assert not PriceChange.objects.exists()

    def test_is_asked_for_the_permission_each_time(self):
        erp = a_program(**ALL)
        plan(erp, "a")

        ApiKey.objects.update(scopes=[*READ_SCOPES])
        assert plan(erp, "a").status_code == 403

    def test_is_forgotten_after_two_days_and_so_are_sessions_that_are_over(self):
        for seconds in (-1, 60):
            session = SessionStore()
            session.set_expiry(seconds)
            session.create()
        erp = a_program(**ALL)
        plan(erp, "old")
        AnsweredRequest.objects.update(answered_at=timezone.now() - timedelta(hours=49))
        plan(erp, "new")
        forget_answers()
        assert AnsweredRequest.objects.get().key == "new"
        assert Session.objects.get().session_key == session.session_key


@pytest.mark.django_db(transaction=True)
class TestAtTheSameTime:
    @pytest.fixture(autouse=True)
    def book(self):
        return a_book(6)

    def test_two_with_one_key_plan_one_change(self, monkeypatch):
        erp = a_program(**ALL)
        pause = Pause(monkeypatch, verbs, "preview")
        first = in_background(plan, erp, "a")
        pause.until_reached()
        second = in_background(plan, erp, "a").until_it_waits()
        pause.go_on()
        answers = [first.result(), second.result()]
        assert [answer.status_code for answer in answers] == [201, 201]
        assert answers[0].content == answers[1].content
        assert PriceChange.objects.count() == 1

    def test_the_second_has_the_effect_where_the_first_comes_to_nothing(self, monkeypatch):
        erp = a_program(**ALL)
        erp.raise_request_exception = False
        pause = Pause(monkeypatch, verbs, "preview")
        with transaction.atomic():
            pass
        first = in_background(plan, erp, "a")
        pause.until_reached()
        second = in_background(plan, erp, "a").until_it_waits()
        with connection.cursor() as cursor:  # as if its process were killed
            cursor.execute("SELECT pg_terminate_backend(%s)", [first.pid])
        pause.go_on()
        assert first.result().status_code == 503
        assert second.result().status_code == 201
        assert PriceChange.objects.count() == 1

    def test_two_approvals_without_a_key_are_one(self, monkeypatch):
        erp, boss = a_program(**ALL), a_program("boss", **ALL)
        change = planned(erp, **BODY)
        pause = Pause(monkeypatch, lifecycle, "_order")
        first = in_background(approve, erp, change)
        pause.until_reached()
        second = in_background(approve, boss, change).until_it_waits()
        pause.go_on()
        assert first.result().status_code == 200
        refused = second.result()
        assert (refused.status_code, refused.json()["code"]) == (409, "wrong_state")
        assert (refused.json()["state"], refused.json()["allowed"]) == (
            "scheduled",
            ["planned", "held"],
        )
        assert who(PriceChange.objects.get().approved_by) == "key erp"
