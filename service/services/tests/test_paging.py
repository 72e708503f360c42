"""Every list has pages of the same kind: `page_size`, `cursor`, `next`, and the header `Link`."""

import re

import pytest

from price_changes.tests.api import ALL, a_program, planned
from services.models import Plan, Service
from services.tests.factories import a_book, a_reader

LINK = re.compile(r'<([^>]+)>; rel="(\w+)"')


def links(response):
    return {rel: address for address, rel in LINK.findall(response.get("Link", ""))}


@pytest.fixture
def lists(transactional_db):  # the feed has what is committed
    """The paths of all lists, each with three things in it at least."""
    a_book(12, services=3, plans=3)
    Plan.objects.create(plan_type="student", discount_percent=77)
    erp = a_program(**ALL)
    for price in (1, 2, 3):
        change = planned(
            erp, kind="list_price", service=Service.objects.first().pk, new_value=price
        )
    return {
        "subscriptions": "/api/subscriptions/",
        "clients": "/api/clients/",
        "services": "/api/services/",
        "plans": "/api/plans/",
        "changes": "/api/price-changes/",
        "rows": f"/api/price-changes/{change['id']}/rows/",
        "feed": "/api/ledger/",
    }


NAMES = ["subscriptions", "clients", "services", "plans", "changes", "rows", "feed"]


@pytest.mark.parametrize("name", NAMES)
class TestLists:
    def test_lead_from_page_to_page_by_their_links(self, lists, name):
        reader, whole = a_reader(), a_reader().get(lists[name])
        response = reader.get(lists[name], {"page_size": 1})
        assert len(response.data["result"]) == 1
        seen = list(response.data["result"])
        while "next" in links(response) and len(seen) < len(whole.data["result"]):
            response = reader.get(links(response)["next"])
            seen += response.data["result"]
        assert seen == whole.data["result"]

    def test_take_the_cursor_of_the_next_page(self, lists, name):
        reader = a_reader()
        first = reader.get(lists[name], {"page_size": 2})
        address = links(first)["next"]
        if name != "feed":  # whose next is a place, to be stored
            assert address == first.data["next"]
        cursor = re.search(r"cursor=([^&]+)", address)[1].replace("%3D", "=")
        again = reader.get(lists[name], {"page_size": 2, "cursor": cursor})
        assert again.data["result"] == reader.get(address).data["result"]

    def test_refuse_a_cursor_that_is_none(self, lists, name):
        refused = a_reader().get(lists[name], {"cursor": "nonsense"})
        assert (refused.status_code, refused.data["parameter"]) == (400, "cursor")


@pytest.mark.parametrize("name", ["subscriptions", "clients", "services", "plans", "changes"])
def test_lists_that_go_both_ways_lead_back(lists, name):
    first = a_reader().get(lists[name], {"page_size": 1})
    assert "prev" not in links(first)
    second = a_reader().get(links(first)["next"])
    assert links(second)["prev"] == second.data["previous"]
    assert a_reader().get(links(second)["prev"]).data["result"] == first.data["result"]


@pytest.mark.django_db
def test_the_last_page_has_no_link():
    a_book(2)
    assert "Link" not in a_reader().get("/api/subscriptions/")


@pytest.mark.usefixtures("lists")
class TestFeed:
    def test_knows_its_parameters_by_their_other_names(self):
        reader = a_reader()
        old = reader.get("/api/ledger/", {"limit": 2})
        new = reader.get("/api/ledger/", {"page_size": 2})
        assert old.data["result"] == new.data["result"]
        place = old.data["next"]
        assert (
            reader.get("/api/ledger/", {"after": place, "limit": 2}).data["result"]
            == reader.get("/api/ledger/", {"cursor": place, "page_size": 2}).data["result"]
        )
        assert "after=" in links(reader.get("/api/ledger/", {"after": place}))["next"]

    @pytest.mark.parametrize(("name", "other"), [("cursor", "after"), ("page_size", "limit")])
    def test_takes_one_of_two_names(self, name, other):
        refused = a_reader().get("/api/ledger/", {name: "1", other: "1"})
        assert (refused.data["code"], refused.data["parameter"]) == ("repeated_parameter", other)

    def test_says_under_which_name_a_place_was_wrong(self):
        for name in ("after", "cursor"):
            refused = a_reader().get("/api/ledger/", {name: "x"})
            assert (refused.data["code"], refused.data["parameter"]) == ("bad_parameter", name)
