"""Webhook endpoints over the API: their verbs, their log, and the events themselves."""

import base64
import json
from datetime import timedelta

import pytest
from rest_framework.test import APIClient

from events import endpoints
from events.models import Attempt, Endpoint
from events.tests.making import DAY, LOOPBACK, an_endpoint, some_events
from events.types import TYPES
from keys.tests.asking import with_key
from keys.tests.making import a_key, a_member_of_staff
from pricebook.kit.scopes import (
    ADD_ENDPOINT,
    CHANGE_ENDPOINT,
    DELETE_ENDPOINT,
    VIEW_ENDPOINT,
    VIEW_EVENT,
)
from pricebook.kit.tables import AnsweredRequest
from services.ledger.place import Place

pytestmark = pytest.mark.django_db

HOOKS, EVENTS = "/api/webhooks/", "/api/events/"
BODY = {"name": "biller", "url": "https://8.8.8.8/in"}


@pytest.fixture
def ann():
    """A person who looks after webhooks."""
    person = APIClient()
    all_of_it = (VIEW_ENDPOINT, ADD_ENDPOINT, CHANGE_ENDPOINT, DELETE_ENDPOINT, VIEW_EVENT)
    person.force_login(a_member_of_staff("ann", *all_of_it))
    return person


@pytest.fixture
def erp():
    return with_key(a_key("erp", "webhooks:manage", "events:read")[1])


def refusal(answer):
    assert 400 <= answer.status_code < 500, answer.content
    return answer.status_code, answer.json()["code"]


class TestMaking:
    def test_shows_the_secret_this_once(self, erp):
        some_events(1, 3)
        answer = erp.post(HOOKS, BODY | {"types": ["prices.moved", "price_change.applied"]})
        made = answer.json()
        assert answer.status_code == 201
        stored = Endpoint.objects.get()
        assert made["secret"] == stored.secret
        assert len(base64.b64decode(stored.secret.removeprefix("whsec_"), validate=True)) == 32
        assert made["types"] == ["price_change.applied", "prices.moved"]  # in the order of the list
        # It is sent what happens from now on.
        assert (made["delivered_through"], made["behind"], made["state"]) == (3, 0, "delivering")
        assert made["created_by"].startswith("erp (key ")
        for path in (HOOKS, f"{HOOKS}{made['id']}/"):
            assert "whsec" not in erp.get(path).content.decode()

    def test_twice_under_one_idempotency_key_is_once_and_keeps_no_secret(self, ann):
        first, again = (ann.post(HOOKS, BODY, headers={"Idempotency-Key": "a"}) for _ in range(2))
        assert again.json() == {**first.json(), "secret": None}
        assert again.headers["Idempotency-Replayed"] == "true"
        assert b"whsec" not in bytes(AnsweredRequest.objects.get().answer)

    @pytest.mark.parametrize(
        ("body", "code", "parameter"),
        [
            ({"name": ""}, "bad_name", "name"),
            ({"name": "a\nb"}, "bad_name", "name"),
            ({"name": 7}, "bad_name", "name"),
            ({"name": "x" * 101}, "bad_name", "name"),
            ({"url": None}, "bad_address", "url"),
            ({"url": "https://u:p@8.8.8.8/"}, "bad_address", "url"),
            ({"url": "https://127.0.0.1/"}, "address_not_public", "url"),
            ({"url": "http://8.8.8.8/"}, "https_needed", "url"),
            ({"types": None}, "bad_types", "types"),
            ({"types": "prices.moved"}, "bad_types", "types"),
            ({"types": [["prices.moved"]]}, "bad_types", "types"),
            ({"types": ["prices.fallen"]}, "unknown_type", "types"),
            ({"secret": "whsec_eA=="}, "unknown_field", "secret"),
        ],
    )
    def test_refuses_what_can_not_be_used(self, ann, body, code, parameter):
        there = an_endpoint("there")
        before = Endpoint.objects.values().get()
        for answer in (
            ann.post(HOOKS, BODY | body),
            ann.patch(f"{HOOKS}{there.pk}/", body),
        ):
            assert refusal(answer) == (400, code)
            assert answer.json()["parameter"] == parameter
        assert Endpoint.objects.values().get() == before

    def test_refuses_a_name_that_another_has(self, ann):
        first, second = an_endpoint("biller"), an_endpoint("crm")
        assert refusal(ann.post(HOOKS, BODY)) == (409, "name_taken")
        answer = ann.patch(f"{HOOKS}{second.pk}/", {"name": first.name})
        assert refusal(answer) == (409, "name_taken")

    def test_has_a_most(self, ann, monkeypatch):
        monkeypatch.setattr(endpoints, "MOST", 1)
        an_endpoint("first")
        assert refusal(ann.post(HOOKS, BODY)) == (409, "too_many_endpoints")

    def test_takes_the_right_to_read_events(self):
        narrow = with_key(a_key("erp", "webhooks:manage")[1])
        answer = narrow.post(HOOKS, BODY)
        assert refusal(answer) == (403, "permission_denied")
        assert answer.json()["missing"] == VIEW_EVENT


class TestVerbs:
    def ask(self, client, endpoint, verb, body=None, status=200):
        answer = client.post(f"{HOOKS}{endpoint.pk}/{verb}/", body or {})
        assert answer.status_code == status, answer.content
        endpoint.refresh_from_db()
        return answer.json()

    def test_rotate_leaves_the_old_secret_for_a_while(self, ann):
        endpoint = an_endpoint()
        old = endpoint.secret
        shown = self.ask(ann, endpoint, "rotate", {"overlap_hours": 2})
        assert (shown["secret"], endpoint.previous_secret) == (endpoint.secret, old)
        assert endpoint.secret != old
        assert shown["old_secret_until"] is not None
        shown = self.ask(ann, endpoint, "end_rotation")
        assert (endpoint.previous_secret, shown["old_secret_until"]) == ("", None)
        self.ask(ann, endpoint, "rotate", {"overlap_hours": 0})
        assert endpoint.previous_secret == ""

    @pytest.mark.parametrize("hours", [-1, 721, 1.5, "2", True, None])
    def test_rotate_refuses_an_overlap_that_is_none(self, ann, hours):
        endpoint = an_endpoint()
        answer = ann.post(f"{HOOKS}{endpoint.pk}/rotate/", {"overlap_hours": hours})
        assert refusal(answer) == (400, "out_of_range")
        assert Endpoint.objects.get().secret == endpoint.secret

    def test_disable_and_enable_lose_nothing(self, ann):
        some_events(1, 5)
        endpoint = an_endpoint(delivered_through=2, claimed_until=DAY, attempts=3)
        shown = self.ask(ann, endpoint, "disable", {"reason": "moving house"})
        assert shown["state"] == "disabled"
        assert shown["disabled_reason"].startswith("ann (person ")
        assert shown["disabled_reason"].endswith(": moving house")
        assert endpoint.claimed_until is None  # a worker that was sending stops
        assert self.ask(ann, endpoint, "disable", {"reason": "again"}) == shown
        shown = self.ask(ann, endpoint, "enable")
        assert (shown["state"], shown["behind"], shown["attempts"]) == ("delivering", 3, 0)
        assert (shown["disabled_at"], shown["disabled_reason"]) == (None, "")
        assert self.ask(ann, endpoint, "enable") == shown

    def test_enable_says_what_was_deleted_meanwhile(self, ann):
        some_events(4, 5)
        disabled = {"status": "disabled", "disabled_at": DAY}
        endpoint = an_endpoint(delivered_through=2, **disabled)
        answer = ann.post(f"{HOOKS}{endpoint.pk}/enable/")
        assert refusal(answer) == (410, "events_forgotten")
        assert answer.json()["oldest"] == 4
        self.ask(ann, endpoint, "replay", {"from": 4}, 202)
        assert self.ask(ann, endpoint, "enable")["behind"] == 2

    def test_test_is_asked_for_also_of_one_that_is_disabled(self, ann):
        endpoint = an_endpoint(status="disabled", disabled_at=DAY)
        self.ask(ann, endpoint, "test", status=202)
        assert endpoint.test_requested_at is not None

    @pytest.mark.parametrize(
        ("body", "through"),
        [
            ({"from": 3}, 2),
            ({"from": 7}, 6),  # skips what waits
            ({"place": str(Place(1004, 4))}, 4),
            ({"place": str(Place(1006, 6))}, 6),
            ({"since": (DAY + timedelta(4)).isoformat()}, 3),
            ({"since": (DAY + timedelta(40)).isoformat()}, 6),
        ],
    )
    def test_replay_sets_it_back(self, ann, body, through):
        some_events(3, 6)
        endpoint = an_endpoint(
            delivered_through=5, claimed_until=DAY, failing_since=DAY, attempts=3
        )
        shown = self.ask(ann, endpoint, "replay", body, 202)
        assert shown["delivered_through"] == endpoint.delivered_through == through
        assert (endpoint.claimed_until, endpoint.failing_since, endpoint.attempts) == (
            None,
            None,
            0,
        )

    @pytest.mark.parametrize(
        ("body", "status", "code"),
        [
            ({}, 400, "replay_from_one"),
            ({"from": 3, "since": DAY.isoformat()}, 400, "replay_from_one"),
            ({"from": 8}, 400, "event_ahead"),
            ({"from": 2}, 410, "events_forgotten"),
            ({"place": str(Place())}, 410, "events_forgotten"),
            ({"since": DAY.isoformat()}, 410, "events_forgotten"),
            ({"from": 0}, 400, "bad_id"),
            ({"from": None}, 400, "bad_id"),
            ({"from": True}, 400, "bad_id"),
            ({"place": "x"}, 400, "bad_parameter"),
            ({"place": None}, 400, "bad_parameter"),
            ({"since": "soon"}, 400, "not_an_instant"),
            ({"since": 7}, 400, "not_an_instant"),
        ],
    )
    def test_replay_refuses_what_is_not_there(self, ann, body, status, code):
        some_events(3, 6)
        endpoint = an_endpoint(delivered_through=5)
        answer = ann.post(f"{HOOKS}{endpoint.pk}/replay/", body)
        assert refusal(answer) == (status, code)
        endpoint.refresh_from_db()
        assert endpoint.delivered_through == 5

    @pytest.mark.parametrize("given", [{"url": "https://8.8.4.4/"}, {"types": ["prices.moved"]}])
    def test_what_it_is_sent_anew_is_tried_at_once(self, ann, given):
        endpoint = an_endpoint(failing_since=DAY, attempts=9, next_attempt_at=DAY + timedelta(9))
        shown = ann.patch(f"{HOOKS}{endpoint.pk}/", given).json()
        assert shown.items() >= given.items()
        assert (shown["state"], shown["attempts"]) == ("delivering", 0)
        assert shown["next_attempt_at"] < (DAY + timedelta(9)).isoformat()

    def test_delete_takes_the_log_along_and_no_event(self, ann):
        [event] = some_events(1, 1)
        endpoint = an_endpoint()
        Attempt.objects.create(
            endpoint=endpoint, number=1, webhook_id=event.webhook_id, type=event.type, duration_ms=1
        )
        assert ann.delete(f"{HOOKS}{endpoint.pk}/").status_code == 204
        assert not Attempt.objects.exists()
        assert refusal(ann.get(f"{HOOKS}{endpoint.pk}/")) == (404, "not_found")
        assert refusal(ann.delete(f"{HOOKS}{endpoint.pk}/")) == (404, "not_found")

    @pytest.mark.parametrize("verb", ["end_rotation", "enable", "test", "rotate", "disable"])
    def test_take_no_other_field(self, ann, verb):
        answer = ann.post(f"{HOOKS}{an_endpoint().pk}/{verb}/", {"now": True})
        assert refusal(answer) == (400, "unknown_field")

    def test_disable_refuses_a_reason_that_is_no_text(self, ann):
        endpoint = an_endpoint()
        for reason in (None, 7, "x" * 301, "two\nlines"):
            answer = ann.post(f"{HOOKS}{endpoint.pk}/disable/", {"reason": reason})
            assert refusal(answer) == (400, "bad_reason")


class TestDeliveries:
    def test_are_paged_the_newest_first(self, ann, django_assert_num_queries):
        endpoint, other = an_endpoint(), an_endpoint("other")
        for number in (1, 2, 3):
            for each in (endpoint, other):
                Attempt.objects.create(
                    endpoint=each, number=number, webhook_id="evt_1", type="prices.moved",
                    status_code=500, error="500", duration_ms=7, answer="oops",
                )  # fmt: skip
        path = f"{HOOKS}{endpoint.pk}/deliveries/"
        # * the session * its user * permissions: of the user * and its groups
        # * the endpoint * its log
        with django_assert_num_queries(6):
            first = ann.get(path, {"page_size": 2}).json()
        second = ann.get(first["next"]).json()
        assert [each["number"] for each in first["result"] + second["result"]] == [3, 2, 1]
        assert (second["next"], first["result"][0]["delivered"]) == (None, False)
        there = f"{HOOKS}{other.pk}/deliveries/{first['next'].partition('/deliveries/')[2]}"
        assert refusal(ann.get(there)) == (400, "cursor_of_another_list")


class TestEvents:
    def read(self, client, **query):
        answer = client.get(EVENTS, query)
        assert answer.status_code == 200, answer.content
        return [each["number"] for each in answer.json()["result"]], answer.json()["next"]

    def test_are_read_on_from_a_number(self, erp):
        [*_, event] = some_events(1, 5)
        assert self.read(erp, page_size=2) == ([1, 2], 2)
        assert self.read(erp, page_size=2, after=2) == ([3, 4], 4)
        assert self.read(erp, page_size=2, after=4) == ([5], 5)
        assert self.read(erp, after=5) == ([], 5)
        answer = erp.get(EVENTS, {"after": 4})
        assert answer.json()["result"] == [
            {
                "number": 5,
                "webhook_id": event.webhook_id,
                "type": event.type,
                "timestamp": "2027-01-06T00:00:00Z",
                "data": {"id": 5, "amount": "90071992547409.93"},
            }
        ]
        assert event.data.replace(": ", ":").encode() in answer.content.replace(b": ", b":")
        assert 'after=5>; rel="next"' in answer.headers["Link"]

    def test_are_read_by_type_and_then_go_on_behind_the_others(self, erp):
        some_events(1, 2 * len(TYPES))
        types = list(TYPES)
        found, next = self.read(erp, type=f"{types[1]},{types[2]}")
        assert found == [1, 2, 1 + len(types), 2 + len(types)]
        assert next == 2 * len(types)
        assert self.read(erp, type=types[1], page_size=1) == ([1], 1)

    @pytest.mark.parametrize(
        ("query", "status", "code"),
        [
            ({"after": 7}, 400, "event_ahead"),
            ({"after": 1}, 410, "events_forgotten"),
            ({"after": -1}, 400, "bad_parameter"),
            ({"after": "x"}, 400, "bad_parameter"),
            ({"after": "9" * 30}, 400, "bad_parameter"),
            ({"type": "prices.fallen"}, 400, "bad_parameter"),
            ({"type": ""}, 400, "bad_parameter"),
            ({"types": "prices.moved"}, 400, "unknown_parameter"),
            ({"page_size": 0}, 400, "bad_parameter"),
        ],
    )
    def test_refuse_what_is_not_there(self, erp, query, status, code):
        some_events(3, 6)
        assert refusal(erp.get(EVENTS, query)) == (status, code)
        assert self.read(erp) == ([3, 4, 5, 6], 6)
        assert self.read(erp, after=2) == ([3, 4, 5, 6], 6)

    def test_that_are_all_deleted_are_told_of(self, erp):
        some_events(3, 2)  # two there were, and none is left
        assert self.read(erp) == ([], 2)
        assert refusal(erp.get(EVENTS, {"after": 1})) == (410, "events_forgotten")

    def test_are_not_open_with_open_reads(self, settings):
        settings.OPEN_READS = True
        for path in (EVENTS, HOOKS):
            assert APIClient().get(path).status_code == 401


HOSTILE = [
    "[" * 5000 + "]" * 5000, "[]", "null", '"x"', "1e400", '{"name": NaN}', '{"name": "x"',
    '{"url": "\\u0000"}', '{"name": "\\ud800"}', '{"types": {"a": 1}}', '{"url": ["x"]}',
    '{"id": 1}', '{"from": 1.5}', '{"since": {}}', b'{"name": "\xff"}', '{"types": [1, null]}',
    json.dumps({"name": "x", "url": "https://[::1", "types": []}),
    json.dumps({"name": "x", "url": "https://\u202e.example/", "types": []}),
    json.dumps({"name": "x", "url": "https://" + "a." * 900 + "example/", "types": []}),
]  # fmt: skip


@pytest.mark.parametrize("body", HOSTILE)
def test_bodies_that_make_no_sense_are_refused(body, erp, settings):
    settings.WEBHOOKS_TO_PRIVATE = LOOPBACK
    one = f"{HOOKS}{an_endpoint().pk}/"
    before = list(Endpoint.objects.values())
    verbs = ("rotate", "end_rotation", "enable", "disable", "test", "replay")
    writes = [("POST", HOOKS), ("PATCH", one), *[("POST", f"{one}{verb}/") for verb in verbs]]
    for method, path in writes:
        for headers in ({}, {"Idempotency-Key": "k"}):
            answer = erp.generic(
                method, path, body, content_type="application/json", headers=headers
            )
            assert 400 <= answer.status_code < 500, (method, path, answer.content)
            assert answer.json()["code"]
            assert answer.json()["detail"]
    assert list(Endpoint.objects.values()) == before
