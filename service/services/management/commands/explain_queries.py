import textwrap
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from services.audit.named_queries import named_queries


class Command(BaseCommand):
    help = (
        "Print how PostgreSQL runs the queries that the service lives on, on the book as it is, "
        "and which index each is meant to take (docs/indexes.md). Changes nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "names", nargs="*", metavar="NAME", help="only queries with this in their name"
        )
        parser.add_argument("--analyze", action="store_true", help="run them and print the times")
        parser.add_argument(
            "--buffers", action="store_true", help="with the pages that they read (runs them)"
        )

    def handle(self, *, names: list[str], analyze: bool, buffers: bool, **options: Any) -> None:
        queries = named_queries()
        chosen = [q for q in queries if not names or any(name in q.name for name in names)]
        if not chosen:
            known = "\n  ".join(query.name for query in queries)
            raise CommandError(f"No query is called {' or '.join(names)}. There are:\n  {known}")
        explain = ["ANALYZE"] * (analyze or buffers) + [f"BUFFERS {'on' if buffers else 'off'}"]
        for query in chosen:
            self.stdout.write(self.style.MIGRATE_HEADING(query.name))
            self.stdout.write(
                textwrap.fill(query.why, 98, initial_indent="  ", subsequent_indent="  ")
            )
            for line in query.explain(*explain):
                self.stdout.write(f"    {line}")
            self.stdout.write("")
