"""The forms of services and plans in the admin, beside price changes that no worker has copied."""

import re
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client as Browser
from django.urls import reverse

from price_changes.tests.changes import clock, scheduled
from pricebook.tests import pages
from pricebook.tests.pages import OpenedForm
from services import repricing
from services.models import CatalogueValue, Subscription
from services.tests.factories import a_subscription

pytestmark = pytest.mark.django_db

KIND_AND_FIELD = {
    "service": ("list_price", "full_price"),
    "plan": ("discount", "discount_percent"),
}


class TestWhileACopyIsLate:
    """It starts from the value in force, when it is opened and when it is saved."""

    @pytest.fixture(params=["service", "plan"])
    def opened(self, request: Any, admin_client: Browser, subscription: Subscription) -> OpenedForm:
        """A form of what had 10 and has 20 since a change came, which no worker has copied."""
        record = getattr(subscription, request.param)
        kind, self.field = KIND_AND_FIELD[request.param]
        self.rows = type(record)._default_manager.filter(pk=record.pk)
        self.rows.update(**{self.field: 10})
        scheduled(clock(), kind=kind, new_value=20, **{request.param: record.pk})
        form = OpenedForm(
            admin_client, reverse(f"admin:services_{request.param}_change", args=[record.pk])
        )
        assert Decimal(form.fields[self.field]) == 20
        return form

    @pytest.fixture
    def subscription(self) -> Subscription:
        return a_subscription()

    def in_force(self) -> Any:
        return self.rows.in_force().values_list(self.field, flat=True).get()

    @pytest.mark.parametrize("value", [25, 10])
    def test_writes_what_is_given(self, opened, value):
        assert opened.send(**{self.field: str(value)}).redirect_chain
        assert self.in_force() == value
        repricing.reprice()
        assert self.rows.values_list(self.field, flat=True).get() == value

    def test_leaves_what_is_not_touched(self, opened):
        values = CatalogueValue.objects.count()
        assert opened.send().redirect_chain
        assert (self.in_force(), CatalogueValue.objects.count()) == (20, values)

    def test_that_was_opened_before_says_that_the_value_has_moved(self, opened):
        opened.fields[f"initial-{self.field}"] = opened.fields[self.field] = "10"
        answer = opened.send(**{self.field: "25"})
        (error,) = pages.errors_of(answer)[self.field]
        assert re.search(r"moved from 10(\.00)? to 20(\.00)? while", error)

    def test_that_was_opened_before_may_say_the_same(self, opened):
        opened.fields[f"initial-{self.field}"] = "10"
        assert opened.send(**{self.field: "20"}).redirect_chain
        assert self.in_force() == 20
