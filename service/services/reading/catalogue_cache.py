"""django-cachalot (chapter 13 of the tutorial) for the catalogue, in a way that can't go stale.

Off unless the setting CACHALOT turns it on; docs/cachalot.md says with figures when to.

Cachalot decides by its own clock whether a stored result is good: it stamps a result after the
query has run, so it misses a write in between, and it never sees a write from outside Django. Here
each result is under the version of the catalogue, which triggers move at each commit, whoever
writes, and which is read *before* the query: a result under a version was read no earlier than that
version was current. Cachalot's stamps can only make it query again.
"""

import json
from decimal import Decimal
from hashlib import blake2b
from typing import Any

from cachalot.utils import UncachableQuery, _get_tables, check_parameter_types
from django.db.models.sql.compiler import SQLCompiler

from services.reading.version import VERSION_OF_NAMES

CATALOGUE_VERSION = "SELECT" + VERSION_OF_NAMES + "FROM services_subtotal"


def query_key(compiler: SQLCompiler) -> str:
    """The cache key of a query (CACHALOT_QUERY_KEYGEN). One query, for the catalogue's tables only.

    UncachableQuery in a transaction that has written: its version is not committed.
    """
    _get_tables(compiler.using, compiler.query)  # UncachableQuery for any other table
    sql, params = compiler.as_sql()
    check_parameter_types(params)
    with compiler.connection.cursor() as cursor:
        cursor.execute(CATALOGUE_VERSION)
        version, uncommitted = cursor.fetchone()
    if uncommitted or version is None:
        raise UncachableQuery
    return blake2b(repr((version, sql, params)).encode(), digest_size=20).hexdigest()


class RowsSerializer:
    """Stores rows as JSON, and gives them back with their types; pickle would run code."""

    def dumps(self, value: Any) -> bytes:
        try:
            return json.dumps(value, default=self._tagged).encode()
        except TypeError:
            return b"null"  # not a type of the catalogue: for cachalot this is a miss

    def loads(self, data: bytes) -> Any:
        return json.loads(data, object_hook=lambda tagged: Decimal(tagged["decimal"]))

    @staticmethod
    def _tagged(value: object) -> dict[str, str]:
        if isinstance(value, Decimal):
            return {"decimal": str(value)}
        raise TypeError
