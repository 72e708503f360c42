"""The price rule: Python, SQL and the query expression say the same, exactly."""

from decimal import Decimal

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from services.models import Subscription
from services.pricing import rule_price
from services.tests.factories import a_plan, a_service, a_subscription

full_prices = st.decimals(min_value=0, max_value="9999999999.99", places=2)
discounts = st.integers(min_value=0, max_value=100)


def by_the_database(full_prices, discount_percents):
    """The rule price of each pair, by `price_rule` in one query."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT price_rule(full_price, discount_percent)"
            "  FROM unnest(%s::numeric[], %s::int[]) WITH ORDINALITY"
            "       catalogue (full_price, discount_percent, n) ORDER BY n",
            [full_prices, discount_percents],
        )
        return [price for (price,) in cursor.fetchall()]


class TestRulePrice:
    @pytest.mark.parametrize(
        ("full_price", "discount_percent", "price"),
        [
            ("250.00", 5, "237.50"),  # the tutorial's
            ("250.00", 20, "200.00"),
            ("250.00", 0, "250.00"),
            ("250.00", 100, "0.00"),
            ("0.00", 50, "0.00"),
            ("0.01", 50, "0.01"),  # half a cent goes up...
            ("0.03", 50, "0.02"),  # ...from either side: 0.015, where half-even agrees
            ("0.05", 50, "0.03"),  # 0.025, where half-even says 0.02
            ("0.01", 51, "0.00"),
            ("10.10", 95, "0.51"),  # 0.505
            ("9999999999.99", 1, "9899999999.99"),
        ],
    )
    def test_rounds_half_up_to_the_cent(self, full_price, discount_percent, price):
        result = rule_price(Decimal(full_price), discount_percent)
        assert str(result) == price

    @given(full_price=full_prices, discount_percent=discounts)
    def test_stays_between_nothing_and_the_list_price(self, full_price, discount_percent):
        assert 0 <= rule_price(full_price, discount_percent) <= full_price

    @given(full_price=full_prices)
    def test_falls_as_the_discount_grows(self, full_price):
        prices = [rule_price(full_price, percent) for percent in range(101)]
        assert prices == sorted(prices, reverse=True)

    def test_in_floating_point_it_would_be_wrong(self):
        # The control: the exact prices of the whole percentages of 1.00, 2.00, … 124.00.
        wrong = [
            (full_price, percent)
            for full_price in range(1, 125)
            for percent in range(100)
            if int((full_price - full_price * (percent / 100)) * 100)
            != int(rule_price(Decimal(full_price), percent) * 100)
        ]
        assert len(wrong) > 100


@pytest.mark.django_db
class TestRulePriceOfTheDatabase:
    @given(
        catalogue=st.lists(st.tuples(full_prices, discounts), min_size=1, max_size=200),
    )
    def test_is_that_of_python(self, catalogue):
        found = by_the_database(*map(list, zip(*catalogue, strict=True)))
        assert found == [rule_price(*pair) for pair in catalogue]

    def test_is_that_of_python_for_every_percentage(self):
        # Around each cent and each half of one, below and above 2^53.
        cents = [0, 1, 2, 3, 5, 7, 49, 50, 51, 99, 10_101, 25_000, 123_456_789, 999_999_999_999]
        catalogue = [(Decimal(cent) / 100, percent) for cent in cents for percent in range(101)]
        found = by_the_database(*map(list, zip(*catalogue, strict=True)))
        assert found == [rule_price(*pair) for pair in catalogue]

    def test_is_that_of_a_query(self):
        for full_price in ("0.01", "10.10", "99.95"):
            service = a_service(full_price=full_price)
            for percent in (0, 5, 50, 95, 100):
                a_subscription(service=service, plan=a_plan(percent))
        subscriptions = Subscription.objects.with_rule_price().select_related("service", "plan")
        assert len(subscriptions) == 15
        for subscription in subscriptions:
            service, plan = subscription.service, subscription.plan
            expected = rule_price(service.full_price, plan.discount_percent)
            assert (subscription.rule_price, subscription.price) == (expected, expected)
