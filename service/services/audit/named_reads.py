"""Statements that read the book, other than those of `named_queries`, whose plans are asserted."""

from __future__ import annotations

from datetime import timedelta

from pricebook.kit.named_statements import NamedStatement
from pricebook.kit.stored_keys import KEY
from services.audit.book_examples import Examples, examples
from services.hooks import price_changes
from services.ledger import explanation, total_then
from services.ledger.bridge_sql import behind_sql, bridge_sql, totals_sql
from services.ledger.changes_feed import FEED, UNTOLD
from services.ledger.entries import ABOUT, COLUMNS, HISTORY
from services.ledger.page import statement_as_of
from services.ledger.recorded import WRITERS
from services.reading import breakdown_sql, catalogue_cache, one, pages
from services.reading.access_paths import access_path
from services.reading.filters import BookFilter
from services.reading.ordering import BY_ID, ORDERINGS, Cursor
from services.reading.totals_by import totals_statement
from services.reading.version import Seen
from services.transfer import exporting

LIST = "GET /api/subscriptions/"
LEDGER = "GET /api/ledger/"
BRIDGE = "GET /api/totals/bridge/"
EXPLAIN = "GET /api/subscriptions/ID/explain/"
TOTALS = "GET /api/totals/"

PAGE = "a page, the total of all that match, and the version of the book"
SEEN = Seen("/api/subscriptions/", ["0" * 32])
SIZE = 100
DAY = timedelta(days=1)


def named_reads() -> list[NamedStatement]:
    """All statements of this module (5 queries)."""
    example = examples()
    return [*_lists(example), *_catalogue(example), *_ledger(example), *_others(example)]


def _lists(example: Examples) -> list[NamedStatement]:
    searched = BookFilter(q=(example.client_name or "company")[:100])
    of_service = BookFilter(service=example.middle.service_id)
    of_client = BookFilter(client=example.middle.client_id)
    of_comment = BookFilter(comment=example.comment)
    at = example.middle.started_at
    nearest = total_then.Nearest(at)
    return [
        NamedStatement(
            "list that was seen before",
            "the same page, or nothing where the caller has it already (304)",
            LIST,
            *pages.statement(access_path(BookFilter()), None, SIZE, seen=SEEN),
        ),
        NamedStatement(
            "list while a copy is late",
            PAGE + ", as it is in force",
            LIST,
            *pages.statement(access_path(BookFilter()), None, SIZE, copies=False),
        ),
        NamedStatement(
            "list of a search",
            PAGE + "; refused where too many names are like the words",
            LIST,
            *pages.statement(access_path(searched, ORDERINGS["client_name"]), None, SIZE),
        ),
        NamedStatement(
            "list of a client by price",
            PAGE + "; refused where the client has too many",
            LIST,
            *pages.statement(
                access_path(of_client, ORDERINGS["price"]), Cursor(0, value="1"), SIZE
            ),
        ),
        NamedStatement(
            "list as of an instant",
            "a page of what was paid then, and the total of it",
            "GET /api/subscriptions/?as_of=",
            *statement_as_of(at, of_client, None, None, SIZE, SEEN),
        ),
        NamedStatement(
            "list as of an instant, from a point",
            "a page of what was paid then; the total of it, from the last stored total",
            "GET /api/subscriptions/?as_of=",
            *statement_as_of(at, of_service, None, None, SIZE, SEEN, point=total_then.Nearest(at)),
        ),
        NamedStatement(
            "list as of an instant to come",
            "a page of what will be paid then; the total of it, from the sums of today",
            "GET /api/subscriptions/?as_of=",
            *statement_as_of(
                at, of_service, None, None, SIZE, SEEN, point=total_then.Nearest(None)
            ),
        ),
        NamedStatement(
            "the last point before an instant",
            "the last total that was stored and still holds, and how many facts came after it",
            "GET /api/subscriptions/?as_of=",
            *total_then.nearest_sql(at),
        ),
        NamedStatement(
            "list as of an instant, as known at another",
            "the same by the facts that were recorded by then",
            "GET /api/subscriptions/?as_of=&known_at=",
            *statement_as_of(at, of_client, None, None, SIZE, SEEN, known_at=at),
        ),
        NamedStatement(
            "the bridge between two instants",
            "both totals and the steps between them, from stored totals and the facts since",
            BRIDGE,
            bridge_sql(at - DAY, at, of_service, "service_id", SIZE, (nearest, nearest)),
        ),
        NamedStatement(
            "the bridge between two instants, by client",
            "the same of the clients that moved most, and of all others together",
            BRIDGE,
            bridge_sql(at - DAY, at, of_service, "client_id", SIZE, (nearest, nearest)),
        ),
        NamedStatement(
            "the bridge between two instants, from rows",
            "the same, where no stored total helps, and of one client",
            BRIDGE,
            bridge_sql(at - DAY, at, of_client, "client_id", SIZE, None),
        ),
        NamedStatement(
            "rows behind a step of a bridge",
            "the subscriptions that a price change moved, and by how much",
            "GET /api/totals/bridge/rows/",
            behind_sql(at - DAY, at, of_service, "change", 1, 0, SIZE),
        ),
        NamedStatement(
            "rows of a client behind a step of a bridge",
            "the same, of the subscriptions of one client",
            "GET /api/totals/bridge/rows/",
            behind_sql(at - DAY, at, of_client, "change", 1, 0, SIZE),
        ),
        NamedStatement(
            "totals as of an instant, by service and plan",
            "what was paid then, and how many followed, from a stored total",
            "the page of the book as of an instant",
            totals_sql(at, of_service, nearest),
        ),
        NamedStatement(
            "totals of a service by plan",
            "the sum they pay, from the subtotals",
            TOTALS,
            *totals_statement(access_path(of_service), ["plan"]),
        ),
        NamedStatement(
            "totals of a comment by service",
            "the sum they pay, over its rows",
            TOTALS,
            *totals_statement(access_path(of_comment), ["service"], SEEN),
        ),
    ]


def _catalogue(example: Examples) -> list[NamedStatement]:
    def page(kind: str, **given: str) -> tuple[str, tuple[object, ...]]:
        return breakdown_sql.statement(kind, given, None, SIZE, BY_ID)

    what = "with what each pays, and the total"
    return [
        NamedStatement(
            "clients of an e-mail",
            f"the client, {what}",
            "GET /api/clients/?email=",
            *page("client", email=example.email),
        ),
        NamedStatement(
            "one subscription",
            "a subscription, and whether any change is scheduled or waits",
            "GET /api/subscriptions/ID/, and writes of one",
            *one.statement(example.middle.pk),
        ),
        NamedStatement(
            "clients of another system",
            f"the client of a source and an external id, {what}",
            "GET /api/clients/?source=&external_id=",
            *page("client", source=example.source, external_id=example.external_id),
        ),
        NamedStatement(
            "services", f"a page of services, {what}", "GET /api/services/", *page("service")
        ),
        NamedStatement(
            "plans of a type",
            f"a page of plans, {what}",
            "GET /api/plans/?plan_type=",
            *page("plan", plan_type="student"),
        ),
        NamedStatement(
            "one service",
            "a service with what its subscriptions pay",
            "GET /api/services/ID/",
            *breakdown_sql.one_statement("service", example.middle.service_id),
        ),
        NamedStatement(
            "version of the catalogue",
            "under which cachalot keeps what it read of the catalogue",
            "reads of the catalogue (CACHALOT)",
            catalogue_cache.CATALOGUE_VERSION,
        ),
    ]


def _ledger(example: Examples) -> list[NamedStatement]:
    columns = ", ".join(COLUMNS)
    return [
        NamedStatement(
            "feed",
            "entries behind a place, of transactions that all have ended",
            LEDGER,
            FEED.format(columns=columns),
            {"xact": 0, "id": 0, "limit": SIZE},
        ),
        NamedStatement(
            "feed, who writes",
            "the transactions that may hold it up, or what was known at an instant",
            LEDGER,
            WRITERS,
        ),
        NamedStatement(
            "feed, what is untold",
            "the earliest instant of what has come into force and stands in no entry that was read",
            LEDGER,
            UNTOLD.format(waiting=price_changes().waiting_since()[0]),
            [1, 1],
        ),
        NamedStatement(
            "history",
            "the entries of one subscription, those too that stand in one row with those of others",
            "GET /api/subscriptions/ID/history/",
            HISTORY,
            {"id": example.middle.pk, "after": 0, "limit": SIZE},
        ),
        NamedStatement(
            "feed, ids elsewhere",
            "of the subscriptions of a page of entries, and the requests that wrote these",
            LEDGER,
            ABOUT,
            {"ids": [example.middle.pk], "entries": [0]},
        ),
        NamedStatement(
            "explanation",
            "the entry that was in force at an instant, and what the rule said",
            EXPLAIN,
            *explanation.statement(example.middle.pk),
        ),
        NamedStatement(
            "explanation, as known at an instant",
            "the same by the facts that were recorded by then",
            EXPLAIN,
            *explanation.statement(example.middle.pk, known_at=example.middle.started_at),
        ),
    ]


def _others(example: Examples) -> list[NamedStatement]:
    return [
        NamedStatement(
            "API key",
            "the key that begins so",
            "each request with an API key",
            KEY,
            ["abcdefgh"],
        ),
        NamedStatement(
            "clients without an e-mail of their own",
            "how many a file can't distinguish",
            "export_book",
            exporting.UNNAMED_CLIENTS,
        ),
        NamedStatement(
            "records without a subscription",
            "clients, services and plans that a file leaves out",
            "export_book",
            exporting.LEFT_OUT,
        ),
    ]
