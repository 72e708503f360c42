"""schema.sql has all that is in the migrated database, and nothing else."""

import io
import re
from collections import Counter
from importlib import import_module

import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection
from django.db.migrations.recorder import MigrationRecorder

from pricebook.kit import live_schema
from pricebook.kit.live_schema import our_apps, schema_file, schema_of
from pricebook.local.paths import SERVICE
from pricebook.tests.append_only import emptying
from services.models import Subscription
from services.tests.factories import a_service

pytestmark = pytest.mark.django_db

UNDONE = emptying("ENABLE")
APPS = [app.label for app in our_apps()]


def execute(sql: str) -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def migrated(db):
    """The database as its migrations leave it: without what conftest.py does to it for the suite.

    Undone in the test's transaction, so that what is compared is compared whole.
    """
    execute(UNDONE)
    for table in connection.introspection.table_names():
        execute(f"ALTER TABLE {table} RESET (autovacuum_enabled)")


def files() -> dict[str, str]:
    return {app.label: schema_file(app).read_text(encoding="utf-8") for app in our_apps()}


def live() -> dict[str, str]:
    return {app.label: schema_of(app) for app in our_apps()}


class TestFiles:
    @pytest.mark.parametrize("label", APPS)
    def test_are_what_the_migrated_database_has(self, label, migrated):
        assert files()[label] == live()[label], "run ./pricebook manage write_schema"

    def test_hide_nothing_that_the_suite_changes(self):
        """`migrated` must not undo what a migration does."""
        for path in settings.BASE_DIR.glob("*/migrations/*.py"):
            text = path.read_text(encoding="utf-8").lower()
            assert "autovacuum_enabled" not in text, path
            assert "disable trigger" not in text, path

    def test_have_each_function_once(self):
        """Each function is in the file of its app, by the rule of live_schema."""
        there = execute(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            " AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')"
        )
        assert len(there) > 30
        written = Counter(
            re.findall(r"^CREATE OR REPLACE FUNCTION (\w+)\(", "".join(files().values()), re.M)
        )
        assert written == Counter(name for (name,) in there)

    def test_have_each_function_with_the_app_that_defines_it_last(self):
        having = {label for label, text in files().items() if "FUNCTION has_last_word(" in text}
        assert having == {"price_changes"}  # services has defined it first

    def test_have_each_trigger_once(self):
        there = execute("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal")
        written = re.findall(r"^CREATE TRIGGER (\w+)", "".join(files().values()), re.M)
        assert Counter(written) == Counter(name for (name,) in there)

    def test_have_a_word_for_each_kind_of_thing_that_is_there(self):
        """Types, statistics, rules, policies, aggregates: live_schema would not see them."""
        unseen = execute("""
            SELECT relname FROM pg_class
             WHERE relnamespace = 'public'::regnamespace
               AND relkind NOT IN ('r', 'v', 'i', 'S', 't')
             UNION ALL
            SELECT relname FROM pg_class
             WHERE relnamespace = 'public'::regnamespace
               AND (relrowsecurity OR relhasrules AND relkind <> 'v'
                    OR relreplident NOT IN ('d', 'n'))
             UNION ALL
            SELECT proname FROM pg_proc
             WHERE pronamespace = 'public'::regnamespace AND prokind = 'a'
             UNION ALL
            SELECT typname FROM pg_type
             WHERE typnamespace = 'public'::regnamespace AND typtype IN ('e', 'd', 'r')
             UNION ALL
            SELECT stxname FROM pg_statistic_ext
             UNION ALL
            SELECT evtname FROM pg_event_trigger
        """)
        assert unseen == []


CHANGES = [
    "CREATE OR REPLACE FUNCTION price_rule(full_price numeric, discount_percent integer)"
    " RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN full_price",
    "ALTER FUNCTION price_rule(numeric, integer) STABLE",
    "CREATE FUNCTION price_rule() RETURNS integer LANGUAGE sql RETURN 1",
    "DROP FUNCTION ledger_id_at",
    "DROP TRIGGER subscription_priced ON services_subscription",
    "ALTER TABLE services_subscription DISABLE TRIGGER subscription_priced",
    "ALTER TABLE services_subscription ENABLE ALWAYS TRIGGER subscription_priced",
    "CREATE OR REPLACE TRIGGER subscription_priced BEFORE INSERT ON services_subscription"
    " FOR EACH ROW WHEN (NEW.price IS NULL) EXECUTE FUNCTION subscription_priced()",
    "DROP TRIGGER book_changed ON auth_user",
    "DROP INDEX auth_user_email_upper",
    "DROP INDEX subscription_comment",
    "CREATE INDEX another ON services_subscription (price)",
    "ALTER TABLE services_plan DROP CONSTRAINT plan_type_known",
    "ALTER TABLE services_subscription SET (fillfactor = 90)",
    "ALTER TABLE price_changes_listedrows SET (toast.autovacuum_enabled = off)",
    "ALTER TABLE services_subtotal SET UNLOGGED",
    "ALTER TABLE services_subscription ALTER COLUMN comment SET DEFAULT 'none'",
    "ALTER TABLE services_subscription ALTER COLUMN comment DROP NOT NULL",
    "ALTER TABLE services_subscription ALTER COLUMN comment SET STATISTICS 1000",
    "ALTER TABLE services_repricing ALTER COLUMN author TYPE text",
    'ALTER TABLE services_repricing ALTER COLUMN author TYPE varchar(50) COLLATE "C"',
    "ALTER TABLE price_changes_listedrows ALTER COLUMN ids SET STORAGE EXTENDED",
    "ALTER TABLE price_changes_pricechange ALTER COLUMN preview SET COMPRESSION pglz",
    "ALTER TABLE services_plan ADD COLUMN note text",
    "ALTER TABLE services_plan ADD COLUMN twice integer GENERATED ALWAYS AS (2 * id) STORED",
    "ALTER TABLE services_plan ALTER COLUMN id SET GENERATED ALWAYS",
    "ALTER SEQUENCE services_ledgerentry_id_seq CACHE 100",
    "ALTER SEQUENCE price_changes_approval INCREMENT BY 2",
    "DROP EXTENSION pg_trgm CASCADE",
]


class TestComparison:
    @pytest.mark.parametrize("change", CHANGES)
    def test_sees(self, change, migrated):
        before = live()
        execute(change)
        assert live() != before

    @pytest.mark.django_db(transaction=True)
    def test_sees_an_index_that_was_left_half_made(self):
        for _ in range(2):
            a_service(full_price=5)
        with pytest.raises(IntegrityError):
            execute("CREATE UNIQUE INDEX CONCURRENTLY twice ON services_service (full_price)")
        try:
            assert "(full_price) /* INVALID */;" in live()["services"]
        finally:
            execute("DROP INDEX twice")

    def test_does_not_see_that_something_was_made_anew(self, migrated):
        before = live()
        execute("DROP INDEX subscription_comment")
        execute(
            "CREATE INDEX subscription_comment ON services_subscription"
            " (comment varchar_pattern_ops)"
        )
        assert live() == before


class TestCommand:
    def run(self, *arguments: str) -> str:
        out = io.StringIO()
        call_command("write_schema", *arguments, stdout=out)
        return out.getvalue()

    def test_finds_nothing_to_write_where_all_is_as_the_files_say(self, migrated):
        assert self.run("--check") == self.run() == "The files are what the database has.\n"

    def test_says_what_differs_and_fails(self, migrated, capsys):
        execute("DROP TRIGGER subscription_priced ON services_subscription")
        out = io.StringIO()
        with pytest.raises(CommandError, match="1 of the files are not what the database has"):
            call_command("write_schema", "--check", stdout=out)
        assert "--- service/services/schema.sql" in out.getvalue()
        assert "\n-CREATE TRIGGER subscription_priced BEFORE" in out.getvalue()

    def test_writes_what_the_database_has(self, migrated, monkeypatch, tmp_path):
        for app in our_apps():
            monkeypatch.setattr(app, "path", str(tmp_path / app.label))
            (tmp_path / app.label).mkdir()
        monkeypatch.setattr(settings, "BASE_DIR", tmp_path)
        assert self.run().count(": written\n") == len(APPS) == 7
        written = {path.parent.name: path.read_text() for path in tmp_path.glob("*/schema.sql")}
        assert written == live()

    def test_refuses_a_database_that_is_not_migrated(self, migrated):
        last = max(path.stem for path in (SERVICE / "services" / "migrations").glob("0*.py"))
        MigrationRecorder(connection).record_unapplied("services", last)
        with pytest.raises(CommandError, match=rf"1 migrations.* services\.{last} first"):
            self.run()

    @pytest.mark.parametrize(
        ("sql", "name"),
        [
            ("CREATE FUNCTION own() RETURNS integer LANGUAGE sql RETURN 1", "FUNCTION own"),
            ("CREATE SEQUENCE own", "SEQUENCE own"),
            (
                "CREATE TRIGGER own AFTER DELETE ON auth_group"
                " FOR EACH STATEMENT EXECUTE FUNCTION book_changed()",
                "TRIGGER own auth_group",
            ),
        ],
    )
    def test_names_what_no_migration_creates(self, migrated, sql, name):
        execute(sql)
        with pytest.raises(CommandError, match=f"No migration creates {name}: "):
            self.run("--check")


class TestMigrations:
    def test_say_what_was_replaced(self):
        """A migration names what it creates that was dropped or replaced later; nothing else."""
        newest = {each.thing: (each.app, each.migration) for each in live_schema.created()}
        there = {("FUNCTION", name, "") for (name,) in execute("SELECT proname FROM pg_proc")}
        there |= {
            ("TRIGGER", name, table)
            for name, table in execute(
                "SELECT tgname, tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal"
            )
        }
        creators = sorted({(each.app, each.migration) for each in live_schema.created()})
        assert len(creators) > 5
        for app, migration in creators:
            made = [
                each.thing
                for each in live_schema.created()
                if (each.app, each.migration) == (app, migration)
                and each.thing.kind in ("FUNCTION", "TRIGGER")
            ]
            replaced = {
                thing.name
                for thing in made
                if thing not in there or newest[thing] != (app, migration)
            }
            stands = {thing.name for thing in made} - replaced
            folder = f"{apps.get_app_config(app).name}.migrations"
            text = import_module(f"{folder}.{migration}").__doc__ or ""
            said = re.search(r"^Replaced: (.+?)(?:\n\n|\Z)", text, re.M | re.S)
            named = set(re.findall(r"`(\w+)`", said[1])) if said else set()
            assert replaced <= named, f"{app}.{migration} does not say so"
            assert not named & stands, f"{app}.{migration} says so of what stands"
            assert not said or "schema.sql" in said[1], f"{app}.{migration}"


class TestSubscription:
    def test_lists_its_triggers(self):
        """In its docstring, each with a clause."""
        items = re.findall(
            r"^    - ((?:`\w+`,? ?)+): \w.+", Subscription.__doc__ or "", re.MULTILINE
        )
        named = [name for item in items for name in re.findall(r"`(\w+)`", item)]
        there = execute(
            "SELECT tgname FROM pg_trigger"
            " WHERE tgrelid = 'services_subscription'::regclass AND NOT tgisinternal"
        )
        assert len(there) == 20
        assert Counter(named) == Counter(name for (name,) in there)
