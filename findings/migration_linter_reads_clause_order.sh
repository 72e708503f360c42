#!/bin/sh
# django-migration-linter 6.0.0 (Django 5.2.19): whether a column is safe depends on the order of its words.
#
# `ADD COLUMN … DEFAULT 0 NOT NULL` and `ADD COLUMN … NOT NULL DEFAULT 0` are one and the same to
# PostgreSQL, which stores the default and rewrites no row for either. The linter looks for the
# default before the NOT NULL: the first passes, the second is an error. So does a CREATE TABLE with
# a NOT NULL column pass, and the same statement behind a line break, as RunSQL has it, is an error.
#
# Why it matters: a migration with SQL of its own fails a check that it has passed in substance, and
# whoever silences the check for it silences it for columns that would break a running old release.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    "django-migration-linter==6.0.0" "Django==5.2.19"
cat > "$folder/look.py" <<'PYTHON'
from django_migration_linter.sql_analyser import PostgresqlAnalyser, analyse_sql_statements

STATEMENTS = {
    "default first": "ALTER TABLE price ADD COLUMN cents integer DEFAULT 0 NOT NULL;",
    "not null first": "ALTER TABLE price ADD COLUMN cents integer NOT NULL DEFAULT 0;",
    "create table": "CREATE TABLE price (cents integer NOT NULL);",
    "create table on a new line": "\nCREATE TABLE price (cents integer NOT NULL);",
}
seen = {}
for name, sql in STATEMENTS.items():
    errors, _, _ = analyse_sql_statements(PostgresqlAnalyser, [sql])
    seen[name] = [error.code for error in errors]
    print(f"{name}: {seen[name] or 'no error'}")
assert seen == {
    "default first": [],
    "not null first": ["NOT_NULL"],
    "create table": [],
    "create table on a new line": ["NOT_NULL"],
}, seen
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
