"""Chapter 13: the catalogue's query results kept by django-cachalot, and never stale."""

import threading
import time
from decimal import Decimal

import psycopg
import pytest
from cachalot.settings import cachalot_settings
from cachalot.utils import get_query_cache_key
from django.core.cache import caches
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from services.models import Plan, Service, Subscription
from services.tests.factories import a_book, a_plan, a_service

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def cachalot():
    cachalot_settings.load()
    yield
    cachalot_settings.unload()


@pytest.fixture
def default_key(monkeypatch):
    """Cachalot as it comes, the control of the tests that try to make it stale."""
    monkeypatch.setattr(cachalot_settings, "CACHALOT_QUERY_KEYGEN", get_query_cache_key)


@pytest.fixture
def outside():
    """A connection that Django knows nothing of: psql, say."""
    parameters = connection.get_connection_params()
    names = ("dbname", "user", "password", "host", "port")
    with psycopg.connect(
        **{name: parameters[name] for name in names if name in parameters}, autocommit=True
    ) as other:
        yield other


def queries_of(function):
    with CaptureQueriesContext(connection) as queries:
        function()
    return [query["sql"] for query in queries]


def price_of(service):
    return Service.objects.get(pk=service.pk).full_price


class TestCatalogue:
    def test_is_read_from_the_cache_the_second_time(self):
        service = a_service(250)
        cold = queries_of(lambda: price_of(service))
        warm = queries_of(lambda: price_of(service))
        # cold: * the version * the service; warm: * the version
        assert (len(cold), len(warm)) == (2, 1)
        assert "services_service" not in warm[0]

    def test_comes_back_with_the_types_it_had(self):
        service, plan = a_service("19.99"), a_plan(5)
        for _ in range(2):
            found = Service.objects.get(pk=service.pk)
            assert (found.name, found.full_price) == (service.name, Decimal("19.99"))
            assert isinstance(found.full_price, Decimal)
            rows = list(Plan.objects.values_list("plan_type", "discount_percent"))
            assert rows == [("discount", 5)]
            assert Plan.objects.filter(pk=plan.pk).exists()
            assert Service.objects.count() == 1
            assert not Service.objects.filter(pk=0).exists()

    def test_alone_is_kept(self):
        a_book(10)
        for _ in range(2):
            assert len(queries_of(lambda: list(Subscription.objects.all()))) == 1
            assert len(queries_of(lambda: list(Subscription.objects.for_api()))) == 1

    def test_is_kept_while_subscriptions_change(self):
        service = a_service()
        book = a_book(10)
        price_of(service)
        book.update(comment="changed")
        assert len(queries_of(lambda: price_of(service))) == 1

    def test_is_kept_for_ten_minutes_at_most(self):
        price_of(a_service())
        cache = caches["catalogue"]
        client = cache._cache.get_client(None)
        keys = list(client.scan_iter(f"{cache.key_prefix}:*"))
        assert keys
        assert all(0 < client.ttl(key) <= 600 for key in keys)


class TestWrite:
    def write(self, outside, service, price):
        outside.execute(
            "UPDATE services_service SET full_price = %s WHERE id = %s", [price, service.pk]
        )

    def test_from_outside_django_is_seen(self, outside):
        service = a_service(250)
        assert price_of(service) == price_of(service) == 250
        self.write(outside, service, 300)
        assert price_of(service) == 300

    def test_from_outside_django_is_not_seen_by_cachalot_as_it_comes(self, outside, default_key):
        service = a_service(250)
        assert price_of(service) == price_of(service) == 250
        self.write(outside, service, 300)
        assert price_of(service) == 250

    def overtaken(self, outside, service, monkeypatch):
        """A writer commits after the reader's query and before its storing of the result."""
        price_of(service)
        Service.objects.filter(pk=service.pk).update(full_price=260)
        cache = type(caches["catalogue"])
        store = cache.set_many

        def set_many(*args, **kwargs):
            monkeypatch.setattr(cache, "set_many", store)
            self.write(outside, service, 300)
            return store(*args, **kwargs)

        monkeypatch.setattr(cache, "set_many", set_many)
        assert price_of(service) == 260
        return price_of(service)

    def test_that_overtakes_a_reader_is_seen(self, outside, monkeypatch):
        assert self.overtaken(outside, a_service(250), monkeypatch) == 300

    def test_that_overtakes_a_reader_is_not_seen_by_cachalot_as_it_comes(
        self, outside, monkeypatch, default_key
    ):
        assert self.overtaken(outside, a_service(250), monkeypatch) == 260

    def test_of_a_transaction_is_kept_by_nobody(self):
        service = a_service(250)
        price_of(service)
        with transaction.atomic():
            Service.objects.filter(pk=service.pk).update(full_price=300)
            assert len(queries_of(lambda: price_of(service))) == 2  # * the version * the service
            assert price_of(service) == 300
            transaction.set_rollback(True)
        assert price_of(service) == 250

    def test_of_a_transaction_is_not_mistaken_for_another_s(self, outside):
        """Both make one change, so both see the same version, and not the same catalogue."""
        service, other = a_service(250), a_service(10)

        def fill():
            try:
                price_of(service)
            finally:
                connection.close()

        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            Service.objects.filter(pk=service.pk).update(full_price=300)
            self.write(outside, other, 11)
            reader = threading.Thread(target=fill)
            reader.start()
            reader.join()
            assert price_of(service) == 300

    def test_is_seen_at_once_by_readers_while_others_write(self):
        """A price that only rises is never read lower than what was committed before the read."""
        service = a_service(0)
        committed = [0, 0]
        errors = []
        end = time.monotonic() + 3

        def write():
            try:
                price = 0
                while time.monotonic() < end:
                    price += 1
                    Service.objects.filter(pk=service.pk).update(full_price=price)
                    committed[0] = price
            finally:
                connection.close()

        def read():
            try:
                while time.monotonic() < end:
                    floor = committed[0]
                    price = price_of(service)
                    committed[1] += 1
                    if price < floor:
                        errors.append((price, floor))
            finally:
                connection.close()

        threads = [threading.Thread(target=target) for target in (write, read, read)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert errors == []
        assert committed[0] > 20
        assert committed[1] > 20
