"""Facts become events: each once, in the order of the feed, with numbers that have no gap."""

import json

import pytest

from events import deriving
from events.models import Event
from services.models import Subscription
from services.tests.factories import a_service, a_subscription

pytestmark = pytest.mark.django_db(transaction=True)


def told() -> list[tuple[str, dict]]:
    last = Event.objects.count()
    deriving.derive()
    return [(event.type, json.loads(event.data)) for event in Event.objects.filter(number__gt=last)]


class TestEvents:
    def test_one(self):
        subscription = a_subscription()
        print(told())
        Subscription.objects.filter(pk=subscription.pk).update(price_state="negotiated", price=12)
        print(told())
        subscription.delete()
        print(told())
        service = a_service(100)
        for _ in range(3):
            a_subscription(service=service)
        told()
        service.full_price = 120
        service.save()
        from services import repricing

        repricing.reprice()
        for t in told():
            print(t)
        assert 0
