import gzip
import io
import sys
import time
import zlib
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import IntegrityError

from pricebook.kit.currency import shown
from services.jobs.imports import WholeFile, import_recorded
from services.management import question, reading_options
from services.management.progress import ProgressLine
from services.management.table import shown_instant
from services.moves import NeedsAnotherPerson
from services.transfer.csv_file import BadBook
from services.transfer.importing import Imported

GZIP = b"\x1f\x8b"


class Command(BaseCommand):
    help = (
        "Read subscriptions from a CSV file in any dialect or a workbook (.xlsx), plain or .gz "
        "(docs/data.md), all of them or none. "
        "Nothing is deleted, and reading a file twice changes nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help="the file, or - for standard input")
        parser.add_argument(
            "--update",
            action="store_true",
            help="write what differs from the book, instead of refusing the file",
        )

        question.add_to(parser)
        reading_options.add_to(parser)

    def handle(self, *, file: str, update: bool, dry_run: bool, yes: bool, **options: Any) -> None:
        began = time.monotonic()
        self.reading = reading_options.reading_of(options)
        if update and not dry_run and not yes and file != "-" and question.may_be_asked():
            # Asked before anything is locked, and not in the middle of it.
            self._tell_moves(self._read(file, update, dry_run=True))
            question.ask()
        imported = self._read(file, update, dry_run)
        self._print(imported)
        self.stdout.write(reading_options.told(imported.understood))
        if not dry_run and (kept := reading_options.keep(self.reading, options)):
            self.stdout.write(kept)
        if dry_run:
            self._tell_moves(imported)
            self.stdout.write("A dry run: nothing was written.")
        self.stdout.write(f"Read in {time.monotonic() - began:.1f} s.")

    def _read(self, file: str, update: bool, dry_run: bool) -> Imported:
        try:
            with _open(file) as raw:
                progress = ProgressLine(self.stderr, raw)
                whole = raw.raw
                assert isinstance(whole, WholeFile)
                opened = gzip.GzipFile(fileobj=raw) if raw.peek(2)[:2] == GZIP else raw
                try:
                    imported, earlier = import_recorded(
                        opened,
                        whole,
                        reading=self.reading,
                        update=update,
                        progress=progress,
                        dry_run=dry_run,
                    )
                finally:
                    progress.end()
            if earlier is not None:
                self.stdout.write(
                    f"This file was imported before, as job {earlier.pk}, at"
                    f" {shown_instant(earlier.finished_at)}."
                )
            return imported
        except BadBook as bad:
            hint = ""
            if not update and any("from the book's" in each.reason for each in bad.problems):
                hint = "\nTo write what differs into the book: import_book --update"
            told = f"\n{reading_options.told(bad.understood)}" if bad.understood else ""
            raise CommandError(
                f"{file} is wrong, nothing was written.\n{bad}{told}{hint}"
            ) from None
        except NeedsAnotherPerson as needs:
            raise CommandError(
                f"Nothing was written. {needs.detail} Plan the new prices as price changes, which"
                f" somebody else approves, and import the rest. ({needs.code})"
            ) from None
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise CommandError(f"{file} is damaged ({error}), nothing was written.") from None
        except OSError as error:
            raise CommandError(f"{file} can't be read: {error.strerror or error}.") from None
        except IntegrityError as error:
            raise CommandError(
                f"Somebody else wrote the same meanwhile, nothing was written: try again. ({error})"
            ) from None

    def _tell_moves(self, imported: Imported) -> None:
        move = imported.moved
        self.stdout.write(
            f"Prices that are there: {move.rows:,} move, from {move.before:,.2f} to"
            f" {move.after:,.2f} {settings.CURRENCY} together."
        )

    def _print(self, imported: Imported) -> None:
        counts = asdict(imported)
        self.stdout.write(f"{'':<16}{'new':>12}{'changed':>12}{'same':>12}")
        for name in ("subscriptions", "clients", "services", "plans"):
            cells = [counts.get(f"{name}_{kind}") for kind in ("new", "changed", "same")]
            self.stdout.write(
                f"{name:<16}" + "".join(f"{'' if n is None else f'{n:,}':>12}" for n in cells)
            )
        paid = f", {shown(imported.paid)} of it paid" if imported.paid != imported.total else ""
        self.stdout.write(f"The total is {shown(imported.total)} {settings.CURRENCY}{paid}.")
        if not any(
            (
                imported.subscriptions_new,
                imported.subscriptions_changed,
                imported.subscriptions_same,
            )
        ):
            self.stdout.write("The file has no subscriptions: nothing was written.")


def _open(file: str) -> io.BufferedReader:
    opened = io.FileIO(sys.stdin.fileno() if file == "-" else file, "rb", closefd=file != "-")
    return io.BufferedReader(WholeFile(opened))
