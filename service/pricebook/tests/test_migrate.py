"""A migration gives way to readers, and goes through when they have ended."""

import io
from functools import partial

import pytest
from conftest import make_tables_ready
from django.core.management import CommandError, call_command
from django.db import connection

from pricebook.management.commands import migrate
from pricebook.tests.servers import until
from services.tests.interleaving import a_person, in_background

READ = "SELECT count(*) FROM auth_user"  # to which desk's only table has a foreign key


@pytest.fixture(autouse=True)
def short(transactional_db, monkeypatch):
    monkeypatch.setattr(migrate, "PAUSE", 0.1)
    yield
    call_command("migrate", "desk", verbosity=0)
    make_tables_ready()


def test_lets_readers_pass_while_one_of_them_stays(transactional_db):
    said = io.StringIO()
    with a_person() as stays:
        stays.execute(READ)
        migrating = in_background(partial(call_command, "migrate", "desk", "zero", stdout=said))
        for round in range(1, 4):
            until(lambda round=round: said.getvalue().count("waits for a lock") >= round)
            with connection.cursor() as cursor:
                cursor.execute("SET statement_timeout = '5s'")
                cursor.execute(READ)
                cursor.execute("RESET statement_timeout")
        assert f"process {stays.info.backend_pid} (" in said.getvalue()
        assert "idle in transaction" in said.getvalue()
        assert migrating.running
        stays.rollback()
    migrating.result()
    assert "desk_chosenlanguage" not in connection.introspection.table_names()


def test_gives_up_in_the_end_and_says_who_is_in_its_way(transactional_db):
    with a_person() as stays:
        stays.execute(READ)
        with pytest.raises(CommandError, match=f"process {stays.info.backend_pid} .* run migrate"):
            call_command("migrate", "desk", "zero", patience=0, verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone() == ("0",)


def test_waits_as_long_as_it_takes_where_nobody_waits_behind_it(transactional_db):
    command = migrate.Command(stdout=io.StringIO())
    command.connection, command.until = connection, 0.0
    connection.ensure_connection()
    shown = []

    def show(*_):
        shown.append(connection.connection.execute("SHOW lock_timeout").fetchone()[0])

    for sql in ("ALTER TABLE t ADD c int", "CREATE INDEX CONCURRENTLY i ON t (c)", "DROP TABLE t"):
        command._give_way(show, sql)
    command._set(0)
    assert shown == ["500ms", "0", "500ms"]
