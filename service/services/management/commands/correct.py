"""`manage correct FILE`: what subscriptions have paid since an instant in the past was wrong."""

import csv
import io
import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from pricebook.kit.exact_json import encode
from pricebook.kit.figures import grouped
from pricebook.kit.refusal import Refusal
from services import corrections
from services.correction_lines import OF_LINE, lines_of
from services.corrections import Corrected, LinesRefused
from services.management import arguments, question
from services.management.table import shown_amount, shown_instant, table
from services.moves import NeedsAnotherPerson

MOST_LINES = 100_000
SHOWN = 20


class Command(BaseCommand):
    help = (
        "Correct what subscriptions have paid since an instant in the past: all lines of a CSV file"
        " or none. Columns: subscription, or source and external_id; since; price; and until, which"
        " may be empty or missing. The guide: docs/price-changes.md"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help="the file, or - for standard input")
        parser.add_argument("--reason", required=True)
        arguments.add_author(parser)
        question.add_to(parser)
        parser.add_argument("--json", action="store_true", help="for programs")

    def handle(
        self,
        *,
        file: str,
        reason: str,
        author: str | None,
        dry_run: bool,
        yes: bool,
        json: bool,
        **options: Any,
    ) -> None:
        places, given = zip(*_read(file), strict=True)
        try:
            asked = (lines_of(given), reason, arguments.author_of(author))

            def show() -> None:
                done, why = corrections.show(*asked)
                self.tell(done, json)
                if why:
                    self.stderr.write(_("It takes another person. %(why)s") % {"why": why})

            quiet = yes or json or file == "-"
            if question.goes_on(show, dry_run=dry_run, quiet=quiet):
                self.tell(corrections.correct(*asked), json)
            elif not json:
                self.stdout.write(_("A dry run: nothing was written."))
        except LinesRefused as refused:
            raise CommandError(
                _("Nothing was corrected.\n%(refused)s") % {"refused": _refused(refused, places)}
            ) from None
        except NeedsAnotherPerson as needs:
            raise CommandError(
                _(
                    "Nothing was corrected. %(detail)s Somebody else corrects it, within the"
                    " limits of that person. (%(code)s)"
                )
                % {"detail": needs.detail, "code": needs.code}
            ) from None
        except Refusal as refusal:
            raise CommandError(
                _("Nothing was corrected. %(detail)s (%(code)s)")
                % {"detail": refusal.detail, "code": refusal.code}
            ) from None

    def tell(self, done: Sequence[Corrected], json: bool) -> None:
        """Print each part of each correction, the first lines of them; or all, for programs."""
        if json:
            for each in done:
                self.stdout.write(encode(asdict(each) | {"moves": each.moves}).decode())
            return
        head = (_("subscription"), _("since"), _("until"), _("paid"), _("corrected"))
        rows = [
            (
                str(each.subscription),
                shown_instant(part.since),
                shown_instant(part.until) or _("goes on"),
                shown_amount(part.old_price),
                shown_amount(part.new_price),
            )
            for each in done
            for part in each.intervals
        ]
        self.write(table("><<>>", [head, *rows[:SHOWN]]))
        if len(rows) > SHOWN:
            self.stdout.write(
                _("  … and %(value)s more (--json has all)") % {"value": grouped(len(rows) - SHOWN)}
            )
        moves, before, after = corrections.totals(done)
        self.stdout.write(
            _(
                "%(moves)s of %(done)s corrected; their prices at the beginning:"
                " %(shown_amount)s before, %(shown_amount2)s after, %(currency)s."
            )
            % {
                "moves": grouped(moves),
                "done": grouped(len(done)),
                "shown_amount": shown_amount(before),
                "shown_amount2": shown_amount(after),
                "currency": settings.CURRENCY,
            }
        )

    def write(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.stdout.write(line)


def _refused(refused: LinesRefused, places: Sequence[int]) -> str:
    shown = [
        _("  line %(places)s: %(detail)s (%(code)s)")
        % {"places": places[number], "detail": each.detail, "code": each.code}
        for number, each in sorted(refused.refusals.items())
    ]
    more = (
        [_("  … and %(value)s more") % {"value": grouped(len(shown) - SHOWN)}]
        if len(shown) > SHOWN
        else []
    )
    return "\n".join([*shown[:SHOWN], *more])


def _read(file: str) -> list[tuple[int, dict[str, str]]]:
    """The lines of a file, each with its number, without empty cells."""
    try:
        with open(sys.stdin.fileno() if file == "-" else file, "rb", closefd=file != "-") as raw:
            text = io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")
            found = list(islice(_rows(text), MOST_LINES + 1))
            if file == "-":
                text.detach()
    except OSError as error:
        raise CommandError(
            _("%(file)s can't be read: %(value)s.")
            % {"file": file, "value": error.strerror or error}
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise CommandError(
            _("%(file)s is no CSV in UTF-8: %(error)s.") % {"file": file, "error": error}
        ) from None
    if not found:
        raise CommandError(_("%(file)s has no lines: nothing was corrected.") % {"file": file})
    if len(found) > MOST_LINES:
        raise CommandError(
            _("%(file)s has more than %(most_lines)s lines: correct it in parts.")
            % {"file": file, "most_lines": grouped(MOST_LINES)}
        )
    return found


def _rows(text: io.TextIOWrapper) -> Iterator[tuple[int, dict[str, str]]]:
    rows = csv.reader(text, strict=True)
    names = next(rows, [])
    if unknown := set(names) - OF_LINE.keys():
        raise CommandError(
            _("There is no column %(min)s; there are: %(of_line)s.")
            % {"min": repr(min(unknown)[:100]), "of_line": ", ".join(OF_LINE)}
        )
    if twice := {name for name in names if names.count(name) > 1}:
        raise CommandError(
            _("The column %(min)s is there twice; give it once.") % {"min": repr(min(twice))}
        )
    for row in filter(None, rows):
        if len(row) != len(names):
            raise CommandError(
                _("Line %(line_num)s has %(row)s cells, and not %(names)s.")
                % {"line_num": rows.line_num, "row": len(row), "names": len(names)}
            )
        cells = zip(names, row, strict=True)
        yield rows.line_num, {name: cell for name, cell in cells if cell != ""}
