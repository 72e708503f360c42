"""Reading a file of subscriptions into the book: all of it, or nothing.

Who calls it: the command `import_book`, and the demo. What flows through it:

    file → COPY into the temporary table `incoming` (each value was checked on the way)
         → checked against itself → compared with the book → written, set by set

Known by: a client by its e-mail (in any case), a service by its name, a plan by type and discount,
a subscription by (source, external_id). One without these is known by client, service and start;
of several alike the first is the first, in the order of their other values.

What differs from the book is an error that names both, or is written with `update`. Nothing is
deleted, and a file that was read already writes nothing: not even the book's version moves.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from io import BufferedIOBase
from itertools import islice
from typing import Any

from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.db.models import Sum

from services.models import Subtotal
from services.repricing import catalogue_edit
from services.transfer.csv_file import COLUMNS, NULL_IF_EMPTY, BadBook, BookFile, Problem

BATCH = 2_000  # rows that go to COPY in one piece
CHUNK = 50_000  # lines that one INSERT writes, so that progress can be told

Progress = Callable[[str, int, int | None], None]  # what is done, rows done, rows in all if known


@dataclass(frozen=True)
class Imported:
    """What a file has brought. `total` is the whole book's, after it."""

    subscriptions_new: int
    subscriptions_changed: int
    subscriptions_same: int
    clients_new: int
    clients_changed: int
    services_new: int
    services_changed: int
    plans_new: int
    total: Decimal


INCOMING = f"""
CREATE TEMP TABLE incoming (
    line bigint, {", ".join(f"{name} {column.type}" for name, column in COLUMNS.items())}
) ON COMMIT DROP
"""

# --- The file against itself -------------------------------------------------------------------

CONTRADICTION = """
SELECT line, '{column}', value,
       format('contradicts line %s, which gives %s for %s', first_line, first_value, key)
  FROM (SELECT *, first_value(line) OVER same AS first_line,
               first_value(value) OVER same AS first_value
          FROM (SELECT min(line) AS line, {key} AS key, {column}::text AS value
                  FROM incoming GROUP BY {key}, {column}) named
        WINDOW same AS (PARTITION BY key ORDER BY line)) compared
 WHERE value <> first_value
"""

TWICE = """
SELECT line, 'external_id', external_id,
       format('is on line %s too (source %s); an external id stands for one subscription',
              first_line, source)
  FROM incoming
  JOIN (SELECT source, external_id, min(line) AS first_line FROM incoming
         WHERE source IS NOT NULL GROUP BY source, external_id HAVING count(*) > 1) twice
       USING (source, external_id)
 WHERE line > first_line
"""

HALF_A_KEY = """
SELECT line, 'external_id', coalesce(external_id, ''),
       format('does not go with source %s; give both or neither', quote_nullable(source))
  FROM incoming WHERE (source IS NULL) <> (external_id IS NULL)
"""

ENDS_BEFORE_START = """
SELECT line, 'ended_at', ended_at::text,
       format('is not after the start, %s; a subscription ends after it has started', started_at)
  FROM incoming WHERE ended_at <= started_at
"""

NOT_THE_RULE = """
SELECT line, 'price', price::text,
       format('is not the price of %s at %s %% off, which is %s; correct it, or leave it empty',
              full_price, discount_percent, price_rule(full_price, discount_percent))
  FROM incoming
 WHERE price <> price_rule(full_price, discount_percent)
   AND (ended_at IS NULL OR ended_at > now())
"""

# --- Services and plans ------------------------------------------------------------------------

SERVICES = """
CREATE TEMP TABLE incoming_service ON COMMIT DROP AS
SELECT min(line) AS line, service AS name, full_price FROM incoming GROUP BY service, full_price
"""
MISSING_SERVICES = """
SELECT count(*) FROM incoming_service
 WHERE NOT EXISTS (SELECT FROM services_service book WHERE book.name = incoming_service.name)
"""
INSERT_SERVICES = """
INSERT INTO services_service (name, full_price)
SELECT name, full_price FROM incoming_service ORDER BY line
ON CONFLICT DO NOTHING
"""

PLANS = """
CREATE TEMP TABLE incoming_plan ON COMMIT DROP AS
SELECT min(line) AS line, plan_type, discount_percent
  FROM incoming GROUP BY plan_type, discount_percent
"""
MISSING_PLANS = """
SELECT count(*) FROM incoming_plan
 WHERE NOT EXISTS (SELECT FROM services_plan book
                    WHERE (book.plan_type, book.discount_percent) =
                          (incoming_plan.plan_type, incoming_plan.discount_percent))
"""
INSERT_PLANS = """
INSERT INTO services_plan (plan_type, discount_percent)
SELECT plan_type, discount_percent FROM incoming_plan ORDER BY line
ON CONFLICT DO NOTHING
"""

# All locks that the writes below will need, in the order that every writer keeps. What the
# catalogue says is compared after it, and so stays true until the commit.
LOCK_SERVICES = """
SELECT lock_service(id, for_change)
  FROM (SELECT id, %s AND book.full_price <> incoming_service.full_price AS for_change
          FROM incoming_service JOIN services_service book USING (name) ORDER BY id) ascending
"""
LOCK_PLANS = """
SELECT lock_plan(id, false)
  FROM (SELECT id FROM incoming_plan
          JOIN services_plan USING (plan_type, discount_percent) ORDER BY id) ascending
"""

SERVICES_DIFFER = """
SELECT line, 'full_price', incoming_service.full_price::text,
       format('differs from the book''s list price of %s, %s', name, book.full_price)
  FROM incoming_service JOIN services_service book USING (name)
 WHERE book.full_price <> incoming_service.full_price
"""
UPDATE_SERVICES = """
UPDATE services_service book SET full_price = incoming_service.full_price
  FROM incoming_service
 WHERE book.name = incoming_service.name AND book.full_price <> incoming_service.full_price
"""

# --- Clients -----------------------------------------------------------------------------------

CLIENTS = """
CREATE TEMP TABLE incoming_client ON COMMIT DROP AS
SELECT min(line) AS line, lower(email) AS key, (array_agg(email ORDER BY line))[1] AS email,
       min(company_name) AS company_name, min(full_address) AS full_address,
       NULL::bigint AS client_id
  FROM incoming GROUP BY lower(email)
"""
SAME_EMAIL = """
SELECT line, 'email', incoming_client.email,
       format('is the e-mail of clients %s of the book; give each its own first',
              string_agg(client.id::text, ', ' ORDER BY client.id))
  FROM incoming_client
  JOIN auth_user login ON lower(login.email) = key
  JOIN clients_client client ON client.user_id = login.id
 GROUP BY line, incoming_client.email HAVING count(*) > 1
"""
FIND_CLIENTS = """
UPDATE incoming_client SET client_id = client.id
  FROM auth_user login JOIN clients_client client ON client.user_id = login.id
 WHERE lower(login.email) = key AND client_id IS NULL
"""
LOGIN_TAKEN = """
SELECT line, 'email', incoming_client.email,
       format('is the login name of a user with another e-mail, %L; change one of them',
              login.email)
  FROM incoming_client JOIN auth_user login ON login.username = incoming_client.email
 WHERE client_id IS NULL AND lower(login.email) <> key
"""
MISSING_CLIENTS = "SELECT count(*) FROM incoming_client WHERE client_id IS NULL"
# A password that nobody can have, as Django writes it.
INSERT_LOGINS = """
INSERT INTO auth_user (username, email, password, first_name, last_name,
                       is_superuser, is_staff, is_active, date_joined)
SELECT email, email, '!' || replace(gen_random_uuid()::text, '-', ''), '', '',
       false, false, true, now()
  FROM incoming_client WHERE client_id IS NULL ORDER BY line
ON CONFLICT (username) DO NOTHING
"""
INSERT_CLIENTS = """
INSERT INTO clients_client (user_id, company_name, full_address)
SELECT login.id, company_name, coalesce(full_address, '')
  FROM incoming_client JOIN auth_user login ON login.username = incoming_client.email
 WHERE client_id IS NULL ORDER BY line
"""
CLIENTS_DIFFER = """
SELECT line, differing, here, format('differs from the book''s %L of client %s', there, email)
  FROM incoming_client
  JOIN clients_client book ON book.id = client_id
 CROSS JOIN LATERAL (VALUES
       ('company_name', incoming_client.company_name, book.company_name),
       ('full_address', incoming_client.full_address, book.full_address)
       ) compared (differing, here, there)
 WHERE here <> there
"""
UPDATE_CLIENTS = """
UPDATE clients_client book
   SET company_name = incoming_client.company_name,
       full_address = coalesce(incoming_client.full_address, book.full_address)
  FROM incoming_client
 WHERE book.id = client_id
   AND (book.company_name <> incoming_client.company_name
        OR book.full_address <> incoming_client.full_address)
"""

# --- Subscriptions -----------------------------------------------------------------------------

KNOWN = """
CREATE TEMP TABLE known ON COMMIT DROP AS
SELECT line, book.id AS subscription_id
  FROM incoming JOIN services_subscription book USING (source, external_id)
 UNION ALL
SELECT line, book.id
  FROM (SELECT incoming.line, client_id, service.id AS service_id, started_at,
               row_number() OVER (PARTITION BY client_id, service.id, started_at
                   ORDER BY plan_type, discount_percent, ended_at, comment, incoming.line
               ) AS nth
          FROM incoming
          JOIN incoming_client ON key = lower(incoming.email)
          JOIN services_service service ON service.name = service
         WHERE source IS NULL) here
  JOIN (SELECT book.id, client_id, service_id, started_at,
               row_number() OVER (PARTITION BY client_id, service_id, started_at
                   ORDER BY plan_type, discount_percent, ended_at, comment, book.id) AS nth
          FROM services_subscription book JOIN services_plan plan ON plan.id = plan_id
         WHERE source IS NULL) book
       USING (client_id, service_id, started_at, nth)
"""

# Without a price column, and for what is active, the book's own price is the right one.
PRICE_IT_ENDED_WITH = """
CASE WHEN incoming.ended_at <= now() THEN coalesce(incoming.price, book.price) ELSE book.price END
"""

SUBSCRIPTIONS_DIFFER = f"""
CREATE TEMP TABLE difference ON COMMIT DROP AS
SELECT line, subscription_id, differing, here, there
  FROM known
  JOIN incoming USING (line)
  JOIN services_subscription book ON book.id = subscription_id
  JOIN services_service service ON service.id = book.service_id
  JOIN services_plan plan ON plan.id = book.plan_id
  JOIN clients_client client ON client.id = book.client_id
  JOIN auth_user login ON login.id = client.user_id
 CROSS JOIN LATERAL (VALUES
       ('email', lower(incoming.email), lower(login.email)),
       ('service', incoming.service, service.name),
       ('plan_type', incoming.plan_type, plan.plan_type),
       ('discount_percent', incoming.discount_percent::text, plan.discount_percent::text),
       ('started_at', incoming.started_at::text, book.started_at::text),
       ('ended_at', incoming.ended_at::text, book.ended_at::text),
       ('comment', incoming.comment, book.comment),
       ('stamp', incoming.stamp, book.stamp),
       ('price', ({PRICE_IT_ENDED_WITH})::text, book.price::text)
       ) compared (differing, here, there)
 WHERE here IS DISTINCT FROM there AND differing = ANY (%s)
"""  # noqa: S608 - a constant, no input
DIFFERENCES = """
SELECT line, differing, coalesce(here, ''),
       format('differs from the book''s %L of subscription %s', coalesce(there, ''),
              subscription_id)
  FROM difference
"""
UPDATE_SUBSCRIPTIONS = """
UPDATE services_subscription book
   SET client_id = incoming_client.client_id, service_id = service.id, plan_id = plan.id,
       started_at = incoming.started_at {assignments}
  FROM incoming
  JOIN incoming_client ON key = lower(incoming.email)
  JOIN services_service service ON service.name = incoming.service
  JOIN services_plan plan USING (plan_type, discount_percent)
  JOIN (SELECT DISTINCT line, subscription_id FROM difference) changed
    ON changed.line = incoming.line
 WHERE book.id = subscription_id
"""
ASSIGNMENTS = {
    "ended_at": "incoming.ended_at",
    "comment": "incoming.comment",
    "stamp": "incoming.stamp",
    "price": PRICE_IT_ENDED_WITH,
}


def assignments(columns: list[str]) -> str:
    """What UPDATE_SUBSCRIPTIONS writes of a file that has these columns."""
    return "".join(
        f", {column} = {value}" for column, value in ASSIGNMENTS.items() if column in columns
    )


# The rule's price is written here, so that the trigger that keeps the rule has nothing to mend.
# In the order of the file: neighbours then have different services, and a repricing of one
# finds room on every page (HOT).
INSERT_SUBSCRIPTIONS = """
INSERT INTO services_subscription (client_id, service_id, plan_id, price, comment, stamp,
                                   source, external_id, started_at, ended_at)
SELECT client_id, service.id, plan.id,
       CASE WHEN incoming.ended_at <= now() AND incoming.price IS NOT NULL THEN incoming.price
            ELSE price_rule(service.full_price, plan.discount_percent) END,
       coalesce(comment, ''), stamp, source, external_id, started_at, ended_at
  FROM incoming
  JOIN incoming_client ON key = lower(incoming.email)
  JOIN services_service service ON service.name = service
  JOIN services_plan plan USING (plan_type, discount_percent)
 WHERE incoming.line > %s AND incoming.line <= %s
   AND NOT EXISTS (SELECT FROM known WHERE known.line = incoming.line)
 ORDER BY incoming.line
"""


def first_of(problems: str) -> str:
    """The first problems by line, each with the number of all."""
    return (
        f"SELECT *, count(*) OVER () FROM ({problems}) problem (line)"  # noqa: S608 - constants
        f" ORDER BY line LIMIT {BadBook.LIMIT}"
    )


def import_book(
    file: BufferedIOBase, *, update: bool = False, progress: Progress | None = None
) -> Imported:
    """Read a CSV file (docs/data.md) into the book, in one transaction.

    Raises `BadBook` with the lines that are wrong, or that differ from the book when `update` is
    not set; nothing is written then. With `update` a list price that differs is an edit of the
    catalogue by "import": workers reprice what was there before.
    """
    with catalogue_edit(author="import"), connection.cursor() as cursor:
        imported = _Import(cursor, update, progress or (lambda *_: None)).run(file)
    if imported.subscriptions_new:
        with connection.cursor() as cursor:
            # The planner knows nothing of the new rows until autovacuum comes by, in a minute; or
            # that there are none, where it came by before the commit.
            cursor.execute(
                "ANALYZE services_subscription, services_service, services_plan,"
                " services_ledgerentry, clients_client, auth_user"
            )
    return imported


class _Import:
    def __init__(self, cursor: CursorWrapper, update: bool, progress: Progress) -> None:
        self.cursor = cursor
        self.update = update
        self.progress = progress
        self.problems = BadBook()

    def run(self, file: BufferedIOBase) -> Imported:
        # Imports go one after another: two that bring the same client would fail half-way.
        self._execute("SELECT pg_advisory_xact_lock('clients_client'::regclass::oid::int, 0)")
        columns, last_line = self._copy(BookFile(file))
        self.progress("checking", 0, None)
        self._check_file(columns)
        services_new = self._insert_missing(MISSING_SERVICES, INSERT_SERVICES)
        plans_new = self._insert_missing(MISSING_PLANS, INSERT_PLANS)
        self._execute(LOCK_SERVICES, [self.update])
        self._execute(LOCK_PLANS)
        self._check(SAME_EMAIL)
        self._execute(FIND_CLIENTS)
        self._check(LOGIN_TAKEN)
        services_changed = self._settle(SERVICES_DIFFER, UPDATE_SERVICES)
        clients_changed = self._settle(CLIENTS_DIFFER, UPDATE_CLIENTS)
        self.problems.raise_if_any()
        clients_new = self._insert_clients()

        self._execute(KNOWN)
        self._execute("ANALYZE known")
        self._execute(SUBSCRIPTIONS_DIFFER, [columns])
        update = UPDATE_SUBSCRIPTIONS.format(assignments=assignments(columns))
        changed = self._settle(DIFFERENCES, update)
        self.problems.raise_if_any()
        new = self._insert_subscriptions(last_line)
        return Imported(
            subscriptions_new=new,
            subscriptions_changed=changed,
            subscriptions_same=self._number("SELECT count(*) FROM known") - changed,
            clients_new=clients_new,
            clients_changed=clients_changed,
            services_new=services_new,
            services_changed=services_changed,
            plans_new=plans_new,
            total=Subtotal.objects.aggregate(total=Sum("amount", default=Decimal(0)))["total"],
        )

    def _copy(self, book: BookFile) -> tuple[list[str], int]:
        """Copy the file into `incoming`; return its columns and its last line."""
        for table in ("incoming", "incoming_service", "incoming_plan", "incoming_client"):
            self._execute(f"DROP TABLE IF EXISTS pg_temp.{table}")
        self._execute("DROP TABLE IF EXISTS pg_temp.known, pg_temp.difference")
        self._execute(INCOMING)

        null = ", ".join(name for name in NULL_IF_EMPTY if name in book.columns)
        options = f"FORMAT csv{f', FORCE_NULL ({null})' if null else ''}"
        statement = f"COPY incoming (line, {', '.join(book.columns)}) FROM STDIN ({options})"
        rows = book.rows()
        done = 0
        piece = io.StringIO()
        writer = csv.writer(piece, quoting=csv.QUOTE_ALL)
        with self.cursor.copy(statement) as copy:
            while batch := list(islice(rows, BATCH)):
                writer.writerows(batch)
                copy.write(piece.getvalue())
                piece.seek(0)
                piece.truncate()
                done += len(batch)
                self.progress("reading", done, None)
        book.problems.raise_if_any()
        self._execute("CREATE INDEX ON incoming USING brin (line)")
        self._execute("ANALYZE incoming")
        return book.columns, book.line

    def _check_file(self, columns: list[str]) -> None:
        self._check(HALF_A_KEY)
        self._check(TWICE)
        self._check(ENDS_BEFORE_START)
        self._check(CONTRADICTION.format(column="full_price", key="service"))
        self._check(CONTRADICTION.format(column="company_name", key="lower(email)"))
        self._check(CONTRADICTION.format(column="full_address", key="lower(email)"))
        self._check(NOT_THE_RULE)
        self.problems.raise_if_any()
        for table in (SERVICES, PLANS, CLIENTS):
            self._execute(table)
        self._execute("ANALYZE incoming_client")

    def _insert_clients(self) -> int:
        missing = self._number(MISSING_CLIENTS)
        if missing:
            self._execute(INSERT_LOGINS)
            self._execute(INSERT_CLIENTS)
            self._execute(FIND_CLIENTS)
            self._execute("ANALYZE incoming_client")
        return missing

    def _insert_subscriptions(self, last_line: int) -> int:
        of = self._number(
            "SELECT count(*) FROM incoming"
            " WHERE NOT EXISTS (SELECT FROM known WHERE known.line = incoming.line)"
        )
        new = 0
        for line in range(0, last_line if of else 0, CHUNK):
            self._execute(INSERT_SUBSCRIPTIONS, [line, line + CHUNK])
            new += self.cursor.rowcount
            self.progress("writing", new, of)
        return new

    def _insert_missing(self, missing: str, insert: str) -> int:
        """Insert only if something is missing: an empty insert would move the book's version."""
        if not self._number(missing):
            return 0
        self._execute(insert)
        return int(self.cursor.rowcount)

    def _settle(self, differences: str, update: str) -> int:
        """Write what differs from the book, if that was asked for; else it is a problem each."""
        if not self.update:
            self._check(differences)
        elif self._number(f"SELECT count(*) FROM ({differences}) difference"):  # noqa: S608
            self._execute(update)
            return int(self.cursor.rowcount)
        return 0

    def _check(self, problems: str) -> None:
        self._execute(first_of(problems))
        found = self.cursor.fetchall()
        for *problem, _ in found:
            self.problems.add(Problem(*problem))
        if found:
            self.problems.count += found[0][-1] - len(found)

    def _number(self, query: str) -> int:
        self._execute(query)
        (number,) = self.cursor.fetchone()
        return int(number)

    def _execute(self, query: str, parameters: Sequence[Any] | None = None) -> None:
        self.cursor.execute(query, parameters)
