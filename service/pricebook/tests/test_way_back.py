"""A release can be taken back: each migration since the last one goes back, and keeps the rows."""

import pytest
from conftest import begin_first_life, make_tables_ready
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from price_changes.tests.changes import applied, planned
from pricebook.tests.test_live_schema import live
from pricebook.tests.test_migrations_sql import OURS
from services.audit import book_check
from services.ledger import seals
from services.tests.factories import a_book

# The leaves of the last release.
BEFORE = {
    "services": "0063_files_that_are_looked_at",
    "price_changes": "0020_rejected",
    "events": "0002_happenings",
}
# The way back is the backup that was made before (docs/upgrades.md): they replace functions whose
# entries the older ones can't read. No new one belongs here.
NO_WAY_BACK = {
    *(("price_changes", number) for number in (9, 12, 13, 14)),
    *(("services", number) for number in (5, *range(20, 35), *range(36, 46), 54, 57, 58, 61, 62)),
}
ROWS = """
SELECT md5(string_agg(row::text, ',' ORDER BY row::text))
  FROM (SELECT id, price, price_state FROM services_subscription) row
"""
LEDGER = "SELECT count(*), sum(price) FROM services_ledgerentry"


def told(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


@pytest.fixture
def migrated_again(transactional_db):
    yield
    call_command("migrate", verbosity=0)
    make_tables_ready()
    begin_first_life()


@pytest.mark.usefixtures("migrated_again")
def test_what_came_since_the_last_release_goes_back_and_forth_with_a_book():
    book = a_book(30, services=2)
    applied(planned(kind="list_price", service=book.first().service_id, new_value=77))
    seals.seal()
    rows, ledger, schema = told(ROWS), told(LEDGER), live()
    for app, name in BEFORE.items():
        call_command("migrate", app, name, verbosity=0)
    assert "services_sealedblock" not in connection.introspection.table_names()
    assert (told(ROWS), told(LEDGER)) == (rows, ledger)

    call_command("migrate", verbosity=0)
    make_tables_ready()
    assert live() == schema
    assert (told(ROWS), told(LEDGER)) == (rows, ledger)
    assert not book_check.check().differs
    applied(planned(kind="list_price", service=book.first().service_id, new_value=78))
    seals.seal()
    assert seals.verify().is_sound


def test_each_migration_goes_back_or_its_way_back_is_written_down():
    nodes = MigrationLoader(None).graph.nodes.items()
    stay = {
        (app, int(name[:4]))
        for (app, name), migration in nodes
        if app in OURS and not all(each.reversible for each in migration.operations)
    }
    assert stay == NO_WAY_BACK
