"""A page of the book: rows, total, number and version from one statement, hence one snapshot.

    the book's version and total ──────┐
                                       ├─ LEFT JOIN ON true: an empty page has a total too
    one page of subscription ids ──────┘
        → joined with client, login, service and plan by primary key

The LIMIT comes before the joins: a page costs the same at 300 rows and at ten million, and the
planner is spared the Memoize nodes, sized for every client, that it puts into the plain join.
`serving.py` says which way a page is read, and which one is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any

from django.db import connection
from django.db.models import F
from django.db.models.fields.tuple_lookups import (  # type: ignore[import-untyped]
    Tuple,
    TupleGreaterThan,
    TupleLessThan,
)

from pricebook.kit.prepared import prepared_cursor
from pricebook.kit.read_timeout import long_read
from services import ledger
from services.models import SubscriptionQuerySet
from services.parsing import MAX_BIGINT
from services.reading import access_paths, total
from services.reading.access_paths import NotServed, Way
from services.reading.filters import BookFilter, names_like
from services.reading.ordering import BY_ID, Cursor, Ordering, marked, paged
from services.reading.total import SQL, Book, Known, Total


@dataclass(frozen=True)
class Page:
    result: list[dict[str, Any]]
    total: Total
    next: Cursor | None
    previous: Cursor | None
    # Of the book that it shows; None if no other reader will ever see that one.
    version: str | None


@dataclass(frozen=True)
class Seen:
    """Digests that a caller holds of answers that it has seen, and what they were answers to."""

    to: str
    digests: list[str]


def digest(version: str, to: str) -> str:
    """What tells the answer `to` a request, from this version of the book, from any other."""
    return sha256(f"{version}{to}".encode()).hexdigest()[:32]


class Unchanged(Exception):
    """The caller has this answer already."""

    def __init__(self, version: str | None) -> None:
        super().__init__(version)
        self.version = version


# One row of the book: what a statement reads only where not `seen` costs nothing to ask again.
BOOK = """
SELECT version, uncommitted, {seen} AS seen FROM (SELECT {version} FROM services_subtotal) book
"""
SEEN_BY_BOOK = """
coalesce(NOT uncommitted
    AND left(encode(sha256(convert_to(version || %s, 'UTF8')), 'hex'), 32) = ANY(%s), false)
"""


def book_as_seen(seen: Seen | None) -> SQL:
    """The SQL of (version, uncommitted, seen): of the book, and whether the caller has seen it."""
    if seen is None:
        return BOOK.format(version=total.VERSION, seen="false"), ()
    return BOOK.format(version=total.VERSION, seen=SEEN_BY_BOOK), (seen.to, seen.digests)


def version_of(version: str | None, uncommitted: bool, seen: bool) -> str | None:
    """Of a row of `book_as_seen`; None if no other reader will ever see it. Raises Unchanged."""
    if seen:
        raise Unchanged(version)
    return None if uncommitted else version


COLUMNS = (
    "id",
    "client_id",
    "service_id",
    "plan_id",
    "price",
    "price_state",
    "locked_until",
    "price_reason",
    "comment",
    "source",
    "external_id",
    "started_at",
    "ended_at",
)

# MATERIALIZED: while the catalogue has no statistics yet, the planner may put the page inside a
# loop over the services, and would read it as often as there are any.
STATEMENT = """
WITH passed AS MATERIALIZED (SELECT *, {seen} AS seen FROM ({passed}) limited),
     subscription ({columns}) AS MATERIALIZED (
         SELECT * FROM ({subscriptions}) read_on WHERE {reads}
     )
SELECT passed.allowed, passed.seen,
       book.version, book.uncommitted, book.amount, book.subscriptions, page.*
  FROM passed
 CROSS JOIN ({book}) book
  LEFT JOIN (
    SELECT subscription.*, client.company_name, login.email, service.name, service.full_price,
           plan.plan_type, plan.discount_percent
      FROM subscription
      JOIN clients_client client ON client.id = subscription.client_id
      JOIN auth_user login ON login.id = client.user_id
      JOIN services_service service ON service.id = subscription.service_id
      JOIN services_plan plan ON plan.id = subscription.plan_id
  ) page ON true
 ORDER BY {order}
"""
READS = "(SELECT allowed AND NOT seen FROM passed)"
# `Seen` in SQL: the digest is what `Page.digest` makes of the same version.
SEEN = """
(SELECT coalesce(NOT uncommitted
        AND left(encode(sha256(convert_to(version || %s, 'UTF8')), 'hex'), 32) = ANY(%s), false)
   FROM (SELECT {version} FROM services_subtotal) book)
"""
UNLIMITED = "SELECT true AS allowed"
LIMITED = "SELECT rows <= %s AS allowed FROM ({rows}) left_over (rows)"
# Nothing is read where the first is false, and no name that is beyond the limit.
OF_FEW_NAMES = """
SELECT CASE WHEN (SELECT count(*) FROM ({names} LIMIT %s) name) <= %s
            THEN ({limited}) ELSE false END AS allowed
"""
ROWS_OF_CATALOGUE = """
SELECT coalesce(sum(subscriptions), 0) FROM services_subtotal WHERE {where}
"""
ROWS_UP_TO = "SELECT count(*) FROM ({matching} LIMIT %s) matching"


def page(
    book_filter: BookFilter,
    cursor: Cursor | None,
    size: int,
    ordering: Ordering = BY_ID,
    seen: Seen | None = None,
) -> Page:
    """Up to `size` subscriptions that match, in their order, and the total of all that match.

    One query. NotServed for a combination of filter and ordering that would read too much.
    Unchanged, which has no rows and no total, where the caller has `seen` this very book.
    """
    known = total.NOTHING_KNOWN if book_filter.by_catalogue else total.cached(book_filter)
    sql, params = statement(book_filter, cursor, size, ordering, known, seen)
    prepared = planned_once(book_filter, ordering)
    with prepared_cursor() if prepared else connection.cursor() as db:
        db.execute(sql, params)
        rows = db.fetchall()
    if not rows[0][0]:
        raise NotServed(book_filter, ordering)
    book = Book(*rows[0][2:6])
    if rows[0][1]:
        raise Unchanged(book.version)
    amount = book.total if book_filter.by_catalogue else total.settle(book, book_filter, known)
    found = [_subscription(*row[6:]) for row in rows if row[6] is not None]
    mark = marked(book_filter, ordering)
    result, following, previous = paged(found, cursor, size, ordering, mark)
    # What a clock moves, too, no version of the book tells apart.
    version = book.version if book.cacheable and book_filter.timeless else None
    return Page(result, amount, following, previous, version)


def planned_once(book_filter: BookFilter, ordering: Ordering) -> bool:
    """Whether one plan is the best for all values: the whole book along an index.

    (Knowing no values, the planner takes a service or a plan for a third of the book.)
    """
    return not book_filter.given and access_paths.way(book_filter, ordering) == Way.WALKED


# The name of what is sold and of who pays it, its comment and its dates are those of today. One
# that was deleted since began with its first entry and ended with its last. Joined before the
# total, so that it stays the sum of the rows: what is gone from the catalogue has no row.
AS_OF = """
WITH book AS MATERIALIZED ({book}), entry AS MATERIALIZED (
    SELECT entry.*
      FROM ({entries}) entry
      JOIN clients_client client ON client.id = entry.client_id
      JOIN services_service service ON service.id = entry.service_id
      JOIN services_plan plan ON plan.id = entry.plan_id
     WHERE (SELECT NOT seen FROM book)
), page AS MATERIALIZED (
    SELECT * FROM entry WHERE subscription_id {beyond} %s
     ORDER BY subscription_id {way} LIMIT %s
)
SELECT book.*, total.*, page.subscription_id, page.client_id, page.service_id, page.plan_id,
       page.price, page.price_state, page.locked_until,
       CASE WHEN ends.last_id = page.entry_id THEN coalesce(subscription.price_reason, '')
            ELSE '' END,
       coalesce(subscription.comment, ''), subscription.source, subscription.external_id,
       coalesce(subscription.started_at,
                (SELECT effective_at FROM services_ledgerentry WHERE id = ends.first_id)),
       CASE WHEN subscription.id IS NULL
            THEN (SELECT effective_at FROM services_ledgerentry WHERE id = ends.last_id)
            ELSE subscription.ended_at END,
       client.company_name, login.email, service.name, service.full_price,
       plan.plan_type, plan.discount_percent
  FROM book
 CROSS JOIN (SELECT coalesce(sum(price), 0) AS amount, count(*) AS subscriptions FROM entry) total
  LEFT JOIN (page
       JOIN LATERAL (SELECT min(id) AS first_id, max(id) AS last_id FROM services_ledgerentry
                      WHERE subscription_id = page.subscription_id) ends ON true
       JOIN clients_client client ON client.id = page.client_id
       JOIN auth_user login ON login.id = client.user_id
       JOIN services_service service ON service.id = page.service_id
       JOIN services_plan plan ON plan.id = page.plan_id
       LEFT JOIN services_subscription subscription ON subscription.id = page.subscription_id)
    ON true
 ORDER BY page.subscription_id
"""


def page_as_of(
    instant: datetime,
    book_filter: BookFilter,
    cursor: Cursor | None,
    size: int,
    seen: Seen | None = None,
) -> Page:
    """Up to `size` subscriptions that matched at `instant`, with what they paid then, and a total.

    Rows have the shape of `page()`'s. Deleted ones are there, with the comment empty, unless their
    client, service or plan is gone too. One query, which reads what `ledger.as_of` reads.
    Unchanged where the caller has `seen` this very book: what is written late moves its version.
    """
    entries = ledger.as_of(instant, book_filter)
    version, amount, rows = _read_as_of(entries, cursor, size, seen)
    mark = marked(book_filter, BY_ID, instant)
    result, following, previous = paged(rows, cursor, size, BY_ID, mark)
    return Page(result, amount, following, previous, version)


def one_as_of(
    instant: datetime, subscription_id: int, seen: Seen | None = None
) -> tuple[dict[str, Any] | None, str | None]:
    """One subscription as `page_as_of` has it (None if it was not there then), and the version.

    One query. Unchanged as there.
    """
    entries = ledger.as_of(instant, subscription_id=subscription_id)
    version, _, rows = _read_as_of(entries, None, 1, seen)
    return rows[0] if rows else None, version


def _read_as_of(
    entries: SQL, cursor: Cursor | None, size: int, seen: Seen | None
) -> tuple[str | None, Total, list[dict[str, Any]]]:
    sql, params = statement_as_of(entries, cursor, size, seen)
    with long_read(), connection.cursor() as db:
        db.execute(sql, params)
        rows = db.fetchall()
    version = version_of(*rows[0][:3])
    found = [_subscription(*row[5:]) for row in rows if row[5] is not None]
    return version, Total(*rows[0][3:5]), found


def statement_as_of(
    entries: SQL, cursor: Cursor | None, size: int, seen: Seen | None = None
) -> SQL:
    """The SQL of a page of `entries`, one row longer than `size`."""
    entries_sql, params = entries
    book_sql, book_params = book_as_seen(seen)
    cursor = cursor or Cursor(-1)
    beyond, way = ("<", "DESC") if cursor.backward else (">", "ASC")
    sql = AS_OF.format(book=book_sql, entries=entries_sql, beyond=beyond, way=way)
    return sql, (*book_params, *params, cursor.id, size + 1)


def statement(
    book_filter: BookFilter,
    cursor: Cursor | None,
    size: int,
    ordering: Ordering = BY_ID,
    known: Known = total.NOTHING_KNOWN,
    seen: Seen | None = None,
) -> SQL:
    """The SQL of a page, one row longer than `size`."""
    passed, passed_params = within_limits(book_filter, ordering)
    rows, rows_params = _rows(book_filter, cursor, size + 1, ordering)
    if book_filter.by_catalogue:
        book, book_params = total.kept(book_filter)
    else:
        book, book_params = total.summed(book_filter, known, READS)
    seen_sql: str = "false"
    seen_params: tuple[Any, ...] = ()
    if seen is not None and book_filter.timeless:
        seen_sql, seen_params = SEEN.format(version=total.VERSION), (seen.to, seen.digests)
    order = [f"page.{name}" for name in ([] if ordering.by_id else [COLUMN[ordering.name]])]
    sql = STATEMENT.format(
        passed=passed,
        seen=seen_sql,
        reads=READS,
        columns=", ".join(COLUMNS),
        subscriptions=rows,
        book=book,
        order=_by([*order, "page.id"], ordering.descending),
    )
    return sql, (*seen_params, *passed_params, *rows_params, *book_params)


def within_limits(book_filter: BookFilter, ordering: Ordering) -> SQL:
    """Whether what a pass has to read is within its limit, and what a search has to compare."""
    passed: SQL = UNLIMITED, ()
    if access_paths.way(book_filter, ordering) == Way.PASSED:
        passed = _rows_within_limit(book_filter, ordering)
    if book_filter.q is None:
        return passed
    found = names_like(book_filter.q).values()
    names = " UNION ALL ".join(sql for sql, _ in found)
    words = [word for _, each in found for word in each]
    limited, limited_params = passed
    return (
        OF_FEW_NAMES.format(names=names, limited=limited),
        (*words, access_paths.SEARCH_NAMES + 1, access_paths.SEARCH_NAMES, *limited_params),
    )


def _rows_within_limit(book_filter: BookFilter, ordering: Ordering) -> SQL:
    limit = access_paths.limit(book_filter, ordering)
    read = {
        name: value
        for name, value in book_filter.given.items()
        if name in access_paths.INDEXED | access_paths.SEARCHED | access_paths.CATALOGUE
    }
    if not read.keys() <= access_paths.CATALOGUE:
        matching = BookFilter(**read).subscriptions().order_by().values_list("id")
        sql, params = matching.query.sql_with_params()
        return LIMITED.format(rows=ROWS_UP_TO.format(matching=sql)), (limit, *params, limit + 1)
    where, params = total.of_subtotals(book_filter)
    return LIMITED.format(rows=ROWS_OF_CATALOGUE.format(where=where)), (limit, *params)


COLUMN = {"price": "price", "client_name": "company_name", "started_at": "started_at"}


def _qualified(columns: tuple[str, ...]) -> str:
    return ", ".join(f"subscription.{name}" for name in columns)


def _by(names: list[str], descending: bool) -> str:
    return ", ".join(f"{name} DESC" if descending else name for name in names)


def stretch(book_filter: BookFilter, after: int, limit: int, columns: tuple[str, ...]) -> SQL:
    """The SQL of columns of up to `limit` subscriptions that match, by their ids, beyond one."""
    return _rows(book_filter, Cursor(after), limit, BY_ID, columns)


def _rows(
    book_filter: BookFilter,
    cursor: Cursor | None,
    limit: int,
    ordering: Ordering,
    columns: tuple[str, ...] = COLUMNS,
) -> SQL:
    """All that match, on from the cursor and in its way."""
    way = access_paths.way(book_filter, ordering)
    names = book_filter.given.keys()
    descending = ordering.descending != (cursor is not None and cursor.backward)
    if names & access_paths.SEARCHED or (
        names & access_paths.JUDGED and names & access_paths.INDEXED
    ):
        return _sorted(book_filter, cursor, limit, ordering, descending, columns)
    if ordering.by_id and way != Way.FOUND:
        if "plan_type" in names:
            return _merged(book_filter, cursor, limit, descending, columns)
        return _walked_by_id(book_filter, cursor, limit, descending, columns)
    if ordering.by_id and not names & access_paths.FEW:
        # Few or most of the book, and the planner's statistics know which.
        rows = _beyond(book_filter.subscriptions(), ["id"], cursor, descending)
    elif ordering.name == "started_at" and way == Way.WALKED:
        rows = book_filter.subscriptions()
        rows = _beyond(rows, ["started_at", "id"], cursor, descending)
    elif ordering.name == "client_name" and way == Way.WALKED:
        return _walked_by_client(cursor, limit, descending)
    else:
        return _sorted(book_filter, cursor, limit, ordering, descending, columns)
    return rows.values_list(*columns)[:limit].query.sql_with_params()


def _place(cursor: Cursor, columns: int) -> tuple[Any, ...]:
    return (cursor.id,) if columns == 1 else (cursor.value, cursor.id)


def _beyond(
    rows: SubscriptionQuerySet, names: list[str], cursor: Cursor | None, descending: bool
) -> SubscriptionQuerySet:
    """Those beyond the cursor, in the order of these columns, compared as a row."""
    if cursor is not None:
        beyond = TupleLessThan if descending else TupleGreaterThan
        rows = rows.filter(beyond(Tuple(*map(F, names)), _place(cursor, len(names))))
    return rows.order_by(*[f"-{name}" if descending else name for name in names])


# Text, not a query of Django's: this is the page that is asked for most, and Django took as long to
# write it as PostgreSQL to read it.
WALKED = """
SELECT {columns} FROM services_subscription
 WHERE ({key}) {beyond} ({place}) {within}
 ORDER BY {order} LIMIT {limit}
"""


def _walked_by_id(
    book_filter: BookFilter,
    cursor: Cursor | None,
    limit: int,
    descending: bool,
    columns: tuple[str, ...],
    plan: str | None = None,
) -> SQL:
    """Along the primary key, or along the index of a service, of a plan, of both.

    These, (service_id, plan_id, id), with a range that holds the one pair. For an equality the
    planner may take the primary key, hoping to meet enough of them soon; those of a new service
    all stand at the end, and a page read 600,000 rows (129 ms; this way 0.2).

    `plan`: SQL that stands for the id of the plan.
    """
    given = book_filter.given
    values = {f"{name}_id": given.pop(name) for name in ("service", "plan") if name in given}
    marks = dict.fromkeys(values, "%s") | ({} if plan is None else {"plan_id": plan})
    pair, place = ", ".join(marks), ", ".join([*marks.values(), "%s"])
    end = MAX_BIGINT if descending else -1
    params = (*values.values(), end if cursor is None else cursor.id)
    within = ""
    if marks:
        within = f"AND ({pair}) {'>' if descending else '<'}= ({', '.join(marks.values())})"
        params += (*values.values(),)
    if given:
        others, others_params = _condition(BookFilter(**given))
        within += f" AND {others}"
        params += others_params
    names = [*marks, "id"]
    return WALKED.format(
        columns=", ".join(columns),
        key=", ".join(names),
        beyond="<" if descending else ">",
        place=place,
        within=within,
        order=_by(names, descending),
        limit=limit,
    ), params


def _condition(book_filter: BookFilter) -> SQL:
    """What a filter asks of columns of the subscription itself."""
    query = book_filter.subscriptions().query
    sql, params = query.get_compiler(connection=connection).compile(query.where)
    return sql, tuple(params)


# Each part is in order, and no longer than a page; so is what they make together.
MERGED = """
SELECT part.*
  FROM (SELECT id FROM services_plan WHERE plan_type = %s {plan}) plan_of_type
 CROSS JOIN LATERAL ({part}) part ({columns})
 ORDER BY {order} LIMIT {limit}
"""


def _merged(
    book_filter: BookFilter,
    cursor: Cursor | None,
    limit: int,
    descending: bool,
    columns: tuple[str, ...],
) -> SQL:
    """Along the index of each plan of the type (there are 101 at the most), merged."""
    given = book_filter.given
    plan_type, plan = given.pop("plan_type"), given.pop("plan", None)
    rest = BookFilter(**given)
    part, params = _walked_by_id(rest, cursor, limit, descending, columns, "plan_of_type.id")
    return MERGED.format(
        part=part,
        plan="" if plan is None else "AND id = %s",
        columns=", ".join(columns),
        order=_by(["part.id"], descending),
        limit=limit,
    ), (plan_type, *([] if plan is None else [plan]), *params)


# The clients in the order of their names, of each the first of its subscriptions; those of one
# name together are put in order by id (an incremental sort). A client's own are read by its index:
# OFFSET 0 as in SORTED, for a client that has none would be looked for in the whole book.
BY_CLIENT = """
SELECT {qualified}
  FROM clients_client client
 CROSS JOIN LATERAL (
    SELECT * FROM (SELECT {columns} FROM services_subscription
                    WHERE client_id = client.id {beyond} OFFSET 0) own
     ORDER BY {order_inside} LIMIT {limit}
  ) subscription
 {on_from}
 ORDER BY {order} LIMIT {limit}
"""


def _walked_by_client(cursor: Cursor | None, limit: int, descending: bool) -> SQL:
    sign = "<" if descending else ">"
    beyond, on_from = "", ""
    inside: list[Any] = []
    outside: list[Any] = []
    if cursor is not None:
        beyond = f"AND (client.company_name, id) {sign} (%s, %s)"
        on_from = f"WHERE client.company_name {sign}= %s"
        inside, outside = [cursor.value, cursor.id], [cursor.value]
    sql = BY_CLIENT.format(
        columns=", ".join(COLUMNS),
        qualified=_qualified(COLUMNS),
        beyond=beyond,
        on_from=on_from,
        order_inside=_by(["id"], descending),
        order=_by(["client.company_name", "subscription.id"], descending),
        limit=limit,
    )
    return sql, (*inside, *outside)


# OFFSET 0 keeps the planner from walking the order's index in the hope of meeting matches soon:
# what matches is read by the index that leads to it, has its client's name put to it, and is then
# put in order. (The last client of all names has its rows at the end of such a walk.)
SORTED = """
SELECT {qualified}
  FROM (SELECT matching.*{name} FROM ({matching}) matching ({columns}) {client} OFFSET 0)
       subscription
 {beyond}
 ORDER BY {order} LIMIT %s
"""


def _sorted(
    book_filter: BookFilter,
    cursor: Cursor | None,
    limit: int,
    ordering: Ordering,
    descending: bool,
    columns: tuple[str, ...],
) -> SQL:
    matching = book_filter.subscriptions().order_by().values_list(*columns)
    sql, params = matching.query.sql_with_params()
    names = ["subscription.id"]
    name, client = "", ""
    if ordering.name == "client_name":
        name = ", client.company_name"
        client = "JOIN clients_client client ON client.id = matching.client_id"
    if not ordering.by_id:
        names.insert(0, f"subscription.{COLUMN[ordering.name]}")
    beyond: str = ""
    place: tuple[Any, ...] = ()
    if cursor is not None:
        place = _place(cursor, len(names))
        marks = ", ".join(["%s"] * len(place))
        beyond = f"WHERE ({', '.join(names)}) {'<' if descending else '>'} ({marks})"
    statement = SORTED.format(
        columns=", ".join(columns),
        qualified=_qualified(columns),
        name=name,
        matching=sql,
        client=client,
        beyond=beyond,
        order=_by(names, descending),
    )
    return statement, (*params, *place, limit)


def _subscription(
    id: int,
    client_id: int,
    service_id: int,
    plan_id: int,
    price: Decimal,
    price_state: str,
    locked_until: Any,
    price_reason: str,
    comment: str,
    source: str | None,
    external_id: str | None,
    started_at: Any,
    ended_at: Any,
    company_name: str,
    email: str,
    service_name: str,
    full_price: Decimal,
    plan_type: str,
    discount_percent: int,
) -> dict[str, Any]:
    """What `SubscriptionSerializer` makes of it; tests/test_serializers.py compares."""
    return {
        "id": id,
        "plan_id": plan_id,
        "client_name": company_name,
        "email": email,
        "plan": {"id": plan_id, "plan_type": plan_type, "discount_percent": discount_percent},
        "price": price,
        "price_state": price_state,
        "locked_until": locked_until,
        "price_reason": price_reason,
        "service": {"id": service_id, "name": service_name, "full_price": full_price},
        "client_id": client_id,
        "comment": comment,
        "source": source,
        "external_id": external_id,
        "started_at": started_at,
        "ended_at": ended_at,
    }
