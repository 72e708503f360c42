"""The search and the lists of the desk, and the admin's searches, which find the same."""

import re
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client as Browser
from django.test import RequestFactory
from django.urls import reverse

from desk.back import back_of
from desk.tests.pages import text_of
from keys.tests.making import a_member_of_staff
from price_changes.tests.changes import approved, clock, planned
from pricebook.kit.scopes import (
    VIEW_CHANGE,
    VIEW_CLIENT,
    VIEW_PLAN,
    VIEW_SERVICE,
    VIEW_SUBSCRIPTION,
)
from services import price_state
from services.models import Subscription
from services.reading import access_paths, found
from services.tests.factories import a_book, a_client, a_plan, a_reader, a_service, a_subscription

pytestmark = pytest.mark.django_db

# Each with the name that it means.
TYPED = {
    "7590-VHVEG": "7590-VHVEG",
    "759O-VHVEG": "7590-VHVEG",
    "7590vhveg": "7590-VHVEG",
    "7590 VHVEG": "7590-VHVEG",
    "vheg": "7590-VHVEG",
    "ромашко": "ООО Ромашка",
    "streming": "Streaming TV",
}


def listed(browser: Browser, name: str, status: int = 200, **query: Any) -> str:
    answer = browser.get(reverse(f"desk:{name}"), query, follow=True)
    assert answer.status_code == status, answer
    assert len(answer.content) <= 150_000
    return answer.content.decode()


def numbers(page: str, kind: str = "subscription") -> list[int]:
    """The ids of the rows of a list, in its order."""
    path = re.escape(reverse(f"desk:{kind}", args=[0]).removesuffix("0/"))
    return [int(number) for number in re.findall(rf'<th scope="row"><a href="{path}(\d+)/', page)]


@pytest.fixture
def book() -> Subscription:
    """A subscription of each of these clients, the last one of the service with a name."""
    a_subscription(client=a_client("7590-VHVEG"), service=a_service("1234.50", "Phone"))
    a_subscription(client=a_client("Nordwind AG"))
    one = a_subscription(
        client=a_client("ООО Ромашка", "info@romashka.example"),
        service=a_service(20, "Streaming TV"),
        source="crm",
        external_id="A-17",
    )
    return one


class TestSearch:
    def test_finds_what_the_api_finds_wherever_people_type(self, book, admin_client):
        for typed, meant in TYPED.items():
            api = a_reader().get("/api/subscriptions/", {"q": typed}).data["result"]
            ids = [row["id"] for row in api]
            assert len(ids) == 1, typed
            page = listed(admin_client, "search", q=typed)
            assert f">{meant}</a>" in page, typed
            assert numbers(listed(admin_client, "subscriptions", q=typed)) == ids
        for typed in ("759O-VHVEG", "ромашко", "streming"):  # a page of the admin takes long
            meant = TYPED[typed]
            assert f">{meant}<" in listed(admin_client, "search", q=typed, part="suggestions")
            found_there = [
                str(row)
                for name in ("services_subscription", "clients_client", "services_service")
                for row in admin_client.get(reverse(f"admin:{name}_changelist"), {"q": typed})
                .context["cl"]
                .result_list
            ]
            assert meant in found_there, typed
            assert [each for each in found_there if each.startswith("subscription ")], typed
            box = admin_client.get(reverse("admin:search"), {"s": typed, "extended": "1"})
            assert meant in box.content.decode(), typed
        picker = {"app_label": "services", "model_name": "subscription"}
        for field, typed in (("service", "streming"), ("client", "ромашко")):
            query = {**picker, "field_name": field, "term": typed}
            results = admin_client.get(reverse("admin:autocomplete"), query).json()["results"]
            assert [each["text"] for each in results] == [TYPED[typed]]

    def test_finds_by_id_external_id_e_mail_and_source_and_what_is_exactly_so_first(
        self, book, admin_client
    ):
        for number in range(12):
            a_client(f"Phonetic {number}")
        for typed in (str(book.pk), "A-17", f"#{book.pk}"):
            assert f"{book.pk} · ООО Ромашка" in listed(admin_client, "search", q=typed)
        assert "ООО Ромашка" in listed(admin_client, "search", q="INFO@romashka.example")
        page = listed(admin_client, "search", q="crm")
        assert 'href="/desk/subscriptions/?source=crm"' in page
        page = listed(admin_client, "search", q="phone")
        assert page.index(">Phone</a>") < page.index("Phonetic")
        assert page.count("Phonetic") == 10
        assert 'href="/desk/clients/?q=phone"' in page
        assert "1 subscription pays 1,234.50 USD" in page

    def test_finds_plans_and_changes_and_what_they_are_about(self, admin_client):
        service = a_service(20, "Streaming TV")
        a_subscription(service=service, plan=a_plan(10, "student"))
        planned(kind="list_price", service=service.pk, new_value=30, title="Autumn prices")
        page = text_of(listed(admin_client, "search", q="studnt"))
        assert "student -10 %" in page
        for typed in ("autum", "streming"):
            page = text_of(listed(admin_client, "search", q=typed))
            assert "Autumn prices" in page
            assert "List price of Streaming TV: 20.00 → 30.00 USD" in page

    def test_says_when_it_finds_nothing_and_where_it_looked(self, book):
        eve, browser = a_member_of_staff("eve", VIEW_SERVICE, VIEW_CHANGE), Browser()
        browser.force_login(eve)
        page = text_of(listed(browser, "search", q="Ромашка"))
        assert "Nothing was found for “Ромашка”." in page
        assert "Looked in: Services, Price changes." in page
        assert "1,234" not in page
        assert "can't be looked for" in text_of(listed(browser, "search", 400, q="a\0b"))
        assert "can't be looked for" in text_of(listed(browser, "search", 400, q="a" * 101))
        assert "Type a name" in text_of(listed(browser, "search", q=" "))

    def test_says_when_too_many_are_like_it(self, admin_client, monkeypatch, book):
        monkeypatch.setattr(found, "SEARCH_NAMES", 2)
        for number in range(3):
            a_client(f"Phonetic {number}")
        a_client("Phonetic")
        page = text_of(listed(admin_client, "search", q="Phonetic"))
        assert "More than 1,000 names are like this" in page
        assert "Phonetic 0 subscriptions pay" in page  # it is exactly so
        assert "Phonetic 1" not in page
        answer = admin_client.get(reverse("admin:clients_client_changelist"), {"q": "Phonetic"})
        assert answer.status_code == 400
        assert "More than 1,000 names are like this" in answer.content.decode()

    def test_asks_as_much_whatever_the_size(self, admin_client, django_assert_max_num_queries):
        for more in (5, 60):
            a_book(more, services=more, clients=more)
            with django_assert_max_num_queries(16):
                listed(admin_client, "search", q="company")


class TestLists:
    def test_show_the_rows_the_figures_and_the_order_of_the_api(self, admin_client):
        rows = a_book(60, services=3, clients=7)
        Subscription.objects.filter(pk=rows.last().pk).update(
            started_at="2020-01-01T00:00Z", ended_at="2021-01-01T00:00Z"
        )
        query: dict[str, Any] = {"source": rows.first().source, "page_size": 25}
        for ordering in ("-id", "price", "-client_name", "started_at"):
            query["ordering"] = ordering
            address = f"{reverse('desk:subscriptions')}?" + "&".join(
                f"{name}={value}" for name, value in query.items()
            )
            shown = []
            while address:
                page = admin_client.get(address).content.decode()
                shown += numbers(page)
                (address,) = re.findall(r'href="([^"]+)" rel="next"', page) or [""]
                address = address.replace("&amp;", "&")
            api = a_reader().get("/api/subscriptions/", {**query, "page_size": 100}).data
            assert shown == [row["id"] for row in api["result"]]
            text = text_of(page)
            for figure in (f"{api['paid_amount']:,.2f} USD", f"{api['total_amount']:,.2f} USD"):
                assert figure in text
            assert "Found 60 10 on this page" in text
            assert "by 59 that have begun and not ended" in text
        assert 'aria-sort="ascending"' in page
        assert '<tr class="ended">' in listed(admin_client, "subscriptions", state="ended")

    def test_read_amounts_and_days_as_people_write_them(self, admin_client):
        cheap = a_subscription(service=a_service("4.50"), started_at="2026-01-31T00:00Z")
        a_subscription(service=a_service(45), started_at="2026-01-30T23:00Z")
        for query in (
            {"price_to": "4,50"},
            {"price_to": "4.5"},
            {"started_from": "2026-01-31", "started_to": "01.02.2026", "plan": ""},
        ):
            page = listed(admin_client, "subscriptions", **query)
            assert numbers(page) == [cheap.pk], query
        answer = admin_client.get("/desk/subscriptions/?price_to=4,5&plan=&q=&ordering=price")
        assert answer["Location"] == "/desk/subscriptions/?price_to=4.50&ordering=price"

    def test_name_the_value_that_can_not_be_used_and_show_no_total(self, admin_client):
        a_subscription(service=a_service("1234.50"))
        wrong: list[tuple[str, int, dict[str, str]]] = [
            ("subscriptions", 400, {"service": "abc"}),
            ("subscriptions", 404, {"service": "999999"}),
            ("subscriptions", 404, {"client": "999999"}),
            ("subscriptions", 404, {"pending": "999999"}),
            ("subscriptions", 400, {"price_from": "1,234"}),
            ("subscriptions", 400, {"started_from": "2026-02-30"}),
            ("subscriptions", 400, {"q": "ab"}),
            ("subscriptions", 400, {"state": "x"}),
            ("subscriptions", 400, {"p": "9999"}),
            ("subscriptions", 400, {"page_size": "9999"}),
            ("subscriptions", 400, {"ordering": "-nothing"}),
            ("subscriptions", 400, {"comment": "a\0b"}),
            ("subscriptions", 400, {"external_id": "A-17"}),
            ("clients", 400, {"cursor": "AAAA"}),
            ("services", 400, {"q": "\0\0\0"}),
            ("plans", 400, {"plan_type": "gold"}),
        ]
        for name, status, query in wrong:
            page = listed(admin_client, name, status, **query)
            (value,) = query.values()
            assert value.replace("\0", "\N{REPLACEMENT CHARACTER}") in page, query
            assert "1,234.50" not in page, query
            assert 'role="alert"' in page
        a_book(60)
        (cursor,) = re.findall(
            r'cursor=([^"&]+)" rel="next"', listed(admin_client, "subscriptions")
        )
        page = listed(admin_client, "subscriptions", 400, cursor=cursor, ordering="price")
        assert "list with other filters or in another order" in page

    def test_say_what_would_read_too_much(self, admin_client, monkeypatch):
        a_book(5)
        monkeypatch.setitem(access_paths.SCAN_ROWS, "price", 4)
        page = listed(admin_client, "subscriptions", 400, ordering="price", state="active")
        assert "This would have to read too many subscriptions" in page
        assert 'href="/desk/subscriptions/?state=active">In the usual order' in page
        assert "USD" not in page
        listed(admin_client, "subscriptions", state="active")

    def test_say_what_is_coming_and_which_price_is_its_own(self, admin_client):
        service = a_service(20)
        one, other = a_subscription(service=service), a_subscription(service=service)
        price_state.negotiate(other.pk, 7, "ann", "a friend")
        at = clock() + timedelta(days=40)
        approved(planned(kind="list_price", service=service.pk, new_value=30, effective_at=at))
        page = text_of(listed(admin_client, "subscriptions"))
        assert f"{at:%Y-%m-%d}: 30.00" in page
        assert page.count(": 30.00") == 1
        assert "negotiated 7.00" in page
        assert numbers(listed(admin_client, "subscriptions", pending="true")) == [one.pk]

    def test_keep_their_place(self, admin_client):
        rows = a_book(60, services=1)
        page = listed(admin_client, "subscriptions", service=rows.first().service_id)
        (address,) = re.findall(r'href="([^"]+)" rel="next"', page)
        page = admin_client.get(address.replace("&amp;", "&")).content.decode()
        (back,) = {*re.findall(r'href="/desk/subscriptions/\d+/\?back=([^"]+)"', page)}
        asked = RequestFactory().get(f"/desk/subscriptions/1/?back={back}")
        assert back_of(asked) == address.replace("&amp;", "&")
        for strange in (
            "https://evil.example/desk/subscriptions/",
            "//evil.example/desk/subscriptions/",
            "/desk/\\evil.example",
            "/desk/log-out/",
            "/admin/",
            "/desk/subscriptions/\n",
            "javascript:alert(1)",
        ):
            asked = RequestFactory().get(f"/?back={quote(strange)}")
            assert back_of(asked) == "", strange

    def test_lead_to_a_change_of_these_rows_or_say_why_not(self, admin_client):
        one = a_subscription()
        given = {"service": one.service_id, "state": "active"}
        page = listed(admin_client, "subscriptions", **given)
        query = f"where_service={one.service_id}&amp;where_state=active"
        assert f'href="{reverse("desk:plan_change", args=["set"])}?{query}"' in page
        page = listed(admin_client, "subscriptions", q="client")
        assert "A change can&#x27;t be of what a search finds" in page
        reader = a_member_of_staff("eve", VIEW_SUBSCRIPTION, VIEW_CLIENT)
        browser = Browser()
        browser.force_login(reader)
        assert "change of these" not in listed(browser, "subscriptions", **given)

    def test_lead_to_sheets_of_these_rows(self, admin_client):
        rows = a_book(5)
        given = {"source": rows.first().source, "started_from": "2020-01-01", "price_from": "4,5"}
        page = listed(admin_client, "subscriptions", **given)
        pattern = r'href="(/api/subscriptions/\?[^"]+format=[^"]+)"'
        addresses = [each.replace("&amp;", "&") for each in re.findall(pattern, page)]
        assert len(addresses) == 3
        for address in addresses:
            answer = a_reader().get(address)
            assert answer.status_code == 200, address
            b"".join(answer.streaming_content)
        for kind in ("clients", "services", "plans"):
            (address, *_) = re.findall(rf'href="(/api/{kind}/[^"]+)"', listed(admin_client, kind))
            answer = a_reader().get(address.replace("&amp;", "&"))
            assert (answer.status_code, answer["Row-Count"]) == (
                200,
                {"clients": "10", "services": "3", "plans": "2"}[kind],
            )
            b"".join(answer.streaming_content)

    def test_of_records_show_what_each_pays(self, book, admin_client):
        page = text_of(listed(admin_client, "services", ordering="-total_amount"))
        assert "Phone 1,234.50 1,234.50 1" in page
        assert "Paid now 1,504.50 USD by 3 subscriptions" in page
        assert "ООО Ромашка 20.00 1" in text_of(listed(admin_client, "clients", q="ромашко"))
        assert "full 0 % 0 % 1,504.50 3" in text_of(listed(admin_client, "plans"))

    def test_are_for_those_who_may_see_them(self, book):
        browser = Browser()
        browser.force_login(a_member_of_staff("eve", VIEW_PLAN))
        for name in ("subscriptions", "clients", "services"):
            listed(browser, name, 403)
        assert "state=active" not in listed(browser, "plans")  # no list to lead to

    def test_ask_as_much_whatever_the_size(self, admin_client, django_assert_num_queries):
        for more in (5, 60):
            a_book(more, services=more, clients=more)
            # * the session * its user * the names of services * and plans * the page
            # * the clock * scheduled changes
            with django_assert_num_queries(7):
                listed(admin_client, "subscriptions", page_size=100)
            for name in ("clients", "services", "plans"):
                with django_assert_num_queries(3):
                    listed(admin_client, name, page_size=100)
