"""The queries that the service lives on, each with the index that it is meant to take, and why.

Who calls it: the command `explain_queries`, which prints their plans on the book as it is, and
tests/test_indexes.py, which asserts them on one of a realistic size. The statements are taken
from services.reading import breakdown_sql
from where they run, with values that the book has.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import connection
from django.db.models import Max, Min, QuerySet

from clients.models import Client
from services.audit import book_check
from services.bounds import FIRST_DAY
from services.models import Repricing, Subscription
from services.reading import breakdown, breakdown_sql, pages, total
from services.reading.access_paths import access_path
from services.reading.filters import BookFilter
from services.reading.ordering import ORDERINGS, Cursor
from services.transfer import chunks
from services.transfer.formats import NDJSON

PAGE = 100


@dataclass(frozen=True)
class NamedQuery:
    """A statement with its parameters; `why` says which index serves it."""

    name: str
    why: str
    sql: str
    params: tuple[Any, ...]

    def explain(self, *options: str) -> list[Any]:
        """The plan: lines of text, or one document with the option FORMAT JSON.

        ANALYZE among the options runs the statement; it only reads.
        """
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN ({', '.join(options) or 'COSTS'}) {self.sql}", self.params)
            return [line for (line,) in cursor.fetchall()]


def named_queries() -> list[NamedQuery]:
    """All of them, with the values of a subscription from the middle of the book (5 queries)."""
    subscriptions = Subscription.objects.order_by("id")
    ends = subscriptions.aggregate(first=Min("id", default=0), last=Max("id", default=0))
    later_half = subscriptions.filter(id__gte=(ends["first"] + ends["last"]) // 2)
    nothing = Subscription(
        pk=0, client_id=0, service_id=0, plan_id=0, comment="nothing", started_at=FIRST_DAY
    )
    middle = later_half.first() or nothing
    with_key = later_half.exclude(source=None).first() or nothing
    comment = (later_half.exclude(comment="").first() or nothing).comment
    source, external_id = with_key.source or "none", with_key.external_id or "none"

    client = Client.objects.select_related("user").filter(pk=middle.client_id).first()
    client_name, email = (client.company_name, client.user.email) if client else ("", "nobody")

    def of(name: str, why: str, queryset: QuerySet[Any, Any]) -> NamedQuery:
        return NamedQuery(name, why, *queryset.query.sql_with_params())

    def page(
        name: str,
        why: str,
        after: int | None = None,
        order: str = "id",
        value: str = "",
        **given: Any,
    ) -> NamedQuery:
        cursor = None if after is None else Cursor(after, value=value)
        statement = pages.statement(
            access_path(BookFilter(**given), ORDERINGS[order]), cursor, PAGE
        )
        return NamedQuery(name, why, *statement)

    every = Subscription.objects.order_by()
    pair = {"service_id": middle.service_id, "plan_id": middle.plan_id}
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
        NamedQuery(
            "chunk of the whole book",
            "The primary key, from the last chunk on; the joins each by primary key or, where a "
            "table is small, by a hash of it. So the book is read in one pass, in short snapshots.",
            *chunks.statement(NDJSON, BookFilter(), middle.pk, chunks.CHUNK),
        ),
        NamedQuery(
            "chunk of those of a service that are locked",
            "subscription_service: no index knows who is locked, so the service's rows are gone "
            "through a chunk at a time, whether they match or not.",
            *chunks.statement(
                NDJSON,
                BookFilter(service=middle.service_id, price_state="locked"),
                0,
                chunks.CHUNK,
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
            value=client_name,
        ),
        page(
            "list of a service by price",
            "subscription_service finds what is put in order: price is in no index (HOT), and "
            "the subtotals have said that the service's rows are few enough to be read.",
            order="-price",
            service=middle.service_id,
        ),
        NamedQuery(
            "clients by e-mail, from the middle",
            "auth_user_email_upper gives the order; each login leads to its client by the unique "
            "index of that. Clients of one e-mail are put in order by their ids.",
            *breakdown_sql.statement(
                "client",
                {},
                Cursor(middle.client_id, value=email),
                PAGE,
                breakdown.ORDERINGS["client"]["email"],
            ),
        ),
        NamedQuery(
            "clients by name, from the middle",
            "client_company_name gives the order and stops after a page; the subscriptions of each "
            "come by the foreign key. What all pay is the sum of the subtotals; how many they are "
            "is counted only if the cache does not know it.",
            *breakdown_sql.statement(
                "client",
                {},
                Cursor(middle.client_id, value=client_name),
                PAGE,
                breakdown.ORDERINGS["client"]["company_name"],
            ),
        ),
        NamedQuery(
            "total",
            "No index, and no subscription: a sum over the subtotals, of which there are a few "
            "for each (service, plan).",
            *total.kept(BookFilter()),
        ),
        NamedQuery(
            "total of a comment's prefix",
            "No subtotal knows comments, so its rows are summed, by subscription_comment; then "
            "the sum is kept in the cache.",
            *total.summed(BookFilter(comment_prefix=comment)),
        ),
        of(
            "repricings that are due",
            "repricing_due, a partial index: what has been done is not in it, so the sweep that "
            "runs every two seconds reads an empty index. (On a small table the table itself.)",
            Repricing.objects.due(),
        ),
        of(
            "chunk of a repricing",
            "subscription_service_plan: the rows of the pair, from the cursor to the chunk's end. "
            "The update itself touches no index, because price is in none (HOT).",
            Subscription.objects.filter(**pair, id__gt=0, id__lte=ends["last"])
            .active()
            .exclude(price=1)
            .values("id", "price"),
        ),
        NamedQuery(
            "book check",
            "One pass over the whole table, on purpose.",
            book_check.CHECK,
            (20, 20),
        ),
    ]
