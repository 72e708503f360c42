"""The results of an import's lines, and of the clients, services and plans that it has written.

They are made by statements in the import's transaction, from the tables that `outcomes` and
`values_before` name: a line of text for each line of the file, with what an undo has to know.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.db.backends.utils import CursorWrapper

from services.bulk.catalogue import PlanSteps
from services.bulk.clients import ClientSteps
from services.bulk.lines import CHUNK
from services.bulk.subscriptions import SubscriptionSteps
from services.jobs.undoing_imports import SERVICES, SERVICES_SEEN
from services.transfer.formats import instant
from services.transfer.outcomes import OUTCOMES

OUTCOME = f"""
CREATE TEMP TABLE import_outcome ON COMMIT DROP AS
SELECT row_number() OVER (ORDER BY line) - 1 AS place, said.*
  FROM ({OUTCOMES}) said (line, outcome, id, columns, theirs, ours)
"""  # noqa: S608 - constants
# As the undo of a bulk finds the fields that the job has changed.
FIELDS = f"""
(SELECT jsonb_object_agg(name, jsonb_build_object('before', before))
   FROM (VALUES ('client', to_jsonb(before.client_id), to_jsonb(book.client_id)),
                ('service', to_jsonb(before.service_id), to_jsonb(book.service_id)),
                ('plan', to_jsonb(before.plan_id), to_jsonb(book.plan_id)),
                ('comment', to_jsonb(before.comment), to_jsonb(book.comment)),
                ('started_at', to_jsonb({instant("before.started_at")}),
                 to_jsonb({instant("book.started_at")})),
                ('ended_at', to_jsonb({instant("before.ended_at")}),
                 to_jsonb({instant("book.ended_at")}))
        ) field (name, before, after)
  WHERE before IS DISTINCT FROM after)"""  # noqa: S608 - constants
STATE = f"""
jsonb_build_object('fields', coalesce({FIELDS}, '{{}}'), 'price', before.price::text,
                   'price_state', before.price_state, 'locked_until', before.locked_until,
                   'price_reason', before.price_reason, 'stamp', before.stamp)"""
# The content of a new line, for people who look at it.
VALUES = f"""
jsonb_build_object('company_name', incoming.company_name, 'service', incoming.service,
                   'full_price', incoming.full_price::text,
                   'discount_percent', incoming.discount_percent, 'price', incoming.price::text,
                   'started_at', {instant("incoming.started_at")},
                   'ended_at', {instant("incoming.ended_at")})::text"""
COUNTS = """
jsonb_strip_nulls(jsonb_build_object(
    'created', nullif(count(*) FILTER (WHERE outcome = 'created'), 0),
    'changed', nullif(count(*) FILTER (WHERE outcome = 'changed'), 0),
    'unchanged', nullif(count(*) FILTER (WHERE outcome = 'unchanged'), 0)))"""
# Its columns: kind, first line, last line, counts, results, left as, states.
IN_PARTS = f"""
SELECT '{{kind}}', min(line), max(line), {COUNTS}, string_agg(text, E'\\n' ORDER BY line) || E'\\n',
       coalesce(array_agg(left_as ORDER BY line) FILTER (WHERE left_as IS NOT NULL), '{{{{}}}}'),
       coalesce(jsonb_object_agg(line, state) FILTER (WHERE state IS NOT NULL), '{{{{}}}}')
  FROM ({{lines}}) line
 GROUP BY place / {CHUNK} ORDER BY 2
"""  # noqa: S608 - constants
SUBSCRIPTIONS = IN_PARTS.format(
    kind="subscriptions",
    lines=f"""
SELECT place, line, outcome,
       concat('{{"line":', line, ',"outcome":"', outcome, '"', ',"id":' || said.id,
              ',"changes":' || (
                  SELECT jsonb_object_agg(name, jsonb_build_object('before', before,
                                                                   'after', after))::text
                    FROM unnest(columns, theirs, ours) differing (name, before, after)),
              ',"values":' || CASE WHEN outcome = 'created' AND %(values)s THEN {VALUES} END,
              '}}') AS text,
       CASE WHEN book.id IS NOT NULL THEN {SubscriptionSteps.seen} END AS left_as,
       CASE WHEN before.id IS NOT NULL AND book.id IS NOT NULL THEN {STATE} END AS state
  FROM import_outcome said
  JOIN incoming USING (line)
  LEFT JOIN subscription_before before ON before.id = said.id
  LEFT JOIN services_subscription book
    ON book.id = said.id AND (outcome = 'created' OR before.id IS NOT NULL)""",  # noqa: S608 - constants
)
RESULT_OF_OTHER = """
SELECT row_number() OVER (ORDER BY book.id) - 1 AS place,
       %(after)s + row_number() OVER (ORDER BY book.id) AS line, outcome,
       concat('{{"line":', %(after)s + row_number() OVER (ORDER BY book.id),
              ',"outcome":"', outcome,
              '","kind":"{kind}"',
              CASE WHEN outcome = 'changed' OR NOT %(dry_run)s THEN ',"id":' || book.id END,
              ',"changes":' || changes::text,
              ',"values":' || CASE WHEN outcome = 'created' AND %(values)s
                                   THEN jsonb_build_object('name', {named})::text END,
              '}}') AS text,
       {seen} AS left_as, NULL::jsonb AS state
  FROM (SELECT id, 'created' AS outcome, NULL::jsonb AS changes FROM ({new}) new
         UNION ALL
        SELECT id, 'changed', changes FROM ({changed}) changed) written
  JOIN {records} ON book.id = written.id
"""


def _of_other(kind: str, named: str, seen: str, records: str, new: str, changed: str) -> str:
    lines = RESULT_OF_OTHER.format(
        kind=kind, named=named, seen=seen, records=records, new=new, changed=changed
    )
    return IN_PARTS.format(kind=f"{kind}s", lines=lines)


NOTHING = "SELECT NULL::bigint AS id, NULL::jsonb AS changes WHERE false"
OTHERS = [
    _of_other(
        "client",
        "book.company_name",
        ClientSteps.seen,
        ClientSteps.records,
        """SELECT client.id FROM new_client JOIN auth_user login ON lower(login.email) = key
             JOIN clients_client client ON client.user_id = login.id""",
        """SELECT before.id, (
               SELECT jsonb_object_agg(name, jsonb_build_object('before', before, 'after', after))
                 FROM (VALUES ('company_name', before.company_name, now.company_name),
                              ('full_address', before.full_address, now.full_address)
                      ) field (name, before, after)
                WHERE before <> after) AS changes
             FROM client_before before JOIN clients_client now USING (id)
            WHERE (before.company_name, before.full_address)
               <> (now.company_name, now.full_address)""",
    ),
    _of_other(
        "service",
        "book.name",
        SERVICES_SEEN,
        SERVICES,
        "SELECT id FROM new_service JOIN services_service USING (name)",
        """SELECT id, jsonb_build_object('full_price', jsonb_build_object(
                          'before', before.full_price::text, 'after', now.full_price::text)
                      ) AS changes
             FROM service_before before JOIN service_in_force now USING (id)
            WHERE before.full_price <> now.full_price""",
    ),
    _of_other(
        "plan",
        "concat(book.plan_type, ' ', book.discount_percent, ' %%')",
        PlanSteps.seen,
        PlanSteps.records,
        "SELECT id FROM new_plan JOIN services_plan USING (plan_type, discount_percent)",
        NOTHING,
    ),
]
# Lines of the past are prices of subscriptions that are there.
OF_HISTORY = IN_PARTS.format(
    kind="",
    lines="""
SELECT row_number() OVER (ORDER BY line) - 1 AS place, line, outcome,
       concat('{"line":', line, ',"outcome":"', outcome, '"', ',"id":', id,
              ',"changes":' || changes::text, '}') AS text,
       NULL::integer AS left_as, NULL::jsonb AS state
  FROM (SELECT history.line, history.id,
               CASE WHEN move.line IS NULL THEN 'unchanged' ELSE 'changed' END AS outcome,
               CASE WHEN move.line IS NOT NULL
                    THEN jsonb_build_object('price', jsonb_build_object(
                             'before', price_then::text, 'after', move.price::text))
                    END AS changes
          FROM history LEFT JOIN history_move move USING (line)) said""",
)
COUNTED = "SELECT outcome, count(*) FROM import_outcome GROUP BY outcome"
LAST_LINE = "SELECT coalesce(max(line), 1) FROM import_outcome"
LAST_RESULT = "SELECT max(last_line) FROM services_jobresult WHERE job_id = %s"
INTO = """
INSERT INTO services_jobresult (job_id, kind, first_line, last_line, counts, results, left_as,
                                states)
SELECT %(job)s, found.* FROM ({found}) found
"""


# The clients whose prices an import moves: by list prices, and by lines. It reads the tables that
# `moved_prices` and `values_before` leave where an import updates.
CLIENTS_MOVED = """
SELECT client_id, count(*), sum(before), sum(after)
  FROM (SELECT client_id, price_rule(before.full_price, discount_percent::integer) AS before,
               price_rule(now.full_price, discount_percent::integer) AS after
          FROM service_before before
          JOIN services_service now USING (id)
          JOIN services_subscription subscription ON service_id = before.id
          JOIN services_plan plan ON plan.id = plan_id
         WHERE price_state = 'follows' AND (ended_at IS NULL OR ended_at > (SELECT book_now()))
         UNION ALL
        SELECT client_id, before, price
          FROM price_before JOIN subscription_in_force USING (id)) moved
 WHERE before <> after
 GROUP BY client_id ORDER BY abs(sum(after) - sum(before)) DESC, client_id LIMIT %s
"""


class Part(NamedTuple):
    """The results of up to 2,000 lines, as a JobResult has them; nothing of them can be undone."""

    kind: str
    first_line: int
    last_line: int
    counts: dict[str, int]
    results: str


def keep(cursor: CursorWrapper, job: int, of_history: bool = False, values: bool = False) -> None:
    """Keep the results of an import for its job, in their common transaction. Eleven statements.

    `values`: those of new lines have what the line says.
    """
    statements, after = _statements(cursor, of_history)
    for found in statements:
        given = {"job": job, "after": after, "dry_run": False, "values": values}
        cursor.execute(INTO.format(found=found), given)
        after = _one(cursor, LAST_RESULT, [job]) or after


def look(cursor: CursorWrapper, of_history: bool = False, values: bool = False) -> Iterator[Part]:
    """The results of an import that will be undone, as `keep`; what it would create has no id.

    Constant memory: they are fetched one after the other.
    """
    statements, after = _statements(cursor, of_history)
    for found in statements:
        parts = f"DECLARE part NO SCROLL CURSOR FOR {found}"
        cursor.execute(parts, {"after": after, "dry_run": True, "values": values})
        while True:
            cursor.execute("FETCH part")
            row = cursor.fetchone()
            if row is None:
                break
            kind, first, last, counts, results, *_ = row
            after = max(after, last)
            yield Part(kind, first, last, _decoded(counts), results)
        cursor.execute("CLOSE part")


def clients_moved(cursor: CursorWrapper, updates: bool, most: int = 10) -> list[dict[str, Any]]:
    """The clients whose prices an import moves most, by the sums of their prices. One query."""
    if not updates:
        return []
    cursor.execute(CLIENTS_MOVED, [most])
    return [
        {"client": client, "rows": rows, "before": str(before), "after": str(after)}
        for client, rows, before, after in cursor.fetchall()
    ]


def counts(cursor: CursorWrapper) -> dict[str, int]:
    """How many lines of a book's file have which outcome, after `keep` or `look`. One query."""
    cursor.execute(COUNTED)
    return dict(cursor.fetchall())


def _statements(cursor: CursorWrapper, of_history: bool) -> tuple[list[str], int]:
    """The statements that find results, and the number of the last line of a book's file."""
    if of_history:
        return [OF_HISTORY], 0
    cursor.execute("DROP TABLE IF EXISTS pg_temp.import_outcome")
    cursor.execute(OUTCOME)
    cursor.execute("ANALYZE import_outcome")
    return [SUBSCRIPTIONS, *OTHERS], _one(cursor, LAST_LINE)


def _decoded(counts: Any) -> dict[str, int]:
    return json.loads(counts) if isinstance(counts, str) else dict(counts)


def _one(cursor: CursorWrapper, sql: str, params: list[int] | None = None) -> int:
    cursor.execute(sql, params)
    (value,) = cursor.fetchone()
    return int(value or 0)
