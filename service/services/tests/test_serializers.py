"""The serializer's data, and that the page, which does without it, is the same."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test import TestCase
from django.test.utils import CaptureQueriesContext

from services.models import Subscription
from services.reading import pages
from services.reading.filters import BookFilter
from services.serializers import SubscriptionSerializer
from services.tests.factories import a_book, a_client, a_plan, a_service, a_subscription


class ServicesSerializerTestCase(TestCase):
    """The tutorial's own test, chapters 6, 7 and 9."""

    def test_ok(self):
        service = a_service(full_price=250, name="Test service")
        started_at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        subscription_1 = a_subscription(
            client=a_client("company_name_test_1", "andrey@gmail.com"),
            service=service,
            plan=a_plan(0),
            started_at=started_at,
        )
        subscription_2 = a_subscription(
            client=a_client("company_name_test_2", "test@gmail.com"),
            service=service,
            plan=a_plan(5),
            started_at=started_at,
        )
        expected_data = [
            {
                "id": subscription_1.id,
                "plan_id": subscription_1.plan_id,
                "client_name": "company_name_test_1",
                "email": "andrey@gmail.com",
                "plan": {
                    "id": subscription_1.plan_id,
                    "plan_type": "full",
                    "discount_percent": 0,
                },
                "price": Decimal("250.00"),
                "price_state": "follows",
                "locked_until": None,
                "price_reason": "",
                "service": {"id": service.id, "name": "Test service", "full_price": 250},
                "client_id": subscription_1.client_id,
                "comment": "",
                "source": None,
                "external_id": None,
                "started_at": started_at,
                "ended_at": None,
            },
            {
                "id": subscription_2.id,
                "plan_id": subscription_2.plan_id,
                "client_name": "company_name_test_2",
                "email": "test@gmail.com",
                "plan": {
                    "id": subscription_2.plan_id,
                    "plan_type": "discount",
                    "discount_percent": 5,
                },
                "price": Decimal("237.50"),
                "price_state": "follows",
                "locked_until": None,
                "price_reason": "",
                "service": {"id": service.id, "name": "Test service", "full_price": 250},
                "client_id": subscription_2.client_id,
                "comment": "",
                "source": None,
                "external_id": None,
                "started_at": started_at,
                "ended_at": None,
            },
        ]

        data = SubscriptionSerializer(Subscription.objects.for_api(), many=True).data

        assert expected_data == data


@pytest.mark.django_db
class TestForApi:
    def test_feeds_the_serializer_with_one_query(self):
        a_book(50)
        # 1 query: * subscriptions joined with client, login, service and plan, all of them to one
        with CaptureQueriesContext(connection) as queries:
            data = SubscriptionSerializer(Subscription.objects.for_api(), many=True).data
        assert (len(data), len(queries)) == (50, 1)


@pytest.mark.django_db
class TestPage:
    def test_equals_what_the_serializer_makes(self):
        a_book(20)
        now = datetime.now(UTC)
        a_subscription(ended_at=now + timedelta(days=1), comment="Ünïcode € \\ \"quoted\" 'so'")
        locked = a_subscription(
            source="crm", external_id="x-1", started_at=now - timedelta(days=400)
        )
        Subscription.objects.filter(pk=locked.pk).update(
            price_state="locked", locked_until=now + timedelta(days=1), price_reason="as agreed"
        )

        page = pages.page(BookFilter(), None, 100)

        data = SubscriptionSerializer(Subscription.objects.for_api(), many=True).data
        assert len(data) == 22
        assert page.result == data
        # Equal in the order of the keys and in the types, too: the same bytes.
        assert repr(page.result) == repr([dict(row) for row in data])
