"""Many wrong keys from one address are slowed down and logged; a right key passes."""

import logging
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from keys.tests.asking import accepts, code_of, with_key
from keys.tests.making import a_key
from pricebook.kit import wrong_keys
from pricebook.kit.wrong_keys import MOST, seconds_to_wait

pytestmark = pytest.mark.django_db

WRONG = "abcdefgh." + "x" * 32
AT = datetime(2027, 3, 4, 5, 6, 7, tzinfo=UTC)


@pytest.fixture
def still(monkeypatch):
    monkeypatch.setattr(timezone, "now", lambda: AT)


def test_are_a_429_that_says_how_long(still):
    codes = [code_of(WRONG) for _ in range(MOST + 2)]
    assert codes == ["wrong_key"] * MOST + ["too_many_wrong_keys"] * 2
    answer = with_key("malformed").get("/api/subscriptions/")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "53")


def test_leave_right_keys_and_other_addresses_alone(still):
    _, text = a_key()
    for _ in range(MOST + 1):
        code_of(WRONG)
    assert accepts(text)
    other = APIClient(REMOTE_ADDR="192.0.2.7")
    other.credentials(HTTP_AUTHORIZATION=f"Api-Key {WRONG}")
    assert other.get("/api/subscriptions/").json()["code"] == "wrong_key"


def test_are_forgotten_after_the_minute():
    for _ in range(MOST + 1):
        waits = seconds_to_wait("192.0.2.7", AT)
    assert waits == 53
    assert seconds_to_wait("192.0.2.7", AT + timedelta(seconds=52)) == 1
    assert seconds_to_wait("192.0.2.7", AT + timedelta(seconds=53)) == 0


def test_are_logged_twice_a_minute_without_the_key(caplog):
    with caplog.at_level(logging.WARNING, "pricebook.kit.wrong_keys"):
        for _ in range(MOST * 2):
            seconds_to_wait("192.0.2.7", AT)
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "A wrong API key from 192.0.2.7.",
        f"{MOST + 1} wrong API keys from 192.0.2.7 within a minute.",
    ]


def test_take_little_room(monkeypatch):
    monkeypatch.setattr(wrong_keys, "ADDRESSES", 10)
    for n in range(100):
        seconds_to_wait(f"192.0.2.{n}", AT)
    assert len(wrong_keys._counts) <= 10
