import difflib
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from pricebook.kit import live_schema


class Command(BaseCommand):
    help = (
        "Write each app's schema.sql: its tables, indexes, triggers and functions as they are"
        " in this database, which must be migrated."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--check",
            action="store_true",
            help="write nothing; print what differs, and exit with 1 if anything does",
        )

    def handle(self, *, check: bool, **options: Any) -> None:
        executor = MigrationExecutor(connection)
        if waiting := executor.migration_plan(executor.loader.graph.leaf_nodes()):
            first = waiting[0][0]
            raise CommandError(
                f"{len(waiting)} migrations are not applied, {first.app_label}.{first.name} first:"
                " run `./pricebook manage migrate`."
            )
        differing = 0
        for app in live_schema.our_apps():
            file = live_schema.schema_file(app)
            name = str(file.relative_to(settings.BASE_DIR.parent))
            before = file.read_text(encoding="utf-8") if file.exists() else ""
            now = live_schema.schema_of(app)
            if before == now:
                continue
            differing += 1
            if check:
                lines = difflib.unified_diff(
                    before.splitlines(), now.splitlines(), name, "the database", lineterm=""
                )
                self.stdout.write("\n".join(lines))
            else:
                file.write_text(now, encoding="utf-8")
                self.stdout.write(f"{name}: written")
        if unclaimed := live_schema.unclaimed():
            raise CommandError(
                f"No migration creates {', '.join(unclaimed)}: drop it, or give it a migration."
            )
        if check and differing:
            raise CommandError(
                f"{differing} of the files are not what the database has. If the database is right,"
                " run `./pricebook manage write_schema`; if not, find out who changed it."
            )
        if not differing:
            self.stdout.write("The files are what the database has.")
