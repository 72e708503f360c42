"""The statements of a page of clients, services or plans, with who pays and what.

Only subscriptions that have begun, and have not ended, pay: others are in no figure here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.reading import access_paths
from services.reading.ordering import BY_ID, Cursor, Ordering
from services.reading.search import names_like
from services.reading.total import PAYS
from services.reading.version import VERSION_OF_NAMES, Seen, book_as_seen
from services.sql import SQL

NOBODY: SQL = "SELECT 0 WHERE false", ()


@dataclass(frozen=True)
class Counted:
    """The number of clients, and the version of the names for which it holds."""

    version: str
    count: int


NOT_COUNTED = Counted("", 0)  # no book has this version


# A row for each of some ids. (The e-mail is not joined: for a join the planner read all logins of a
# book of 20,000 clients.) One clock, taken after the snapshot, decides who pays (`total.py`).
MOMENT = "moment AS MATERIALIZED (SELECT book_clock() AS at)"
CLIENTS = f"""
SELECT client.id, client.company_name,
       (SELECT email FROM auth_user WHERE id = client.user_id) AS email, client.full_address,
       client.source, client.external_id,
       paid.subscriptions AS count, paid.amount AS total_amount
  FROM ({{ids}}) client
 CROSS JOIN LATERAL (
    SELECT count(*) AS subscriptions, coalesce(sum(price), 0) AS amount
      FROM subscription_in_force
     WHERE client_id = client.id AND {PAYS.format(at="(SELECT at FROM moment)")}
  ) paid
"""  # noqa: S608 - ours
SERVICES = """
SELECT service.id, service.name, service.full_price, service.source, service.external_id,
       coalesce(paid.subscriptions, 0)::bigint AS count, coalesce(paid.amount, 0) AS total_amount
  FROM ({ids}) service
  LEFT JOIN (SELECT service_id, sum(paid_subscriptions) AS subscriptions,
                    sum(paid_amount) AS amount
               FROM subtotal_in_force GROUP BY service_id) paid ON paid.service_id = service.id
"""
PLANS = """
SELECT plan.id, plan.plan_type, plan.discount_percent, plan.source, plan.external_id,
       coalesce(paid.subscriptions, 0)::bigint AS count, coalesce(paid.amount, 0) AS total_amount
  FROM ({ids}) plan
  LEFT JOIN (SELECT plan_id, sum(paid_subscriptions) AS subscriptions,
                    sum(paid_amount) AS amount
               FROM subtotal_in_force GROUP BY plan_id) paid ON paid.plan_id = plan.id
"""
EACH = {"client": CLIENTS, "service": SERVICES, "plan": PLANS}
TABLE = {"client": "clients_client", "service": "service_in_force", "plan": "plan_in_force"}
STORED = {"client": "clients_client", "service": "services_service", "plan": "services_plan"}
OF_EMAIL = """
SELECT client.id FROM clients_client client JOIN auth_user login ON login.id = client.user_id
 WHERE upper(login.email::text) = upper(%s)
"""
OF_PLAN_TYPE = "SELECT id FROM services_plan WHERE plan_type = %s"
OF_SOURCE = "SELECT id FROM {table} WHERE source = %s"
ONE = """
WITH book AS MATERIALIZED ({book}), {moment}
SELECT book.*, one.* FROM book LEFT JOIN ({one}) one ON true
"""


def one_statement(kind: str, id: int, seen: Seen | None = None) -> SQL:
    """The SQL of one client, service or plan, with the version of the book."""
    book, book_params = book_as_seen(seen)
    ids = f"SELECT * FROM {TABLE[kind]} WHERE id = %s AND (SELECT NOT seen FROM book)"  # noqa: S608 - ours
    one = EACH[kind].format(ids=ids)
    return ONE.format(book=book, moment=MOMENT, one=one), (*book_params, id)


SOME = "WITH {moment} {some}"


def some_statement(kind: str, ids: Sequence[int]) -> SQL:
    """The SQL of the clients, services or plans of these ids."""
    of_ids = f"SELECT * FROM {TABLE[kind]} WHERE id = ANY(%s)"  # noqa: S608 - ours
    return SOME.format(moment=MOMENT, some=EACH[kind].format(ids=of_ids)), (list(ids),)


# Rows are read only if the caller has not seen the answer of this very book.
ALL_READ = """
WITH book AS MATERIALIZED ({book}), {moment},
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
# Clients are counted only if the version of the names, which needs no row, is another one.
WALKED = """
WITH book AS MATERIALIZED ({book}), {moment},
     together AS MATERIALIZED (
         SELECT CASE WHEN uncommitted OR version IS DISTINCT FROM %s
                     THEN (SELECT count(*) FROM clients_client) END AS items,
                subscriptions, amount, version AS version_of_names
           FROM (SELECT {version_of_names},
                        coalesce(sum(paid_subscriptions), 0)::bigint AS subscriptions,
                        coalesce(sum(paid_amount), 0) AS amount
                   FROM subtotal_in_force) names
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
    """The SQL of a page, one row longer than `size`; a row has book, found, together and item."""
    book, book_params = book_as_seen(seen)
    shown = _by("page", ordering, ordering.descending)
    if kind == "client" and not given:
        beyond, order, bound = _on("client", cursor, ordering)
        clients = WITH_EMAIL if ordering.name == "email" else TABLE[kind]
        ids = CLIENTS_BEYOND.format(clients=clients, beyond=beyond, order=order)
        each = CLIENTS.format(ids=ids)
        sql = WALKED.format(
            book=book, moment=MOMENT, version_of_names=VERSION_OF_NAMES, each=each, shown=shown
        )
        return sql, (*book_params, counted.version, *bound, size + 1)
    beyond, order, bound = _on("item", cursor, ordering)
    found, found_params = _found(kind, given) if given else NOBODY
    ids, ids_params = (FOUND, (access_paths.SEARCH_NAMES,)) if given else (EVERY, ())
    each = EACH[kind].format(ids=ids.format(table=TABLE[kind]))
    sql = ALL_READ.format(
        book=book, moment=MOMENT, found=found, each=each, beyond=beyond, order=order, shown=shown
    )
    return sql, (
        *book_params,
        *found_params,
        access_paths.SEARCH_NAMES + 1,
        *ids_params,
        *bound,
        size + 1,
    )


# E-mail and id are in two tables: the index serves only the first, and the planner assumes that a
# comparison of both as a row leaves nothing.
BEYOND_EMAIL = """
{email} {sign}= upper(%s) AND NOT ({email} = upper(%s) AND {id} {back}= %s)
"""


def _on(table: str, cursor: Cursor | None, ordering: Ordering) -> tuple[str, str, tuple[Any, ...]]:
    """The condition for the rows after the cursor, their order, and the condition's parameters."""
    descending = ordering.descending != (cursor is not None and cursor.backward)
    order = _by(table, ordering, descending)
    if cursor is None:
        return "true", order, ()
    bound = (cursor.id,) if ordering.by_id else (cursor.value, cursor.id)
    columns = _columns(table, ordering)
    sign, back = ("<", ">") if descending else (">", "<")
    if ordering.name == "email":
        email, id = columns
        beyond = BEYOND_EMAIL.format(email=email, id=id, sign=sign, back=back)
        return beyond, order, (cursor.value, *bound)
    marks = ", ".join(["%s"] * len(bound))
    return f"({', '.join(columns)}) {sign} ({marks})", order, bound


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
        elif name == "source":
            of_source = OF_SOURCE.format(table=STORED[kind])
            if "external_id" in given:
                parts.append((f"{of_source} AND external_id = %s", (value, given["external_id"])))
            else:
                parts.append((of_source, (value,)))
        elif name != "external_id":  # it has its source
            parts.append((OF_EMAIL if name == "email" else OF_PLAN_TYPE, (value,)))
    return " INTERSECT ".join(f"({sql})" for sql, _ in parts), tuple(
        value for _, params in parts for value in params
    )
