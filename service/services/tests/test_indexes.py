"""The plans of chapter 12, at a realistic number of rows, and what keeps repricings HOT.

Indexes are dropped inside the test's transaction, to see the plan before them.
"""

import io
import json
import re

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import QuerySet

from pricebook.kit.named_statements import NamedStatement
from services import repricing
from services.audit.named_queries import named_queries
from services.models import Service, Subscription
from services.reading import pages
from services.reading.access_paths import access_path
from services.reading.filters import BookFilter
from services.tests.factories import a_book, a_plan, a_service, a_subscription

pytestmark = pytest.mark.django_db

ROWS = 20_000

COMMENT = Subscription.objects.filter(comment="row 123").order_by()
PREFIX = Subscription.objects.filter(comment__startswith="row 123").order_by()
BOTH = Subscription.objects.filter(source="crm 3", external_id="123").order_by()
SOURCE = Subscription.objects.filter(source="crm 3").order_by()
EXTERNAL_ID = Subscription.objects.filter(external_id="123").order_by()


@pytest.fixture(scope="class")
def book(empty_files_of_the_class):
    """A realistic book: 20,000 subscriptions, four of each source."""
    book = a_book(subscriptions=ROWS, services=10, plans=2, clients=4_000)
    execute("UPDATE services_subscription SET source = 'crm ' || id % 5000")
    execute("ANALYZE services_subscription")
    execute("SET CONSTRAINTS ALL IMMEDIATE")  # or no index can be dropped
    return book


def execute(sql: str) -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


def scans(query: QuerySet | NamedStatement) -> list[tuple[str, str]]:
    """How each table is read: ("Seq Scan", table) or ("Index Scan", index), in the plan's order."""
    if isinstance(query, QuerySet):
        query = NamedStatement("", "", "", *query.query.sql_with_params())
    (document,) = query.explain("FORMAT JSON")
    if isinstance(document, str):
        document = json.loads(document)
    found = []

    def walk(node: dict) -> None:
        name = node.get("Index Name") or node.get("Relation Name")
        # (A bitmap heap scan reads what the bitmap index scan below it has found.)
        if name and node["Node Type"] != "Bitmap Heap Scan":
            found.append((node["Node Type"], name))
        for inner in node.get("Plans", []):
            walk(inner)

    walk(document[0]["Plan"])
    return found


def reads(query: QuerySet | NamedStatement) -> set[str]:
    """The names of the indexes and of the wholly read tables of a plan."""
    return {name for _, name in scans(query)}


TABLE = ("Seq Scan", "services_subscription")


class TestComment:
    def test_without_the_index_reads_the_whole_table(self, book):
        execute("DROP INDEX subscription_comment")
        assert scans(COMMENT) == [TABLE]

    def test_with_it_reads_the_index(self, book):
        assert scans(COMMENT) == [("Index Scan", "subscription_comment")]

    def test_one_index_serves_the_prefix_too(self, book):
        assert reads(PREFIX) == {"subscription_comment"}
        assert PREFIX.count() == 111  # 123, 123x, 123xx
        execute("DROP INDEX subscription_comment")
        assert scans(PREFIX) == [TABLE]


@pytest.mark.usefixtures("empty_files")
class TestCommentOfFew:
    def test_two_rows_are_read_as_they_are(self):
        """The document's surprise: the index is there, and is not used."""
        for _ in range(2):
            a_subscription(comment="row 123")
        execute("ANALYZE services_subscription")
        assert scans(COMMENT) == [TABLE]


class TestCompositeIndex:
    INDEX = "subscription_unique_external_id"

    def test_serves_both_columns(self, book):
        assert scans(BOTH) == [("Index Scan", self.INDEX)]

    def test_serves_its_first_column(self, book):
        assert reads(SOURCE) == {self.INDEX}

    def test_does_not_serve_its_second_column(self, book):
        assert scans(EXTERNAL_ID) == [TABLE]

    def test_does_serve_it_where_there_are_few_sources(self, book):
        """PostgreSQL 18's skip scan: once into the index for each source."""
        execute("UPDATE services_subscription SET source = 'crm'")
        execute("ANALYZE services_subscription")
        expected = TABLE if connection.pg_version < 180_000 else ("Index Scan", self.INDEX)
        assert scans(EXTERNAL_ID) == [expected]

    def test_without_it_each_reads_the_whole_table(self, book):
        execute(f"ALTER TABLE services_subscription DROP CONSTRAINT {self.INDEX}")
        assert scans(BOTH) == scans(SOURCE) == [TABLE]


class TestNamedQueries:
    INDEXES = {
        "comment": "subscription_comment",
        "comment, prefix": "subscription_comment",
        "source and external id": "subscription_unique_external_id",
        "source alone": "subscription_unique_external_id",
        "list, first page": "services_subscription_pkey",
        "list, from the middle": "services_subscription_pkey",
        "list of a service": "subscription_service",
        "list of a plan": "subscription_plan",
        "list of a service and a plan": "subscription_service_plan",
        "list of a client": "services_subscription_client_id",
        "list of a plan type": "subscription_plan",
        "list of a client's upcoming ones": "services_subscription_client_id",
        "list of a client's e-mail": "services_subscription_client_id",
        "chunk of the whole book": "services_subscription_pkey",
        "chunk of those of a service that are locked": "subscription_service",
        "list by start, newest first": "subscription_started",
        "list by start, from the middle": "subscription_started",
        "list of those that have ended": "subscription_ended",
        "list by client, from the middle": "client_company_name",
        "list of a service by price": "subscription_service",
        "clients by name, from the middle": "client_company_name",
        "clients by e-mail, from the middle": "auth_user_email_upper",
        "total": "services_subtotal",
        "total of a comment's prefix": "subscription_comment",
        "chunk of a repricing": "subscription_service_plan",
    }

    def test_take_the_index_that_they_name(self, book):
        queries = {query.name: query for query in named_queries()}
        for name, index in self.INDEXES.items():
            used = reads(queries[name])
            assert any(re.match(rf"{index}(_[0-9a-f]{{8}})?$", each) for each in used), (name, used)
            assert "services_subscription" not in used - {index} or name == "source alone", name

    def test_rare_ones_of_a_large_client_are_not_met_along_the_ids_of_the_book(self, book):
        [(client,)] = execute("SELECT min(client_id) FROM services_subscription")
        execute("ALTER TABLE services_subscription DISABLE TRIGGER USER")
        execute(f"UPDATE services_subscription SET client_id = {client} WHERE id % 2 = 0")
        execute("ANALYZE services_subscription")
        for state in ("upcoming", "ended"):
            path = access_path(BookFilter(client=client, state=state))
            used = reads(NamedStatement("", "", "", *pages.statement(path, None, 100)))
            assert "services_subscription_pkey" not in used

    def test_each_index_of_the_table_is_named_by_one(self, book):
        """An index that no query takes costs, and gives nothing."""
        taken = set().union(*(reads(query) for query in named_queries()))
        there = {
            name
            for (name,) in execute(
                "SELECT indexrelid::regclass::text FROM pg_index"
                " WHERE indrelid = 'services_subscription'::regclass"
            )
        }
        assert there <= taken

    def test_can_be_run_and_read_only(self, book):
        for query in named_queries():
            query.explain("ANALYZE")
        assert Subscription.objects.count() == ROWS


@pytest.mark.usefixtures("empty_files")
class TestCommand:
    @pytest.mark.parametrize("options", [[], ["--analyze"], ["--buffers"]])
    def test_prints_all_also_on_an_empty_book(self, options):
        out = io.StringIO()
        call_command("explain_queries", *options, stdout=out)
        for query in named_queries():
            assert f"{query.name}\n" in out.getvalue()
        assert ("Execution Time" in out.getvalue()) == bool(options)

    def test_prints_one(self):
        out = io.StringIO()
        call_command("explain_queries", "prefix", stdout=out)
        assert "subscription_comment too" in out.getvalue()
        assert "book check" not in out.getvalue()
        with pytest.raises(CommandError, match="No query is called nonsense"):
            call_command("explain_queries", "nonsense")


@pytest.mark.usefixtures("empty_files")
class TestHot:
    """A price that moves touches no index; one index that names `price` would end that for all."""

    def test_no_index_names_the_price(self):
        definitions = execute(
            "SELECT pg_get_indexdef(indexrelid) FROM pg_index"
            " WHERE indrelid = 'services_subscription'::regclass"
        )
        assert len(definitions) >= 7
        assert [text for (text,) in definitions if re.search(r"\bprice\b", text)] == []

    def reprice(self) -> tuple[int, int]:
        """Rows that a repricing of one service updates, and how many of them HOT."""
        service = a_service(100)
        others = [a_service(100) for _ in range(9)]
        plan, client = a_plan(), a_subscription(service=service).client
        ids = ", ".join(str(each.pk) for each in [service, *others])
        execute(
            "INSERT INTO services_subscription (client_id, service_id, plan_id, comment)"
            f" SELECT {client.pk}, ('{{{ids}}}'::bigint[])[1 + n % 10], {plan.pk}, ''"
            "   FROM generate_series(1, 5000) n"
        )
        counters = (
            "SELECT pg_stat_get_xact_tuples_updated(oid), pg_stat_get_xact_tuples_hot_updated(oid)"
            "  FROM pg_class WHERE oid = 'services_subscription'::regclass"
        )
        ((updated, hot),) = execute(counters)
        Service.objects.filter(pk=service.pk).update(full_price=200)
        repricing.reprice()
        ((updated_after, hot_after),) = execute(counters)
        return updated_after - updated, hot_after - hot

    def test_a_repricing_is_hot(self):
        updated, hot = self.reprice()
        assert updated == 501
        assert hot / updated > 0.95

    def test_an_index_on_the_price_would_end_it(self):
        execute("CREATE INDEX ON services_subscription (comment) INCLUDE (price)")
        assert self.reprice() == (501, 0)

    def test_so_would_full_pages(self):
        execute("ALTER TABLE services_subscription SET (fillfactor = 100)")
        updated, hot = self.reprice()
        assert updated == 501
        assert hot / updated < 0.5
