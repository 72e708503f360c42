"""The last use: to the minute, and never written by a read."""

from datetime import UTC, datetime, timedelta

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from keys import last_use
from keys.models import ApiKey
from keys.tasks import write_last_used
from keys.tests.asking import code_of, with_key
from keys.tests.making import a_key
from pricebook.kit import key_use

pytestmark = pytest.mark.django_db

AT = datetime(2027, 3, 4, 5, 6, 59, tzinfo=UTC)
MINUTE = datetime(2027, 3, 4, 5, 6, tzinfo=UTC)


@pytest.fixture(autouse=True)
def still(monkeypatch):
    key_use._noted.clear()
    monkeypatch.setattr(timezone, "now", lambda: AT)


def last():
    return ApiKey.objects.get().last_used_at


def test_is_written_by_a_task_and_to_the_minute():
    _, text = a_key()
    assert code_of(text) == ""
    assert last() is None
    write_last_used()
    assert last() == MINUTE


def test_is_not_written_by_a_read():
    _, text = a_key()
    with CaptureQueriesContext(connection) as queries:
        assert with_key(text).get("/api/services/").status_code == 200
    assert not [query for query in queries if not query["sql"].lstrip().startswith(("SELECT", "W"))]
    assert "UPDATE" not in " ".join(query["sql"] for query in queries)


def test_is_noted_once_a_minute(monkeypatch):
    noted = []
    monkeypatch.setattr(cache, "set", lambda *given: noted.append(given))
    for seconds in (0, 30, 59, 60, 61, 121):
        key_use.note(7, MINUTE + timedelta(seconds=seconds))
    assert len(noted) == 3


def test_is_of_a_key_that_was_taken():
    key, text = a_key(revoked=True)
    assert code_of(text) == "revoked_key"
    assert code_of(text[:-1]) == "wrong_key"
    assert last_use.write() == 0
    ApiKey.objects.filter(pk=key.pk).update(revoked=False)
    assert code_of(text) == ""
    assert last_use.write() == 1


def test_never_goes_back():
    _, text = a_key(last_used_at=AT + timedelta(hours=1))
    assert code_of(text) == ""
    assert last_use.write() == 0
    assert last() == AT + timedelta(hours=1)


def test_costs_nothing_where_nothing_was_noted():
    for _ in range(3):
        a_key()
    with CaptureQueriesContext(connection) as queries:
        assert last_use.write() == 0
    assert len(queries) == 1  # the keys


def test_is_lost_with_the_cache_and_nothing_else():
    _, text = a_key()
    assert code_of(text) == ""
    cache.clear()
    write_last_used()
    assert last() is None
    assert code_of(text) == ""


def test_takes_a_few_keys_of_many_processes(monkeypatch):
    monkeypatch.setattr(key_use, "REMEMBERED", 5)
    for number in range(20):
        key_use.note(number, AT)
    assert len(key_use._noted) <= 5
