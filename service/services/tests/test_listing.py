"""Pages: nothing twice, nothing left out, and at a cost that does not grow with the book."""

import json
from decimal import Decimal
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection

from services import listing, total
from services.filters import BookFilter
from services.listing import Cursor
from services.models import Subscription
from services.tests.factories import a_book, a_plan, a_reader


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
        whole = listing.page(BookFilter(), None, 10)
        assert (whole.next, whole.previous) == (None, None)
        assert listing.page(BookFilter(), Cursor(first.pk), 9).next is None
        assert listing.page(BookFilter(), Cursor(last.pk, backward=True), 9).previous is None

    def test_lead_back_from_beyond_an_end(self):
        first, *_, last = a_book(10).order_by("id")
        beyond = listing.page(BookFilter(), Cursor(last.pk), 5)
        assert (beyond.result, beyond.next) == ([], None)
        assert listing.page(BookFilter(), beyond.previous, 5).result[-1]["id"] == last.pk

        before = listing.page(BookFilter(), Cursor(first.pk, backward=True), 5)
        assert (before.result, before.previous) == ([], None)
        assert listing.page(BookFilter(), before.next, 5).result[0]["id"] == first.pk

    def test_do_not_skip_or_repeat_when_rows_come_and_go(self):
        book = list(a_book(10).order_by("id"))
        page = listing.page(BookFilter(), None, 5)
        Subscription.objects.filter(pk__in=[book[0].pk, book[4].pk]).delete()

        following = listing.page(BookFilter(), page.next, 5)

        assert [row["id"] for row in following.result] == [row.pk for row in book[5:]]

    @pytest.mark.parametrize("cursor", [Cursor(0), Cursor(2**63 - 1), Cursor(0, True)])
    def test_may_point_anywhere(self, cursor):
        a_book(3)
        page = listing.page(BookFilter(), cursor, 1)
        for other in (page.next, page.previous):
            if other:
                listing.page(BookFilter(), Cursor.parse(str(other)), 1)
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

        page = listing.page(BookFilter(**{name: value}), cursor, 5)

        assert len(page.result) == 5
        assert (page.total.amount, page.total.subscriptions) == (sum(prices), len(prices))

    def test_holds_beyond_the_end_of_the_book(self):
        a_book(3)
        page = listing.page(BookFilter(comment_prefix="row"), Cursor(2**62), 5)
        assert page.result == []
        assert page.total.subscriptions == 3
        assert page.total.amount > 0

    def test_of_nothing_is_a_decimal_zero(self):
        for book_filter in (BookFilter(), BookFilter(service=1), BookFilter(comment="none")):
            assert listing.page(book_filter, None, 5).total == total.Total(Decimal(0), 0)


ROWS = 30_000


@pytest.mark.django_db
class TestPlan:
    """What PostgreSQL does for a page, at a size at which it has a choice."""

    @pytest.fixture(autouse=True)
    def book(self):
        self.subscription = a_book(ROWS, services=10, plans=4, clients=3000).order_by("id")[
            ROWS // 2
        ]

    def nodes(self, book_filter, cursor, size=100):
        """The nodes of the plan that read the subscriptions, and how many rows each has read."""
        sql, params = listing.statement(book_filter, cursor, size, total.kept(book_filter))
        with connection.cursor() as db:
            db.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", params)
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

    @pytest.mark.parametrize("names", [["service"], ["plan"], ["service", "plan"]])
    def test_of_a_service_whose_rows_are_the_last_reads_just_the_page(self, names):
        last = a_book(ROWS // 10, services=1, plans=2, clients=1).last()
        Subscription.objects.filter(service=last.service).update(plan=a_plan(77))
        last.refresh_from_db()
        book_filter = BookFilter(**{name: getattr(last, f"{name}_id") for name in names})
        assert [rows for _, _, rows in self.nodes(book_filter, None)] == [101]

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

    def test_of_a_source_that_is_half_of_the_book_reads_just_the_page(self):
        a_book(ROWS, services=1, plans=1, clients=1)
        nodes = self.nodes(BookFilter(source=self.subscription.source), None)
        assert [kind for kind, _, _ in nodes] == ["Index Scan"]
        assert nodes[0][2] == 101
