"""The permissions to plan, to approve, and to set price states."""

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from price_changes.models import PriceChange
from price_changes.tests.api import (
    APPROVE,
    PLAN,
    URL,
    a_person,
    a_program,
    approve,
    planned,
)
from pricebook.kit.scopes import VIEW_CHANGE, VIEW_CLIENT, VIEW_SUBSCRIPTION
from pricebook.tests.authorship import who as said
from services import repricing
from services.tests.factories import a_book, a_subscription

pytestmark = pytest.mark.django_db

ADD = "price_changes.add_pricechange"
MAY_APPROVE = "price_changes.approve_pricechange"
SET_STATE = "services.set_price_state"
BODY = {"kind": "set", "filter": {}, "adjustment": "percent", "operand": 10}
APPROVERS_VERBS = ["approve", "pause", "resume", "cancel", "revert"]


@pytest.fixture(autouse=True)
def book():
    return a_book(6)


def refused(response, missing):
    body = response.json()
    assert (response.status_code, body["code"]) == (403, "permission_denied")
    assert body["missing"] == missing
    assert missing in body["detail"]


class TestReading:
    @pytest.mark.parametrize("page", ["", "{id}/", "{id}/rows/", "{id}/skips/"])
    def test_needs_a_permission_for_each_thing_that_is_shown(self, page):
        change = planned(a_program(**PLAN), **BODY)
        path = URL + page.format(**change)
        refused(a_person("eve", VIEW_SUBSCRIPTION).get(path), VIEW_CHANGE)
        sees = a_person("ann", VIEW_CHANGE)
        if page.endswith(("rows/", "skips/")):
            refused(sees.get(path), VIEW_SUBSCRIPTION)
            sees = a_person("bob", VIEW_CHANGE, VIEW_SUBSCRIPTION)
        assert sees.get(path).status_code == 200
        assert a_program("reader").get(path).status_code == 200

    def test_names_the_clients_that_move_most_to_those_who_may_read_clients(self, settings):
        planner = a_person("planner", ADD, VIEW_CHANGE)
        change = planned(planner, **BODY)
        path = f"{URL}{change['id']}/"

        def movers(answer):
            return answer.json()["preview"]["largest_movers"]

        assert change["preview"]["largest_movers"] == movers(planner.get(path)) == []
        assert movers(planner.post(f"{path}preview/")) == []
        assert movers(a_person("ann", VIEW_CHANGE, VIEW_CLIENT).get(path))[0]["client_name"]
        assert movers(a_program("reader").get(path))
        settings.OPEN_READS = True
        assert movers(APIClient().get(path))

    def test_needs_a_session_or_a_key(self):
        assert APIClient().get(URL).status_code == 401


class TestWriting:
    def test_needs_to_be_somebody_even_where_reading_is_open(self, settings):
        settings.OPEN_READS = True
        assert APIClient().get(URL).status_code == 200
        for path in (URL, f"{URL}1/approve/", "/api/subscriptions/1/follow/"):
            response = APIClient().post(path, {})
            assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")

    def test_is_not_for_a_key_without_rights(self):
        program, subscription = a_program(), a_subscription()
        refused(program.post(URL, BODY), ADD)
        for verb in APPROVERS_VERBS:
            refused(program.post(f"{URL}1/{verb}/"), MAY_APPROVE)
        refused(program.post(f"{URL}1/preview/"), f"{ADD} or {MAY_APPROVE}")
        for verb in ("lock", "release", "negotiate", "follow"):
            refused(program.post(f"/api/subscriptions/{subscription.pk}/{verb}/"), SET_STATE)
        assert not PriceChange.objects.exists()

    @pytest.mark.parametrize("who", [a_program, a_person])
    def test_planning_is_not_approving(self, who):
        planner, approver = (
            (who("planner", **PLAN), who("approver", **APPROVE))
            if who is a_program
            else (who("planner", ADD), who("approver", MAY_APPROVE))
        )
        refused(approver.post(URL, BODY), ADD)
        change = planned(planner, **BODY)
        for verb in APPROVERS_VERBS:
            refused(planner.post(f"{URL}{change['id']}/{verb}/"), MAY_APPROVE)
        again = planner.post(f"{URL}{change['id']}/preview/")
        assert again.status_code == 200
        response = approve(approver, again.json())
        kind = "key" if who is a_program else "person"
        assert response.status_code == 200
        assert said(response.json()["approved_by"]) == f"{kind} approver"

    def test_setting_price_states_is_a_permission_of_its_own(self):
        subscription = a_subscription()
        url = f"/api/subscriptions/{subscription.pk}/lock/"
        refused(a_person("ann", ADD, MAY_APPROVE).post(url, {"reason": "x"}), SET_STATE)
        refused(a_program(**PLAN, **APPROVE).post(url, {"reason": "x"}), SET_STATE)
        assert a_person("bob", SET_STATE).post(url, {"reason": "x"}).status_code == 200
        program = a_program("crm", may_set_price_states=True)
        assert program.post(url, {"reason": "y"}).status_code == 200
        refused(program.post(URL, BODY), ADD)

    def test_with_a_session_needs_the_csrf_token(self):
        person = APIClient(enforce_csrf_checks=True)
        person.force_login(User.objects.create_superuser("root"))
        response = person.post(URL, BODY)
        assert (response.status_code, response.json()["code"]) == (403, "permission_denied")
        assert "CSRF" in response.json()["detail"]
        token = person.get("/admin/").cookies["csrftoken"].value
        assert person.post(URL, BODY, headers={"X-CSRFToken": token}).status_code == 201


class TestApprovalByAnother:
    @pytest.fixture(autouse=True)
    def demanded(self, settings):
        settings.APPROVAL_BY_ANOTHER = True

    def test_is_demanded(self):
        ann, bob = a_person("ann", ADD, MAY_APPROVE), a_person("bob", MAY_APPROVE)
        change = planned(ann, **BODY)
        response = approve(ann, change)
        assert (response.status_code, response.json()["code"]) == (403, "needs_another_person")
        assert approve(bob, change).status_code == 200

    def test_is_demanded_of_a_revert_too(self):
        ann, bob = a_person("ann", ADD), a_person("bob", MAY_APPROVE)
        change = planned(ann, **BODY)
        approve(bob, change)
        repricing.reprice()
        response = bob.post(f"{URL}{change['id']}/revert/", {"approve": True})
        assert (response.status_code, response.json()["code"]) == (202, "needs_another_person")
        back = PriceChange.objects.get(pk=response.json()["price_change"])
        assert (back.status, back.reverts_id) == ("planned", change["id"])
