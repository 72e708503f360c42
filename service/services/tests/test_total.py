"""The total is exact at every commit, for any filter, with the cache warm, cold, hung or gone."""

import itertools
import os
import random
import signal
import subprocess
import threading
import time
from contextlib import contextmanager
from decimal import Decimal

import pytest
from django.conf import settings as django_settings
from django.core.cache import cache
from django.db import connection, transaction
from django.db.models import Count, Sum
from django.test.utils import CaptureQueriesContext

from pricebook.kit.cache import RedisCache
from pricebook.local.valkey import find_binary
from services.models import Service, Subscription, Subtotal
from services.reading import pages, total
from services.reading.filters import BookFilter
from services.reading.ordering import Cursor
from services.reading.total import Total, fold, total_amount
from services.reading.version import VERSION
from services.tests.factories import a_book, a_plan, a_reader, a_service, a_subscription

# Through the cache: neither the subtotals nor the page itself know these.
FILTERS = {
    "client": lambda subscription: BookFilter(client=subscription.client_id),
    "source": lambda subscription: BookFilter(source=subscription.source),
    "comment": lambda subscription: BookFilter(comment=subscription.comment),
    "comment_prefix": lambda subscription: BookFilter(comment_prefix="row"),
    "service and prefix": lambda subscription: BookFilter(
        service=subscription.service_id, comment_prefix="row"
    ),
}
BY_CATALOGUE = {
    "everything": lambda subscription: BookFilter(),
    "service": lambda subscription: BookFilter(service=subscription.service_id),
    "plan": lambda subscription: BookFilter(plan=subscription.plan_id),
    "service and plan": lambda subscription: BookFilter(
        service=subscription.service_id, plan=subscription.plan_id
    ),
}


@pytest.fixture(params=FILTERS)
def cached_filter(request):
    return FILTERS[request.param]


@pytest.fixture(params=FILTERS | BY_CATALOGUE)
def any_filter(request):
    return (FILTERS | BY_CATALOGUE)[request.param]


def summed(book_filter):
    """The oracle: the sum of the rows, by the ORM."""
    sums = book_filter.subscriptions().aggregate(Sum("price"), Count("id"))
    return Total(sums["price__sum"] or Decimal(0), sums["id__count"])


def elsewhere(function):
    """Call it in another connection, and wait until it is done."""
    result = []
    with in_background(lambda: result.append(function())):
        pass
    return result[0]


@contextmanager
def in_background(*functions):
    """Run each in a thread with a connection of its own; errors come out at the end."""
    errors = []

    def run(function):
        try:
            function()
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[function]) for function in functions]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]


def repeated(seconds, function):
    """Something that calls a function again and again for a while."""

    def run():
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            function()

    return run


def queries_of(function):
    with CaptureQueriesContext(connection) as queries:
        function()
    return [query["sql"] for query in queries]


@pytest.mark.django_db
class TestTotalAmount:
    def test_is_the_sum_of_the_rows(self, any_filter):
        subscription = a_book(100).first()
        a_book(50)
        book_filter = any_filter(subscription)
        assert total_amount(book_filter) == summed(book_filter)

    def test_of_nothing_is_0(self, any_filter):
        subscription = a_subscription(comment="row", source="crm", external_id="1")
        book_filter = any_filter(subscription)
        Subscription.objects.all().delete()
        assert total_amount(book_filter) == Total(Decimal(0), 0)

    def test_follows_every_way_to_change_the_book(self):
        subscription = a_book(30).first()
        book_filter = BookFilter(client=subscription.client_id)

        def step(change):
            change()
            for each in (BookFilter(), BookFilter(service=subscription.service_id), book_filter):
                assert total_amount(each) == summed(each)

        step(lambda: a_subscription(client=subscription.client))
        step(lambda: Subscription.objects.filter(pk=subscription.pk).update(plan=a_plan(50)))
        step(lambda: Subscription.objects.filter(pk=subscription.pk).delete())
        step(
            lambda: Subscription.objects.bulk_create(
                [
                    Subscription(
                        client=subscription.client,
                        service=subscription.service,
                        plan=subscription.plan,
                    )
                ]
            )
        )
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # TRUNCATE must find no pending checks
            step(lambda: cursor.execute("TRUNCATE services_subscription"))


@pytest.mark.django_db(transaction=True)
class TestCache:
    def test_spares_the_second_reader_the_subscriptions(self, cached_filter):
        book_filter = cached_filter(a_book(30).first())

        cold = queries_of(lambda: total_amount(book_filter))
        warm = queries_of(lambda: total_amount(book_filter))

        # 1 query: * the version, and the total unless the cache has the one of this version
        assert (len(cold), len(warm)) == (1, 1)
        assert self.subscriptions_read(total.summed(book_filter)) > 0
        assert self.subscriptions_read(total.summed(book_filter, total.cached(book_filter))) == 0

    def subscriptions_read(self, statement):
        sql, params = statement
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF) {sql}", params)
            lines = [line for (line,) in cursor.fetchall() if " on services_subscription" in line]
        assert lines
        return sum("never executed" not in line for line in lines)

    def test_spares_the_second_page_the_sum(self, cached_filter):
        book_filter = cached_filter(a_book(30).first())

        for _ in range(2):
            # 1 query: * rows, version and total
            assert len(queries_of(lambda: pages.page(book_filter, None, 1000))) == 1

    def test_is_not_asked_by_service_and_plan(self):
        book_filter = BookFilter(service=a_book(30).first().service_id)
        for _ in range(2):
            (sql,) = queries_of(lambda: total_amount(book_filter))
            assert "services_subscription" not in sql

    def test_keeps_0_and_nothing_as_values(self):
        a_subscription(service=a_service(full_price=0), comment="free")
        for book_filter, expected in (
            (BookFilter(comment="free"), Total(Decimal(0), 1)),
            (BookFilter(comment="none"), Total(Decimal(0), 0)),
        ):
            assert total_amount(book_filter) == expected
            assert len(queries_of(lambda book_filter=book_filter: total_amount(book_filter))) == 1
            assert total_amount(book_filter) == expected

    def test_keeps_filters_apart(self):
        for comment, price in (("a", 1), ("b", 2)):
            a_subscription(service=a_service(price), comment=comment)
        for _ in range(2):
            assert total_amount(BookFilter(comment="a")).amount == 1
            assert total_amount(BookFilter(comment="b")).amount == 2
            assert total_amount(BookFilter(comment_prefix="a")).amount == 1

    def test_keeps_nothing_for_ever(self):
        total_amount(BookFilter(comment="x"))
        client = cache._cache.get_client(None)
        keys = list(client.scan_iter(f"*{cache.key_prefix}*{django_settings.PRICE_CACHE_NAME}*"))
        assert keys
        assert all(0 < client.ttl(key) <= 3600 for key in keys)

    def test_of_one_database_is_not_asked_by_another(self):
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {VERSION} FROM services_subtotal")
            before = cursor.fetchone()
            # Dropping the table, restoring it and emptying it all give it another file.
            cursor.execute("TRUNCATE services_subtotal")
            cursor.execute("INSERT INTO services_subtotal (changes) VALUES (1)")
            cursor.execute(f"SELECT {VERSION} FROM services_subtotal")
            after = cursor.fetchone()
            cursor.execute("SELECT oid FROM pg_database WHERE datname = current_database()")
            (oid,) = cursor.fetchone()
        assert before[0].split(".")[2] != after[0].split(".")[2]
        assert before[0].split(".")[1] == after[0].split(".")[1] == str(oid)

    def test_is_left_alone_without_a_version(self):
        a_subscription(comment="x")
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM services_subtotal")
        book_filter = BookFilter(comment="x")
        for _ in range(2):
            assert len(queries_of(lambda: total_amount(book_filter))) == 1
            assert total_amount(book_filter).subscriptions == 1


@pytest.mark.django_db(transaction=True)
class TestTransactionThatHasWritten:
    def test_does_not_fill_the_cache(self, cached_filter):
        """Its version is given out again after a rollback, for another book."""
        first, *_, last = book = a_book(30, clients=2)
        book_filter = cached_filter(first)

        with transaction.atomic():
            book.filter(pk=first.pk).delete()
            assert total_amount(book_filter) == summed(book_filter)
            transaction.set_rollback(True)
        book.filter(pk=last.pk).delete()  # one change, as before

        assert total_amount(book_filter) == summed(book_filter)

    def test_does_not_read_the_cache(self, cached_filter):
        """By then another transaction's book has its version."""
        first, *_, last = book = a_book(30, clients=2)
        book_filter = cached_filter(first)

        def delete_and_fill():
            book.filter(pk=last.pk).delete()
            total_amount(book_filter)

        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            book.filter(pk=first.pk).delete()
            elsewhere(delete_and_fill)
            assert total_amount(book_filter) == summed(book_filter)


@pytest.mark.django_db(transaction=True)
class TestRaces:
    def overtaken(self, monkeypatch, write):
        """Let a writer commit between a reader's sum and its storing of it."""
        store = total.remember

        def remember(*args):
            monkeypatch.setattr(total, "remember", store)
            elsewhere(write)
            return store(*args)

        monkeypatch.setattr(total, "remember", remember)

    def test_a_sum_that_was_overtaken_is_not_read(self, cached_filter, monkeypatch):
        subscription = a_book(30).first()
        book_filter = cached_filter(subscription)
        before = summed(book_filter)
        self.overtaken(monkeypatch, Subscription.objects.filter(pk=subscription.pk).delete)

        assert total_amount(book_filter) == before  # what was true when it was asked
        assert total_amount(book_filter) == summed(book_filter) != before

    def test_without_the_version_it_would_be(self, cached_filter, monkeypatch):
        """The control: this test can see the race."""
        subscription = a_book(30).first()
        book_filter = cached_filter(subscription)
        monkeypatch.setattr(total, "VERSION", VERSION.replace("sum(changes)", "count(*) * 0"))
        self.overtaken(monkeypatch, Subscription.objects.filter(pk=subscription.pk).delete)

        total_amount(book_filter)
        assert total_amount(book_filter) != summed(book_filter)

    def test_who_commits_reads_what_it_wrote(self, any_filter):
        subscription = a_book(30).first()
        book_filter = any_filter(subscription)
        for percent in (10, 20, 30, 40, 50):
            Subscription.objects.filter(
                service=subscription.service_id, plan=subscription.plan_id
            ).update(comment=subscription.comment)
            Service.objects.filter(pk=subscription.service_id).update(name=f"renamed {percent}")
            a_subscription(
                client=subscription.client,
                service=subscription.service,
                plan=subscription.plan,
                comment=subscription.comment,
                source=subscription.source,
                external_id=f"more {percent}",
            )
            assert total_amount(book_filter) == summed(book_filter)
            page = pages.page(book_filter, None, 1000)
            assert page.total == summed(book_filter)

    def test_rows_and_total_are_of_one_book_while_others_write(self):
        """Every page that holds all that matches adds up to its total, and to its number."""
        book = a_book(40, clients=2)
        subscription = book.first()
        plans = [a_plan(percent) for percent in (0, 5, 10, 33, 50)]
        ids = list(book.values_list("id", flat=True))
        number = itertools.count()

        def write():
            choice = random.random()
            if choice < 0.4:
                Subscription.objects.filter(pk=random.choice(ids)).update(plan=random.choice(plans))
            elif choice < 0.7:
                a_subscription(
                    client=subscription.client,
                    service=subscription.service,
                    plan=random.choice(plans),
                    comment="row more",
                    source=subscription.source,
                    external_id=f"more {next(number)}",
                )
            elif choice < 0.95:
                Subscription.objects.filter(
                    external_id__startswith=f"more {random.randrange(10)}"
                ).delete()
            else:
                fold()

        read = 0
        totals = set()
        filters = [make(subscription) for make in (FILTERS | BY_CATALOGUE).values()]
        with in_background(*[repeated(4, write)] * 3):
            end = time.monotonic() + 4
            while time.monotonic() < end:
                page = pages.page(random.choice(filters), Cursor(0), 1000)
                assert page.next is None
                assert sum(row["price"] for row in page.result) == page.total.amount
                assert len(page.result) == page.total.subscriptions
                read += 1
                totals.add(page.total)

        assert read > 10  # how many in four seconds, the machine says
        assert len(totals) > 5


@pytest.mark.django_db(transaction=True)
class TestFold:
    def sums(self):
        pairs = Subtotal.objects.values_list("service_id", "plan_id").annotate(
            Sum("amount"), Sum("subscriptions")
        )
        version = Subtotal.objects.aggregate(Sum("changes"))
        return sorted(pairs, key=repr), version

    def test_merges_rows_and_changes_no_sum(self):
        for _ in range(5):
            a_book(20)
        for name in ("a", "b", "c"):  # rows without service and plan
            Service.objects.filter(pk=Service.objects.first().pk).update(name=name)
        subscription = Subscription.objects.first()
        subscription.delete()
        before = self.sums()
        rows = Subtotal.objects.count()

        merged = fold()

        assert self.sums() == before
        assert merged > 0
        assert Subtotal.objects.count() < rows
        assert Subtotal.objects.count() == len(before[0])
        assert fold() == 0

    def test_leaves_it_to_another_that_folds(self):
        a_book(20)
        a_book(20)
        with transaction.atomic():
            assert fold() > 0
            assert elsewhere(fold) == 0

    def test_never_moves_a_sum_while_others_write(self):
        book = a_book(60)
        ids = list(book.values_list("id", flat=True))
        plans = [a_plan(percent) for percent in (0, 5, 10)]
        subscription = book.first()

        def write():
            if random.random() < 0.5:
                Subscription.objects.filter(pk__in=random.sample(ids, 5)).update(
                    plan=random.choice(plans)
                )
            else:
                a_subscription(subscription.client, subscription.service, random.choice(plans))

        folded = []
        versions = []
        with in_background(
            *[repeated(3, write)] * 2, *[repeated(3, lambda: folded.append(fold()))] * 2
        ):
            end = time.monotonic() + 3
            while time.monotonic() < end:
                with connection.cursor() as cursor:
                    cursor.execute(
                        "SELECT (SELECT sum(amount) FROM services_subtotal),"
                        " (SELECT sum(price) FROM services_subscription),"
                        " (SELECT sum(changes) FROM services_subtotal)"
                    )
                    kept, summed_rows, version = cursor.fetchone()
                assert kept == summed_rows
                versions.append(version)

        assert sum(folded) > 20
        assert versions == sorted(versions)
        assert total_amount() == summed(BookFilter())

    def test_is_not_outlived_by_rows_that_a_truncate_should_have_emptied(self):
        a_book(20).update(comment="another row of each service and plan")

        def truncate():
            with connection.cursor() as cursor:
                cursor.execute("TRUNCATE services_subscription")

        with transaction.atomic():
            fold()
            truncating = in_background(truncate)
            truncating.__enter__()
            time.sleep(0.5)  # it waits; without the fold's lock it would be about to miss rows
        truncating.__exit__(None, None, None)

        assert total_amount() == summed(BookFilter()) == Total(Decimal(0), 0)


@pytest.fixture
def valkey(tmp_path, settings):
    """A server of our own as the cache: to be stopped, hung and killed."""
    socket = tmp_path / "valkey.sock"
    process = subprocess.Popen(
        [find_binary(), "--port", "0", "--unixsocket", socket, "--save", "", "--dir", tmp_path],
        stdout=subprocess.DEVNULL,
    )
    while not socket.exists():
        assert process.poll() is None
        time.sleep(0.01)
    default = {**settings.CACHES["default"], "LOCATION": f"unix://{socket}?db=1"}
    settings.CACHES = {"default": default}
    RedisCache.away_until.clear()
    yield process
    cache.close()
    process.kill()
    process.wait()
    RedisCache.away_until.clear()


@pytest.mark.django_db(transaction=True)
class TestCacheThatIsAway:
    def seconds(self, book_filter, times=1):
        start = time.monotonic()
        for _ in range(times):
            assert total_amount(book_filter) == summed(book_filter)
        return time.monotonic() - start

    @pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL], ids=["hung", "dead"])
    def test_leaves_answers_right_and_costs_little(self, valkey, how, caplog, monkeypatch):
        monkeypatch.setattr(RedisCache, "PAUSE", 60.0)
        subscription = a_book(30).first()
        book_filter = BookFilter(source=subscription.source)
        self.seconds(book_filter)
        assert len(queries_of(lambda: total_amount(book_filter))) == 1

        os.kill(valkey.pid, how)
        if how == signal.SIGKILL:
            valkey.wait()

        subscription.delete()
        assert self.seconds(book_filter) < 2  # one timeout of 0.2 s
        assert self.seconds(book_filter, times=20) < 3  # and not two each
        assert a_reader().get("/api/subscriptions/", {"source": "none"}).status_code == 200
        assert len([each for each in caplog.records if each.name != "pricebook.access"]) == 1
        assert "No cache for 60.0 s" in caplog.text

    def test_is_used_again_when_it_is_back(self, valkey, monkeypatch):
        monkeypatch.setattr(RedisCache, "PAUSE", 0.1)
        book_filter = BookFilter(source=a_book(30).first().source)
        os.kill(valkey.pid, signal.SIGSTOP)
        self.seconds(book_filter)
        os.kill(valkey.pid, signal.SIGCONT)
        time.sleep(0.2)
        self.seconds(book_filter)
        assert len(queries_of(lambda: total_amount(book_filter))) == 1

    def test_holding_what_another_release_wrote_is_a_miss(self, valkey):
        book_filter = BookFilter(source=a_book(30).first().source)
        self.seconds(book_filter)
        client = cache._cache.get_client(None)
        (key,) = client.keys("*")
        client.set(key, b"\x80\x04 not JSON")
        assert self.seconds(book_filter) < 1
        assert len(queries_of(lambda: total_amount(book_filter))) == 1
