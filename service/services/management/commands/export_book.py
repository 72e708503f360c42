import gzip
import os
import signal
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from pricebook.kit.figures import grouped
from pricebook.kit.refusal import Refusal
from services.management.progress import ProgressLine
from services.transfer.exporting import Exported, SheetWriter, Sink, export_book
from services.transfer.sheets import workbook
from services.transfer.sheets.excel_csv import ExcelCSV


class Command(BaseCommand):
    help = (
        "Write the book as CSV (docs/data.md) for import_book and other programs; or for people, "
        "as a workbook if the file ends in .xlsx, or as CSV for the Excel of a locale. Exits 1 if "
        "the book changed meanwhile, so that the file mixes several moments."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "file", nargs="?", default="-", help="compressed if it ends in .gz (default: stdout)"
        )
        parser.add_argument(
            "--excel",
            metavar="LOCALE",
            help="CSV as the Excel of this locale opens it, such as ru or en_GB",
        )
        parser.add_argument(
            "--consistent",
            action="store_true",
            help="one snapshot: exact beside writers, but slows a repricing while it lasts",
        )

    def handle(
        self, *, file: str, consistent: bool, excel: str | None = None, **options: Any
    ) -> None:
        try:
            sheet = _sheet(file, excel)
        except Refusal as error:
            raise CommandError(error.detail) from None
        # A terminal that shows the rows needs no progress between them.
        progress = None if file == "-" and sys.stdout.isatty() else ProgressLine(self.stderr)
        try:
            with opened(file) as sink:
                exported = export_book(sink, consistent=consistent, progress=progress, sheet=sheet)
        except Refusal as error:
            raise CommandError(error.detail) from None
        except BrokenPipeError:
            # `export_book | head`: nobody reads any further, which is no error. Whatever Python
            # flushes when it exits is discarded.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(128 + signal.SIGPIPE)
        except OSError as error:
            raise CommandError(
                _("%(file)s can't be written: %(value)s.")
                % {"file": file, "value": error.strerror or error}
            ) from None
        finally:
            if progress:
                progress.end()
        self._report(exported)
        if exported.moved:
            raise CommandError(
                _(
                    "The book changed while it was written: the file mixes several moments."
                    " Export again, or with --consistent."
                )
            )

    def _report(self, exported: Exported) -> None:
        say = self.stderr.write
        say(
            _("%(subscriptions)s subscriptions written.")
            % {"subscriptions": grouped(exported.subscriptions)}
        )
        if exported.left_out:
            parts = ", ".join(f"{count:,} {what}" for what, count in exported.left_out.items())
            say(
                _("Not in the file, because they have no subscription: %(parts)s.")
                % {"parts": parts}
            )
        if exported.unnamed_clients:
            say(
                _(
                    "%(unnamed_clients)s clients have no e-mail of their own: import_book"
                    " identifies clients by it, and will refuse them or treat them as one."
                )
                % {"unnamed_clients": grouped(exported.unnamed_clients)}
            )


def _sheet(file: str, locale: str | None) -> SheetWriter | None:
    """The writer of the file if it is a sheet for people; raises Refusal."""
    is_workbook = file.lower().endswith(".xlsx")
    if file.lower().endswith(".xlsx.gz"):
        raise Refusal(
            "bad_name", _("%(file)s would be compressed twice: leave .gz out.") % {"file": file}
        )
    if locale is None:
        return workbook.write if is_workbook else None
    form = ExcelCSV.of(locale)
    if is_workbook:
        raise Refusal(
            "bad_name",
            _("%(file)s is a workbook, which every locale reads: leave --excel out.")
            % {"file": file},
        )
    return form.write


@contextmanager
def opened(file: str) -> Iterator[Sink]:
    """Standard output, or a file that appears only when it is complete."""
    if file == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = Path(f"{file}.part")
    try:
        with part.open("wb") as raw:
            if file.endswith(".gz"):
                with gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) as sink:
                    yield sink
            else:
                yield raw
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
