"""Reads a file of subscriptions into the book: all of it, or nothing.

The command `import_book` and the demo call it. Its steps:

    file → COPY into the temporary table `incoming` (each value was checked on the way)
         → checked against itself → compared with the book → written, set by set

A client is known by its e-mail (in any case), a service by its name, a plan by type and discount, a
subscription by an id, or by equality (`matching`).

A value that differs from the book is an error that names both, or is written with `update`. Nothing
is deleted, and reading a file again writes nothing: not even the book's version changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from io import BufferedIOBase
from typing import Any, BinaryIO, cast

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.utils.translation import pgettext

from services.moves import NOTHING, Move
from services.reading.total import figures
from services.repricing import catalogue_edit
from services.transfer import values_before
from services.transfer.copying import ShowProgress, copy_rows
from services.transfer.csv_file import NULL_IF_EMPTY, OF_STATES, BadBook, Problem
from services.transfer.files import Reading, Table, open_table
from services.transfer.incoming_catalogue import (
    CATALOGUE_DIFFERENCE,
    CATALOGUE_DIFFERS,
    CLIENTS,
    COPY_PLANS,
    COPY_SERVICES,
    FILL_EMAILS,
    FIND_CLIENTS,
    INSERT_CLIENTS,
    INSERT_LOGINS,
    INSERT_PLANS,
    INSERT_SERVICES,
    LATE_PLANS,
    LATE_SERVICES,
    LOCK_PLANS,
    LOCK_SERVICES,
    LOGIN_TAKEN,
    MISSING_CLIENTS,
    MISSING_PLANS,
    MISSING_SERVICES,
    PLANS,
    PLANS_APPROVED,
    SAME_EMAIL,
    SERVICES,
    UNMAILED,
    UPDATE_CLIENTS,
    UPDATE_SERVICES,
)
from services.transfer.incoming_subscriptions import (
    CONTRADICTION,
    DIFFERENCES,
    ENDS_BEFORE_START,
    HALF_A_KEY,
    HALF_A_STATE,
    IF_UPDATED,
    INCOMING,
    INSERT_SUBSCRIPTIONS,
    NO_REASON,
    NOT_THE_RULE,
    TWICE,
    UPDATE_STATES,
    UPDATE_SUBSCRIPTIONS,
    assignments,
    first_of,
    subscriptions_differ,
)
from services.transfer.look_alikes import SERVICES_ALIKE, SOURCES_ALIKE
from services.transfer.matching import Run, find_known
from services.transfer.moved_prices import AUTHOR, MovedPrices
from services.transfer.outcomes import KEEP_IDS, MADE

# The temporary tables; an import before may have been in this transaction too.
TABLES = (
    "incoming", "incoming_service", "incoming_plan", "incoming_client", "catalogue_difference",
    "known", "unknown", "difference", "made", *values_before.TABLES,
)  # fmt: skip
CHUNK = 50_000  # lines that one INSERT writes, so that progress can be told
# Memory in which a chunk is sorted and joined, where PostgreSQL comes with 4 MB; and a tenth of the
# rows to look at for statistics of the temporary tables, whose joins are those of whole tables.
SETTINGS = """
SELECT set_config('work_mem',
                  greatest(pg_size_bytes(current_setting('work_mem')), 32 << 20) / 1024 || 'kB',
                  true),
       set_config('default_statistics_target', '10', true)
"""
Look = Callable[[CursorWrapper, "Imported"], None]


@dataclass(frozen=True)
class Imported:
    """The result of an import. `total` is the whole book's, after it; `paid` is its paid part."""

    subscriptions_new: int
    subscriptions_changed: int
    subscriptions_same: int
    clients_new: int
    clients_changed: int
    services_new: int
    services_changed: int
    plans_new: int
    total: Decimal
    paid: Decimal
    moved: Move = NOTHING  # prices that were there before
    # How the file was read (`files.Table`).
    understood: dict[str, str] = field(default_factory=dict, compare=False)


def import_book(
    file: BufferedIOBase,
    *,
    reading: Reading = Reading(),  # noqa: B008 - frozen
    update: bool = False,
    progress: ShowProgress | None = None,
    dry_run: bool = False,
    author: str = AUTHOR,
    add: bool = False,
    record: Callable[[Imported], None] = lambda imported: None,
    look: Look = lambda cursor, imported: None,
) -> Imported:
    """Read a file (docs/data.md) into the book, in one transaction; `dry_run` undoes it.

    `reading` is how its sender says it is to be read.

    `record` is called in the transaction with what it has done, unless it is undone. `look` is
    called before that, in a dry run too: the cursor reads the `outcomes` of the lines.

    `add` says that lines are new which may be subscriptions that somebody has edited since.

    Raises `BadBook` with the lines that are wrong or unclear, or that differ from the book when
    `update` is not set; nothing is written then. With `update` a list price that differs is an edit
    of the catalogue by the `author`: workers reprice what was there before. If the prices that are
    there move by more than one may move alone, NeedsAnotherPerson is raised, and nothing is
    written.
    """
    with transaction.atomic():
        with catalogue_edit(author=author), connection.cursor() as cursor:
            run = _Import(cursor, update, progress or (lambda *_: None), dry_run, author, add)
            imported = run.run(file, reading)
            look(cursor, imported)
        if dry_run:
            transaction.set_rollback(True)  # no statement may come after it
            return imported
        record(imported)
    if imported.subscriptions_new:
        analyse()
    return imported


def analyse(options: str = "") -> None:
    """Let the planner know of many new rows.

    It knows nothing of them until autovacuum comes by, in a minute; or it assumes that there are
    none, if autovacuum came by before the commit. `options` are those of ANALYZE.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"ANALYZE {options} services_subscription, services_service, services_plan,"
            " services_ledgerentry, clients_client, auth_user"
        )


class _Import:
    def __init__(
        self,
        cursor: CursorWrapper,
        update: bool,
        progress: ShowProgress,
        dry_run: bool,
        author: str,
        add: bool,
    ) -> None:
        self.cursor = cursor
        self.dry_run = dry_run
        self.add = add
        self.update = update
        self.progress = progress
        self.problems = BadBook()
        self.moved = MovedPrices(cursor, author)

    def run(self, file: BufferedIOBase, reading: Reading) -> Imported:
        self._execute(SETTINGS)
        # Imports go one after another: two that bring the same client would fail half-way.
        self._execute("SELECT pg_advisory_xact_lock('clients_client'::regclass::oid::int, 0)")
        table = open_table(cast(BinaryIO, file), reading)
        columns, last_line = self._copy(table)
        self.problems.about(table.problems)
        self.progress("checking", 0, None)
        self._check_file(columns)
        self._check(SERVICES_ALIKE)
        self.problems.raise_if_any()
        self._keep(*values_before.OF_CATALOGUE)
        services_new = self._insert_missing(MISSING_SERVICES, INSERT_SERVICES)
        self._execute(LOCK_SERVICES, [self.update])
        self._write_if_any(LATE_SERVICES, COPY_SERVICES)
        self._execute(LOCK_PLANS)
        while self._write_if_any(LATE_PLANS, COPY_PLANS):
            pass  # one that is copied leaves a discount that another one may be waiting for
        self._check(PLANS_APPROVED)
        self.problems.raise_if_any()
        plans_new = self._insert_missing(MISSING_PLANS, INSERT_PLANS)
        self._execute(LOCK_PLANS)
        self._check(SAME_EMAIL)
        self._execute(FIND_CLIENTS)
        self._check(LOGIN_TAKEN)
        self.problems.raise_if_any()
        if self._write_if_any(UNMAILED, FILL_EMAILS):
            self._execute(FIND_CLIENTS)
        self._execute(CATALOGUE_DIFFERENCE)
        self._keep(*values_before.OF_DIFFERENCES)
        if self.update:
            self.moved.before_list_prices()
        find_known(Run(self._execute, self._number, self._check), columns, self.add)
        services_changed, clients_changed = self._settle_catalogue()
        self.problems.raise_if_any()
        clients_new = self._insert_clients()

        self._execute(subscriptions_differ(columns))
        self._check(NO_REASON)
        self._keep(values_before.SUBSCRIPTIONS_BEFORE)
        changed = self._settle_subscriptions(columns)
        self.problems.raise_if_any()
        new = self._insert_subscriptions(last_line)
        book = figures()
        self.moved.ask()
        return Imported(
            subscriptions_new=new,
            subscriptions_changed=changed,
            subscriptions_same=self._number("SELECT count(*) FROM known") - changed,
            clients_new=clients_new,
            clients_changed=clients_changed,
            services_new=services_new,
            services_changed=services_changed,
            plans_new=plans_new,
            total=book.total.amount,
            paid=book.paid.amount,
            moved=self.moved.move,
            understood=table.understood,
        )

    def _copy(self, book: Table) -> tuple[list[str], int]:
        """Copy the file into `incoming`; return its columns and its last line."""
        self._execute(f"DROP TABLE IF EXISTS {', '.join(f'pg_temp.{name}' for name in TABLES)}")
        self._execute(INCOMING)

        copy_rows(self.cursor, "incoming", book, NULL_IF_EMPTY, self.progress)
        self._execute("CREATE INDEX ON incoming USING brin (line)")
        self._execute("ANALYZE incoming")
        return book.columns, book.line

    def _check_file(self, columns: list[str]) -> None:
        if "price_state" in columns:
            for name in OF_STATES:
                if name not in columns:
                    self.problems.add(
                        Problem(
                            1, "", name, pgettext("file", "is missing; it goes with price_state")
                        )
                    )
        if {"price_state", *OF_STATES} & set(columns):
            self._check(HALF_A_STATE)
        self._check(HALF_A_KEY)
        self._check(TWICE)
        if "source" in columns:
            self._check(SOURCES_ALIKE)
        self._check(ENDS_BEFORE_START)
        self._check(CONTRADICTION.format(column="full_price", key="service"))
        self._check(CONTRADICTION.format(column="company_name", key="lower(email)"))
        if "full_address" in columns:
            self._check(CONTRADICTION.format(column="full_address", key="lower(email)"))
        if "price" in columns:
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
        expected = self._number(
            "SELECT count(*) FROM incoming"
            " WHERE NOT EXISTS (SELECT FROM known WHERE known.line = incoming.line)"
        )
        new = 0
        self._execute(MADE)
        insert = INSERT_SUBSCRIPTIONS if self.dry_run else KEEP_IDS.format(INSERT_SUBSCRIPTIONS)
        for line in range(0, last_line if expected else 0, CHUNK):
            self._execute(insert, [line, line + CHUNK])
            new += self.cursor.rowcount
            self.progress("writing", new, expected)
        return new

    def _insert_missing(self, missing: str, insert: str) -> int:
        """Insert only if something is missing: an empty insert would move the book's version."""
        if not self._number(missing):
            return 0
        self._execute(insert)
        return int(self.cursor.rowcount)

    def _settle_catalogue(self) -> tuple[int, int]:
        """The services and clients that were written; without `update` the differences are added
        to the problems.
        """
        if not self.update:
            self._check(CATALOGUE_DIFFERS, **IF_UPDATED)
            return 0, 0
        of = "SELECT 1 FROM catalogue_difference WHERE differing {} 'full_price'"
        services = self._write_if_any(of.format("="), UPDATE_SERVICES)
        return services, self._write_if_any(of.format("<>"), UPDATE_CLIENTS)

    def _settle_subscriptions(self, columns: list[str]) -> int:
        """As `_settle_catalogue`, for the subscriptions of known lines."""
        if not self.update:
            self._check(DIFFERENCES, **IF_UPDATED)
            return 0
        update = UPDATE_SUBSCRIPTIONS.format(assignments=assignments(columns))
        self.moved.before_subscriptions()
        changed = self._write_if_any(DIFFERENCES, update)
        if changed and "price_state" in columns:
            self._execute(UPDATE_STATES)
        self.moved.after_subscriptions()
        return changed

    def _write_if_any(self, rows: str, write: str) -> int:
        """Write only if there are such rows: an empty write would move the book's version."""
        if not self._number(f"SELECT count(*) FROM ({rows}) found"):  # noqa: S608
            return 0
        self._execute(write)
        return int(self.cursor.rowcount)

    def _check(self, problems: str, **about: Any) -> None:
        self._execute(first_of(problems))
        found = self.cursor.fetchall()
        for *problem, _ in found:
            self.problems.add(Problem(*problem, **about))
        if found:
            self.problems.count += found[0][-1] - len(found)

    def _keep(self, *tables: str) -> None:
        """Keep what the next statements replace, for the results of the lines and for an undo."""
        for table in tables:
            self._execute(table)

    def _number(self, query: str) -> int:
        self._execute(query)
        (number,) = self.cursor.fetchone()
        return int(number)

    def _execute(self, query: str, parameters: Sequence[Any] | None = None) -> None:
        self.cursor.execute(query, parameters)
