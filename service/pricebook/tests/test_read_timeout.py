"""Reading too much ends in time with a clear answer; writing is not hindered."""

import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from pricebook.kit.read_timeout import bound_reads, bounded
from services.tests.factories import a_book, a_reader, a_subscription
from services.tests.interleaving import a_person

LIST = "/api/subscriptions/"


def timeout_of_the_session():
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        return cursor.fetchone()[0]


@contextmanager
def given_all_the_time():
    """The same session as before, however busy the machine is."""
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        yield
        cursor.execute("RESET statement_timeout")


@pytest.fixture
def bound(transactional_db, settings):
    """The connection as the web server's is, with little time; unbound before the tables go."""
    settings.READ_TIMEOUT, settings.LONG_READ_TIMEOUT = 0.3, 0.9
    options = dict(connection.settings_dict["OPTIONS"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(connection.settings_dict, "OPTIONS", options)
        connection.close()
        bound_reads(connection.settings_dict)
        yield
    connection.close()


@contextmanager
def slow(table="services_subscription"):
    """Readers of the table wait, as for one that takes long to read."""
    with a_person() as person:
        person.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield person


class TestRead:
    @pytest.mark.parametrize(
        "path",
        [
            LIST,
            f"{LIST}?ordering=price",
            f"{LIST}1/",
            "/api/clients/",
            "/api/totals/?client=1",
            f"{LIST}?q=company",
        ],
    )
    def test_that_takes_too_long_is_answered_in_time(self, bound, path):
        a_book(5)
        with slow():
            response = a_reader().get(path)
        assert response.status_code == 503
        assert response.json()["code"] == "read_timed_out"
        assert "Ask for less" in response.json()["detail"]
        assert "Retry-After" not in response
        assert timeout_of_the_session() == "300ms"
        with given_all_the_time():
            assert a_reader().get(LIST).status_code == 200

    def test_costs_no_query(self, bound):
        a_book(5)
        assert bounded()
        with CaptureQueriesContext(connection) as queries:
            a_reader().get(LIST)
        assert len(queries) == 1  # * the page

    def test_of_the_whole_book_as_of_an_instant_has_longer(self, bound):
        a_book(5)
        start = time.monotonic()
        with slow():
            response = a_reader().get(f"{LIST}?as_of=2026-01-01T00:00:00Z")
        assert response.json()["code"] == "read_timed_out"
        assert time.monotonic() - start >= settings.LONG_READ_TIMEOUT
        assert timeout_of_the_session() == "300ms"

    def test_of_a_stream_has_longer_for_each_chunk(self, bound):
        a_book(5)
        start = time.monotonic()
        with slow():
            response = a_reader().get(f"{LIST}?format=csv")
        assert response.status_code == 503
        assert response.json()["code"] == "read_timed_out"
        assert time.monotonic() - start >= settings.LONG_READ_TIMEOUT

    def test_of_a_page_says_so_to_people(self, bound, admin_client):
        a_book(5)
        with slow():
            response = admin_client.get("/admin/services/subscription/")
        assert response.status_code == 503
        assert "This took too long" in response.content.decode()


class TestWrite:
    def test_has_all_the_time(self, bound):
        subscription = a_subscription()
        writer = APIClient()
        writer.force_authenticate(User.objects.create_superuser("ada"))
        with slow() as person:
            end = threading.Timer(3 * settings.READ_TIMEOUT, person.rollback)
            end.start()
            response = writer.post(f"{LIST}{subscription.pk}/lock/", {"reason": "a promise"})
            end.join()
        assert response.status_code == 200, response.content
        assert timeout_of_the_session() == "300ms"

    def test_that_is_refused_leaves_the_bound_as_it_was(self, bound):
        writer = APIClient()
        writer.force_authenticate(User.objects.create_superuser("ada"))
        assert writer.post(f"{LIST}1/lock/", {"reason": "a promise"}).status_code == 404
        assert timeout_of_the_session() == "300ms"


class TestProcess:
    """Only the web server has a bound."""

    def shows(self, first_import):
        show = (
            "import os; os.environ['DEBUG'] = '1'\n"
            "os.environ['DJANGO_SETTINGS_MODULE'] = 'pricebook.settings'\n"
            f"import {first_import}, django; django.setup()\n"
            "from django.conf import settings\n"
            "print(settings.DATABASES['default']['OPTIONS']['options'])"
        )
        done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def test_of_the_web_server_is_bounded(self):
        assert "-c statement_timeout=10000" in self.shows("pricebook.wsgi")

    def test_of_a_worker_is_not(self):
        assert "statement_timeout" not in self.shows("celery_app")
        assert not bounded()

    @pytest.mark.parametrize(
        ("startup", "expected"),
        [
            ("", ""),  # behind PgBouncer, which takes no options
            ("-c statement_timeout=5s", "-c statement_timeout=5s"),
            ("-c jit=off", "-c jit=off -c statement_timeout=10000"),
        ],
    )
    def test_of_other_options(self, settings, startup, expected):
        settings.READ_TIMEOUT = 10
        database = {"OPTIONS": {"options": startup}}
        bound_reads(database)
        assert database["OPTIONS"]["options"] == expected

    def test_of_0_is_unbounded(self, settings):
        settings.READ_TIMEOUT = 0
        database = {"OPTIONS": {"options": "-c jit=off"}}
        bound_reads(database)
        assert database["OPTIONS"]["options"] == "-c jit=off"

    @pytest.mark.parametrize("value", ["-1", "nan"])
    def test_of_a_time_that_is_none_does_not_start(self, value):
        code = f"import os; os.environ.update(READ_TIMEOUT={value!r}, DEBUG='1')\n"
        code += "import pricebook.settings"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode != 0
        assert "READ_TIMEOUT" in done.stderr
