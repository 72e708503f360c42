"""Reading the ledger: any instant as it was, why, and a feed that loses and repeats nothing."""

import json
import random
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from pricebook.tests.servers import until
from services import hooks, ledger, price_state, repricing
from services.hooks import Change, NoPriceChanges
from services.ledger import Place, changes_feed, explanation
from services.ledger.entries import COLUMNS, HISTORY
from services.ledger.explanation import rule
from services.ledger.page import one_as_of, page_as_of
from services.ledger.place import Proof
from services.models import MovedFollowers, Plan, Service, Subscription, WholeLedger
from services.reading.filters import BookFilter
from services.reading.ordering import Cursor, list_key
from services.reading.total import Total
from services.tests.factories import (
    a_book,
    a_client,
    a_plan,
    a_reader,
    a_service,
    a_subscription,
)
from services.tests.interleaving import a_person, in_background

BIGGEST = 2**63 - 1


def now() -> datetime:
    """The database's clock, which entries are dated by."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cursor.fetchone()[0]


def read(statement: tuple) -> dict[int, tuple]:
    """Rows of `ledger.as_of` by subscription: client, service, plan, price, state, end."""
    with connection.cursor() as cursor:
        cursor.execute(*statement)
        return {row[0]: row[1:7] for row in cursor.fetchall()}


def the_book() -> dict[int, tuple]:
    """The prices of the active subscriptions, though no worker has come."""
    columns = ("client_id", "service_id", "plan_id", "price", "price_state", "locked_until")
    paying = Subscription.objects.in_force().active()
    return {row[0]: row[1:] for row in paying.values_list("id", *columns)}


def edit(service: Service, full_price: int | str, author: str = "") -> None:
    """Set a new list price, by an author; a worker applies it later."""
    with repricing.catalogue_edit(author):
        Service.objects.filter(pk=service.pk).update(full_price=full_price)


def nodes(statement: tuple) -> list[dict]:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement[0]}", statement[1])
        (plan,) = cursor.fetchone()
    plan = json.loads(plan) if isinstance(plan, str) else plan

    def walk(node):
        yield node
        for child in node.get("Plans", []):
            yield from walk(child)

    return list(walk(plan[0]["Plan"]))


# Indexes of deleted subscriptions, and of those opened again: both are few.
OF_PERIODS = {"ledger_left", "ledger_unpaid"}


def reads_of_the_ledger(statement: tuple) -> set[str]:
    """The ledger's indexes that a plan reads; its table, if it is read whole."""
    return {
        node.get("Index Name") or node["Relation Name"]
        for node in nodes(statement)
        if str(node.get("Index Name")).startswith(("ledger_", "services_ledgerentry"))
        or node.get("Relation Name") == "services_ledgerentry"
        if node["Node Type"] != "Bitmap Heap Scan"
    }


@pytest.mark.django_db
class TestHistory:
    def test_has_every_price_newest_last(self):
        service = a_service(100)
        subscription = a_subscription(service=service)
        for full_price in (110, 120):
            edit(service, full_price)
            repricing.reprice()

        assert [entry["price"] for entry in ledger.history(subscription.pk)] == [100, 110, 120]

    def test_outlives_the_subscription(self):
        subscription = a_subscription(service=a_service(100))
        pk = subscription.pk
        subscription.delete()

        assert [entry["price"] for entry in ledger.history(pk)] == [100, None]
        result = a_reader().get(f"/api/subscriptions/{pk}/ledger/").json()["result"]
        assert [entry["price"] for entry in result] == [100, None]

    def test_is_read_in_pages(self):
        subscription = a_subscription(service=a_service(100))
        for price in range(1, 8):
            price_state.negotiate(subscription.pk, price, "as agreed", "ann")

        url, prices, pages = f"/api/subscriptions/{subscription.pk}/ledger/?page_size=3", [], 0
        while url:
            page = a_reader().get(url).json()
            prices += [entry["price"] for entry in page["result"]]
            url, pages = page["next"], pages + 1

        assert (prices, pages) == ([100, 1, 2, 3, 4, 5, 6, 7], 3)

    def test_of_none_is_a_404(self):
        for path in ("1", "0", str(BIGGEST), "9" * 5000):
            response = a_reader().get(f"/api/subscriptions/{path}/ledger/")
            assert (response.status_code, response.json()["code"]) == (404, "not_found")

    def test_costs_two_queries_however_long_it_is(self):
        subscription = a_subscription(service=a_service(100))
        for price in range(1, 30):
            price_state.negotiate(subscription.pk, price, "as agreed", "ann")
        with CaptureQueriesContext(connection) as queries:
            response = a_reader().get(f"/api/subscriptions/{subscription.pk}/ledger/")
        # 2 queries: * the entries * its ids elsewhere
        assert (len(response.data["result"]), len(queries)) == (30, 2)


class AWriter:
    """Writes at random, by every path there is."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.services = [a_service(100 + n) for n in range(3)]
        self.plans = [a_plan(percent) for percent in (0, 5, 33)]
        self.clients = [a_client() for _ in range(3)]
        self.ways = (
            self.create,
            self.move_by_save,
            self.move_many,
            self.change_client,
            self.edit_list_price,
            self.edit_discount,
            self.lock,
            self.negotiate,
            self.follow,
            self.write_a_price_in_sql,
            self.delete,
            self.end,
        )

    def write(self) -> None:
        self.random.choice(self.ways)()
        repricing.reprice()

    def a_pair(self) -> dict[str, Any]:
        return {
            "service": self.random.choice(self.services),
            "plan": self.random.choice(self.plans),
        }

    def any(self) -> Subscription:
        active = list(Subscription.objects.active().order_by("id"))
        return self.random.choice(active) if active else a_subscription(**self.a_pair())

    def create(self) -> None:
        Subscription.objects.bulk_create(
            Subscription(client=self.random.choice(self.clients), **self.a_pair()) for _ in range(3)
        )

    def move_by_save(self) -> None:
        subscription = self.any()
        subscription.plan = self.random.choice(self.plans)
        subscription.save()

    def move_many(self) -> None:
        Subscription.objects.filter(service=self.random.choice(self.services)).update(
            service=self.random.choice(self.services)
        )

    def change_client(self) -> None:
        Subscription.objects.filter(pk=self.any().pk).update(
            client=self.random.choice(self.clients)
        )

    def edit_list_price(self) -> None:
        edit(self.random.choice(self.services), self.random.randrange(1, 500))

    def edit_discount(self) -> None:
        plan = self.random.choice(self.plans)
        taken = set(Plan.objects.values_list("discount_percent", flat=True))
        percent = self.random.choice([n for n in range(101) if n not in taken])
        Plan.objects.filter(pk=plan.pk).update(discount_percent=percent)

    def lock(self) -> None:
        until = self.random.choice([None, datetime.now(UTC) + timedelta(days=1)])
        price_state.lock(self.any().pk, until, "as agreed", "ann")

    def negotiate(self) -> None:
        price_state.negotiate(self.any().pk, self.random.randrange(999), "as agreed", "ann")

    def follow(self) -> None:
        price_state.follow(self.any().pk, "ann")

    def write_a_price_in_sql(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE services_subscription SET price = 7 WHERE id = %s", [self.any().pk]
            )

    def delete(self) -> None:
        self.any().delete()

    def end(self) -> None:
        Subscription.objects.filter(pk=self.any().pk).update(ended_at=now())


@pytest.mark.django_db
class TestAsOf:
    @pytest.mark.parametrize("seed", range(4))
    def test_is_what_the_rows_were_at_every_instant(self, seed):
        writer, books = AWriter(seed), {}
        for _ in range(60):
            writer.write()
            books[now()] = the_book()

        assert len({str(book) for book in books.values()}) > 30
        for instant, book in books.items():
            assert read(ledger.as_of(instant)) == book
            prices = [price for _, _, _, price, *_ in book.values()]
            assert ledger.total_as_of(instant) == Total(sum(prices, Decimal(0)), len(prices))

    @pytest.mark.parametrize("name", ["client", "service", "plan"])
    def test_takes_who_was_there_then(self, name):
        writer, books = AWriter(9), {}
        for _ in range(40):
            writer.write()
            books[now()] = the_book()

        place = ("client", "service", "plan").index(name)
        ids = {"client": writer.clients, "service": writer.services, "plan": writer.plans}[name]
        found = 0
        for instant, book in books.items():
            for wanted in ids:
                of_it = {id: row for id, row in book.items() if row[place] == wanted.pk}
                assert read(ledger.as_of(instant, BookFilter(**{name: wanted.pk}))) == of_it
                found += len(of_it)
        assert found > 50

    def test_of_an_instant_before_a_late_worker_came_is_what_was_to_be_paid(self):
        service = a_service(100)
        subscription = a_subscription(service=service)
        edit(service, 120)
        between = now()
        assert read(ledger.as_of(between))[subscription.pk][3] == 120
        repricing.reprice()

        assert read(ledger.as_of(between))[subscription.pk][3] == 120

    def test_takes_the_last_word_though_it_speaks_of_an_earlier_instant(self):
        subscription = a_subscription(service=a_service(100))
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE services_subscription SET price_state = 'locked', price = 90,"
                " locked_until = clock_timestamp() + interval '100 milliseconds' WHERE id = %s",
                [subscription.pk],
            )
        time.sleep(0.1)
        # This comes between the end of the lock and the worker that releases it.
        Subscription.objects.filter(pk=subscription.pk).update(client=a_client())
        repricing.reprice()

        *_, written, released, again = ledger.history(subscription.pk)
        assert released["effective_at"] < written["effective_at"] == again["effective_at"]
        assert [each["price_state"] for each in (written, released, again)] == [
            "locked",
            "follows",
            "follows",
        ]
        assert read(ledger.as_of(now())) == the_book()

    def test_of_before_everything_is_nothing(self):
        a_subscription()
        long_ago = datetime(1900, 1, 1, tzinfo=UTC)
        assert read(ledger.as_of(long_ago)) == {}
        assert ledger.total_as_of(long_ago) == Total(Decimal(0), 0)

    def test_refuses_what_the_ledger_does_not_know(self):
        with pytest.raises(ValueError, match="comment"):
            ledger.as_of(now(), BookFilter(comment="x", service=1))


@pytest.mark.django_db
class TestListAsOf:
    url = "/api/subscriptions/"

    def test_of_now_is_the_list(self):
        a_book(12)
        price_state.lock(Subscription.objects.first().pk, None, "as agreed", "ann")
        price_state.negotiate(Subscription.objects.last().pk, 5, "as agreed", "ann")

        plain = a_reader().get(self.url).data
        as_of = a_reader().get(self.url, {"as_of": now().isoformat()}).data

        assert as_of["waiting_for"] == []
        assert repr(as_of) == repr(plain)

    def test_has_the_prices_of_then_and_the_names_of_now(self):
        service = a_service(100, name="Fibre 100")
        subscription = a_subscription(service=service, comment="then")
        then = now().isoformat()
        edit(service, 120)
        repricing.reprice()
        Service.objects.filter(pk=service.pk).update(name="Fibre 120")

        page = a_reader().get(self.url, {"as_of": then}).json()
        one = a_reader().get(f"{self.url}{subscription.pk}/", {"as_of": then}).json()

        assert (page["total_amount"], page["count"]) == (100, 1)
        assert (one.pop("waiting_for"), page["waiting_for"]) == ([], [])
        assert datetime.fromisoformat(one.pop("as_of")) == datetime.fromisoformat(then)
        assert one.pop("currency") == page["currency"]
        assert page["result"] == [one]
        assert (one["price"], one["service"]["name"]) == (100, "Fibre 120")

    def test_says_the_reason_only_where_it_is_known_to_be_of_then(self):
        subscription = a_subscription(service=a_service(100))
        price_state.negotiate(subscription.pk, 5, "the first", "ann")
        then = now()
        price_state.negotiate(subscription.pk, 6, "the second", "ann")

        def reason(instant):
            return one_as_of(instant, subscription.pk)[0]["price_reason"]

        assert (reason(then), reason(now())) == ("", "the second")

    def test_shows_who_was_deleted_since(self):
        subscription = a_subscription(service=a_service(100), comment="gone")
        then = now()
        pk = subscription.pk
        subscription.delete()

        page = a_reader().get(self.url, {"as_of": then.isoformat()}).json()

        (row,) = page["result"]
        assert (row["id"], row["price"], row["comment"]) == (pk, 100, "")
        assert row["started_at"] < then.isoformat() < row["ended_at"]
        assert (page["total_amount"], page["count"]) == (100, 1)
        assert a_reader().get(self.url, {"as_of": now().isoformat()}).json()["count"] == 0

    def test_leaves_out_whose_service_is_gone_and_the_total_does_too(self):
        service = a_service(100)
        gone, stays = a_subscription(service=service), a_subscription(service=a_service(40))
        then = now()
        gone.delete()
        service.delete()

        page = a_reader().get(self.url, {"as_of": then.isoformat()}).json()

        assert [row["id"] for row in page["result"]] == [stays.pk]
        assert (page["total_amount"], page["count"]) == (40, 1)
        assert ledger.total_as_of(then) == Total(Decimal(40), 1)

    def test_leads_through_the_book_of_then_and_back(self):
        book = a_book(25)
        expected = list(book.order_by("id").values_list("id", flat=True))
        then = now()
        book.filter(pk__in=expected[3:20:2]).delete()

        url = f"{self.url}?page_size=10&as_of={quote(then.isoformat())}"
        response = a_reader().get(url)
        there = [row["id"] for row in response.data["result"]]
        while response.data["next"]:
            response = a_reader().get(response.data["next"])
            there += [row["id"] for row in response.data["result"]]
            assert response.data["count"] == 25
        back = [row["id"] for row in response.data["result"]]
        while response.data["previous"]:
            response = a_reader().get(response.data["previous"])
            back = [row["id"] for row in response.data["result"]] + back

        assert there == expected
        assert back == expected

    def test_has_a_total_beyond_the_end_too(self):
        a_book(3)
        page = page_as_of(now(), BookFilter(), Cursor(2**62), 5)
        assert (page.result, page.total.subscriptions) == ([], 3)

    def test_costs_three_queries_however_many_rows_there_are(self):
        counts = {}
        for rows in (2, 300):
            a_book(rows)
            instant = now()
            with CaptureQueriesContext(connection) as queries:
                response = a_reader().get(
                    self.url, {"as_of": instant.isoformat(), "page_size": 1000}
                )
            counts[len(response.data["result"])] = len(queries)
        # 3 queries: * the last point before * the rows of then with what is known of them now, the
        # total and the count * the changes of sets that are not in the figures
        assert counts == {2: 3, 302: 3}

    def test_of_one_that_was_not_there_is_a_404(self):
        before = now()
        subscription = a_subscription()
        url = f"{self.url}{subscription.pk}/"

        response = a_reader().get(url, {"as_of": before.isoformat()})

        assert (response.status_code, response.json()["code"]) == (404, "not_found")
        assert a_reader().get(url, {"as_of": now().isoformat()}).status_code == 200
        huge = a_reader().get(f"{self.url}{'9' * 500}/", {"as_of": before.isoformat()})
        assert huge.status_code == 404

    @pytest.mark.parametrize(
        "filters",
        [{"comment": "x"}, {"comment_prefix": "x"}, {"source": "x"}],
    )
    def test_refuses_filters_that_the_ledger_does_not_know(self, filters):
        response = a_reader().get(self.url, {"as_of": "2026-01-01T00:00:00Z", **filters})
        body = response.json()
        assert (response.status_code, body["code"]) == (400, "not_with_as_of")
        assert body["parameter"] in filters
        assert body["allowed"] == ["service", "plan", "client", "state"]


@contextmanager
def described(*changes: Change):
    class Described(NoPriceChanges):
        def describe(self, change_id: int) -> Change | None:
            return next((change for change in changes if change.id == change_id), None)

    installed = hooks.price_changes()
    hooks.install(Described())
    try:
        yield
    finally:
        hooks.install(installed)


@pytest.mark.django_db
class TestExplain:
    def test_of_a_follower_spells_the_rule_out(self):
        service = a_service(200)
        subscription = a_subscription(service=service, plan=a_plan(5))
        edit(service, "249.99", author="ann")
        repricing.reprice()

        why = ledger.explain(subscription.pk)

        assert (why.price, why.price_state, why.in_line) == (Decimal("237.49"), "follows", True)
        assert (why.rule.list_price, why.rule.discount_percent) == (Decimal("249.99"), 5)
        assert why.rule.arithmetic == (
            "249.99 × (100 − 5) / 100 = 237.4905, rounded half up to 237.49"
        )
        edited = why.rule.list_price_edit
        assert (edited.old, edited.new, edited.author) == (200, Decimal("249.99"), "ann")
        assert (why.since, why.change.id) == (edited.effective_at, edited.change_id)
        assert why.author == "ann"
        assert why.rule.discount_edit is None
        assert why.text.startswith("It follows the catalogue: 249.99 × (100 − 5) / 100 = ")
        assert why.text.endswith(f"by price change {why.change.id}, decided by ann.")

    def test_of_the_past_has_the_catalogue_of_then(self):
        service = a_service(200)
        subscription = a_subscription(service=service, plan=a_plan(5))
        then = now()
        edit(service, 300)
        Plan.objects.filter(pk=subscription.plan_id).update(discount_percent=50)
        repricing.reprice()

        why = ledger.explain(subscription.pk, then)

        assert (why.price, why.rule.list_price, why.rule.discount_percent) == (190, 200, 5)
        assert why.rule.arithmetic == "200.00 × (100 − 5) / 100 = 190.00"
        assert (why.at, why.rule.list_price_edit, why.in_line) == (then, None, True)

    def test_of_one_that_no_worker_has_come_to_says_what_is_in_force(self):
        service = a_service(200)
        subscription = a_subscription(service=service)
        edit(service, 300)

        why = ledger.explain(subscription.pk)

        assert (why.price, why.rule.price, why.in_line) == (300, 300, True)
        assert why.since == why.rule.list_price_edit.effective_at
        repricing.reprice()
        assert ledger.explain(subscription.pk, why.at).text == why.text

    @pytest.mark.parametrize("late", [False, True])
    def test_is_so_since_the_edit_that_moved_the_price_and_not_since_the_last(self, late):
        service = a_service(100)
        subscription = a_subscription(service=service, plan=a_plan(50))
        edit(service, 200, author="ann")
        if not late:
            repricing.reprice()
        moved = ledger.explain(subscription.pk)
        edit(service, "199.99", author="bob")  # 99.995 is 100.00
        if not late:
            repricing.reprice()

        for known_at in (None, now()):
            why = ledger.explain(subscription.pk, known_at=known_at)

            assert (why.price, why.author, why.rule.list_price_edit.author) == (100, "ann", "bob")
            assert (why.since, why.change) == (moved.since, moved.change)
            assert why.since < why.rule.list_price_edit.effective_at

    def test_is_so_since_its_move_where_an_edit_moved_others_before(self):
        service = a_service(100)
        edit(service, 200, author="ann")
        subscription = a_subscription()
        Subscription.objects.filter(pk=subscription.pk).update(service=service)
        edit(service, "200.01", author="bob")
        edit(service, 200, author="eve")
        why = ledger.explain(subscription.pk)
        assert (why.price, why.author) == (200, "eve")

        moved = ledger.explain(subscription.pk, why.since - timedelta(microseconds=1))
        assert (moved.price, moved.author) == (Decimal("200.01"), "bob")

        moved = ledger.explain(subscription.pk, moved.since - timedelta(microseconds=1))
        assert (moved.price, moved.change) == (200, None)

    def test_of_a_lock_has_its_end_its_reason_and_its_author(self):
        subscription = a_subscription(service=a_service(200))
        end = now() + timedelta(days=1)
        price_state.lock(subscription.pk, end, "the contract of 2026", "ann")
        edit(subscription.service, 300)
        repricing.reprice()

        why = ledger.explain(subscription.pk)

        assert (why.price, why.price_state, why.locked_until) == (200, "locked", end)
        assert (why.price_reason, why.author, why.change) == ("the contract of 2026", "ann", None)
        assert (why.rule.price, why.in_line) == (300, False)
        assert "locked until" in why.text
        assert "(the contract of 2026)" in why.text

    def test_of_a_negotiated_price_says_who_agreed_to_it(self):
        subscription = a_subscription(service=a_service(200))
        price_state.negotiate(subscription.pk, 150, "a friend", "ann")
        why = ledger.explain(subscription.pk)
        assert why.text.startswith("Its price of 150.00 was negotiated (a friend).")
        assert why.text.endswith("written by ann.")

    def test_of_one_that_has_ended_says_that_its_price_stays(self):
        subscription = a_subscription(service=a_service(200))
        Subscription.objects.filter(pk=subscription.pk).update(
            started_at=now() - timedelta(days=1), ended_at=now()
        )
        edit(subscription.service, 300)
        repricing.reprice()
        assert "at a price of 200.00, following" in ledger.explain(subscription.pk).text

    def test_of_one_that_was_deleted_has_no_price(self):
        subscription = a_subscription()
        pk, service = subscription.pk, subscription.service
        subscription.delete()
        service.delete()

        why = ledger.explain(pk)

        assert (why.price, why.rule.price, why.in_line) == (None, 250, False)
        assert why.text.startswith("It was deleted")
        assert a_reader().get(f"/api/subscriptions/{pk}/explain/").json()["price"] is None

    def test_asks_who_knows_the_change(self):
        service = a_service(200)
        subscription = a_subscription(service=service)
        edit(service, 300, author="somebody")
        repricing.reprice()
        id = ledger.explain(subscription.pk).change.id

        with described(Change(id, "ann", "Prices of 2027", "the board's decision")):
            why = ledger.explain(subscription.pk)

        assert (why.author, why.change.reason) == ("ann", "the board's decision")
        assert f"by price change {id} “Prices of 2027”, decided by ann." in why.text

    def test_is_served_whole(self):
        service = a_service(200)
        subscription = a_subscription(service=service)
        edit(service, 300, author="ann")
        repricing.reprice()
        at = now()

        body = (
            a_reader()
            .get(f"/api/subscriptions/{subscription.pk}/explain/", {"at": at.isoformat()})
            .json()
        )

        assert body["price"] == 300
        assert body["rule"]["list_price_edit"]["old"] == 200
        assert body["rule"]["text"] == rule()
        assert datetime.fromisoformat(body["at"]) == at

    def test_before_it_was_there_is_a_404(self):
        before = now()
        subscription = a_subscription()
        url = f"/api/subscriptions/{subscription.pk}/explain/"
        response = a_reader().get(url, {"at": before.isoformat()})
        assert (response.status_code, response.json()["code"]) == (404, "not_found")

    def test_costs_five_queries(self):
        service = a_service(200)
        subscription = a_subscription(service=service)
        edit(service, 300)
        repricing.reprice()
        with CaptureQueriesContext(connection) as queries:
            ledger.explain(subscription.pk)
        # 5 queries: * the entry, the catalogue then and the rule * the edit of the list price
        # * the edit of the discount * what moved the price last * the change
        assert len(queries) == 5


# --- The feed -----------------------------------------------------------------------------------


class Poller:
    """Reads the feed as an integrator does, from place to place."""

    def __init__(self, limit: int = 100) -> None:
        self.place: Place | None = None
        self.limit = limit
        self.seen: list[int] = []

    def poll(self) -> list[int]:
        found = ledger.feed(self.place, self.limit)
        self.place = found.next
        ids = [entry["id"] for entry in found.entries]
        self.seen += ids
        return ids


class PollerByID:
    """The reader that one would write first."""

    def __init__(self) -> None:
        self.last = 0
        self.seen: list[int] = []

    def poll(self) -> list[int]:
        ids = list(
            WholeLedger.objects.filter(id__gt=self.last).order_by("id").values_list("id", flat=True)
        )
        self.last = ids[-1] if ids else self.last
        self.seen += ids
        return ids


def negotiated_by(person, subscription: Subscription, price: int) -> int:
    """A person writes a price and doesn't commit; the entry's id."""
    person.execute(
        "UPDATE services_subscription SET price_state = 'negotiated', price = %s WHERE id = %s",
        [price, subscription.pk],
    )
    return person.execute(
        "SELECT max(id) FROM services_ledgerentry WHERE subscription_id = %s", [subscription.pk]
    ).fetchone()[0]


def all_ids() -> list[int]:
    return list(WholeLedger.objects.order_by("id").values_list("id", flat=True))


@pytest.mark.django_db(transaction=True)
class TestFeed:
    def out_of_order(self, poller) -> tuple[int, int]:
        """The first of two transactions to write commits last; it is polled at every moment."""
        early, late = a_subscription(), a_subscription()
        until(lambda: poller.poll() or len(poller.seen) == 2)
        with a_person() as slow, a_person() as quick:
            first = negotiated_by(slow, early, 1)
            poller.poll()
            second = negotiated_by(quick, late, 2)
            quick.commit()
            poller.poll()
            slow.commit()
        poller.poll()
        poller.poll()
        assert first < second
        return first, second

    def test_shows_what_commits_out_of_order_once_and_in_order(self):
        poller = Poller()
        self.out_of_order(poller)
        assert poller.seen == all_ids()

    def test_by_id_alone_would_lose_it(self):
        poller = PollerByID()
        first, second = self.out_of_order(poller)
        assert second in poller.seen
        assert first not in poller.seen

    def test_without_waiting_for_open_transactions_would_lose_it(self, monkeypatch):
        waits = "ledger_oldest(), %(limit)s"
        assert waits in changes_feed.FEED
        all_there_are = f"{2**63 - 1}, %(limit)s"
        changed = changes_feed.FEED.replace(waits, all_there_are)
        monkeypatch.setattr(changes_feed, "FEED", changed)
        poller = Poller()
        first, second = self.out_of_order(poller)
        assert second in poller.seen
        assert first not in poller.seen

    def test_shows_nothing_behind_a_transaction_that_has_not_written_yet(self):
        subscription = a_subscription()
        poller = Poller()
        until(poller.poll)
        with a_person() as slow:
            slow.execute("SELECT pg_current_xact_id()")
            a_subscription()
            assert poller.poll() == []
            negotiated_by(slow, subscription, 1)
            slow.commit()

        newest = poller.poll()

        # Its transaction began first, so its entry comes first, though its id is the greater.
        assert len(newest) == 2
        assert newest[0] > newest[1]

    def test_forgets_what_was_rolled_back(self):
        subscription = a_subscription()
        poller = Poller()
        with a_person() as person:
            negotiated_by(person, subscription, 1)
            person.rollback()
        poller.poll()
        assert poller.seen == all_ids()

    @pytest.mark.parametrize("limit", [1, 2, 7])
    def test_has_no_gap_and_no_repeat_from_page_to_page(self, limit):
        a_book(10)  # one transaction: the ids tell its entries apart
        for _ in range(5):
            a_subscription()
        poller = Poller(limit)
        until(lambda: not poller.poll())
        assert poller.seen == all_ids()
        assert len(poller.seen) == 15

    def test_has_no_gap_and_no_repeat_while_eight_write(self):
        subscriptions = [a_subscription() for _ in range(8)]

        def write(subscription, seed):
            dice = random.Random(seed)
            for number in range(12):
                with transaction.atomic():
                    for _ in range(dice.randrange(1, 4)):
                        price_state.negotiate(
                            subscription.pk, dice.randrange(10**6), f"offer {number}", "ann"
                        )
                    # Somebody else's entry, too: transactions end in another order than they write.
                    if dice.random() < 0.3:
                        a_subscription()

        poller = Poller(limit=5)
        writers = [in_background(write, each, seed) for seed, each in enumerate(subscriptions)]
        while any(writer.running for writer in writers):
            poller.poll()
        for writer in writers:
            writer.result()
        until(lambda: not poller.poll())

        assert sorted(poller.seen) == all_ids()
        assert len(poller.seen) == len(set(poller.seen))
        # Entries of a subscription come in the order of writing: the last one seen is the state.
        place = {id: number for number, id in enumerate(poller.seen)}
        for subscription in subscriptions:
            ids = [entry["id"] for entry in ledger.history(subscription.pk)]
            assert ids == sorted(ids, key=place.__getitem__)

    def test_is_served_with_a_place_to_go_on_from(self):
        empty = a_reader().get("/api/ledger/").json()
        assert (empty["result"], Place.parse(empty["next"])) == ([], Place())

        subscription = a_subscription(service=a_service(100))
        page = a_reader().get("/api/ledger/", {"after": empty["next"], "limit": 1}).json()
        again = a_reader().get("/api/ledger/", {"after": page["next"]}).json()

        (entry,) = page["result"]
        assert set(entry) == {
            *COLUMNS,
            "request_id",
            "source",
            "external_id",
            "currency",
            "correction_reason",
        }
        assert (entry["subscription_id"], entry["price"]) == (subscription.pk, 100)
        assert (again["result"], again["next"]) == ([], page["next"])

    def test_refuses_a_place_that_this_server_has_not_come_to(self):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_current_xact_id()::text::bigint")
            (xact,) = cursor.fetchone()
        ledger.feed(Place(xact, BIGGEST))
        response = a_reader().get("/api/ledger/", {"after": str(Place(xact + 10_000, 1))})
        assert (response.status_code, response.json()["code"]) == (400, "place_ahead")

    def test_costs_as_much_however_many_entries_there_are(self):
        a_book(300)
        counts = {}
        for limit in (1, 300, 301):
            with CaptureQueriesContext(connection) as queries:
                found = ledger.feed(limit=limit)
            counts[limit, len(found.entries)] = len(queries)
        # 4 queries: * who writes * the entries, and how far the server is * their ids elsewhere
        # * the proof of the next place, and at the end * what is untold
        assert counts == {(1, 1): 4, (300, 300): 4, (301, 300): 5}


# --- Plans --------------------------------------------------------------------------------------

ROWS = 8_000


@pytest.fixture(scope="class")
def one_of_many(empty_files_of_the_class):
    """A subscription in the middle of a book with three more entries of each."""
    book = a_book(ROWS, services=5, plans=2, clients=ROWS // 10)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO services_ledgerentry (subscription_id, client_id, service_id, plan_id,
                                              price, price_state, xact, change_id)
            SELECT id, client_id, service_id, plan_id, price + n, 'follows', n, n
              FROM services_subscription, generate_series(1, 3) n
            """
        )
        cursor.execute("ANALYZE services_ledgerentry")
    connection.check_constraints()  # once, or each test of the class would check all rows
    return book.order_by("id")[ROWS // 2]


@pytest.mark.django_db
class TestPlans:
    """At a size at which PostgreSQL has a choice."""

    @pytest.fixture(autouse=True)
    def book(self, one_of_many):
        self.subscription = one_of_many

    def test_of_one_subscription_reads_its_entries(self):
        one = ledger.as_of(now(), subscription_id=self.subscription.pk)
        assert reads_of_the_ledger(one) == {"ledger_subscription", *OF_PERIODS}
        history = (HISTORY, {"id": self.subscription.pk, "after": 0, "limit": None})
        assert reads_of_the_ledger(history) == {"ledger_subscription"}

    def test_of_why_reads_the_entries_of_one(self):
        reads = reads_of_the_ledger(explanation.statement(self.subscription.pk, now()))
        assert reads == {"ledger_subscription", *OF_PERIODS}

    def test_of_what_was_known_reads_no_more(self):
        at, one, client = now(), self.subscription.pk, self.subscription.client_id
        of_client = ledger.as_of(at, BookFilter(client=client), known_at=at)
        for statement in (
            ledger.as_of(at, subscription_id=one, known_at=at),
            explanation.statement(one, at, known_at=at),
            of_client,
        ):
            assert reads_of_the_ledger(statement) <= {
                "ledger_client",
                "ledger_subscription",
                "ledger_unpaid",
            }
        assert max(node["Actual Rows"] for node in nodes(of_client)) <= 40

    def test_of_a_client_reads_the_entries_of_its_subscriptions(self):
        client = ledger.as_of(now(), BookFilter(client=self.subscription.client_id))
        assert reads_of_the_ledger(client) == {"ledger_client", "ledger_subscription", *OF_PERIODS}
        # Its 10 subscriptions, and the 4 entries of each.
        assert max(node["Actual Rows"] for node in nodes(client)) <= 40

    def test_of_the_book_reads_the_ledger_once(self):
        scans = [
            node
            for node in nodes(ledger.as_of(now()))
            if node.get("Relation Name") == "services_ledgerentry"
            and node.get("Index Name") not in OF_PERIODS
            and node["Actual Loops"]  # none for the end of one that was priced after it
        ]
        assert len(scans) == 1

    def test_of_the_feed_reads_just_the_page(self):
        sql = changes_feed.FEED.format(columns=", ".join(COLUMNS))
        for place in ([0, 0], [2, 0]):
            statement = (sql, dict(zip(("xact", "id"), place, strict=True), limit=100))
            found = [node for node in nodes(statement) if node["Actual Loops"]]
            read = {node["Index Name"]: node for node in found if node.get("Index Name")}
            assert read.keys() == {
                "services_sealedblock_pkey",
                "ledger_feed",
                "moved_feed",
                "corrected_feed",
            }
            scan = read["ledger_feed"]
            assert scan["Actual Rows"] == 100
            assert scan.get("Rows Removed by Filter", 0) == 0

    def test_of_the_feed_reads_just_the_page_of_followers_that_were_moved(self):
        service = self.subscription.service
        Service.objects.filter(pk=service.pk).update(full_price=Decimal("999.99"))
        repricing.reprice()
        first, *_ = MovedFollowers.objects.order_by("xact", "id")
        assert first.number > 200
        sql = changes_feed.FEED.format(columns=", ".join(COLUMNS))
        # In the middle of a row; a transaction of our own is not over.
        place = {"xact": first.xact, "id": first.entry_ids[50], "limit": 100}
        waits = "ledger_oldest(), %(limit)s"
        found = list(nodes((sql.replace(waits, f"{2**62}, %(limit)s"), place)))
        (moved,) = [node for node in found if node.get("Index Name") == "moved_feed"]
        assert moved["Actual Rows"] == MovedFollowers.objects.count()
        assert moved["Actual Rows"] < 10
        (own,) = [
            node
            for node in found
            if node.get("Index Name") == "ledger_subscription" and node["Actual Loops"]
        ]
        assert own["Actual Loops"] == 100


# --- Refused requests ---------------------------------------------------------------------------

PLACE = str(Place(7, 8))
BAD_INSTANTS = [
    ("", "bad_instant"),
    ("yesterday", "bad_instant"),
    ("2026", "bad_instant"),
    ("2026-01-31", "bad_instant"),
    ("20260131T120000Z", "bad_instant"),
    ("2026-W05-6T12:00Z", "bad_instant"),
    ("1769860800", "bad_instant"),
    ("2026-01-31T12:00:00", "instant_without_zone"),
    ("2026-01-31T12:00", "instant_without_zone"),
    ("2026-02-30T12:00:00Z", "bad_instant"),
    ("2026-01-31T24:01:00Z", "bad_instant"),
    ("2026-01-31T12:00:60Z", "bad_instant"),
    ("2026-01-31T12:00:00+25:00", "bad_instant"),
    ("2026-01-31T12:00:00.0000000Z", "bad_instant"),
    ("0000-01-01T00:00:00Z", "bad_instant"),
    ("0001-01-01T00:00:00+14:00", "instant_too_early"),
    ("1899-12-31T23:59:59Z", "instant_too_early"),
    ("9999-12-31T23:59:59Z", "instant_too_late"),
    ("9999-12-31T23:59:59-14:00", "instant_too_late"),
    ("infinity", "bad_instant"),
    ("NaN", "bad_instant"),
    ("now()", "bad_instant"),
    ("2026-01-31T12:00:00Z\n", "bad_instant"),
    ("٢٠٢٦-٠١-٣١T١٢:٠٠:٠٠Z", "bad_instant"),
    ("2026-01-31T12:00:00Z\0", "bad_parameter"),
    ("9" * 5000, "bad_instant"),
    ("'; DROP TABLE services_ledgerentry; --", "bad_instant"),
]
BAD_FEEDS = [
    ("after=", "bad_parameter"),
    ("after=abc", "bad_parameter"),
    ("after=1", "bad_parameter"),
    ("after=%00", "bad_parameter"),
    (f"after={'A' * 24}", "bad_parameter"),
    (f"after={'A' * 5000}", "bad_parameter"),
    (f"after={quote('٣' * 24)}", "bad_parameter"),
    (f"after={quote('é' * 24)}", "bad_parameter"),
    (f"after={'=' * 24}", "bad_parameter"),
    (f"after={PLACE[:-1]}", "bad_parameter"),
    (f"after={PLACE[:-2]}zz", "bad_parameter"),
    (f"after={PLACE}&after={PLACE}", "repeated_parameter"),
    ("limit=0", "bad_parameter"),
    ("limit=-1", "bad_parameter"),
    ("limit=1001", "bad_parameter"),
    ("limit=1e3", "bad_parameter"),
    ("limit=", "bad_parameter"),
    ("limit=NaN", "bad_parameter"),
    (f"limit={quote('١٠')}", "bad_parameter"),
    (f"limit={'9' * 5000}", "bad_parameter"),
    ("cursor=abc", "bad_parameter"),
]


class TestRefusals:
    """No database: what can't be used is refused before it is asked."""

    @pytest.mark.parametrize(
        ("path", "name"),
        [
            ("/api/subscriptions/", "as_of"),
            ("/api/subscriptions/1/", "as_of"),
            ("/api/subscriptions/1/explain/", "at"),
        ],
    )
    @pytest.mark.parametrize(("value", "code"), BAD_INSTANTS)
    def test_of_instants_name_the_mend(self, path, name, value, code):
        response = a_reader().get(path, {name: value})
        body = response.json()
        assert (response.status_code, body["code"]) == (400, code)
        assert body["parameter"] == name
        assert body["detail"]

    @pytest.mark.parametrize(("query", "code"), BAD_FEEDS)
    def test_of_the_feed_name_the_parameter(self, query, code):
        response = a_reader().get(f"/api/ledger/?{query}")
        body = response.json()
        assert (response.status_code, body["code"]) == (400, code)
        assert body["parameter"] == query.partition("=")[0]

    @pytest.mark.parametrize("query", ["cursor=abc", "page_size=0", "after=1", "cursor=%00"])
    def test_of_a_history_name_the_parameter(self, query):
        response = a_reader().get(f"/api/subscriptions/1/ledger/?{query}")
        assert (response.status_code, response.json()["parameter"]) == (400, query.split("=")[0])

    def test_of_a_history_read_backward_say_so(self):
        cursor = Cursor(5, backward=True, list_key=list_key("ledger", 1))
        response = a_reader().get(f"/api/subscriptions/1/ledger/?cursor={cursor}")
        assert (response.status_code, response.json()["code"]) == (400, "bad_parameter")

    def test_need_a_key(self, client):
        for path in ("/api/ledger/", "/api/subscriptions/1/ledger/"):
            assert client.get(path).status_code == 401


@pytest.mark.django_db
class TestInstants:
    def test_may_be_written_in_any_zone_also_with_a_plus_that_was_not_quoted(self):
        a_book(1)
        for instant in (
            "2026-01-31T12:00:00Z",
            "2026-01-31 12:00Z",
            "2026-01-31t12:00:00.123456z",
            "2026-01-31T12:00:00%2B05:30",
            "2026-01-31T12:00:00+05:30",
            "2026-01-31T12:00:00-11:00",
            "1900-01-01T00:00:00Z",
        ):
            response = a_reader().get(f"/api/subscriptions/?as_of={instant}")
            assert (response.status_code, response.data["count"]) == (200, 0)


class TestPlace:
    @pytest.mark.parametrize("place", [Place(), Place(1, 2), Place(BIGGEST, BIGGEST)])
    def test_comes_back_as_it_went_out(self, place):
        assert Place.parse(str(place)) == place
        assert quote(str(place), safe="") == str(place)

    def test_is_short_beside_releases_that_know_no_other(self, settings):
        place = Place(1, 2, Proof(3))
        assert len(str(place)) == 48
        settings.FEED_SHORT_PLACES = True
        assert str(place) == str(Place(1, 2))

    @pytest.mark.parametrize("place", [Place(-1, 2), Place(1, -2)])
    def test_has_no_number_below_zero(self, place):
        with pytest.raises(ValueError, match="below 0"):
            Place.parse(str(place))

    @pytest.mark.parametrize("number", range(24))
    def test_is_known_for_false_when_one_letter_is_another(self, number):
        text = str(Place(1, 2))
        forged = f"{text[:number]}{'A' if text[number] != 'A' else 'B'}{text[number + 1 :]}"
        with pytest.raises(ValueError, match="check"):
            Place.parse(forged)
