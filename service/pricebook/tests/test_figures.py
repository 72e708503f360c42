"""One form each of amounts, counts, instants and days, by the language."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.template import engines
from django.utils import translation

from pricebook.kit import figures

NBSP = "\N{NO-BREAK SPACE}"
AMOUNT = Decimal("456360")


@pytest.mark.parametrize(
    ("language", "currency", "shown"),
    [
        ("en", "USD", "456,360.00 USD"),
        ("en", "RUB", "456,360.00 RUB"),
        ("en", "JPY", "456,360 JPY"),
        ("ru", "RUB", f"456{NBSP}360,00 ₽"),
        ("ru", "USD", f"456{NBSP}360,00 $"),
        ("ru", "HUF", f"456{NBSP}360,00 HUF"),  # two decimals by ISO 4217, none by Babel
        ("ru", "JPY", f"456{NBSP}360 ¥"),
    ],
)
def test_money(settings, language, currency, shown):
    settings.CURRENCY = currency
    with translation.override(language):
        assert figures.money(AMOUNT) == shown


@pytest.mark.parametrize(
    ("language", "count", "instant", "day", "sign"),
    [
        ("en", "29,202", "2026-01-31 12:00 UTC", "2026-01-31", "−1,000.50"),
        ("ru", f"29{NBSP}202", "31.01.2026 12:00 UTC", "31.01.2026", f"−1{NBSP}000,50"),
    ],
)
def test_the_rest_and_what_django_writes_by_itself(language, count, instant, day, sign):
    at = datetime(2026, 1, 31, 12, tzinfo=UTC)
    page = engines["django"].from_string("{{ at }}|{{ day }}|{{ at|date:'SHORT_DATETIME_FORMAT' }}")
    with translation.override(language):
        assert figures.grouped(29202) == count
        assert figures.instant(at) == instant
        assert figures.day(at) == figures.day(date(2026, 1, 31)) == day
        assert figures.difference(Decimal("-1000.5")) == sign
        assert page.render({"at": at, "day": at.date()}) == f"{instant}|{day}|{instant}"


def test_the_time_that_is_left_is_said_in_the_readers_language():
    with translation.override("ru"):
        assert figures.left(timedelta(seconds=90)) == "90 с"
        assert figures.left(timedelta(minutes=5)) == "5 мин"
