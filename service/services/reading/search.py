"""The search: clients and services whose names have words like the given ones."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection
from django.db.models import BooleanField, Q
from django.db.models.expressions import RawSQL

from services.sql import SQL

# The names that a search looks through, by the column of a subscription that leads there.
NAMES = {
    "client_id": ("clients_client", "company_name"),
    "service_id": ("services_service", "name"),
}


def names_like(words: str) -> dict[str, tuple[str, list[str]]]:
    """The SQL of the ids whose names have a word like each of these, by a subscription's column.

    `%>` finds a name with a word like the one that is asked for, whatever its case: a typo is
    forgiven up to pg_trgm.word_similarity_threshold (settings.py). Compared as a whole, "ООО
    Ромашка" would be like any "ООО"; so that is done only if no client and no service has each
    word, because one of the words may be short and mistyped.
    """
    each = words.split()
    with_each = {
        column: f"SELECT id FROM {table} WHERE " + " AND ".join([f"{name} %%> %s"] * len(each))  # noqa: S608
        for column, (table, name) in NAMES.items()
    }
    if len(each) == 1:
        return {column: (sql, each) for column, sql in with_each.items()}
    none = " AND ".join(f"NOT EXISTS ({sql})" for sql in with_each.values())
    return {
        column: (
            f"{with_each[column]} UNION ALL SELECT id FROM {table} WHERE {name} %%> %s AND {none}",  # noqa: S608
            [*each, " ".join(each), *each * len(NAMES)],
        )
        for column, (table, name) in NAMES.items()
    }


def named_like(words: str) -> Q:
    # Finds the few clients and services first, by their trigram indexes, then their subscriptions
    # by the indexes of these columns.
    found = names_like(words)
    sql = " OR ".join(
        f"services_subscription.{column} = ANY (ARRAY({ids}))" for column, (ids, _) in found.items()
    )
    params = [word for _, each in found.values() for word in each]
    return Q(RawSQL(f"({sql})", params, output_field=BooleanField()))  # noqa: S611 - ours


# Few texts that no table has: the one that is like the words as `names_like` compares them.
TEXTS_LIKE = """
WITH text_of (name, number) AS MATERIALIZED (
         SELECT * FROM unnest(%s::text[]) WITH ORDINALITY
     ),
     with_each (number) AS MATERIALIZED (SELECT number FROM text_of WHERE {each})
SELECT number - 1 FROM with_each
 UNION ALL
SELECT number - 1 FROM text_of WHERE name %%> %s AND NOT EXISTS (SELECT FROM with_each)
"""


def texts_like(words: str, texts: Sequence[str]) -> list[int]:
    """The positions of the texts that are like the words, in their order. One query."""
    with connection.cursor() as cursor:
        cursor.execute(*statement_of_texts(words, texts))
        return sorted(number for (number,) in cursor.fetchall())


def statement_of_texts(words: str, texts: Sequence[str]) -> SQL:
    each = words.split()
    sql = TEXTS_LIKE.format(each=" AND ".join(["name %%> %s"] * len(each)) or "false")
    return sql, (list(texts), *each, " ".join(each))
