"""Keys over the API."""

import json
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework.test import APIClient

from keys.models import ApiKey
from keys.tests.asking import URL, accepts, code_of, with_key
from keys.tests.making import a_key, a_member_of_staff
from pricebook.kit.scopes import CHANGE_KEY, MAKE_KEY, VIEW_CLIENT, VIEW_KEY
from pricebook.kit.tables import AnsweredRequest

pytestmark = pytest.mark.django_db


@pytest.fixture
def ann():
    """A person who looks after keys, and may view clients, with a session."""
    person = APIClient()
    person.force_login(a_member_of_staff("ann", VIEW_KEY, MAKE_KEY, CHANGE_KEY, VIEW_CLIENT))
    return person


def made(person, **body):
    response = person.post(URL, {"name": "erp", "scopes": ["clients:read"], **body})
    assert response.status_code == 201, response.content
    return response.json()


class TestMaking:
    def test_shows_the_secret_this_once(self, ann):
        key = made(ann)
        assert accepts(key["key"])
        for path in (URL, f"{URL}{key['id']}/"):
            answer = ann.get(path)
            assert answer.status_code == 200
            assert key["key"] not in answer.content.decode()
            assert "hash" not in answer.content.decode()

    def test_says_what_it_is(self, ann):
        end = (timezone.now() + timedelta(days=90)).isoformat()
        key = made(ann, expires_at=end)
        stored = ApiKey.objects.get()
        assert {name: key[name] for name in ("id", "name", "prefix", "state", "scopes")} == {
            "id": stored.number,
            "name": "erp",
            "prefix": stored.prefix,
            "state": "valid",
            "scopes": ["clients:read"],
        }
        assert key["made_by"].startswith("ann (person ")
        assert stored.expiry_date.isoformat() == end
        assert (key["last_used_at"], key["old_secret_until"]) == (None, None)
        assert (key["rotated_by"], key["revoked_by"]) == ("", "")

    @pytest.mark.parametrize(
        ("body", "code", "parameter"),
        [
            ({"name": ""}, "bad_name", "name"),
            ({"name": ["erp"]}, "bad_name", "name"),
            ({"scopes": None}, "bad_scopes", "scopes"),
            ({"scopes": "clients:read"}, "bad_scopes", "scopes"),
            ({"scopes": [["clients:read"]]}, "bad_scopes", "scopes"),
            ({"scopes": ["clients:erase"]}, "unknown_scope", "scopes"),
            ({"expires_at": "2020-01-01T00:00:00Z"}, "in_the_past", "expires_at"),
            ({"expires_at": "soon"}, "not_an_instant", "expires_at"),
            ({"expires_at": 7}, "not_an_instant", "expires_at"),
            ({"secret": "x"}, "unknown_field", "secret"),
        ],
    )
    def test_refuses_what_can_not_be_used(self, ann, body, code, parameter):
        answer = ann.post(URL, {"name": "erp", "scopes": ["clients:read"], **body})
        assert (answer.status_code, answer.json()["code"]) == (400, code), answer.content
        assert answer.json()["parameter"] == parameter
        assert not ApiKey.objects.exists()

    def test_refuses_more_than_the_maker_may(self, ann):
        answer = ann.post(URL, {"name": "erp", "scopes": ["price_changes:approve"]})
        assert (answer.status_code, answer.json()["code"]) == (403, "grants_too_much")

    def test_by_a_key_that_manages_keys(self):
        parent, text = a_key("parent", "clients:read", "keys:manage")
        child = made(with_key(text))
        assert child["made_by"] == f"parent (key {parent.number})"
        assert accepts(child["key"])
        other = with_key(child["key"]).post(URL, {"name": "x", "scopes": []})
        assert (other.status_code, other.json()["missing"]) == (403, MAKE_KEY)

    def test_twice_under_one_idempotency_key_makes_one_and_keeps_no_secret(self, ann):
        body = {"name": "erp", "scopes": ["clients:read"]}
        first, again = (ann.post(URL, body, headers={"Idempotency-Key": "a"}) for _ in range(2))
        assert (first.status_code, again.status_code) == (201, 201)
        assert again.headers["Idempotency-Replayed"] == "true"
        assert again.json() == {**first.json(), "key": None}
        assert ApiKey.objects.count() == 1
        kept = bytes(AnsweredRequest.objects.get().answer)
        assert json.loads(kept)["key"] is None
        assert first.json()["key"].partition(".")[2] not in kept.decode()


class TestLooking:
    def test_is_paged_the_newest_first(self, ann):
        numbers = [a_key(f"key {n}")[0].number for n in range(5)]
        first = ann.get(URL, {"page_size": 2}).json()
        second = ann.get(first["next"]).json()
        third = ann.get(second["next"]).json()
        pages = [[key["id"] for key in page["result"]] for page in (first, second, third)]
        assert [*pages[0], *pages[1], *pages[2]] == numbers[::-1]
        assert (first["previous"], third["next"]) == (None, None)
        back = ann.get(third["previous"]).json()
        assert [key["id"] for key in back["result"]] == pages[1]
        assert [key["id"] for key in ann.get(back["previous"]).json()["result"]] == pages[0]

    def test_refuses_a_cursor_of_another_list(self, ann):
        for n in range(3):
            a_key(f"key {n}")
        other = with_key(a_key()[1]).get("/api/clients/").json()
        assert other["next"] is None
        for cursor in ("x", "", "AAAA"):
            answer = ann.get(URL, {"cursor": cursor})
            assert answer.status_code == 400

    def test_for_no_such_key_is_a_404(self, ann):
        for number in (2**62, "9" * 30, 0):
            answer = ann.get(f"{URL}{number}/")
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")

    def test_costs_the_same_for_many_keys(self, ann, django_assert_num_queries):
        parent, _ = a_key("parent")
        for more in (2, 20):
            for n in range(more):
                a_key(f"key {n}", made_with_id=parent.number)
            # * the session * its user * permissions: of the user * and its groups * the keys
            with django_assert_num_queries(5):
                ann.get(URL)

    def test_is_not_open_with_open_reads(self, settings):
        settings.OPEN_READS = True
        assert APIClient().get("/api/clients/").status_code == 200
        assert APIClient().get(URL).status_code == 401
        assert APIClient().get(f"{URL}1/").status_code == 401


class TestRotating:
    def test_gives_a_new_secret_beside_the_old_one(self, ann):
        key = made(ann)
        rotated = ann.post(f"{URL}{key['id']}/rotate/", {"overlap_hours": 2}).json()
        assert rotated["id"] == key["id"]
        assert rotated["rotated_by"].startswith("ann (person ")
        assert rotated["old_secret_until"] is not None
        assert accepts(key["key"])
        assert accepts(rotated["key"])
        last = ann.post(f"{URL}{key['id']}/rotate/", {"overlap_hours": 0}).json()
        assert code_of(key["key"]) == "wrong_key"
        assert code_of(rotated["key"]) == "rotated_key"
        assert accepts(last["key"])

    def test_by_itself_takes_no_scope(self):
        key, text = a_key("biller", "clients:read")
        rotated = with_key(text).post(f"{URL}{key.number}/rotate/", {})
        assert rotated.status_code == 200
        assert accepts(rotated.json()["key"])

    def test_twice_under_one_idempotency_key_is_once(self, ann):
        key = made(ann)
        path = f"{URL}{key['id']}/rotate/"
        first, again = (ann.post(path, {}, headers={"Idempotency-Key": "a"}) for _ in range(2))
        assert again.json() == {**first.json(), "key": None}
        assert accepts(first.json()["key"])
        assert accepts(key["key"])

    @pytest.mark.parametrize("hours", [-1, 721, 1.5, "2", True, None])
    def test_refuses_an_overlap_that_is_none(self, ann, hours):
        key = made(ann)
        answer = ann.post(f"{URL}{key['id']}/rotate/", {"overlap_hours": hours})
        assert (answer.status_code, answer.json()["code"]) == (400, "out_of_range")
        assert accepts(key["key"])

    def test_of_another_s_key_is_refused(self, ann):
        bob = APIClient()
        bob.force_login(User.objects.create_superuser("bob"))
        key = made(ann)
        answer = bob.post(f"{URL}{key['id']}/rotate/", {})
        assert (answer.status_code, answer.json()["code"]) == (403, "key_of_another")
        assert accepts(key["key"])


class TestRevoking:
    def test_ends_a_key_at_once(self, ann):
        key = made(ann)
        answer = ann.post(f"{URL}{key['id']}/revoke/")
        assert (answer.status_code, answer.json()["state"]) == (200, "revoked")
        assert code_of(key["key"]) == "revoked_key"
        assert ann.post(f"{URL}{key['id']}/revoke/").status_code == 200

    def test_is_the_last_thing_that_a_key_does(self):
        key, text = a_key("biller", "clients:read")
        assert with_key(text).post(f"{URL}{key.number}/revoke/").status_code == 200
        assert code_of(text) == "revoked_key"

    def test_takes_no_field(self, ann):
        key = made(ann)
        answer = ann.post(f"{URL}{key['id']}/revoke/", {"reason": "x"})
        assert (answer.status_code, answer.json()["code"]) == (400, "unknown_field")
