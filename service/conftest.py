"""Fixtures of all tests: an empty cache, a broker of the suite's own, workers on request."""

import gc
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.cache import cache
from django.db import connection, transaction
from django.test import TransactionTestCase
from django.utils import translation

from celery_app import app
from events import addresses
from pricebook.local.suite import SERVERS, TEMPLATE
from pricebook.tests.append_only import emptying
from pricebook.tests.servers import Valkey, Worker, out_of_time, until
from services import lives
from services.models import Plan, Service, Subscription, renew_clock
from services.reading import copies
from services.repricing import chunks
from services.tests.factories import a_plan, a_service, a_subscription
from services.tests.moved_clock import late_snapshot, moved_clock, shared_clock  # noqa: F401 - fixtures
from services.transfer import streaming

# Tests that import the web server's application (live_server, the schema's tests) would limit reads
# and transactions of the whole suite; tests of the limits set them themselves.
settings.READ_TIMEOUT = settings.IDLE_TRANSACTION_TIMEOUT = settings.LOCK_TIMEOUT = 0
# Servers of their own read its hashes too.
settings.PASSWORD_HASHERS = ["pricebook.tests.passwords.QuickHasher"]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(specs: list[Any]) -> None:
    """Give each worker servers of its own, before it reads the settings."""
    given = json.loads(os.environ.get(SERVERS, "[]"))
    if len(specs) > len(given):
        raise pytest.UsageError(
            "Each worker needs a PostgreSQL and a Valkey of its own: ./pricebook test starts them."
        )
    for spec, variables in zip(specs, given, strict=False):
        spec.env |= variables


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """Spare the garbage collector what lives to the end: all modules, classes and tests.

    Walking them again and again took a tenth of the workers' CPU time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long tests first: at the end all would wait for the worker of a long one."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """Make the test database a copy of the one that the launcher has migrated, if any."""
    connection.settings_dict["TEST"]["TEMPLATE"] = os.environ.get(TEMPLATE)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    with django_db_blocker.unblock():
        make_tables_ready()
        begin_first_life()
        renew_clock()  # as the first sweep after a start does


def make_tables_ready() -> None:
    """Tests with transactions of their own empty all tables after them, the ledger too.

    Tests make the statistics that they need. Autovacuum could come at any moment and count only
    committed rows: none of a table that a test has filled, and its plan would depend on that.
    """
    with connection.cursor() as cursor:
        cursor.execute(emptying("DISABLE"))
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")


def begin_first_life() -> None:
    """A copy of a database is another life of it, but the tests' own is the first one."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE services_life")
    lives.begin()


# Django makes the rows of these anew whenever it empties them, which takes twice as long as the
# emptying; they are the same for all tests.
MADE_BY_MIGRATIONS = {ContentType._meta.db_table, Permission._meta.db_table, "django_migrations"}


def empty_tables(_: TransactionTestCase) -> None:
    """Empty the tables that a test with its own transactions has filled; Django would empty all.

    Also those with pages that earlier tests have rolled back: the planner would count these.
    """
    names = set(connection.introspection.django_table_names(only_existing=True))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT oid::regclass FROM pg_class"
            " WHERE relname = ANY (%s) AND pg_relation_size(oid) > 0",
            [sorted(names - MADE_BY_MIGRATIONS)],
        )
        if found := {name for (name,) in cursor}:
            # This begins the subtotals anew, and with them the version of the book.
            found.add("services_subscription")
            cursor.execute(f"TRUNCATE {', '.join(found)} CASCADE")
        # Else a test's first write would begin it, and others wait for the end of that transaction.
        cursor.execute("SELECT begin_life()")


@pytest.fixture(scope="session", autouse=True)
def quick_emptying() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", empty_tables)
        yield


def truncate_book() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE auth_user, services_service, services_plan, services_subtotal,"
            " services_paidboundary, services_ledgerentry, services_movedfollowers,"
            " services_cataloguevalue, services_lockend CASCADE"
        )


@pytest.fixture
def empty_files(db: None) -> None:
    """New files for a test of plans or of many rows, without pages of rolled-back tests.

    The planner counts such pages, and has counts of them. The files of this test are deleted with
    it, as nothing vacuums here.
    """
    truncate_book()


@contextmanager
def around_tests(blocker: Any) -> Iterator[None]:
    """A transaction around those of several tests, for a book that is made once for all of them.

    It is rolled back after the last one, and what a test writes with the test. The book is checked
    once, where it is made (`connection.check_constraints`), or each test would check it anew.
    """
    with blocker.unblock(), transaction.atomic():
        yield
        transaction.set_rollback(True)


@pytest.fixture(scope="class")
def around_the_class(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    with around_tests(django_db_blocker):
        yield


@pytest.fixture(scope="module")
def around_the_module(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    with around_tests(django_db_blocker):
        yield


@pytest.fixture(scope="class")
def empty_files_of_the_class(around_the_class: None) -> None:
    """`empty_files` for a large book that is made once, and read by all tests of a class."""
    truncate_book()


@pytest.fixture
def service(db: None) -> Service:
    return a_service(full_price=100)


@pytest.fixture
def plan(db: None) -> Plan:
    return a_plan(0)


@pytest.fixture
def subscription(service: Service, plan: Plan) -> Subscription:
    return a_subscription(service=service, plan=plan)


@pytest.fixture
def small_steps_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a chunk take all small steps, without its limits of room on the pages and of time."""
    monkeypatch.setattr(chunks, "_room", lambda: 1000)
    monkeypatch.setattr(chunks, "SECONDS", 60)


@pytest.fixture(scope="session")
def start_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Valkey]]:
    """Start a Valkey server in a directory of its own; it is killed at the end of the suite."""
    started = []

    def start(*options: str) -> Valkey:
        valkey = Valkey(tmp_path_factory.mktemp("valkey"))
        started.append(valkey)
        valkey.start(*options)
        return valkey

    yield start
    for valkey in started:
        valkey.kill()


def use_broker(valkey: Valkey, patch: pytest.MonkeyPatch) -> None:
    """Publish to this broker from now on, without pooled connections to the one before."""
    patch.setenv("CELERY_BROKER_URL", valkey.broker_url)
    app._after_fork()  # type: ignore[attr-defined]  # forgets the pools


@pytest.fixture(scope="session", autouse=True)
def broker(start_valkey: Callable[..., Valkey]) -> Iterator[Valkey]:
    """The suite's own broker: messages of a test wake no worker outside the suite.

    Celery asks the environment first, for the publishers here as for workers that are started.
    """
    valkey = start_valkey()
    with pytest.MonkeyPatch.context() as patch:
        use_broker(valkey, patch)
        yield valkey


@pytest.fixture(autouse=True)
def empty_cache() -> None:
    """Delete values of earlier tests, but only keys with our prefix."""
    client = cache._cache.get_client(write=True)  # type: ignore[attr-defined]
    prefix = settings.CACHES["default"]["KEY_PREFIX"]
    keys = list(client.scan_iter(match=f"{prefix}:*", count=1000))
    if keys:
        client.delete(*keys)


@pytest.fixture(autouse=True)
def no_language() -> Iterator[None]:
    """A request leaves its language active, in this thread."""
    yield
    translation.deactivate()


@pytest.fixture(autouse=True)
def any_wrong_keys(settings: Any) -> None:
    """All tests ask from one address."""
    settings.KEY_ATTEMPTS = 0


@pytest.fixture(autouse=True)
def free_places(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No place for streams is taken by an answer that an earlier test has not read to its end."""
    places = streaming.Places(settings.STREAMS_AT_ONCE, settings.STREAMS_OF_ONE_CALLER)
    monkeypatch.setattr(streaming, "places", places)


@pytest.fixture(autouse=True)
def nothing_expected_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page begins with the tables, whatever an earlier test has left late."""
    monkeypatch.setattr(copies.expected, "late", False)


@pytest.fixture
def by_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets move chunk by chunk, as those of more than AT_ONCE rows do."""
    monkeypatch.setattr(chunks, "AT_ONCE", 0)


@pytest.fixture
def start_workers(
    transactional_db: None, broker: Valkey, tmp_path: Path
) -> Iterator[Callable[..., list[Worker]]]:
    """`start_workers(2)` gives that many Celery workers, ready; killed when the test ends."""
    started, before = Worker.of_this_test, other_sessions()

    def start(count: int, broker_url: str = broker.broker_url) -> list[Worker]:
        names = [f"worker{len(started) + number}" for number in range(count)]
        workers = [Worker(name, tmp_path / f"{name}.log", broker_url) for name in names]
        for worker in workers:
            until(worker.is_ready, 30)
        return workers

    yield start
    for worker in started:
        worker.kill()
    started.clear()
    # The locks of the killed sessions are free again before the tables are emptied.
    until(lambda: other_sessions() <= before)


def sweep_until(condition: Callable[[], object], seconds: float = 50.0) -> None:
    """Wait for the workers until `condition()` holds, and meanwhile send what beat sends."""
    deadline = time.monotonic() + seconds
    swept = 0.0
    answers: Counter[str] = Counter()
    while not condition():
        now = time.monotonic()
        if now > deadline:
            raise out_of_time(seconds, ("sweeps", lambda: str(dict(answers))))
        if now - swept > 0.5:
            swept = now
            try:
                app.send_task("services.tasks.set_price")
                app.send_task("services.tasks.set_comment")
            except Exception as error:  # the broker may be down for now
                answers[repr(error)] += 1
            else:
                answers["sent"] += 1
        time.sleep(0.02)


def other_sessions() -> set[int]:
    """The sessions of this database but this one, by their processes."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            "   AND backend_type = 'client backend'"
        )
        return {pid for (pid,) in cursor.fetchall()}


@pytest.fixture(autouse=True)
def no_name_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test asks a name server for the address of a webhook, whatever it makes up."""

    def look_up(host: str, port: int) -> list[str]:
        raise OSError(f"no test looks up {host}")

    monkeypatch.setattr(addresses, "look_up", look_up)
