"""The schema of the migrated database, as SQL to be read: one `schema.sql` for each app.

Migrations show how the schema came about. Its present state (which triggers fire on a table, what a
function says today) is spread over all of them, so PostgreSQL is asked for it, by the functions
that psql and pg_dump use too. The text depends on nothing but the schema: no OIDs, no owners, all
names in the order of their bytes. It is a document and not a script: migrations make databases.
PostgreSQL 15 and 18 were compared, and give the same text.

The file in which an object is:

- a table, and with it its constraints, indexes and triggers: that of the app whose model it is;
- a function, a sequence that no column owns, an extension, and what was added to a table of
  another package (`auth_user`): that of the app whose migration was the last to create it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from django.apps import AppConfig, apps
from django.conf import settings
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import RunSQL, SeparateDatabaseAndState

HEADER = """\
-- The schema of the app `{app}`, as its migrations leave it. To be read; nothing runs it.
-- Written by `./pricebook manage write_schema`; a test compares it with the migrated database.
"""


def our_apps() -> list[AppConfig]:
    """The apps of this checkout that have models, in the order of their labels."""
    ours = [app for app in apps.get_app_configs() if Path(app.path).parent == settings.BASE_DIR]
    return sorted((app for app in ours if app.models_module), key=lambda app: app.label)


def schema_file(app: AppConfig) -> Path:
    return Path(app.path, "schema.sql")


def schema_of(app: AppConfig) -> str:
    """The text of an app's `schema.sql`, from the database as it is. Nine queries."""
    here = {thing for thing, label in last_created().items() if label == app.label}
    own = sorted(tables_of([app]) | {thing.name for thing in here if thing.kind == "TABLE"})
    others = sorted({thing.table for thing in here if thing.table} - tables_of(our_apps()))
    on_tables = _on_tables([*own, *others])

    parts = [HEADER.format(app=app.label)]
    parts += _section("", [*_extensions(), *_sequences()], here)
    for table in own:
        parts += _section(table, [_with_place(each, app) for each in on_tables[table]])
    for table in others:
        parts += _section(f"added to {table}, a table of another package", on_tables[table], here)
    parts += _section("functions", _functions(), here)
    parts += _section("views", _views(), here)
    return "\n".join(parts)


def unclaimed() -> list[str]:
    """Objects that are in the database and in no file, as no migration creates them. Eight queries.

    They are functions, views, sequences, and triggers on tables of other packages.
    """
    others = set(connection.introspection.table_names()) - tables_of(our_apps())
    found = [*_functions(), *_views(), *_sequences()]
    for objects in _on_tables(sorted(others)).values():
        found += [each for each in objects if each.thing.kind == "TRIGGER"]
    known = last_created()
    return [" ".join(filter(None, each.thing)) for each in found if each.thing not in known]


def tables_of(configs: Iterable[AppConfig]) -> set[str]:
    models = [model for app in configs for model in app.get_models(include_auto_created=True)]
    return {model._meta.db_table for model in models}


# --- The objects that migrations create -------------------------------------------------------


class Thing(NamedTuple):
    kind: str  # FUNCTION, VIEW, TABLE, TRIGGER, INDEX, SEQUENCE, EXTENSION
    name: str
    table: str = ""  # that a trigger or an index stands on


class Created(NamedTuple):
    """An object that the SQL of a migration creates."""

    app: str
    migration: str
    thing: Thing


CREATE = re.compile(
    r"""\bCREATE\s+ (?:OR\s+REPLACE\s+)? (?:UNIQUE\s+|CONSTRAINT\s+)?
        (FUNCTION|VIEW|TABLE|TRIGGER|INDEX|SEQUENCE|EXTENSION)\s+
        (?:CONCURRENTLY\s+)? (?:IF\s+NOT\s+EXISTS\s+)? (\w+)
        (?: [^(;]*? \bON\s+ (\w+) )?""",
    re.VERBOSE | re.IGNORECASE,
)


@cache
def created() -> list[Created]:
    """The objects that our migrations create by SQL of their own, in their order. No query."""
    labels = {app.label for app in our_apps()}
    graph = MigrationLoader(None).graph
    order: dict[tuple[str, str], None] = {}
    for leaf in sorted(graph.leaf_nodes()):
        order |= dict.fromkeys(graph.forwards_plan(leaf))
    return [
        Created(label, name, Thing(kind.upper(), what, table))
        for label, name in order
        if label in labels
        for sql in _sql_of(graph.nodes[label, name].operations)
        for kind, what, table in CREATE.findall(sql)
    ]


def last_created() -> dict[Thing, str]:
    """For each object, the app whose migration was the last to create it. No query."""
    return {each.thing: each.app for each in created()}


def _sql_of(operations: Iterable[Any]) -> Iterator[str]:
    for operation in operations:
        if isinstance(operation, SeparateDatabaseAndState):
            yield from _sql_of(operation.database_operations)
        if isinstance(operation, RunSQL):
            statements = [operation.sql] if isinstance(operation.sql, str) else operation.sql
            for statement in statements:
                yield statement if isinstance(statement, str) else statement[0]


# --- The objects that PostgreSQL has ----------------------------------------------------------


class SchemaObject(NamedTuple):
    """An object in the database, and the statement that describes it."""

    thing: Thing
    statement: str
    calls: str = ""  # the function of a trigger


# The options that differ from the defaults of the type. The sequence's name is shown elsewhere,
# because `nextval()` requires it.
SEQUENCE_OPTIONS = """
concat_ws(' ',
    CASE WHEN seqstart <> 1 THEN 'START WITH ' || seqstart END,
    CASE WHEN seqincrement <> 1 THEN 'INCREMENT BY ' || seqincrement END,
    CASE WHEN seqmin <> 1 THEN 'MINVALUE ' || seqmin END,
    CASE WHEN seqmax <> CASE seqtypid WHEN 'bigint'::regtype THEN 9223372036854775807
                                      WHEN 'integer'::regtype THEN 2147483647
                                      ELSE 32767 END THEN 'MAXVALUE ' || seqmax END,
    CASE WHEN seqcache <> 1 THEN 'CACHE ' || seqcache END,
    CASE WHEN seqcycle THEN 'CYCLE' END)
"""

SEQUENCES = f"""
SELECT relname, concat_ws(' ',
           'CREATE SEQUENCE', quote_ident(relname), 'AS', format_type(seqtypid, NULL),
           nullif({SEQUENCE_OPTIONS}, ''))
  FROM pg_sequence JOIN pg_class ON pg_class.oid = seqrelid
 WHERE relnamespace = current_schema()::regnamespace
   AND NOT EXISTS (SELECT FROM pg_depend
                    WHERE classid = 'pg_class'::regclass AND objid = seqrelid
                      AND deptype IN ('a', 'i', 'e'))
 ORDER BY relname COLLATE "C"
"""  # noqa: S608 - constants

# PostgreSQL can't be asked for the definition of an aggregate; a test asserts that there are none.
FUNCTIONS = """
SELECT proname,
       regexp_replace(pg_get_functiondef(pg_proc.oid),
                      '^(CREATE OR REPLACE \\w+ )' || quote_ident(current_schema()) || '\\.', '\\1')
  FROM pg_proc
 WHERE pronamespace = current_schema()::regnamespace AND prokind <> 'a'
   AND NOT EXISTS (SELECT FROM pg_depend
                    WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid
                      AND deptype = 'e')
 ORDER BY proname COLLATE "C", pg_get_function_identity_arguments(pg_proc.oid) COLLATE "C"
"""

VIEWS = """
SELECT relname, pg_get_viewdef(oid) FROM pg_class
 WHERE relkind = 'v' AND relnamespace = current_schema()::regnamespace
 ORDER BY relname COLLATE "C"
"""
EXTENSIONS = """
SELECT extname, 'CREATE EXTENSION ' || quote_ident(extname)
  FROM pg_extension ORDER BY extname COLLATE "C"
"""

COLUMNS = f"""
SELECT relname, concat_ws(' ',
           quote_ident(attname), format_type(atttypid, atttypmod),
           CASE WHEN attstorage <> typstorage THEN 'STORAGE ' ||
                CASE attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL'
                                WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END END,
           CASE attcompression WHEN 'p' THEN 'COMPRESSION pglz' WHEN 'l' THEN 'COMPRESSION lz4' END,
           CASE WHEN attcollation <> typcollation THEN 'COLLATE ' || attcollation::regcollation END,
           CASE WHEN attstattarget >= 0 THEN '/* STATISTICS ' || attstattarget || ' */' END,
           CASE WHEN attnotnull THEN 'NOT NULL' END,
           CASE WHEN attgenerated <> ''
                THEN 'GENERATED ALWAYS AS (' || pg_get_expr(adbin, adrelid, true) || ')' ||
                     CASE attgenerated WHEN 's' THEN ' STORED' ELSE '' END
                ELSE 'DEFAULT ' || pg_get_expr(adbin, adrelid, true) END,
           CASE WHEN attidentity <> '' THEN
                concat('GENERATED ', CASE attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END,
                       ' AS IDENTITY (SEQUENCE NAME ', seqrelid::regclass,
                       ' ' || nullif({SEQUENCE_OPTIONS}, ''), ')') END)
  FROM pg_attribute
  JOIN pg_class ON pg_class.oid = attrelid
  JOIN pg_type ON pg_type.oid = atttypid
  LEFT JOIN pg_attrdef ON (adrelid, adnum) = (attrelid, attnum)
  LEFT JOIN pg_depend ON attidentity <> '' AND refobjid = attrelid AND refobjsubid = attnum
                     AND classid = 'pg_class'::regclass AND deptype = 'i'
  LEFT JOIN pg_sequence ON seqrelid = objid
 WHERE relnamespace = current_schema()::regnamespace AND relname = ANY (%s)
   AND attnum > 0 AND NOT attisdropped
 ORDER BY relname COLLATE "C", attnum
"""  # noqa: S608 - constants

# NOT NULL is shown at the column (from PostgreSQL 18 on it is a constraint of its own).
CONSTRAINTS = """
SELECT relname, concat_ws(' ',
           'CONSTRAINT', quote_ident(conname), pg_get_constraintdef(pg_constraint.oid, true))
  FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid
 WHERE relnamespace = current_schema()::regnamespace AND relname = ANY (%s)
   AND contype IN ('p', 'u', 'x', 'c', 'f')
 ORDER BY relname COLLATE "C", position(contype IN 'puxcf'), conname COLLATE "C"
"""

OPTIONS = """
SELECT main.relname, main.relpersistence = 'u',
       array_to_string(main.reloptions || ARRAY(
           SELECT 'toast.' || option FROM unnest(toast.reloptions) option), ', ')
  FROM pg_class main LEFT JOIN pg_class toast ON toast.oid = main.reltoastrelid
 WHERE main.relnamespace = current_schema()::regnamespace AND main.relname = ANY (%s)
"""

# Indexes of constraints are left out: the constraints are shown. An index whose creation
# CONCURRENTLY has failed exists but is of no use, which its name does not tell.
INDEXES = """
SELECT main.relname, index.relname,
       concat(pg_get_indexdef(indexrelid, 0, true),
              CASE WHEN NOT indisvalid THEN ' /* INVALID */' END)
  FROM pg_index
  JOIN pg_class main ON main.oid = indrelid
  JOIN pg_class index ON index.oid = indexrelid
 WHERE main.relnamespace = current_schema()::regnamespace AND main.relname = ANY (%s)
   AND NOT EXISTS (SELECT FROM pg_constraint
                    WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x'))
 ORDER BY main.relname COLLATE "C", index.relname COLLATE "C"
"""

# In the order of their names, which is that of their firing.
TRIGGERS = """
SELECT relname, tgname, pg_get_triggerdef(pg_trigger.oid, true), proname,
       CASE tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA'
                      WHEN 'A' THEN 'ENABLE ALWAYS' END
  FROM pg_trigger
  JOIN pg_class ON pg_class.oid = tgrelid
  JOIN pg_proc ON pg_proc.oid = tgfoid
 WHERE relnamespace = current_schema()::regnamespace AND relname = ANY (%s) AND NOT tgisinternal
 ORDER BY relname COLLATE "C", tgname COLLATE "C"
"""


def _fetch(sql: str, *params: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params or None)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


def _extensions() -> list[SchemaObject]:
    return [SchemaObject(Thing("EXTENSION", name), sql) for name, sql in _fetch(EXTENSIONS)]


def _sequences() -> list[SchemaObject]:
    return [SchemaObject(Thing("SEQUENCE", name), sql) for name, sql in _fetch(SEQUENCES)]


def _functions() -> list[SchemaObject]:
    return [SchemaObject(Thing("FUNCTION", name), sql.strip()) for name, sql in _fetch(FUNCTIONS)]


def _views() -> list[SchemaObject]:
    return [
        SchemaObject(Thing("VIEW", name), f"CREATE VIEW {name} AS\n{sql.strip().rstrip(';')}")
        for name, sql in _fetch(VIEWS)
    ]


def _on_tables(tables: list[str]) -> dict[str, list[SchemaObject]]:
    """By table: the table with its constraints, its indexes, its triggers. Five queries."""
    lines = defaultdict(list)
    for table, line in [*_fetch(COLUMNS, tables), *_fetch(CONSTRAINTS, tables)]:
        lines[table].append(f"    {line}")
    found: dict[str, list[SchemaObject]] = {table: [] for table in tables}
    for table, unlogged, options in _fetch(OPTIONS, tables):
        create = "CREATE UNLOGGED TABLE" if unlogged else "CREATE TABLE"
        body = ",\n".join(lines[table])
        storage = f" WITH ({options})" if options else ""
        statement = f"{create} {table} (\n{body}\n){storage}"
        found[table].append(SchemaObject(Thing("TABLE", table), statement))
    for table, name, sql in _fetch(INDEXES, tables):
        found[table].append(SchemaObject(Thing("INDEX", name, table), sql))
    for table, name, sql, function, state in _fetch(TRIGGERS, tables):
        statement = _folded(sql)
        if state:
            statement += f";\nALTER TABLE {table} {state} TRIGGER {name}"
        found[table].append(SchemaObject(Thing("TRIGGER", name, table), statement, function))
    return found


def _folded(trigger: str) -> str:
    """A trigger's one line, broken as it is when written by hand."""
    return re.sub(r" (REFERENCING |FOR EACH |EXECUTE FUNCTION )", r"\n    \1", trigger)


# --- The document -----------------------------------------------------------------------------


def _section(
    title: str, objects: Iterable[SchemaObject], only: set[Thing] | None = None
) -> list[str]:
    """The statements, under their title; those of the things in `only`, if it is given."""
    found = [f"{each.statement};\n" for each in objects if only is None or each.thing in only]
    line = f"-- {title} ".ljust(100, "-") + "\n"
    return [line, *found] if found and title else found


def _with_place(shown: SchemaObject, app: AppConfig) -> SchemaObject:
    """A trigger whose function is another app's is shown with the file that has the function."""
    label = last_created().get(Thing("FUNCTION", shown.calls), app.label)
    if label == app.label:
        return shown
    return shown._replace(statement=f"-- Its function: {label}/schema.sql\n{shown.statement}")
