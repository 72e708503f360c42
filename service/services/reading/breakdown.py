"""Who and what the book's money comes from: clients, services, plans, and totals by them.

Each answer is one statement. What is cut along services and plans is added up from the subtotals,
of which there are a few for each (service, plan), so it costs the same however many subscriptions
there are; a page of clients reads the subscriptions of these clients, by the foreign key.

With each page goes what all that match come to, from the snapshot of the rows:

- **services, plans**: all of them are read, so these are put in any order;
- **clients that a filter finds**, up to `SEARCH_NAMES`: likewise, with their subscriptions;
- **all clients**: walked along an index, a page at a time. What they pay is the total of the book,
  which the subtotals know. How many they are, a count of 200,000 rows, is kept in the cache with
  the version of the names that it is of, as a total is (`total.py`): the statement counts them
  only if some client or name was written since.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.db import connection

from services.reading import total
from services.reading.access_paths import SEARCH_NAMES
from services.reading.ordering import BY_ID, Cursor, Ordering, list_of, orderings, paged
from services.reading.search import names_like
from services.reading.total import Total
from services.reading.version import VERSION_OF_NAMES, Seen, book_as_seen, version_of
from services.sql import SQL

Row = dict[str, Any]

# --- Clients, services, plans -----------------------------------------------------------------

# Of some ids, a row each. (The e-mail is no join: for one, the planner read all logins of a book
# of 20,000 clients.)
CLIENTS = """
SELECT client.id, client.company_name,
       (SELECT email FROM auth_user WHERE id = client.user_id) AS email, client.full_address,
       paid.subscriptions AS count, paid.amount AS total_amount
  FROM ({ids}) client
 CROSS JOIN LATERAL (
    SELECT count(*) AS subscriptions, coalesce(sum(price), 0) AS amount
      FROM services_subscription WHERE client_id = client.id
  ) paid
"""
SERVICES = """
SELECT service.id, service.name, service.full_price,
       coalesce(paid.subscriptions, 0)::bigint AS count, coalesce(paid.amount, 0) AS total_amount
  FROM ({ids}) service
  LEFT JOIN (SELECT service_id, sum(subscriptions) AS subscriptions, sum(amount) AS amount
               FROM services_subtotal GROUP BY service_id) paid ON paid.service_id = service.id
"""
PLANS = """
SELECT plan.id, plan.plan_type, plan.discount_percent,
       coalesce(paid.subscriptions, 0)::bigint AS count, coalesce(paid.amount, 0) AS total_amount
  FROM ({ids}) plan
  LEFT JOIN (SELECT plan_id, sum(subscriptions) AS subscriptions, sum(amount) AS amount
               FROM services_subtotal GROUP BY plan_id) paid ON paid.plan_id = plan.id
"""
EACH = {"client": CLIENTS, "service": SERVICES, "plan": PLANS}
TABLE = {"client": "clients_client", "service": "services_service", "plan": "services_plan"}

# Which filters each list takes; they mean the same in the list of subscriptions.
FILTERS = {"client": ("q", "email"), "service": ("q",), "plan": ("plan_type",)}
# And its orders. No index has the clients in that of their numbers and totals.
ORDERINGS = {
    "client": orderings("id", "company_name", "email"),
    "service": orderings("id", "name", "full_price", "count", "total_amount"),
    "plan": orderings("id", "plan_type", "discount_percent", "count", "total_amount"),
}
OF_EMAIL = """
SELECT client.id FROM clients_client client JOIN auth_user login ON login.id = client.user_id
 WHERE upper(login.email::text) = upper(%s)
"""
OF_PLAN_TYPE = "SELECT id FROM services_plan WHERE plan_type = %s"
NOBODY: SQL = "SELECT 0 WHERE false", ()


class TooManyFound(Exception):
    """More than `SEARCH_NAMES`."""


@dataclass(frozen=True)
class Page:
    result: list[Row]
    count: int  # of all that match, not of this page
    total: Total  # of all their subscriptions
    next: Cursor | None
    previous: Cursor | None
    version: str | None  # of the book that it shows; None if no other reader will ever see it


@dataclass(frozen=True)
class Counted:
    """How many clients there are, and the version of the names that this is of."""

    version: str
    count: int


NOT_COUNTED = Counted("", 0)  # no book has this version


def marked(kind: str, given: Mapping[str, str], ordering: Ordering) -> bytes:
    return list_of(kind, given, ordering)


def page(
    kind: str,
    given: Mapping[str, str],
    cursor: Cursor | None,
    size: int,
    ordering: Ordering = BY_ID,
    seen: Seen | None = None,
) -> Page:
    """Up to `size` clients, services or plans in their order, with what each of them pays.

    And how many match, and what these pay together. `given`: values of the filters of the kind;
    `ordering`: one of the kind. One query. Unchanged where the caller has `seen` this very book;
    TooManyFound where a search leads to more names than it may compare.
    """
    walked = kind == "client" and not given
    counted = _cached() if walked else NOT_COUNTED
    rows, names = rows_and_columns(*statement(kind, given, cursor, size, ordering, seen, counted))
    version = version_of(*rows[0][:3])
    found, count, subscriptions, amount, version_of_names = rows[0][3:8]
    if found > SEARCH_NAMES:
        raise TooManyFound
    if count is None:
        count = counted.count
    elif walked and version is not None and version_of_names is not None:
        _remember(Counted(version_of_names, count))
    each = [named_row(names[8:], row[8:]) for row in rows if row[8] is not None]
    mark = marked(kind, given, ordering)
    result, following, previous = paged(each, cursor, size, ordering, mark)
    return Page(result, count, Total(amount, subscriptions), following, previous, version)


def _cached() -> Counted:
    """What the cache has; whether it is of this book is for the database to say. No query."""
    return Counted(**cache.get(_key(), {"version": "", "count": 0}))


def _remember(counted: Counted) -> None:
    cache.set(_key(), {"version": counted.version, "count": counted.count}, total.TIMEOUT)


def _key() -> str:
    return f"{settings.PRICE_CACHE_NAME}:clients"


ONE = """
WITH book AS MATERIALIZED ({book})
SELECT book.*, one.* FROM book LEFT JOIN ({one}) one ON true
"""


def one(kind: str, id: int, seen: Seen | None = None) -> tuple[Row | None, str | None]:
    """One of them, as `page` has it, and the version of the book. One query."""
    book, book_params = book_as_seen(seen)
    ids = f"SELECT * FROM {TABLE[kind]} WHERE id = %s AND (SELECT NOT seen FROM book)"  # noqa: S608 - ours
    sql = ONE.format(book=book, one=EACH[kind].format(ids=ids))
    (row,), names = rows_and_columns(sql, (*book_params, id))
    version = version_of(*row[:3])
    return None if row[3] is None else named_row(names[3:], row[3:]), version


# What is read is read only where the caller has not seen the answer of this very book.
ALL_READ = """
WITH book AS MATERIALIZED ({book}),
     found (id) AS MATERIALIZED (
         SELECT id FROM ({found}) named (id) WHERE (SELECT NOT seen FROM book) LIMIT %s
     ),
     item AS MATERIALIZED ({each})
SELECT book.*, (SELECT count(*) FROM found) AS found, together.*, NULL AS version_of_names, page.*
  FROM book
 CROSS JOIN (SELECT count(*) AS items, coalesce(sum(count), 0)::bigint AS subscriptions,
                    coalesce(sum(total_amount), 0) AS amount FROM item) together
  LEFT JOIN (SELECT item.* FROM item WHERE {beyond} ORDER BY {order} LIMIT %s) page ON true
 ORDER BY {shown}
"""
FOUND = """
SELECT * FROM {table}
 WHERE id = ANY (ARRAY(SELECT id FROM found)) AND (SELECT count(*) <= %s FROM found)
"""
EVERY = "SELECT * FROM {table} WHERE (SELECT NOT seen FROM book)"
# The condition on the version needs no row: where it says so, no client is counted.
WALKED = """
WITH book AS MATERIALIZED ({book}),
     together AS MATERIALIZED (
         SELECT CASE WHEN uncommitted OR version IS DISTINCT FROM %s
                     THEN (SELECT count(*) FROM clients_client) END AS items,
                subscriptions, amount, version AS version_of_names
           FROM (SELECT {version_of_names},
                        coalesce(sum(subscriptions), 0)::bigint AS subscriptions,
                        coalesce(sum(amount), 0) AS amount
                   FROM services_subtotal) names
          WHERE (SELECT NOT seen FROM book)
     )
SELECT book.*, 0 AS found, together.*, page.*
  FROM book
  LEFT JOIN together ON true
  LEFT JOIN ({each}) page ON true
 ORDER BY {shown}
"""
CLIENTS_BEYOND = """
SELECT client.* FROM {clients} client
 WHERE (SELECT NOT seen FROM book) AND {beyond}
 ORDER BY {order} LIMIT %s
"""
WITH_EMAIL = """
(SELECT client.*, login.email
   FROM auth_user login JOIN clients_client client ON client.user_id = login.id)
"""


def statement(
    kind: str,
    given: Mapping[str, str],
    cursor: Cursor | None,
    size: int,
    ordering: Ordering = BY_ID,
    seen: Seen | None = None,
    counted: Counted = NOT_COUNTED,
) -> SQL:
    """The SQL of a page, one row longer than `size`: a row of book, found, together and item."""
    book, book_params = book_as_seen(seen)
    shown = _by("page", ordering, ordering.descending)
    if kind == "client" and not given:
        beyond, order, place = _on("client", cursor, ordering)
        clients = WITH_EMAIL if ordering.name == "email" else TABLE[kind]
        ids = CLIENTS_BEYOND.format(clients=clients, beyond=beyond, order=order)
        each = CLIENTS.format(ids=ids)
        sql = WALKED.format(book=book, version_of_names=VERSION_OF_NAMES, each=each, shown=shown)
        return sql, (*book_params, counted.version, *place, size + 1)
    beyond, order, place = _on("item", cursor, ordering)
    found, found_params = _found(kind, given) if given else NOBODY
    ids, ids_params = (FOUND, (SEARCH_NAMES,)) if given else (EVERY, ())
    each = EACH[kind].format(ids=ids.format(table=TABLE[kind]))
    sql = ALL_READ.format(
        book=book, found=found, each=each, beyond=beyond, order=order, shown=shown
    )
    return sql, (*book_params, *found_params, SEARCH_NAMES + 1, *ids_params, *place, size + 1)


# E-mail and id are of two tables: the index takes the first alone, and a comparison of both as a
# row looks to the planner as if it left nothing.
BEYOND_EMAIL = """
{email} {sign}= upper(%s) AND NOT ({email} = upper(%s) AND {id} {back}= %s)
"""


def _on(table: str, cursor: Cursor | None, ordering: Ordering) -> tuple[str, str, tuple[Any, ...]]:
    """The condition on rows on from the cursor, their order, and the condition's parameters."""
    descending = ordering.descending != (cursor is not None and cursor.backward)
    order = _by(table, ordering, descending)
    if cursor is None:
        return "true", order, ()
    place = (cursor.id,) if ordering.by_id else (cursor.value, cursor.id)
    columns = _columns(table, ordering)
    sign, back = ("<", ">") if descending else (">", "<")
    if ordering.name == "email":
        email, id = columns
        beyond = BEYOND_EMAIL.format(email=email, id=id, sign=sign, back=back)
        return beyond, order, (cursor.value, *place)
    marks = ", ".join(["%s"] * len(place))
    return f"({', '.join(columns)}) {sign} ({marks})", order, place


def _columns(table: str, ordering: Ordering) -> list[str]:
    if ordering.name == "email":  # as e-mails are compared, and as their index has them
        return [f"upper({table}.email::text)", f"{table}.id"]
    return [f"{table}.{name}" for name in dict.fromkeys((ordering.name, "id"))]


def _by(table: str, ordering: Ordering, descending: bool) -> str:
    way = " DESC" if descending else ""
    return ", ".join(column + way for column in _columns(table, ordering))


def _found(kind: str, given: Mapping[str, str]) -> SQL:
    """The SQL of the ids for which every value holds."""
    parts: list[SQL] = []
    for name, value in given.items():
        if name == "q":
            ids, words = names_like(value)[f"{kind}_id"]
            parts.append((ids, tuple(words)))
        else:
            parts.append((OF_EMAIL if name == "email" else OF_PLAN_TYPE, (value,)))
    return " INTERSECT ".join(f"({sql})" for sql, _ in parts), tuple(
        value for _, params in parts for value in params
    )


def rows_and_columns(sql: str, params: tuple[Any, ...]) -> tuple[list[tuple[Any, ...]], list[str]]:
    """The rows, and the names of their columns."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchall(), [column.name for column in cursor.description]


def named_row(names: list[str], values: tuple[Any, ...]) -> Row:
    return dict(zip(names, values, strict=True))
