"""The most important queries, each with the index that it is meant to use, and why.

The command `explain_queries` prints their plans on the book as it is, and tests/test_indexes.py
asserts them on one of a realistic size. The statements are those of the product, with values from
the book.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db.models import QuerySet

from pricebook.kit.named_statements import NamedStatement
from services.audit import book_check_sql
from services.audit.book_examples import examples
from services.audit.look_alikes import LOOK_ALIKES
from services.ledger import points
from services.models import Repricing, Subscription
from services.reading import breakdown, breakdown_sql, pages, total
from services.reading.access_paths import access_path
from services.reading.filters import BookFilter
from services.reading.ordering import ORDERINGS, Cursor
from services.transfer import chunks
from services.transfer.formats import NDJSON

PAGE = 100
WORKERS = "workers: reprice"
LIST = "GET /api/subscriptions/"
STREAM = "GET /api/subscriptions/?format=, export_book"
CLIENTS = "GET /api/clients/"


def named_queries() -> list[NamedStatement]:
    """All these queries, with values of a subscription from the middle of the book (5 queries)."""
    example = examples()
    middle, comment, email = example.middle, example.comment, example.email
    source, external_id = example.source, example.external_id

    def of(
        name: str, why: str, queryset: QuerySet[Any, Any], run_by: str = LIST, purpose: str = ""
    ) -> NamedStatement:
        purpose = purpose or "the rows that a filter leaves, without order and page"
        return NamedStatement(name, purpose, run_by, *queryset.query.sql_with_params(), why=why)

    def page(
        name: str,
        why: str,
        after: int | None = None,
        order: str = "id",
        value: str = "",
        **given: Any,
    ) -> NamedStatement:
        cursor = None if after is None else Cursor(after, value=value)
        statement = pages.statement(
            access_path(BookFilter(**given), ORDERINGS[order]), cursor, PAGE
        )
        purpose = "a page, the total of all that match, and the version of the book"
        return NamedStatement(name, purpose, LIST, *statement, why=why)

    every = Subscription.objects.order_by()
    pair = dict(zip(("service_id", "plan_id"), example.pair, strict=True))
    return [
        of(
            "comment",
            "subscription_comment: each comment leads to its rows.",
            every.filter(comment=comment),
        ),
        of(
            "comment, prefix",
            "subscription_comment too: varchar_pattern_ops orders by bytes, so that a prefix is "
            "a range, in any collation.",
            every.filter(comment__startswith=comment[:8]),
        ),
        of(
            "source and external id",
            "subscription_unique_external_id: the composite index, one row at the most.",
            every.filter(source=source, external_id=external_id),
        ),
        of(
            "source alone",
            "The first column of the same index. The whole table if most rows are of this "
            "source: reading all of it is cheaper then.",
            every.filter(source=source),
        ),
        of(
            "external id alone",
            "Not the first column: the whole table; or, from PostgreSQL 18 on and with few "
            "sources, the index once for each source. The API asks for the source too.",
            every.filter(external_id=external_id),
        ),
        page(
            "list, first page",
            "The primary key gives the order and stops after a page; the joins come after it, "
            "each by primary key. The total is the sum of the subtotals.",
        ),
        page(
            "list, from the middle",
            "The same, from the cursor on: as fast as the first page, unlike OFFSET.",
            after=middle.pk,
        ),
        page(
            "list of a service",
            "subscription_service: its rows stand there in the order of the page.",
            after=0,
            service=middle.service_id,
        ),
        page(
            "list of a plan",
            "subscription_plan: its rows stand there in the order of the page.",
            after=0,
            plan=middle.plan_id,
        ),
        page(
            "list of a service and a plan",
            "subscription_service_plan: one range of one index, instead of two indexes crossed.",
            after=0,
            service=middle.service_id,
            plan=middle.plan_id,
        ),
        page(
            "list of a client",
            "The foreign key's index: this client has few subscriptions, so sorting them is cheap.",
            client=middle.client_id,
        ),
        page(
            "list of a client's upcoming ones",
            "The foreign key's index, and never the ids of the book: most clients have none.",
            client=middle.client_id,
            state="upcoming",
        ),
        page(
            "list of a plan type",
            "subscription_plan, once for each plan of the type, merged: each part is in order.",
            after=0,
            plan_type="student",
        ),
        page(
            "list of a client's e-mail",
            "auth_user_email_upper, one login; then the client's foreign key, as above.",
            email=email,
        ),
        NamedStatement(
            "chunk of the whole book",
            "the lines of 4,000 rows, and the version of the book",
            STREAM,
            *chunks.statement(NDJSON, BookFilter(), middle.pk, chunks.CHUNK),
            why=(
                "The primary key, from the last chunk on; the joins each by primary key or, "
                "where a table is small, by a hash of it. So the book is read in one pass, in "
                "short snapshots."
            ),
        ),
        NamedStatement(
            "chunk of those of a service that are locked",
            "the lines of those that match among 4,000 rows",
            STREAM,
            *chunks.statement(
                NDJSON,
                BookFilter(service=middle.service_id, price_state="locked"),
                0,
                chunks.CHUNK,
            ),
            why=(
                "subscription_service: no index knows the locked ones, so the service's rows are "
                "read a chunk at a time, whether they match or not."
            ),
        ),
        page(
            "list by start, newest first",
            "subscription_started gives the order, and stops after a page.",
            order="-started_at",
        ),
        page(
            "list by start, from the middle",
            "The same, from the cursor on: both columns are compared as one row.",
            after=middle.pk,
            order="started_at",
            value=middle.started_at.isoformat(),
        ),
        page(
            "list of those that have ended",
            "subscription_ended, a partial index: only those with an end stand in it.",
            ended_from=datetime(2020, 1, 1, tzinfo=UTC),
            ended_to=datetime(2020, 1, 2, tzinfo=UTC),
        ),
        page(
            "list by client, from the middle",
            "client_company_name gives the order; the subscriptions of each client come by the "
            "foreign key, until the page is full.",
            after=middle.pk,
            order="client_name",
            value=example.client_name,
        ),
        page(
            "list of a service by price",
            "subscription_service finds what is put in order: price is in no index (HOT), and "
            "the subtotals have said that the service's rows are few enough to be read.",
            order="-price",
            service=middle.service_id,
        ),
        NamedStatement(
            "clients by e-mail, from the middle",
            "a page of clients with what each pays, and what all pay",
            CLIENTS,
            *breakdown_sql.statement(
                "client",
                {},
                Cursor(middle.client_id, value=email),
                PAGE,
                breakdown.ORDERINGS["client"]["email"],
            ),
            why=(
                "auth_user_email_upper gives the order; each login leads to its client by the "
                "unique index of that. Clients with the same e-mail are in the order of ids."
            ),
        ),
        NamedStatement(
            "clients by name, from the middle",
            "a page of clients with what each pays, and what all pay",
            CLIENTS,
            *breakdown_sql.statement(
                "client",
                {},
                Cursor(middle.client_id, value=example.client_name),
                PAGE,
                breakdown.ORDERINGS["client"]["company_name"],
            ),
            why=(
                "client_company_name gives the order and stops after a page; the subscriptions "
                "of each come by the foreign key. The total of all is the sum of the subtotals; "
                "their number is counted only if the cache does not know it."
            ),
        ),
        NamedStatement(
            "total",
            "the total of the whole book",
            "the admin, export_book",
            *total.from_subtotals(BookFilter()),
            why=(
                "No index, and no subscription: a sum over the subtotals, of which there are a "
                "few for each (service, plan)."
            ),
        ),
        NamedStatement(
            "total of a comment's prefix",
            "the total of what no subtotal knows",
            "the admin",
            *total.summed(BookFilter(comment_prefix=comment)),
            why=(
                "No subtotal knows comments, so its rows are summed, by subscription_comment; "
                "then the sum is in the cache."
            ),
        ),
        of(
            "repricings that are due",
            "repricing_due, a partial index: what has been done is not in it, so the sweep that "
            "runs every two seconds reads an empty index. (On a small table the table itself.)",
            Repricing.objects.due(),
            WORKERS,
            "the work that is due",
        ),
        of(
            "chunk of a repricing",
            "subscription_service_plan: the rows of the pair, from the cursor to the chunk's end. "
            "The update itself touches no index, because price is in none (HOT).",
            Subscription.objects.filter(**pair, id__gt=0, id__lte=example.last_id)
            .active()
            .exclude(price=1)
            .values("id", "price"),
            WORKERS,
            "the rows of a chunk that are to move, as its update finds them",
        ),
        NamedStatement(
            "book check",
            "price = rule, total = rows, ledger = rows, in one snapshot",
            "beat, check_book",
            book_check_sql.CHECK,
            (20, 20),
            why="One pass over the whole table, on purpose.",
        ),
        NamedStatement(
            "book check, look-alikes",
            "services and sources that differ in case or blanks alone",
            "check_book",
            LOOK_ALIKES,
            why="One pass over the sources of the whole table, on purpose.",
        ),
        NamedStatement(
            "book check, of a point",
            "the sums stored for an instant = the ledger",
            "beat, check_book",
            *points.check_sql(example.middle.started_at),
            why="One pass over the whole ledger, on purpose.",
        ),
    ]
