"""Subscriptions in bulk: the statements that find, judge and write them.

A line changes what PATCH, `end/`, `restart/` and `move/` would change, in this order: so one that
is opened again may be moved by the same line. Fields that a line does not give stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from pricebook.kit.refusal import Refusal
from services.bulk.lines import Record, fields_of_lines
from services.bulk.steps import BY_ID_ELSEWHERE, SET_IDS, Steps, fingerprint
from services.hooks import price_changes
from services.moves import Move
from services.repricing.locks import GIVE_WAY, WAIT_AGAIN
from services.transfer.formats import instant
from services.transfer.moved_prices import MovedPrices
from services.writing import subscriptions
from services.writing.bodies import missing
from services.writing.refusals import ends_before_start, unknown_here

RECORD = Record(
    kind="subscription",
    fields=fields_of_lines(subscriptions.FIELDS),
    columns={
        "source": "text",
        "external_id": "text",
        "client": "bigint",
        "service": "bigint",
        "plan": "bigint",
        "comment": "text",
        "started_at": "timestamptz",
        "ended_at": "timestamptz",
    },
    given={"gives_end": "ended_at"},
)
# Imports and bulks of one source go one after the other, so two can't meet in a circle; the first
# lock is that which an import holds alone.
LOCK_SOURCES = """
SELECT pg_advisory_xact_lock_shared('clients_client'::regclass::oid::int, 0),
       (SELECT count(pg_advisory_xact_lock('services_subscription'::regclass::oid::int, slot))
          FROM (SELECT DISTINCT abs(hashtext(source)::bigint % 1024)::int AS slot
                  FROM bulk_line WHERE refusal IS NULL ORDER BY slot) ascending)
"""
BOOK = f"""bulk_line line {{join}} services_subscription book
       ON {BY_ID_ELSEWHERE}"""
SAYS = """(line.comment <> book.comment OR line.started_at <> book.started_at
        OR line.gives_end AND book.id IS NOT NULL
           AND line.ended_at IS DISTINCT FROM book.ended_at)"""
MOVES = """(line.client <> book.client_id OR line.service <> book.service_id
         OR line.plan <> book.plan_id)"""
HELD = f"""
CREATE TEMP TABLE bulk_held ON COMMIT DROP AS
SELECT id FROM (SELECT book.id FROM {BOOK.format(join="JOIN")}
                 WHERE refusal IS NULL AND ({SAYS} OR {MOVES})
                 ORDER BY book.id {{lock}}) held
"""  # noqa: S608 - constants


def _json_instant(column: str) -> str:
    return f"coalesce(to_jsonb({instant(column)}), 'null')"


CHANGES = f"""
(SELECT jsonb_object_agg(name, jsonb_build_object('before', before, 'after', after))
   FROM (VALUES ('client', to_jsonb(book.client_id), to_jsonb(line.client)),
                ('service', to_jsonb(book.service_id), to_jsonb(line.service)),
                ('plan', to_jsonb(book.plan_id), to_jsonb(line.plan)),
                ('comment', to_jsonb(book.comment), to_jsonb(line.comment)),
                ('started_at', {_json_instant("book.started_at")},
                 CASE WHEN line.started_at IS NOT NULL
                      THEN {_json_instant("line.started_at")} END),
                ('ended_at', {_json_instant("book.ended_at")},
                 CASE WHEN line.gives_end THEN {_json_instant("line.ended_at")} END)
        ) field (name, before, after)
  WHERE before <> after)"""  # noqa: S608 - constants
FOUND = f"""
CREATE TEMP TABLE bulk_found ON COMMIT DROP AS
SELECT line, id, is_new, coalesce(says, false) AS says, coalesce(moves, false) AS moves,
       coalesce(says OR moves, false) AS differs,
       CASE WHEN says OR moves THEN changes END AS changes,
       client_id, service_id, plan_id, comment, started_at, ended_at, ended_before
  FROM (SELECT line.line, book.id, book.id IS NULL AS is_new, {SAYS} AS says, {MOVES} AS moves,
               CASE WHEN {SAYS} OR {MOVES} THEN {CHANGES} END AS changes,
               coalesce(line.client, book.client_id) AS client_id,
               coalesce(line.service, book.service_id) AS service_id,
               coalesce(line.plan, book.plan_id) AS plan_id,
               coalesce(line.comment, book.comment, '') AS comment,
               coalesce(line.started_at, book.started_at) AS started_at,
               CASE WHEN line.gives_end THEN line.ended_at ELSE book.ended_at END AS ended_at,
               book.ended_at AS ended_before
          FROM {BOOK.format(join="LEFT JOIN")}
         WHERE refusal IS NULL) compared
"""  # noqa: S608 - constants
# What is named is locked against deletion, as the foreign keys would do at the commit.
NAMED = """
CREATE TEMP TABLE bulk_named ON COMMIT DROP AS
SELECT 'client' AS name, id FROM (
       SELECT id FROM clients_client
        WHERE id IN (SELECT client_id FROM bulk_found WHERE is_new OR moves)
        ORDER BY id {lock}) client
 UNION ALL
SELECT 'service', id FROM (
       SELECT id FROM services_service
        WHERE id IN (SELECT service_id FROM bulk_found WHERE is_new OR moves)
        ORDER BY id {lock}) service
 UNION ALL
SELECT 'plan', id FROM (
       SELECT id FROM services_plan
        WHERE id IN (SELECT plan_id FROM bulk_found WHERE is_new OR moves)
        ORDER BY id {lock}) plan
"""
NOT_NAMED = """
SELECT line, named.name, named.id
  FROM bulk_found
 CROSS JOIN LATERAL (VALUES (1, 'client', client_id), (2, 'service', service_id),
                            (3, 'plan', plan_id)) named (position, name, id)
  LEFT JOIN bulk_named ON (bulk_named.name, bulk_named.id) = (named.name, named.id)
 WHERE (is_new OR moves) AND bulk_named.id IS NULL
 ORDER BY line, named.id IS NOT NULL, position
"""
PERIODS = """
SELECT line, id, moves, ended_before, ended_at,
       ended_at <= coalesce(started_at, %s) AS ends_before_start
  FROM bulk_found
 WHERE (is_new AND ended_at IS NOT NULL)
    OR (differs AND (ended_before IS NOT NULL OR ended_at IS NOT NULL))
"""
# Those that rows leave, too: a row that says something else and moves is written there first.
LOCK_PAIRS = """
SELECT lock_pairs(array_agg(DISTINCT service_id), array_agg(DISTINCT plan_id))
  FROM (SELECT service_id, plan_id FROM bulk_found WHERE is_new OR differs
         UNION ALL
        SELECT book.service_id, book.plan_id
          FROM bulk_found JOIN services_subscription book USING (id) WHERE differs) pair
"""
SAY = """
UPDATE services_subscription book
   SET comment = found.comment, started_at = found.started_at, ended_at = found.ended_at
  FROM bulk_found found WHERE book.id = found.id AND says
"""
MOVE = """
UPDATE services_subscription book
   SET client_id = found.client_id, service_id = found.service_id, plan_id = found.plan_id
  FROM bulk_found found WHERE book.id = found.id AND moves
"""
# Another service or plan ends a price state: an undo gives it back.
STATES = """
CREATE TEMP TABLE bulk_state ON COMMIT DROP AS
SELECT line, jsonb_build_object('price', price::text, 'price_state', price_state,
                                'locked_until', locked_until, 'price_reason', price_reason) AS state
  FROM bulk_found JOIN services_subscription book ON book.id = bulk_found.id
 WHERE moves AND price_state <> 'follows'
"""
STATES_BEFORE = """
SELECT coalesce(jsonb_object_agg(line, state), '{}') FROM bulk_state WHERE line BETWEEN %s AND %s
"""
MOVING = "SELECT id FROM bulk_found WHERE moves"
LINES_THAT_MOVE = "SELECT line FROM bulk_found WHERE moves"
# The rule's price, so that the trigger need not find it for each row; of one that has ended it is
# that of its end, which the trigger knows. In the order of the lines, as an import does.
INSERT = f"""
WITH made AS (
    INSERT INTO services_subscription (client_id, service_id, plan_id, price, comment, source,
                                       external_id, started_at, ended_at)
    SELECT client_id, service_id, plan_id,
           CASE WHEN found.ended_at <= (SELECT book_now()) THEN NULL
                ELSE price_rule(service.full_price, plan.discount_percent) END,
           found.comment, line.source, line.external_id,
           coalesce(found.started_at, (SELECT book_now())), found.ended_at
      FROM bulk_found found
      JOIN bulk_line line USING (line)
      JOIN service_in_force service ON service.id = service_id
      JOIN plan_in_force plan ON plan.id = plan_id
     WHERE is_new
     ORDER BY line
    RETURNING id, source, external_id
)
{SET_IDS}
"""  # noqa: S608 - constants


class SubscriptionSteps(Steps):
    record = RECORD
    held = HELD
    moving = LINES_THAT_MOVE
    found = FOUND
    pairs = LOCK_PAIRS
    records = "services_subscription book"
    seen = fingerprint(
        "book.client_id",
        "book.service_id",
        "book.plan_id",
        "book.comment",
        "book.source",
        "book.external_id",
        "extract(epoch FROM book.started_at)",
        "extract(epoch FROM book.ended_at)",
        "book.price_state",
        "book.price_reason",
        "extract(epoch FROM book.locked_until)",
        "CASE WHEN book.price_state <> 'follows' THEN book.price END",
    )

    def lock_before(self) -> None:
        self.execute(LOCK_SOURCES)

    def judgements(self) -> Iterator[dict[int, Refusal]]:
        self.execute("DROP TABLE IF EXISTS pg_temp.bulk_named")
        self.execute(NAMED.format(lock="" if self.dry_run else "FOR KEY SHARE"))
        self.execute(NOT_NAMED)
        refusals: dict[int, Refusal] = {}
        for line, name, id in self.cursor:
            refusals.setdefault(line, missing(name) if id is None else unknown_here(name, id))
        yield refusals

        now = self.one("SELECT book_clock()")
        self.execute(PERIODS, [now])
        refusals = {}
        for line, *period in self.cursor:
            try:
                refuse_period(*period, now=now)
            except Refusal as error:
                refusals[line] = error
        yield refusals

    def would_move(self) -> Move:
        return MovedPrices(self.cursor, self.author).by_lines()

    def write(self) -> None:
        """As `Steps.write`; raises NeedsAnotherPerson where it moves more than its author may."""
        self.execute("SELECT set_config('pricebook.author', %s, true)", [self.author])
        self.execute(self.pairs)
        self.delete()
        moved = MovedPrices(self.cursor, self.author) if price_changes().has_limits() else None
        if self.one("SELECT EXISTS (SELECT FROM bulk_found WHERE says)"):
            self.execute(SAY)
        if self.one("SELECT EXISTS (SELECT FROM bulk_found WHERE moves)"):
            if moved is not None:
                moved.before_subscriptions(MOVING)
            if self.for_undo:
                self.execute(STATES)
            self.execute(MOVE)
            self.give_states_back()
            if moved is not None:
                moved.after_subscriptions()
        if self.one("SELECT EXISTS (SELECT FROM bulk_found WHERE is_new)"):
            self.execute(GIVE_WAY)
            self.execute(INSERT)
            self.execute(WAIT_AGAIN)
        self.execute("SELECT set_config('pricebook.author', '', true)")
        if moved is not None:
            moved.ask()  # for a lock that comes after all others

    def states_before(self, first: int, last: int) -> dict[str, Any]:
        if not self.one("SELECT to_regclass('pg_temp.bulk_state') IS NOT NULL"):
            return {}
        return dict(json.loads(self.one(STATES_BEFORE, [first, last])))

    def delete(self) -> None:
        """Delete what an undo deletes, under the locks of all pairs."""

    def give_states_back(self) -> None:
        """Give moved subscriptions the price states that an undo gives back."""


def refuse_period(
    id: int | None,
    moves: bool,
    ended_before: datetime | None,
    ended_at: datetime | None,
    before_start: bool | None,
    *,
    now: datetime,
) -> None:
    """Refuse an end, or a move, that the verbs of single subscriptions would refuse."""
    if before_start:
        raise ends_before_start()
    if id is None or ended_at is None:
        return
    if ended_before is not None and ended_before < ended_at <= now:
        subscriptions.refuse_later_end(id, ended_before, now)
    if moves:
        subscriptions.refuse_move_of_ended(id, ended_at, now)
