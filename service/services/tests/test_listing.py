"""Pages: nothing twice, nothing left out, and at a cost that does not grow with the book."""

import itertools
import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection

from clients.models import Client
from services.models import Subscription
from services.reading import access_paths, pages, total
from services.reading.access_paths import NotServed, Way, access_path
from services.reading.filters import FILTERS, BookFilter
from services.reading.ordering import BY_ID, ORDERINGS, Cursor
from services.tests.factories import (
    a_book,
    a_client,
    a_plan,
    a_reader,
    a_service,
    a_subscription,
)
from services.tests.plans import compared_in_vain, rows_by_relation


def ids_of(response):
    return [row["id"] for row in response.data["result"]]


@pytest.mark.django_db
class TestLinks:
    def test_lead_through_the_whole_book_and_back(self):
        expected = list(a_book(25).order_by("id").values_list("id", flat=True))
        response = a_reader().get("/api/subscriptions/?page_size=10")
        there = ids_of(response)
        while response.data["next"]:
            response = a_reader().get(response.data["next"])
            there += ids_of(response)
        back = ids_of(response)
        while response.data["previous"]:
            response = a_reader().get(response.data["previous"])
            back = ids_of(response) + back

        assert there == expected
        assert back == expected

    def test_are_absolute_and_keep_the_filters(self):
        subscription = a_book(25).first()
        response = a_reader().get(
            "/api/subscriptions/",
            {"source": subscription.source, "comment_prefix": "row ", "page_size": 10},
        )

        link = urlsplit(response.data["next"])
        query = parse_qs(link.query)
        assert (link.scheme, link.netloc, link.path) == (
            "http",
            "testserver",
            "/api/subscriptions/",
        )
        assert query.pop("cursor")
        assert query == {
            "source": [subscription.source],
            "comment_prefix": ["row "],
            "page_size": ["10"],
        }

    def test_end_where_the_book_ends(self):
        first, *_, last = a_book(10).order_by("id")
        whole = pages.page(BookFilter(), None, 10)
        assert (whole.next, whole.previous) == (None, None)
        assert pages.page(BookFilter(), Cursor(first.pk), 9).next is None
        assert pages.page(BookFilter(), Cursor(last.pk, backward=True), 9).previous is None

    def test_lead_back_from_beyond_an_end(self):
        first, *_, last = a_book(10).order_by("id")
        beyond = pages.page(BookFilter(), Cursor(last.pk), 5)
        assert (beyond.result, beyond.next) == ([], None)
        assert pages.page(BookFilter(), beyond.previous, 5).result[-1]["id"] == last.pk

        before = pages.page(BookFilter(), Cursor(first.pk, backward=True), 5)
        assert (before.result, before.previous) == ([], None)
        assert pages.page(BookFilter(), before.next, 5).result[0]["id"] == first.pk

    def test_do_not_skip_or_repeat_when_rows_come_and_go(self):
        book = list(a_book(10).order_by("id"))
        page = pages.page(BookFilter(), None, 5)
        Subscription.objects.filter(pk__in=[book[0].pk, book[4].pk]).delete()

        following = pages.page(BookFilter(), page.next, 5)

        assert [row["id"] for row in following.result] == [row.pk for row in book[5:]]

    @pytest.mark.parametrize("cursor", [Cursor(0), Cursor(2**63 - 1), Cursor(0, True)])
    def test_may_point_anywhere(self, cursor):
        a_book(3)
        page = pages.page(BookFilter(), cursor, 1)
        for other in (page.next, page.previous):
            if other:
                pages.page(BookFilter(), Cursor.parse(str(other)), 1)
        assert page.total.subscriptions == 3


@pytest.mark.django_db
class TestTotalOfAPage:
    @pytest.mark.parametrize("cursor", [None, Cursor(0), Cursor(2**62, backward=True)])
    @pytest.mark.parametrize("name", ["service", "plan", "client", "source", "comment_prefix"])
    def test_is_of_all_that_match_and_not_of_the_page(self, name, cursor):
        subscription = a_book(120).order_by("id")[5]
        value = {
            "service": subscription.service_id,
            "plan": subscription.plan_id,
            "client": subscription.client_id,
            "source": subscription.source,
            "comment_prefix": "row 1",
        }[name]
        lookup = "comment__startswith" if name == "comment_prefix" else name
        prices = Subscription.objects.filter(**{lookup: value}).values_list("price", flat=True)
        assert len(prices) > 5

        page = pages.page(BookFilter(**{name: value}), cursor, 5)

        assert len(page.result) == 5
        assert (page.total.amount, page.total.subscriptions) == (sum(prices), len(prices))

    def test_holds_beyond_the_end_of_the_book(self):
        a_book(3)
        page = pages.page(BookFilter(comment_prefix="row"), Cursor(2**62), 5)
        assert page.result == []
        assert page.total.subscriptions == 3
        assert page.total.amount > 0

    def test_of_nothing_is_a_decimal_zero(self):
        for book_filter in (BookFilter(), BookFilter(service=1), BookFilter(comment="none")):
            assert pages.page(book_filter, None, 5).total == total.Total(Decimal(0), 0)


ROWS = 30_000
CLIENT_INDEX = "services_subscription_client_id"  # and what Django adds to it


def a_large_book():
    """Makes one; a subscription in its middle."""
    return a_book(ROWS, services=10, plans=4, clients=3000).order_by("id")[ROWS // 2]


@pytest.fixture(scope="class")
def large_book(empty_files_of_the_class):
    book = a_large_book()
    connection.check_constraints()  # once, or each test of the class would check all rows
    return book


@pytest.fixture(scope="class")
def last(large_book):
    """A subscription of a service and a plan whose rows are the last tenth of the book."""
    last = a_book(ROWS // 10, services=1, plans=2, clients=1).last()
    Subscription.objects.filter(service=last.service).update(plan=a_plan(77))
    last.refresh_from_db()
    connection.check_constraints()
    return last


@pytest.fixture(scope="class")
def second_half(large_book):
    """As many rows again, of one client; the first half is of another source."""
    rows = a_book(ROWS, services=1, plans=1, clients=1)
    connection.check_constraints()
    return rows


class Plans:
    """The plans of PostgreSQL for a page, in a book so large that it has a choice."""

    @pytest.fixture(autouse=True, params=[True, False], ids=["copies", "in force"])
    def read(self, request):
        self.copies = request.param

    def nodes(self, book_filter, cursor, size=100, ordering=BY_ID):
        """The nodes of the plan that read the subscriptions, and how many rows each has read.

        Where a plan is kept for all values, it reads no more than the one for these.
        """
        path = access_path(book_filter, ordering)
        sql, params = pages.statement(path, cursor, size, copies=self.copies)
        nodes = self.explained(sql, params)
        if path.planned_once:
            numbers = itertools.count(1)
            kept = re.sub("%s", lambda _: f"${next(numbers)}", sql)
            with connection.cursor() as db:
                db.execute("SET LOCAL plan_cache_mode = force_generic_plan")
                db.execute(f"PREPARE kept AS {kept}")
            values = f"({', '.join(['%s'] * len(params))})" if params else ""
            of_all_values = self.explained(f"EXECUTE kept {values}", params)
            with connection.cursor() as db:
                db.execute("DEALLOCATE kept")
            assert sum(rows for *_, rows in of_all_values) <= sum(rows for *_, rows in nodes)
        return nodes

    def explained(self, statement, params):
        with connection.cursor() as db:
            db.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", params)
            (plan,) = db.fetchone()
        plan = json.loads(plan) if isinstance(plan, str) else plan

        def walk(node):
            yield node
            for child in node.get("Plans", []):
                yield from walk(child)

        return [
            (
                node["Node Type"],
                node.get("Index Name"),
                (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
                * node["Actual Loops"],
            )
            for node in walk(plan[0]["Plan"])
            if node.get("Relation Name") == "services_subscription"
            or str(node.get("Index Name")).startswith(("services_subscription", "subscription_"))
        ]

    def assert_only(self, index, nodes):
        # A bitmap heap scan reads what the bitmap index scan below it has found.
        assert all(
            kind == "Bitmap Heap Scan" or str(name).startswith(index) for kind, name, _ in nodes
        )

    def nodes_of(self, order, **given):
        return self.nodes(BookFilter(**given), None, ordering=ORDERINGS[order])


@pytest.mark.django_db
class TestPlan(Plans):
    @pytest.fixture(autouse=True)
    def book(self, large_book):
        self.subscription = large_book

    def test_of_the_first_page_and_of_one_in_the_middle_reads_just_the_page(self):
        middle = Cursor(self.subscription.pk)
        for cursor in (None, middle, Cursor(middle.id, backward=True)):
            assert self.nodes(BookFilter(), cursor) == [
                ("Index Scan", "services_subscription_pkey", 101)
            ]

    @pytest.mark.parametrize(
        ("names", "index"),
        [
            (["service"], "subscription_service"),
            (["plan"], "subscription_plan"),
            (["service", "plan"], "subscription_service_plan"),
        ],
    )
    def test_by_service_and_plan_reads_just_the_page(self, names, index):
        book_filter = BookFilter(
            **{name: getattr(self.subscription, f"{name}_id") for name in names}
        )
        middle = self.subscription.pk
        for cursor in (None, Cursor(middle), Cursor(middle, backward=True)):
            assert self.nodes(book_filter, cursor) == [("Index Scan", index, 101)]

    @pytest.mark.parametrize(
        ("name", "index"),
        [
            ("client", "services_subscription_client_id"),
            ("comment", "subscription_comment"),
            ("comment_prefix", "subscription_comment"),
            ("external_id", "subscription_unique_external_id"),
        ],
    )
    def test_by_anything_else_reads_just_what_matches(self, name, index):
        value = {
            "client": {"client": self.subscription.client_id},
            "comment": {"comment": self.subscription.comment},
            "comment_prefix": {"comment_prefix": "row 1234"},
            "external_id": {
                "source": self.subscription.source,
                "external_id": self.subscription.external_id,
            },
        }[name]
        for cursor in (None, Cursor(self.subscription.pk)):
            nodes = self.nodes(BookFilter(**value), cursor)
            assert "Seq Scan" not in [kind for kind, _, _ in nodes]
            assert any(str(used).startswith(index) for _, used, _ in nodes)
            assert max(rows for _, _, rows in nodes) <= 11

    @pytest.mark.parametrize("order", ["started_at", "-started_at", "client_name", "-client_name"])
    @pytest.mark.parametrize("backward", [False, True])
    def test_in_another_order_reads_little_more_than_the_page(self, order, backward):
        row = pages.page(BookFilter(subscription=self.subscription.pk), None, 1).result[0]
        ordering = ORDERINGS[order]
        middle = Cursor(row["id"], backward, ordering.value_of(row))
        for cursor in (None, middle):
            nodes = self.nodes(BookFilter(), cursor, ordering=ordering)
            index = "subscription_started" if "started" in order else CLIENT_INDEX
            self.assert_only(index, nodes)
            assert max(rows for _, _, rows in nodes) <= 250

    def test_of_a_plan_type_reads_a_page_of_each_of_its_plans(self):
        for given in ({}, {"service": self.subscription.service_id}):
            nodes = self.nodes(BookFilter(plan_type="discount", **given), None)
            assert [rows for _, _, rows in nodes if rows] == [303]  # three plans, 101 each

    def test_of_what_is_not_served_reads_nothing(self, monkeypatch):
        for order in ("id", "price", "client_name", "started_at"):
            monkeypatch.setitem(access_paths.SCAN_ROWS, order, ROWS - 1)
            nodes = self.nodes_of(order, price_state="locked")
            assert [rows for _, _, rows in nodes if rows] == []
            with pytest.raises(NotServed):
                pages.page(BookFilter(price_state="locked"), None, 100, ORDERINGS[order])

    def test_of_a_client_in_another_order_counts_no_further_than_the_limit(self, monkeypatch):
        client = Subscription.objects.get(pk=self.subscription.pk).client
        for order in ("price", "client_name", "started_at"):
            monkeypatch.setitem(access_paths.SCAN_ROWS, order, 9)
            for given in ({"client": client.pk}, {"email": client.user.email}):
                nodes = self.nodes_of(order, **given)
                assert max(rows for _, _, rows in nodes) == 10
                with pytest.raises(NotServed):
                    pages.page(BookFilter(**given), None, 5, ORDERINGS[order])

    def test_of_an_indexed_filter_in_another_order_counts_no_further_than_the_limit(
        self, monkeypatch
    ):
        monkeypatch.setitem(access_paths.SCAN_ROWS, "price", 500)
        nodes = self.nodes_of("price", source=self.subscription.source)
        assert [rows for _, _, rows in nodes if rows] == [501]
        monkeypatch.setitem(access_paths.SCAN_ROWS, "price", 1111)
        assert (
            pages.page(
                BookFilter(comment_prefix="row 12"), None, 5, ORDERINGS["price"]
            ).total.subscriptions
            == 1111
        )


@pytest.mark.django_db
class TestPlanOfRowsAtTheEnd(Plans):
    @pytest.mark.parametrize("names", [["service"], ["plan"], ["service", "plan"]])
    def test_of_a_service_whose_rows_are_the_last_reads_just_the_page(self, last, names):
        book_filter = BookFilter(**{name: getattr(last, f"{name}_id") for name in names})
        assert [rows for _, _, rows in self.nodes(book_filter, None)] == [101]


@pytest.mark.django_db
class TestPlanOfHalfTheBook(Plans):
    @pytest.fixture(autouse=True)
    def book(self, large_book, second_half):
        self.subscription = large_book

    def test_of_a_source_reads_just_the_page(self):
        page, total = self.nodes(BookFilter(source=self.subscription.source), None)
        assert (page[0], page[2]) == ("Index Scan", 101)
        assert total[0] == "Seq Scan"  # once; then the cache has it

    def test_of_a_client_reads_just_the_page(self, second_half):
        client = second_half.last().client_id
        page, _ = self.nodes(BookFilter(client=client), Cursor(self.subscription.pk + ROWS))
        assert (page[0], page[2]) == ("Index Scan", 101)


@pytest.mark.django_db
@pytest.mark.usefixtures("large_book")
class TestPlanOfOneClient(Plans):
    def test_is_read_by_its_index_in_any_order(self):
        """A client whose rows all stand at the end: walking the order would read everything."""
        last = a_book(10, services=1, plans=1, clients=1).last()
        for order in ORDERINGS:
            for given in ({"client": last.client_id}, {"email": last.client.user.email}):
                nodes = self.nodes_of(order, **given)
                self.assert_only(CLIENT_INDEX, nodes)
                assert max(rows for _, _, rows in nodes) == 10

    def test_of_many_rows_in_the_order_of_names_compares_none_with_others(self):
        """The last of all names: a walk by names would compare each client with each row."""
        many = a_book(ROWS // 10, services=1, plans=1, clients=1).last()
        Client.objects.filter(pk=many.client_id).update(company_name="Яблоко")
        for given in ({"client": many.client_id}, {"email": many.client.user.email}):
            for size in (1, 10, 100):
                sql, params = pages.statement(
                    access_path(BookFilter(**given), ORDERINGS["client_name"]),
                    None,
                    size,
                    copies=self.copies,
                )
                # The few services and plans, to the rows of the page.
                assert compared_in_vain(sql, params) <= 20 * (size + 1)


@pytest.mark.django_db
class TestPlanByClient:
    def test_looks_for_the_rows_of_a_client_that_has_none_by_their_index(self, empty_files):
        """Clients have a thousand each: the planner hoped to meet the first of them soon."""
        a_book(1, clients=100)
        a_book(10_000, clients=10)
        for size in (1, 10, 100):
            sql, params = pages.statement(
                access_path(BookFilter(), ORDERINGS["client_name"]), None, size
            )
            read = rows_by_relation(sql, params)
            assert read["services_subscription_pkey"] == 0
            by_client = sum(n for name, n in read.items() if name.startswith(CLIENT_INDEX))
            assert 1000 <= by_client <= 2001  # of one or two clients


def a_tied_book():
    """60 subscriptions with many equal prices, names and starts, and clients of equal names."""
    services = [a_service(price) for price in (10, 10, 20)]
    clients = [a_client(name) for name in ("Ёлка", "alpha", "Alpha", "alpha", "Zoë", "", "бета")]
    days = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 1, 2, 3)]
    for number in range(60):
        a_subscription(
            client=clients[number * 5 % 7],
            service=services[number % 3],
            plan=a_plan(50 * (number % 2)) if number % 4 else a_plan(50, "student"),
            started_at=days[number * 3 % 4],
            source="tied",
            external_id=str(number),
            comment=f"row {number}",
        )
    return Subscription.objects.filter(source="tied")


WHOLE_ORDER = {"id": ["id"], "price": ["price", "id"], "started_at": ["started_at", "id"]}
WHOLE_ORDER["client_name"] = ["client__company_name", "id"]


@pytest.mark.django_db
class TestOrdering:
    """Pages one after another are the whole, sorted: in each order, there and back."""

    FILTERS: tuple[dict[str, Any], ...] = (
        {},
        {"source": "tied"},
        {"comment_prefix": "row 1"},
        {"service": 0},
        {"plan_type": "student"},
        {"plan_type": "discount", "service": 0},
        {"client": 1},
        {"price_to": "10"},
        {"started_from": "2026-01-01T00:00:00Z", "started_to": "2026-01-03T00:00:00Z"},
    )

    def whole(self, book_filter, ordering):
        names = WHOLE_ORDER[ordering.name]
        rows = Subscription.objects.filter(book_filter.condition()).order_by(
            *[f"-{name}" if ordering.descending else name for name in names]
        )
        return list(rows.values_list("pk", flat=True))

    def walk(self, book_filter, ordering, size, way, cursor=None):
        found = []
        while True:
            page = pages.page(book_filter, cursor, size, ordering)
            ids = [row["id"] for row in page.result]
            found = found + ids if way == "next" else ids + found
            cursor = getattr(page, way)
            if cursor is None:
                return found, page
            cursor = Cursor.parse(str(cursor))

    @pytest.mark.parametrize("order", ORDERINGS)
    def test_of_pages_is_that_of_the_whole(self, order):
        subscription = a_tied_book().first()
        ordering = ORDERINGS[order]
        for given in self.FILTERS:
            for name in ("service", "client"):
                if name in given:
                    given = given | {name: getattr(subscription, f"{name}_id")}
            book_filter = BookFilter.of(given)
            expected = self.whole(book_filter, ordering)
            assert len(expected) > 3, given
            for size in (1, 7) if not given else (4,):
                there, last = self.walk(book_filter, ordering, size, "next")
                assert there == expected, given
                assert last.total.subscriptions == len(expected)
                if last.previous:
                    back, _ = self.walk(book_filter, ordering, size, "previous", last.previous)
                    assert back + [row["id"] for row in last.result] == expected, given

    def walked(self, ordering, meanwhile):
        """The ids of all pages; `meanwhile` writes between two of them, knowing the ids so far."""
        cursor, seen = None, []
        while True:
            page = pages.page(BookFilter(), cursor, 7, ordering)
            seen += [row["id"] for row in page.result]
            if page.next is None:
                return seen
            cursor = page.next
            meanwhile(seen)

    @pytest.mark.parametrize("order", ORDERINGS)
    def test_repeats_and_skips_nothing_while_rows_come_and_go(self, order):
        book = a_tied_book()
        first, ordering = book.first(), ORDERINGS[order]
        there_before = set(self.whole(BookFilter(), ordering))

        def meanwhile(seen):
            a_subscription(client=first.client, service=first.service, plan=first.plan)
            Subscription.objects.filter(pk=seen[-1]).delete()  # that the cursor stands beside

        seen = self.walked(ordering, meanwhile)
        assert len(seen) == len(set(seen))
        assert there_before <= set(seen)

    @pytest.mark.parametrize("order", ["id", "-id", "started_at", "-started_at"])
    def test_repeats_and_skips_nothing_while_prices_and_names_move(self, order):
        """As docs/reads.md promises for these orders, and for no other."""
        book, ordering = a_tied_book(), ORDERINGS[order]
        expected = self.whole(BookFilter(), ordering)

        def meanwhile(seen):
            # A row that was shown goes behind all others by price and name, another row before
            # them.
            for row, price, name in ((book.get(pk=seen[0]), 99, "Я"), (book.last(), 1, "A")):
                Subscription.objects.filter(pk=row.pk).update(price_state="negotiated", price=price)
                Client.objects.filter(pk=row.client_id).update(company_name=name)

        assert self.walked(ordering, meanwhile) == expected


@pytest.mark.django_db
class TestServed:
    def test_by_rule_and_not_by_the_clock(self):
        for order, names, way in [
            ("id", [], Way.WALKED),
            ("-id", ["service", "plan_type"], Way.WALKED),
            ("id", ["source", "price_state"], Way.FOUND),
            ("id", ["price_state"], Way.SCANNED),
            ("id", ["q", "source"], Way.SCANNED),
            ("price", [], Way.SCANNED),
            ("price", ["client", "state"], Way.SCANNED),
            ("-price", ["service"], Way.SCANNED),
            ("price", ["source"], Way.SCANNED),
            ("started_at", ["started_to"], Way.WALKED),
            ("started_at", ["started_to", "service"], Way.SCANNED),
            ("client_name", [], Way.WALKED),
            ("client_name", ["service"], Way.SCANNED),
            ("client_name", ["email"], Way.SCANNED),
            ("id", ["client", "state"], Way.FOUND),
            ("price", ["external_id", "source"], Way.FOUND),
            ("id", ["pending"], Way.SCANNED),
            ("id", ["pending", "source"], Way.SCANNED),
            ("price", ["pending", "client"], Way.SCANNED),
            ("price", ["pending", "subscription"], Way.FOUND),
        ]:
            assert access_path(BookFilter(**dict.fromkeys(names, 1)), ORDERINGS[order]).way == way

    def test_knows_of_each_filter_how_it_is_served(self):
        residual = {"state", "price_state", "price_from", "price_to", "except_client"}
        assert set(FILTERS) == (
            access_paths.CATALOGUE
            | access_paths.FEW
            | access_paths.INDEXED
            | access_paths.SEARCHED
            | access_paths.JUDGED
            | residual
        )

    def test_is_what_the_refusal_names_and_the_document_says(self, monkeypatch, settings):
        a_book(12)
        monkeypatch.setitem(access_paths.SCAN_ROWS, "price", 10)
        response = a_reader().get("/api/subscriptions/?ordering=-price")
        body = response.json()
        assert (response.status_code, body["code"]) == (400, "not_served_at_size")
        assert (body["parameter"], body["value"]) == ("ordering", "-price")
        assert access_paths.served() in body["detail"]

        service = Subscription.objects.first().service_id
        response = a_reader().get(f"/api/subscriptions/?ordering=-price&service={service}")
        assert response.status_code == 200
        monkeypatch.undo()
        document = (settings.BASE_DIR.parent / "docs/reads.md").read_text()
        assert access_paths.served() in " ".join(document.split())
