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
from django.utils.translation import gettext as _

from pricebook.kit.currency import shown
from pricebook.kit.exact_json import encode
from pricebook.kit.figures import grouped
from services.jobs.imports import WholeFile, import_recorded
from services.management import question, reading_options
from services.management.progress import ProgressLine
from services.management.table import shown_instant
from services.moves import NeedsAnotherPerson
from services.transfer.csv_file import BadBook
from services.transfer.importing import Imported
from services.transfer.incoming_subscriptions import IF_UPDATED
from services.transfer.outcomes import FirstDifferences

GZIP = b"\x1f\x8b"
SHOWN = 20  # lines with differences


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

        parser.add_argument(
            "--add",
            action="store_true",
            help="lines are new that may be subscriptions which somebody has edited since",
        )
        parser.add_argument(
            "--all", action="store_true", help="a dry run shows all differences, not the first 20"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        question.add_to(parser)
        reading_options.add_to(parser)

    def handle(
        self, *, file: str, update: bool, add: bool, dry_run: bool, yes: bool, json: bool,
        **options: Any,
    ) -> None:  # fmt: skip
        began = time.monotonic()
        reading = reading_options.reading_of(options)
        asked: dict[str, Any] = {"update": update, "add": add, "reading": reading}
        found = FirstDifferences(None if options["all"] else SHOWN)
        quiet = dry_run or yes or json or file == "-"
        if update and not quiet and question.may_be_asked():
            # Asked before anything is locked, and not in the middle of it.
            self._tell_moves(self._read(file, dry_run=True, **asked))
            question.ask()
        if dry_run:
            asked["look"] = lambda cursor, imported: found.read(cursor)
        imported = self._read(file, dry_run=dry_run, quiet=json, **asked)
        if json:
            self.stdout.write(encode(as_json(imported, found if dry_run else None)).decode())
            return
        self._print(imported)
        self.stdout.write(reading_options.told(imported.understood))
        if not dry_run and (kept := reading_options.keep(reading, options)):
            self.stdout.write(kept)
        if dry_run:
            self._tell_differences(found)
            self._tell_moves(imported)
            self.stdout.write(_("A dry run: nothing was written."))
        self.stdout.write(
            _("Read in %(value)s s.") % {"value": format(time.monotonic() - began, ".1f")}
        )

    def _read(self, file: str, quiet: bool = False, **asked: Any) -> Imported:
        try:
            with _open(file) as raw:
                progress = ProgressLine(self.stderr, raw)
                whole = raw.raw
                assert isinstance(whole, WholeFile)
                opened = gzip.GzipFile(fileobj=raw) if raw.peek(2)[:2] == GZIP else raw
                try:
                    imported, earlier = import_recorded(opened, whole, progress=progress, **asked)
                finally:
                    progress.end()
            if earlier is not None and not quiet:
                self.stdout.write(
                    _("This file was imported before, as job %(pk)s, at %(shown_instant)s.")
                    % {"pk": earlier.pk, "shown_instant": shown_instant(earlier.finished_at)}
                )
            return imported
        except BadBook as bad:
            hint = ""
            if any(each.code == IF_UPDATED["code"] for each in bad.problems):
                hint = _("\nTo write what differs into the book: import_book --update")
            told = f"\n{reading_options.told(bad.understood)}" if bad.understood else ""
            raise CommandError(
                _("%(file)s is wrong, nothing was written.\n%(bad)s%(told)s%(hint)s")
                % {"file": file, "bad": bad, "told": told, "hint": hint}
            ) from None
        except NeedsAnotherPerson as needs:
            raise CommandError(
                _(
                    "Nothing was written. %(detail)s Plan the new prices as price changes,"
                    " which somebody else approves, and import the rest. (%(code)s)"
                )
                % {"detail": needs.detail, "code": needs.code}
            ) from None
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise CommandError(
                _("%(file)s is damaged (%(error)s), nothing was written.")
                % {"file": file, "error": error}
            ) from None
        except OSError as error:
            raise CommandError(
                _("%(file)s can't be read: %(value)s.")
                % {"file": file, "value": error.strerror or error}
            ) from None
        except IntegrityError as error:
            raise CommandError(
                _(
                    "Somebody else wrote the same meanwhile, nothing was written: try again."
                    " (%(error)s)"
                )
                % {"error": error}
            ) from None

    def _tell_differences(self, found: FirstDifferences) -> None:
        for each in found.lines:
            values = ", ".join(
                f"{column} {book or ''!r} → {ours or ''!r}"
                for column, (book, ours) in each.differences.items()
            )
            said = {
                "line": each.line,
                "outcome": _(each.outcome),
                "id": each.subscription_id,
                "values": values,
            }
            text = (
                _("line %(line)s, %(outcome)s subscription %(id)s: %(values)s")
                if each.subscription_id
                else _("line %(line)s, %(outcome)s: %(values)s")
            )
            self.stdout.write(text % said)
        if left := found.differing - len(found.lines):
            self.stdout.write(
                _("… and %(left)s more lines with differences (--all)") % {"left": grouped(left)}
            )

    def _tell_moves(self, imported: Imported) -> None:
        move = imported.moved
        self.stdout.write(
            _(
                "Prices that are there: %(rows)s move, from %(before)s to %(after)s"
                " %(currency)s together."
            )
            % {
                "rows": grouped(move.rows),
                "before": format(move.before, ",.2f"),
                "after": format(move.after, ",.2f"),
                "currency": settings.CURRENCY,
            }
        )

    def _print(self, imported: Imported) -> None:
        counts = asdict(imported)
        head = [_("new"), _("changed"), _("same")]
        self.stdout.write(f"{'':<16}" + "".join(f"{each:>12}" for each in head))
        for name in ("subscriptions", "clients", "services", "plans"):
            cells = [counts.get(f"{name}_{kind}") for kind in ("new", "changed", "same")]
            self.stdout.write(
                f"{_(name):<16}" + "".join(f"{'' if n is None else grouped(n):>12}" for n in cells)
            )
        paid = (
            _(", %(paid)s of it paid") % {"paid": shown(imported.paid)}
            if imported.paid != imported.total
            else ""
        )
        self.stdout.write(
            _("The total is %(total)s %(currency)s%(paid)s.")
            % {"total": shown(imported.total), "currency": settings.CURRENCY, "paid": paid}
        )
        if not any(
            (
                imported.subscriptions_new,
                imported.subscriptions_changed,
                imported.subscriptions_same,
            )
        ):
            self.stdout.write(_("The file has no subscriptions: nothing was written."))


def as_json(imported: Imported, found: FirstDifferences | None) -> dict[str, Any]:
    """The counts of an import, and what a dry run has found."""
    said = asdict(imported)
    move = said.pop("moved")
    said["moved"] = {name: move[name] for name in ("rows", "before", "after")}
    said["currency"] = settings.CURRENCY
    if found is None:
        return said
    lines = [
        {
            "line": each.line,
            "outcome": each.outcome,
            "subscription": each.subscription_id,
            "differences": {
                column: {"before": book, "after": ours}
                for column, (book, ours) in each.differences.items()
            },
        }
        for each in found.lines
    ]
    return said | {
        "dry_run": True,
        "outcomes": dict(found.counts),
        "lines": lines,
        "lines_left_out": found.differing - len(lines),
    }


def _open(file: str) -> io.BufferedReader:
    opened = io.FileIO(sys.stdin.fileno() if file == "-" else file, "rb", closefd=file != "-")
    return io.BufferedReader(WholeFile(opened))
