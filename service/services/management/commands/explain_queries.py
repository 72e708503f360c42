import textwrap
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from pricebook.kit.named_statements import NamedStatement, named_statements
from services.management.table import table

COLUMNS = ("name", "run_by")


class Command(BaseCommand):
    help = (
        "Print how PostgreSQL runs the most important queries on the book as it is, and which"
        " index each is meant to use (docs/indexes.md). Names choose other statements, also those"
        " that write. Changes nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "names",
            nargs="*",
            metavar="NAME",
            help="only statements with this in their name; `list` prints all names, a line each",
        )
        parser.add_argument(
            "--sql", action="store_true", help="with the statements and their parameters"
        )
        parser.add_argument(
            "--analyze",
            action="store_true",
            help="run them and print the times; those that write are never run",
        )
        parser.add_argument(
            "--buffers", action="store_true", help="with the pages that they read (runs them)"
        )

    def handle(
        self, *, names: list[str], sql: bool, analyze: bool, buffers: bool, **options: Any
    ) -> None:
        statements = named_statements()
        if names == ["list"]:
            if sql or analyze or buffers:
                raise CommandError(
                    _(
                        "`list` prints names and runs nothing: leave the options out, or take"
                        ' more of a name, such as "list of".'
                    )
                )
            return self._list(statements)
        # Without a name: the statements whose plans tests assert.
        chosen = [
            each
            for each in statements
            if (any(name in each.name for name in names) if names else each.why)
        ]
        if not chosen:
            known = "\n  ".join(each.name for each in statements)
            raise CommandError(
                _("No query is called %(names)s. There are:\n  %(known)s")
                % {"names": " or ".join(names), "known": known}
            )
        explain = ["ANALYZE"] * (analyze or buffers) + [f"BUFFERS {'on' if buffers else 'off'}"]
        for statement in chosen:
            self.stdout.write(self.style.MIGRATE_HEADING(statement.name))
            for text in (f"{statement.purpose} ({statement.run_by})", statement.why):
                if text:
                    self._write_indented(*textwrap.wrap(text, 96), indent=2)
            if sql:
                self._write_sql(statement)
            if statement.writes and (analyze or buffers):
                self._write_indented("Not run, because it writes: this is only its plan.", indent=2)
            self._write_indented(*statement.explain(*explain))
            self.stdout.write("")

    def _list(self, statements: list[NamedStatement]) -> None:
        # Names are printed in full, however long: they are typed as arguments.
        name, run_by = (
            max(len(getattr(each, column)) for each in statements) for column in COLUMNS
        )
        for each in statements:
            does = "writes" if each.writes else "reads"
            self.stdout.write(
                f"{each.name:{name}}  {does:6}  {each.run_by:{run_by}}  {each.purpose}"
            )

    def _write_sql(self, statement: NamedStatement) -> None:
        self.stdout.write("")
        self._write_indented(*statement.sql.strip("\n").splitlines())
        self.stdout.write("")
        if params := statement.typed_params():
            self._write_indented("Parameters, as they are sent:", indent=2)
            self._write_indented(*table("<<", params, indent=0))
            self.stdout.write("")

    def _write_indented(self, *lines: str, indent: int = 4) -> None:
        for line in lines:
            self.stdout.write(" " * indent + line if line else line)
