"""Limits: a statement decides whether a page or a total may be read, before it reads a row."""

from __future__ import annotations

from services.reading import access_paths
from services.reading.access_paths import CATALOGUE, INDEXED, SEARCHED, AccessPath, Way
from services.reading.filters import BookFilter
from services.reading.search import names_like
from services.reading.total import of_subtotals
from services.sql import SQL

UNLIMITED = "SELECT true AS allowed"
LIMITED = "SELECT rows <= %s AS allowed FROM ({rows}) left_over (rows)"
# Names are counted up to the limit, and rows only if the names are within it.
OF_FEW_NAMES = """
SELECT CASE WHEN (SELECT count(*) FROM ({names} LIMIT %s) name) <= %s
            THEN ({limited}) ELSE false END AS allowed
"""
ROWS_OF_CATALOGUE = """
SELECT coalesce(sum(subscriptions), 0) FROM services_subtotal WHERE {where}
"""
ROWS_UP_TO = "SELECT count(*) FROM ({matching} LIMIT %s) matching"


def within_limits(path: AccessPath) -> SQL:
    """A statement: whether a scan's rows, and the names that a search compares, are few enough."""
    rows: SQL = UNLIMITED, ()
    if path.way == Way.SCANNED:
        rows = _rows_within_limit(path)
    if path.book_filter.q is None:
        return rows
    found = names_like(path.book_filter.q).values()
    names = " UNION ALL ".join(sql for sql, _ in found)
    words = [word for _, each in found for word in each]
    limited, limited_params = rows
    return (
        OF_FEW_NAMES.format(names=names, limited=limited),
        (*words, access_paths.SEARCH_NAMES + 1, access_paths.SEARCH_NAMES, *limited_params),
    )


def _rows_within_limit(path: AccessPath) -> SQL:
    limit = path.limit
    read = {
        name: value
        for name, value in path.book_filter.given.items()
        if name in INDEXED | SEARCHED | CATALOGUE
    }
    if not read.keys() <= CATALOGUE:
        matching = BookFilter(**read).subscriptions().order_by().values_list("id")
        sql, params = matching.query.sql_with_params()
        return LIMITED.format(rows=ROWS_UP_TO.format(matching=sql)), (limit, *params, limit + 1)
    where, params = of_subtotals(path.book_filter)
    return LIMITED.format(rows=ROWS_OF_CATALOGUE.format(where=where)), (limit, *params)
