"""A database whose LC_CTYPE has no Cyrillic letters is refused, with the reason and what to do."""

import os
import subprocess
import sys
from contextlib import contextmanager

import psycopg
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from psycopg import sql

from pricebook.kit.letters import FIX, why_not
from pricebook.local import doctor

NAME = "letters"
KNOWS_NONE = "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LC_CTYPE 'C'"
KNOWS_ALL = "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LC_CTYPE 'C.UTF-8'"

pytestmark = pytest.mark.django_db


def parameters(**others):
    known = connection.get_connection_params()
    names = ("user", "password", "host", "port", "dbname")
    return {name: known[name] for name in names if name in known} | others


@contextmanager
def a_database(made_with):
    """A connection to a new database of these options."""
    with psycopg.connect(**parameters(), autocommit=True) as server:
        server.execute(f"DROP DATABASE IF EXISTS {NAME}")
        server.execute(sql.SQL(f"CREATE DATABASE {NAME} TEMPLATE template0 {made_with}"))
        try:
            with psycopg.connect(**parameters(dbname=NAME), autocommit=True) as database:
                yield database
        finally:
            server.execute(f"DROP DATABASE {NAME} WITH (FORCE)")


@pytest.mark.parametrize("has_trigrams", [False, True])
@pytest.mark.parametrize(
    ("made_with", "why"),
    [
        (KNOWS_ALL, None),
        (KNOWS_NONE, "LC_CTYPE of the database is 'C'"),
        ("LC_COLLATE 'C' LC_CTYPE 'C' LOCALE_PROVIDER libc", "LC_CTYPE of the database is 'C'"),
        (
            "ENCODING 'SQL_ASCII' LOCALE 'C' LOCALE_PROVIDER libc",
            "encoding of the database is not UTF8",
        ),
    ],
)
def test_is_told_by_what_the_search_would_find(made_with, why, has_trigrams):
    with a_database(made_with) as database:
        if has_trigrams:
            database.execute("CREATE EXTENSION pg_trgm")
        told = why_not(database.cursor())
        if has_trigrams and why != "encoding of the database is not UTF8":
            found = database.execute("SELECT 'ООО Ромашка' %> 'ромашка'").fetchone()
            assert found == (told is None,)
    assert told is None if why is None else why in told


def test_of_the_suite_is_accepted():
    call_command("check", databases=["default"])


class TestRefusal:
    @pytest.mark.parametrize("command", [("check", "--database", "default"), ("migrate",)])
    def test_is_by_the_commands(self, command):
        with a_database(KNOWS_NONE):
            done = manage(*command)
            with psycopg.connect(**parameters(dbname=NAME)) as database:
                tables = database.execute("SELECT count(*) FROM pg_stat_user_tables").fetchone()
        assert done.returncode != 0
        assert "pricebook.E001" in done.stderr
        assert "finds no name in Cyrillic" in done.stderr
        assert FIX in done.stderr
        assert tables == (0,)

    def test_is_by_doctor(self, monkeypatch):
        class Refused:
            returncode = 1
            stderr = (
                "SystemCheckError: System check identified some issues:\n\nERRORS:\n"
                "?: (pricebook.E001) LC_CTYPE of the database is 'C'\n\tHINT: Make a database\n\n"
            )

        monkeypatch.setattr(doctor.subprocess, "run", lambda *args, **kwargs: Refused)
        assert doctor.letters({}) == ("✗", "LC_CTYPE of the database is 'C' Make a database")


def manage(*command):
    database = parameters()
    environment = {name: os.environ[name] for name in os.environ if name != "DATABASE_URL"}
    return subprocess.run(
        [sys.executable, "manage.py", *command],
        env=environment
        | {
            "DB_HOST": str(database["host"]),
            "DB_NAME": NAME,
            "DB_USER": str(database["user"]),
            "DB_PASS": str(database.get("password") or ""),
            "PGPORT": str(database.get("port") or os.environ.get("PGPORT", "")),
        },
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
    )
