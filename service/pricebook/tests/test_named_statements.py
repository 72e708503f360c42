"""Every statement of the service is on show, and PostgreSQL takes each as it is shown."""

import ast
import io
import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from string import Formatter

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from psycopg.sql import Composable

from pricebook.kit.live_schema import our_apps
from pricebook.kit.named_statements import named_statements
from services.reading.copies import from_copies
from services.tests.factories import a_book

pytestmark = pytest.mark.django_db

# Constants in SQL that stand in no named statement, each with its reason.
NOT_NAMED = {
    "events.deriving.LOCK": "takes a lock, and reads no table",
    "events.deriving.BEGIN": "writes the one row of a new book",
    "events.deriving.TOLD": "deletes what is told, by its index",
    "events.named_statements.NEWEST": "looks for examples",
    "price_changes.running.brake.ONE_BY_ONE": "takes a lock, and reads no table",
    "price_changes.running.limits.OF_PERSON": "takes a lock, and reads no table",
    "price_changes.running.judging_edits.MOVED": "sums what one change has moved, by its index",
    "pricebook.management.commands.migrate.HOLDERS": "asks PostgreSQL which sessions there are",
    "pricebook.kit.host_clock.NOW": "asks PostgreSQL's clock, and reads no table",
    "pricebook.kit.replica": "asks how far the WAL is, and reads no table",
    "pricebook.kit.pooler": "asks PostgreSQL about the session, and reads no table",
    "pricebook.seeing.statements.WAL": "asks how far the WAL is, and reads no table",
    "pricebook.seeing.statements.REPLICA": "the same, of a standby",
    "pricebook.kit.session_limits.IN_FORCE": "asks for settings of the session",
    "pricebook.kit.session_limits.PAUSE_MORE": "sets a limit of the session",
    "pricebook.kit.zone_rules.TRANSITIONS": "asks PostgreSQL's clocks, and reads no table",
    "pricebook.management.commands.demo_clock": "replaces a function, and reads no table",
    "pricebook.kit.letters": "asks PostgreSQL about the database, and reads no table of the book",
    "pricebook.kit.live_schema": "asks PostgreSQL's catalogue for schema.sql, and not the book",
    "services.book_currency": "asks whether there is any row, and sets a constant, at a migration",
    "services.transfer.incoming_subscriptions.INCOMING": "makes a temporary table: no plan",
    "services.transfer.importing.INCOMING": "the same, where it is sent",
    "services.transfer.formats.CELLS": "expressions of the stream, which is named as NDJSON",
    "pricebook.kit.known_elsewhere": "a function that walks an index, a step for each source",
    "services.writing.refusals.SOURCE_ALIKE": "the same, where it is sent",
    "services.transfer.outcomes.MADE": "makes a temporary table: no plan",
    "services.transfer.importing.MADE": "the same, where it is sent",
    "services.transfer.importing.SETTINGS": "sets values of the session, and reads no table",
    "services.ledger.requests.NOTE": "sets a value of the session, and reads no table",
    "services.catalogue_values": "looks up a value of one service or plan, by its index",
    "services.ledger.last_move": "reads a few of them, newest first, by two indexes",
    "services.held_values": "the same, of the values of one change",
    "price_changes.kinds.relations": "parts of the rows of a set, which are named",
    "price_changes.running.rows_then": "the same, for a worker that comes late",
    "price_changes.running.late_rows.ENTER": "writes one entry: no plan",
    "price_changes.running.entering.ALONE": "takes a lock, and reads no table",
    "price_changes.running.entering.VERSION_MOVES": "writes one row: no plan",
    "services.repricing.lock_ends.COPY_LISTED": "looks up a few rows by their ids",
    "services.bulk.subscriptions.MOVING": "reads the lines of a bulk",
    "services.writing.clients.LOCK_EMAIL": "takes locks, and reads no table",
    "services.bulk.clients.LOCK_EMAILS": "takes a lock, and reads no table",
    "services.bulk.catalogue.LOCK_CATALOGUE": "takes locks, and reads no table",
    "services.bulk.running.FEW_KNOWN": "asks PostgreSQL, and reads no table of the book",
    "services.jobs.undoing.LOCK_VALUES": "takes locks, and reads no table",
    "services.jobs.running.LOCK": "takes a lock, and reads no table",
    "services.past.statements.LINES": "makes a temporary table: no plan",
    "services.bulk.steps.LINES": "makes a temporary table: no plan",
    "services.ledger.recorded": "asks PostgreSQL who is writing, and reads no table",
    "services.ledger.point_in_time.CATALOGUE_BY_KNOWN": "a part of that of `as_of`",
    "services.ledger.point_in_time.DECIDED_BY_THEN": "the same, for a set whose worker is late",
    "services.ledger.seals.sealing.LOCK": "takes a lock, and reads no table",
    "services.ledger.points.ANY": "picks a point, of few",
    "services.ledger.points.LOCK": "takes a lock, and reads no table",
    "services.ledger.points.NEWEST": "looks up the last point, by its index",
    "services.ledger.points.NEXT": "reads the next instants of `facts_between`, by their indexes",
    "services.ledger.points.COUNT": "the same",
    "services.ledger.bridge_clients.LATER": "the same, of those that follow",
    "services.models.clock.RENEW": "notes the life of the server, once",
    "services.reading.scheduled.MOVED": "stands around the statement of each scheduled change",
    "services.reading.scheduled.MOVED_ONE": "stands around the statement of each scheduled change",
}

SQL = re.compile(
    r"\b(SELECT|INSERT INTO|UPDATE \w+|DELETE FROM|MERGE INTO|TRUNCATE|CREATE [A-Z]+|LOCK TABLE)\b"
)
WRITING = re.compile(r"\b(INSERT INTO|UPDATE \w+\s+SET|DELETE FROM|MERGE INTO|TRUNCATE)\b")


def printed(*arguments: str) -> str:
    out = io.StringIO()
    call_command("explain_queries", *arguments, stdout=out)
    return out.getvalue()


def rows() -> dict[str, int]:
    """How many rows each table has, and each sequence has given out."""
    with connection.cursor() as cursor:
        found = {}
        for table in sorted(connection.introspection.table_names()):
            cursor.execute(f"SELECT count(*) FROM {table}")
            found[table] = cursor.fetchone()[0]
        cursor.execute("SELECT last_value FROM price_changes_approval")
        found["approval"] = cursor.fetchone()[0]
    return found


@pytest.fixture(params=["an empty book", "a book"])
def book(request, db):
    if request.param == "a book":
        a_book(30)


class TestStatements:
    def test_have_a_name_each_and_a_line_that_says_what_for(self):
        statements = named_statements()
        assert len(statements) > 90
        names = [each.name for each in statements]
        assert [name for name in names if names.count(name) > 1] == []
        for each in statements:
            assert each.name != "list"
            for line in (each.name, each.purpose, each.run_by):
                assert line
                assert line.strip() == line
                assert "\n" not in line

    def test_are_those_of_every_app(self):
        names = {each.name for each in named_statements()}
        assert names >= {"list, first page", "feed", "fold the total", "import, subscriptions"}
        assert names >= {"move rows of a set", "list the rows of a set", "preview of a set"}

    def test_are_taken_by_postgresql_and_change_nothing(self, book):
        before = rows()
        for each in named_statements():
            assert each.explain(), each.name
        assert rows() == before
        with connection.cursor() as cursor:
            cursor.execute("SELECT relname FROM pg_class WHERE relpersistence = 't'")
            assert cursor.fetchall() == []

    def test_say_which_of_them_write(self):
        """By their words; a read that locks is one that writes."""
        for each in named_statements():
            does = re.search(
                r"\b(INSERT INTO|UPDATE|DELETE FROM|CREATE TEMP|(?:lock|enter)_\w+\(|nextval)",
                each.sql,
            )
            assert each.writes == bool(does), each.name

    def test_of_those_that_write_none_is_run(self):
        a_book(30)
        before = rows()
        for each in named_statements():
            if each.writes:
                assert not any("actual" in line for line in each.explain("ANALYZE", "BUFFERS on"))
        assert rows() == before

    def test_that_read_can_be_run(self, book):
        before = rows()
        for each in named_statements():
            if not each.writes:
                assert any("Execution Time" in line for line in each.explain("ANALYZE"))
        assert rows() == before


def squeezed(text: str) -> str:
    """Without the blanks that put values below each other."""
    return re.sub(r" +", " ", text)


class TestCommand:
    def test_prints_each_as_it_stands_with_its_parameters(self, book):
        statements = named_statements()
        out = printed("--sql", *{each.name for each in statements})
        closer = squeezed(out)
        for each in statements:
            lines = each.sql.strip("\n").splitlines()
            shown = "\n".join("    " + line if line else line for line in lines)
            assert f"{each.name}\n  " in out
            assert shown in out, each.name
            for placeholder, value in each.typed_params():
                assert squeezed(f"\n    {placeholder} {value}\n") in closer, each.name

    def test_prints_parameters_with_the_types_that_they_are_sent_with(self):
        out = printed("--sql", "release locks that have ended")
        assert re.search(r"^    %\(ids\)s +'\{\d+\}'::int\d\[\]$", out, re.MULTILINE)
        assert re.search(r"^    %\(until\)s +'\d{4}-.*'::timestamptz$", out, re.MULTILINE)

    def test_without_a_name_prints_the_plans_of_the_hot_reads(self):
        out = printed()
        for each in named_statements():
            assert (f"\n{each.name}\n" in f"\n{out}") == bool(each.why), each.name
        assert "    SELECT" not in out

    def test_lists_all_names_a_line_each(self):
        lines = printed("list").splitlines()
        statements = named_statements()
        assert len(lines) == len(statements)
        for line, each in zip(lines, statements, strict=True):
            does = "writes" if each.writes else "reads"
            assert re.split(r"  +", line) == [each.name, does, each.run_by, each.purpose]

    @pytest.mark.parametrize("option", ["--sql", "--analyze", "--buffers"])
    def test_refuses_to_run_the_list_of_names(self, option):
        with pytest.raises(CommandError, match='take more of a name, such as "list of"'):
            printed("list", option)

    def test_says_that_what_writes_was_not_run(self):
        assert "Not run, because it writes" in printed("fold the total", "--analyze")
        assert "Not run" not in printed("fold the total")
        assert "Not run" not in printed("list of a plan", "--analyze")


# --- Nothing is left out ----------------------------------------------------------------------


def modules() -> Iterator[str]:
    """The modules of our apps, without tests, migrations, and the runner of the servers."""
    for app in our_apps():
        for each in pkgutil.walk_packages([app.path], f"{app.name}."):
            if not re.search(r"\.(tests|migrations|local)\b", each.name):
                yield each.name


def constants(module: str) -> Iterator[tuple[str, str]]:
    """SQL at the top of a module: the name, and the text, of a dict or a tuple each of its own."""
    for name, value in vars(import_module(module)).items():
        if name.strip("_").isupper():
            for text in texts(value):
                if SQL.search(text):
                    yield name, text


def texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Composable):
        yield value.as_string()
    elif isinstance(value, dict):
        yield from texts(list(value.values()))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from texts(each)


def stands_in(template: str, statement: str) -> bool:
    """Whether the statement has the template in it, whatever fills its holes."""
    try:
        pieces = [literal for literal, *_ in Formatter().parse(template)]
    except ValueError:
        pieces = [template]
    place = 0
    for piece in pieces:
        place = statement.find(piece, place)
        if place < 0:
            return False
        place += len(piece)
    return True


class TestConstants:
    def test_are_named_or_listed_with_the_reason(self):
        statements = [each.sql for each in named_statements()]
        found = 0
        excused = set()
        for module in modules():
            for name, text in constants(module):
                found += 1
                said = {text, from_copies(text)}
                if any(stands_in(each, statement) for each in said for statement in statements):
                    continue
                excuse = {module, f"{module}.{name}"} & NOT_NAMED.keys()
                assert excuse, (
                    f"{module}.{name} stands in no named statement: name it, or list it here"
                )
                excused |= excuse
        assert found > 100
        assert excused == NOT_NAMED.keys(), "an excuse that nothing needs"

    def test_are_where_each_statement_that_writes_stands(self):
        """In a function nobody would find it, and the test above would not ask for it."""
        for module in modules():
            file = import_module(module).__file__
            assert file is not None
            tree = ast.parse(Path(file).read_text(encoding="utf-8"))
            for function in ast.walk(tree):
                if not isinstance(function, ast.FunctionDef):
                    continue
                docstring = ast.get_docstring(function, clean=False)
                for node in ast.walk(function):
                    text = node.value if isinstance(node, ast.Constant) else None
                    if isinstance(text, str) and text != docstring:
                        assert not WRITING.search(text), f"{module}.{function.name}"
