"""The statements of files as jobs: the results of their lines, their undo, and the past of a book.

They work on temporary tables, which are empty when a statement is explained.
"""

from __future__ import annotations

import re
from typing import Any

from pricebook.kit.named_statements import NamedStatement, Params
from services.audit.book_examples import examples
from services.audit.named_bulk import Named
from services.audit.named_imports import MAKES
from services.bulk import steps, subscriptions
from services.jobs import import_results, looks, undoing, undoing_imports
from services.past import exporting, statements
from services.past.importing import COLUMNS
from services.transfer import incoming_subscriptions, outcomes, values_before
from services.transfer.incoming_subscriptions import first_of

OF_IMPORT = "import_book, POST /api/imports/"
OF_HISTORY = "import_history, POST /api/imports/"
WRITES = re.compile(r"CREATE TEMP|INSERT INTO|lock_pairs|FOR NO KEY UPDATE")
RESULT = {"job": 0, "after": 1, "dry_run": False, "values": True}


def named_files() -> list[NamedStatement]:
    """All statements of this module (a few queries)."""
    return [*of_results(), *of_undo(), *of_history(), *of_export()]


def of_results() -> list[NamedStatement]:
    tables: list[tuple[str, Params]] = [
        (incoming_subscriptions.INCOMING, None),
        (outcomes.MADE, None),
        *[(f"{sql} WITH NO DATA", params) for _, _, sql, params in MAKES],
    ]
    made = []

    def named(name: str, purpose: str, sql: str, params: Params = None) -> None:
        name = f"import, {name}"
        needs = tuple(tables)
        writes = WRITES.search(sql) is not None
        made.append(NamedStatement(name, purpose, OF_IMPORT, sql, params, "", writes, needs))

    for sql, name, purpose in [
        (values_before.NEW_SERVICES, "new services", "those that it makes, for an undo"),
        (values_before.NEW_PLANS, "new plans", "those that it makes"),
        (values_before.NEW_CLIENTS, "new clients", "those that it makes"),
        (values_before.SERVICES_BEFORE, "list prices before", "those that it moves"),
        (values_before.CLIENTS_BEFORE, "clients before", "those that it changes"),
        (values_before.SUBSCRIPTIONS_BEFORE, "subscriptions before", "those that it changes"),
        (import_results.OUTCOME, "outcomes of lines", "a row for each line"),
    ]:
        named(name, purpose, sql)
        tables.append((f"{sql} WITH NO DATA", None))
    named("last line", "behind it come clients, services and plans", import_results.LAST_LINE)
    named("counts", "of lines, by outcome", import_results.COUNTED)
    kinds = ("subscriptions", "clients", "services", "plans")
    for kind, found in zip(
        kinds, (import_results.SUBSCRIPTIONS, *import_results.OTHERS), strict=True
    ):
        into = import_results.INTO.format(found=found)
        named(f"results of {kind}", "kept with what an undo has to know", into, RESULT)
    named("last result", "kept so far", import_results.LAST_RESULT, [0])
    named("clients moved", "those whose prices it moves most", import_results.CLIENTS_MOVED, [10])
    shown = {"shown": 0, "job": 0}
    named("same as shown", "whether it does what its dry run has shown", looks.SAME_AS_SHOWN, shown)
    return made


def of_undo() -> list[NamedStatement]:
    """The statements of the undo of an import that are not those of a bulk."""
    kind = undoing_imports.UndoImportedSubscriptions
    of_subscriptions = Named(kind, "undo of an import", "workers: run_jobs")
    begun(of_subscriptions, kind)
    add = of_subscriptions
    add.tables.append((undoing_imports.FIND_STATES, None))
    add.writes("other states", "that it has written itself", undoing_imports.STATES_DIFFER)
    add.writes("states as moves", "they are written so", undoing_imports.STATES_MOVE)
    add.writes("price states", "as they were", undoing_imports.GIVE_STATES_BACK)
    add.add("would move", "the prices, for a dry run", undoing_imports.WOULD_MOVE)
    of_services = undoing_imports.UndoImportedServices
    add = Named(of_services, "undo of an import", "workers: run_jobs")
    begun(add, of_services)
    add.writes("list prices", "that it has moved", undoing_imports.PRICES_DIFFER)
    add.add("moved", "the list prices to move back", undoing_imports.MOVED_SERVICES)
    add.add("lines that move", "those of them", subscriptions.LINES_THAT_MOVE)
    return [*of_subscriptions.made, *add.made]


def begun(named: Named, kind: type[undoing.Undo]) -> None:
    """The tables with which each undo begins."""
    named.tables += [(undoing.OF_ID, None), (undoing.JOB_LINES, [0])]
    left = undoing.LEFT.format(records=kind.records, seen=kind.seen)
    named.add("left", "those that are not as it has left them", left)
    named.tables += [(kind.held.format(lock=""), None), (kind.found, None)]
    results = steps.RESULTS.format(outcome=undoing.OUTCOME)
    named.add("results", "of the lines, as NDJSON", results, [0, steps.BATCH])


def of_history() -> list[NamedStatement]:
    at = examples().middle.started_at
    now = {"now": at}
    columns = ", ".join(f"{name} {column.type}" for name, column in COLUMNS.items())
    tables: list[tuple[str, Params]] = [(statements.LINES.format(columns=columns), None)]
    made = []

    def named(name: str, purpose: str, sql: str, params: Params = None) -> None:
        name = f"history, {name}"
        needs = tuple(tables)
        writes = WRITES.search(sql) is not None
        made.append(NamedStatement(name, purpose, OF_HISTORY, sql, params, "", writes, needs))

    def makes(name: str, purpose: str, sql: str, params: Any = None) -> None:
        named(name, purpose, sql, params)
        tables.append((f"{sql} WITH NO DATA", params))

    def finds(name: str, purpose: str, sql: str, params: Any = None) -> None:
        named(name, purpose, first_of(sql), params)

    finds("not named", "lines that name no subscription", statements.NOT_NAMED)
    makes("matches", "the subscriptions of the lines", statements.MATCHES)
    finds("not there", "lines whose subscription is not in the book", statements.NOT_THERE)
    finds("several", "lines that fit more than one", statements.SEVERAL)
    named("lock the rows", "in the order of their ids", statements.LOCK_ROWS)
    named("lock the catalogue", "as every writer of prices", statements.LOCK_PAIRS)
    makes("lines", "each with the next one of its subscription", statements.HISTORY, now)
    finds("bad intervals", "outside of what was paid, or crossing", statements.BAD_INTERVALS, now)
    makes("told", "what the book tells of each line's time", statements.TOLD)
    finds("not paid", "lines for a time that nobody paid for", statements.NOT_PAID)
    makes("intervals", "each line with its end", statements.INTERVALS)
    finds("not in force", "last lines that don't meet the price", statements.NOT_IN_FORCE)
    makes("moves", "the lines that say another price", statements.MOVES)
    named("counts", "of lines, and of those that move", statements.COUNTS)
    named("figures", "for the policy", statements.FIGURES)
    written = {"author": "ann", "reason": "history", "now": at}
    named("corrections", "effective then, recorded now", statements.CORRECT, written)
    into = import_results.INTO.format(found=import_results.OF_HISTORY)
    named("results", "of the lines, for the job", into, RESULT)
    return made


def of_export() -> list[NamedStatement]:
    row = examples().middle
    return [
        NamedStatement(
            "history, next subscriptions",
            "in the order of their ids",
            "export_history",
            exporting.NEXT,
            [0, row.started_at, exporting.CHUNK],
        ),
        NamedStatement(
            "history, prices",
            "which some subscriptions have paid, from when on",
            "export_history",
            exporting.LINES,
            {"ids": [row.pk], "now": row.started_at},
        ),
    ]
