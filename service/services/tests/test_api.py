"""The list and the detail: their answers, and how many queries they cost."""

import json
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from rest_framework import status
from rest_framework.test import APITestCase

from services.models import Subscription
from services.serializers import SubscriptionSerializer
from services.tests.factories import (
    a_book,
    a_client,
    a_plan,
    a_reader,
    a_service,
    a_subscription,
)


class ServicesApiTestCase(APITestCase):
    """The tutorial's own test, chapters 6, 7 and 9."""

    def setUp(self):
        service = a_service(full_price=250)
        self.subscription_1 = a_subscription(service=service, plan=a_plan(5))
        self.subscription_2 = a_subscription(service=service, plan=a_plan(20, "student"))
        self.client = a_reader()

    def test_01_get(self):
        queryset = Subscription.objects.for_api()
        serializer_data = SubscriptionSerializer(queryset, many=True).data

        with CaptureQueriesContext(connection) as queries:
            response = self.client.get(reverse("subscription-list"))

        assert response.status_code == status.HTTP_200_OK
        # The tutorial has 3 here, and 4 from chapter 7 on: * the subscriptions * their clients
        # * their plans * the total. Ours: * the page with its total
        assert len(queries) == 1
        assert serializer_data == response.data["result"]

    def test_02_total_amount(self):
        response = self.client.get(reverse("subscription-list"))

        prices = [subscription["price"] for subscription in response.data["result"]]
        assert prices == [Decimal("237.5"), 200]
        assert response.data["total_amount"] == Decimal("437.5")
        assert response.json()["total_amount"] == 437.5


@pytest.mark.django_db
class TestSubscriptionList:
    url = "/api/subscriptions/"

    def test_has_the_shape_that_the_tutorial_gave_it_and_the_service(self):
        subscription = a_subscription(
            client=a_client("Company First", "andrey@example.com"),
            service=a_service(250, name="Fibre 300"),
            plan=a_plan(5),
            source="billing",
            external_id="7",
            comment="from the fair",
        )

        page = a_reader().get(self.url, {"format": "json"}).json()

        assert page == {
            "result": [
                {
                    "id": subscription.pk,
                    "plan_id": subscription.plan_id,
                    "client_name": "Company First",
                    "email": "andrey@example.com",
                    "plan": {
                        "id": subscription.plan_id,
                        "plan_type": "discount",
                        "discount_percent": 5,
                    },
                    "price": 237.5,
                    "price_state": "follows",
                    "locked_until": None,
                    "price_reason": "",
                    "service": {
                        "id": subscription.service_id,
                        "name": "Fibre 300",
                        "full_price": 250,
                    },
                    "client_id": subscription.client_id,
                    "comment": "from the fair",
                    "source": "billing",
                    "external_id": "7",
                    "started_at": subscription.started_at.isoformat().replace("+00:00", "Z"),
                    "ended_at": None,
                }
            ],
            "total_amount": 237.5,
            "count": 1,
            "paid_amount": 237.5,
            "paid_count": 1,
            "currency": "USD",
            "next": None,
            "previous": None,
            "waiting_for": [],
        }

    def test_writes_prices_digit_by_digit(self):
        # 0.57 * 100 is 56.99999999999999 in floating point; 9999999999.99 has 12 digits.
        for full_price in ("0.57", "9999999999.99", "0.00"):
            a_subscription(service=a_service(full_price))

        body = a_reader().get(self.url).content.decode()

        exact = json.loads(body, parse_float=str)
        assert [row["price"] for row in exact["result"]] == ["0.57", "9999999999.99", "0.00"]
        assert exact["total_amount"] == "10000000000.56"

    def test_of_nothing_adds_up_to_0(self):
        page = a_reader().get(self.url).json()

        assert (page["result"], page["total_amount"], page["count"]) == ([], 0, 0)
        assert (page["next"], page["previous"]) == (None, None)

    def test_costs_the_same_however_many_rows_there_are(self):
        counts = {}
        for rows in (2, 300):
            a_book(rows)
            with CaptureQueriesContext(connection) as queries:
                response = a_reader().get(self.url, {"page_size": 1000})
            counts[len(response.data["result"])] = len(queries)

        # 1 query: * rows, their clients, services and plans, the total and the count in one
        assert counts == {2: 1, 302: 1}

    @pytest.mark.parametrize("name", ["service", "plan", "client", "source", "comment"])
    def test_costs_one_query_whatever_is_asked_for(self, name):
        subscription = a_book(300).first()
        value = {
            "service": subscription.service_id,
            "plan": subscription.plan_id,
            "client": subscription.client_id,
            "source": subscription.source,
            "comment": subscription.comment,
        }[name]

        with CaptureQueriesContext(connection) as queries:
            response = a_reader().get(self.url, {name: value, "page_size": 10})

        assert response.data["count"] == Subscription.objects.filter(**{name: value}).count()
        # 1 query: * rows, total, number and version
        assert len(queries) == 1

    def test_shows_itself_to_a_browser(self):
        a_subscription()

        response = a_reader().get(self.url, headers={"Accept": "text/html"})

        assert response.headers["Content-Type"].startswith("text/html")
        assert "client_name" in response.content.decode()


@pytest.mark.django_db
class TestSubscriptionDetail:
    def test_is_the_list_s_entry(self):
        a_book(3)
        page = a_reader().get("/api/subscriptions/").data

        for entry in page["result"]:
            assert a_reader().get(f"/api/subscriptions/{entry['id']}/").data == {
                **entry,
                "currency": "USD",
                "pending_changes": [],
                "waiting_for": [],
            }

    def test_costs_one_query(self):
        subscription = a_subscription()
        with CaptureQueriesContext(connection) as queries:
            a_reader().get(reverse("subscription-detail", args=[subscription.pk]))
        # * the subscription, and whether anything is scheduled, or waits
        assert len(queries) == 1

    def test_of_none_is_a_404_with_a_body(self):
        response = a_reader().get("/api/subscriptions/1/")

        assert response.status_code == 404
        assert response.json()["code"] == "not_found"
