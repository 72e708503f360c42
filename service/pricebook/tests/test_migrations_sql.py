"""The SQL of all migrations, as squawk sees it: nothing new locks or rewrites a big table.

django-migration-linter (`./pricebook check`) looks at operations, squawk at the statements that
come of them. Neither sees what is in functions and DO blocks.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection
from django.db.migrations import Migration
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ProjectState

OURS = {"pricebook", "clients", "services", "price_changes", "events", "desk", "keys"}
SQUAWK = str(Path(sys.executable).with_name("squawk"))
# The limits of time are those of the session that migrates (decision 0041); the rest is taste: a
# discount in per cent is a smallint.
NOT_ASKED = (
    "prefer-robust-stmts,prefer-text-field,prefer-bigint-over-int,prefer-bigint-over-smallint,"
    "require-timeout-settings,require-lock-timeout,require-statement-timeout"
)
# Migrations that have run where there is a book, and never change; no new one belongs here.
RAN = {
    "price_changes 0016_values_that_do_not_fit": {
        "changing-column-type": 6, "constraint-missing-not-valid": 2,
    },
    "price_changes 0017_who_moved_alone": {"require-concurrent-index-creation": 2},
    "services 0004_price_state": {
        "adding-field-with-default": 3, "adding-foreign-key-constraint": 1,
        "adding-required-field": 1, "constraint-missing-not-valid": 2,
        "require-concurrent-index-creation": 5, "require-concurrent-index-deletion": 1,
    },
    "services 0005_ledger": {"ban-drop-function": 1},
    "services 0013_skip_by_change": {"require-concurrent-index-creation": 1},
    "services 0017_named_skips": {"require-concurrent-index-creation": 1},
    "services 0022_periods": {"require-concurrent-index-creation": 2},
    "services 0023_who_pays": {"ban-drop-function": 1, "ban-drop-view": 1},
    "services 0024_kept_and_held": {
        "adding-field-with-default": 1, "require-concurrent-index-creation": 2,
    },
    "services 0025_known_at": {"require-concurrent-index-creation": 1},
    "services 0028_points": {"require-concurrent-index-creation": 5},
    "services 0029_said_when_ended": {
        "require-concurrent-index-creation": 1, "require-concurrent-index-deletion": 1,
    },
    "services 0046_values_that_do_not_fit": {
        "ban-drop-constraint": 1, "constraint-missing-not-valid": 5,
    },
    "services 0053_request_ids": {"adding-field-with-default": 1},
    "services 0063_files_that_are_looked_at": {  # of a table of some rows: jobs
        "adding-foreign-key-constraint": 1, "require-concurrent-index-creation": 1,
    },
}  # fmt: skip
# Where squawk can't know better, each with its reason.
NEW_TABLES = {
    # Its index is of the table that the same migration makes, outside of a transaction.
    "services 0065_sealed_blocks": {"require-concurrent-index-creation": 1},
}


def statements() -> Iterator[tuple[str, str, Migration, list[str]]]:
    """Each of our migrations with its SQL, without the BEGIN and COMMIT around it."""
    loader = MigrationLoader(None)
    plan: dict[tuple[str, str], None] = {}
    for leaf in sorted(loader.graph.leaf_nodes()):
        plan |= dict.fromkeys(loader.graph.forwards_plan(leaf))
    state = ProjectState()
    for app, name in plan:
        migration = loader.graph.nodes[app, name]
        with connection.schema_editor(collect_sql=True, atomic=migration.atomic) as editor:
            state = migration.apply(state, editor, collect_sql=True)
        if app in OURS:
            lines = [line for line in editor.collected_sql if line not in ("BEGIN;", "COMMIT;")]
            yield app, name, migration, lines


def found_by_squawk(folder: Path, *options: str) -> dict[str, dict[str, int]]:
    """How often which rule was broken in which file, one run for all files of the folder."""
    files = sorted(map(str, folder.glob("*.sql")))
    command = [SQUAWK, "--pg-version=15.0", f"--exclude={NOT_ASKED}", "--reporter=json"]
    done = subprocess.run([*command, *options, *files], capture_output=True, text=True)
    found: dict[str, Counter[str]] = {}
    for each in json.loads(done.stdout):
        found.setdefault(Path(each["file"]).stem, Counter())[each["rule_name"]] += 1
    return {name: dict(rules) for name, rules in found.items()}


@pytest.mark.django_db(transaction=True)
def test_no_new_statement_locks_or_rewrites_a_big_table(tmp_path):
    atomic, alone = tmp_path / "atomic", tmp_path / "alone"
    atomic.mkdir()
    alone.mkdir()
    seen = 0
    for app, name, migration, lines in statements():
        folder = atomic if migration.atomic else alone
        (folder / f"{app} {name}.sql").write_text("\n".join(lines) + "\n")
        seen += len(lines)
    assert seen > 500
    found = found_by_squawk(atomic, "--assume-in-transaction") | found_by_squawk(alone)
    assert found == RAN | NEW_TABLES


def test_squawk_sees_what_this_is_for(tmp_path):
    (tmp_path / "new.sql").write_text(
        "ALTER TABLE services_subscription ADD CONSTRAINT price_is_low CHECK (price < 9);\n"
        "CREATE INDEX price_index ON services_subscription (price);\n"
    )
    assert found_by_squawk(tmp_path, "--assume-in-transaction") == {
        "new": {"constraint-missing-not-valid": 1, "require-concurrent-index-creation": 1}
    }
