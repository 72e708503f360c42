"""The records that a search finds: by id, name, e-mail or external id, the likest first.

Names are found as the filter `q` finds them (`search.py`). Exact ones come first, then names that
begin so, then the likest.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connection

from services.models import Plan
from services.parsing import MAX_BIGINT
from services.reading.access_paths import SEARCH_NAMES
from services.reading.search import names_like, texts_like
from services.sql import SQL

MOST_SOURCES = 100

# A step along the index of external ids for each source: there are few.
SOURCES = """
source (name) AS (
    SELECT min(source) FROM {table}
     UNION ALL
    SELECT (SELECT min(source) FROM {table} WHERE source > name) FROM source WHERE name IS NOT NULL
), known_source (name) AS MATERIALIZED (
    SELECT name FROM source WHERE name IS NOT NULL LIMIT %s
)
"""
OF_EXTERNAL_ID = """
SELECT record.id FROM known_source JOIN {table} record
    ON record.source = known_source.name AND record.external_id = %s
"""
BY_NAME = """
WITH RECURSIVE {sources},
     named (id) AS MATERIALIZED (SELECT id FROM ({named}) alike (id) LIMIT %s),
     exact (id) AS MATERIALIZED ({exact}),
     found (id) AS (
         SELECT id FROM exact
          UNION
         SELECT id FROM named WHERE (SELECT count(*) FROM named) <= %s
     )
SELECT record.id, (SELECT count(*) FROM named)
  FROM found JOIN {table} record ON record.id = found.id
 ORDER BY record.id IN (SELECT id FROM exact) DESC, lower(record.{name}) = lower(%s) DESC,
          starts_with(lower(record.{name}), lower(%s)) DESC,
          word_similarity(%s, record.{name}) + similarity(%s, record.{name}) DESC,
          record.{name}, record.id
 LIMIT %s
"""
OF_SUBSCRIPTIONS = """
WITH RECURSIVE {sources}
SELECT id FROM services_subscription WHERE id = %s UNION {of_external_id} ORDER BY id LIMIT %s
"""
SOURCES_LIKE = """
WITH RECURSIVE {sources}
SELECT name FROM known_source WHERE name %%> %s ORDER BY word_similarity(%s, name) DESC, name
"""
# By kind: the table, the column with the name, and SQL of the ids of an e-mail.
NAMED = {
    "client": ("clients_client", "company_name"),
    "service": ("services_service", "name"),
}
OF_EMAIL = """
 UNION SELECT client.id FROM auth_user login JOIN clients_client client ON client.user_id = login.id
        WHERE upper(login.email::text) = upper(%s)
"""
SUBSCRIPTIONS = "services_subscription"


@dataclass(frozen=True)
class Found:
    """The ids that a search has found, the likest first, up to a limit.

    `too_many`: more names are like the words than a search compares; then only what is exactly so
    is among them. `more`: there are more than the limit.
    """

    ids: list[int]
    too_many: bool = False
    more: bool = False


def found(kind: str, words: str, limit: int) -> Found:
    """The clients or services of this name, id, e-mail or external id. One query."""
    with connection.cursor() as cursor:
        cursor.execute(*statement(kind, words, limit))
        rows = cursor.fetchall()
    too_many = bool(rows) and rows[0][1] > SEARCH_NAMES
    return Found([id for id, _ in rows[:limit]], too_many, too_many or len(rows) > limit)


def statement(kind: str, words: str, limit: int) -> SQL:
    """The SQL of one row more than `limit`."""
    table, name = NAMED[kind]
    named, named_params = names_like(words)[f"{kind}_id"]
    of_table = f"SELECT id FROM {table} WHERE"  # noqa: S608 - ours
    exact = [
        f"{of_table} id = %s UNION {of_table} {name} = %s UNION",
        OF_EXTERNAL_ID.format(table=table),
    ]
    exact_params: list[object] = [_number(words), words, words]
    if kind == "client":
        exact.append(OF_EMAIL)
        exact_params.append(words)
    sql = BY_NAME.format(
        sources=SOURCES.format(table=table),
        named=named,
        exact=" ".join(exact),
        table=table,
        name=name,
    )
    return sql, (
        MOST_SOURCES,
        *named_params,
        SEARCH_NAMES + 1,
        *exact_params,
        SEARCH_NAMES,
        *[words] * 4,
        limit + 1,
    )


def subscriptions(words: str, limit: int) -> Found:
    """The subscriptions of this id, or with this external id in any source. One query."""
    with connection.cursor() as cursor:
        cursor.execute(*statement_of_subscriptions(words, limit))
        rows = cursor.fetchall()
    return Found([id for (id,) in rows[:limit]], more=len(rows) > limit)


def statement_of_subscriptions(words: str, limit: int) -> SQL:
    sql = OF_SUBSCRIPTIONS.format(
        sources=SOURCES.format(table=SUBSCRIPTIONS),
        of_external_id=OF_EXTERNAL_ID.format(table=SUBSCRIPTIONS),
    )
    return sql, (MOST_SOURCES, _number(words), words, limit + 1)


def plans(words: str) -> list[int]:
    """The plans of this id or discount, or with a type, and a discount, like the words. Two
    queries.
    """
    known = list(Plan.objects.order_by("plan_type", "discount_percent"))
    if words.isascii() and words.isdigit():
        return [each.pk for each in known if int(words[:19]) in (each.pk, each.discount_percent)]
    names = [f"{each.plan_type} {each.discount_percent} % {each}" for each in known]
    return [known[number].pk for number in texts_like(words, names)]


def sources_like(word: str) -> list[str]:
    """The sources of subscriptions with a word like this one, the likest first. One query."""
    with connection.cursor() as cursor:
        cursor.execute(*statement_of_sources(word))
        return [name for (name,) in cursor.fetchall()]


def statement_of_sources(word: str) -> SQL:
    sql = SOURCES_LIKE.format(sources=SOURCES.format(table=SUBSCRIPTIONS))
    return sql, (MOST_SOURCES, word, word)


def _number(words: str) -> int:
    """The id that the words are; no record has 0."""
    text = words.removeprefix("#")
    if not (text.isascii() and text.isdigit()) or len(text) > 19:
        return 0
    return min(int(text), MAX_BIGINT)
