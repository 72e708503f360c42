"""The verb `notices` of the command `price_change`: who is to be told, and who was."""

from __future__ import annotations

from abc import ABC, abstractmethod
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import get_language, pgettext
from django.utils.translation import gettext as _

from price_changes.kinds.words import Names
from price_changes.management.following import change_of
from price_changes.models import PriceChange, Told, ToTell
from price_changes.notices import ANY, Mark, Standing, Which, standing, tell, to_tell
from price_changes.notices.files import marks_of, reading_of, table_of
from price_changes.showing.sentences import sentence
from pricebook.kit.figures import day, grouped
from services.management import arguments
from services.management.table import shown_amount, table
from services.transfer.csv_file import BadBook
from services.transfer.sheets import workbook
from services.transfer.sheets.excel_csv import ExcelCSV
from services.transfer.sheets.table import MOST_ROWS, Limits

FIELDS = ("client_id", "client_name", "email", "rows", "old_total", "new_total")
OF_FACTS = ("told_on", "told_at", "told_by", "way", "note", "in_time")


def add_to(parser: ArgumentParser) -> None:
    parser.add_argument("--only", choices=["told", "not_told"], help="those who were told, or not")
    parser.add_argument(
        "--after", type=int, default=0, metavar="ID", help="clients with a greater id"
    )
    parser.add_argument("--limit", type=arguments.count, default=50)
    parser.add_argument(
        "--client",
        type=arguments.number,
        action="append",
        default=[],
        metavar="ID",
        help="a client who was told; may be given again",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--on", type=_day, metavar="DATE", help="the day on which it was told")
    how.add_argument("--not-told", action="store_true", help="it was not told after all")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="write the whole list, to be filled in: a workbook if it ends in .xlsx, else CSV",
    )
    parser.add_argument(
        "--told",
        metavar="FILE",
        help="record who was told by such a file: its columns client or email, and told_on",
    )
    parser.add_argument("--note", default="", metavar="TEXT", help="how it was told, or why not")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(
            _("a day, such as 2027-02-19; %(text)s is none") % {"text": repr(text[:40])}
        ) from None


class Telling(BaseCommand, ABC):
    """A mixin of the command: `notices`."""

    @abstractmethod
    def write(self, lines: Iterable[str]) -> None:
        """Print lines."""

    @abstractmethod
    def write_json(self, records: Iterable[dict[str, Any]]) -> None:
        """Print records for programs."""

    @abstractmethod
    def next(self, words: str) -> None:
        """Print the verb that goes on."""

    def notices(self, *, number: int, client: list[int], json: bool, **options: Any) -> None:
        change = change_of(number)
        how = bool(options["on"] or options["not_told"] or options["note"])
        if bool(options["out"]) + bool(options["told"]) + bool(client or how) > 1:
            raise CommandError(
                _("Give --told FILE, or --out FILE, or --client ID and how: one at a time."),
                returncode=2,
            )
        if options["out"]:
            _write_list(change, options["out"], options["only"] or ANY)
            self.stdout.write(_said(standing(change)))
            return
        if options["told"]:
            marks = _marks(change, options["told"])
            tell(change, marks, Told.Way.FILE, options["author"], told_of=change.effective_at)
        elif client:
            day_told = options["on"]
            if day_told is None and not options["not_told"]:
                raise CommandError(
                    _("Say on which day they were told: --on DATE; or --not-told."), returncode=2
                )
            marks = [(each, day_told, options["note"]) for each in client]
            tell(change, marks, Told.Way.HAND, options["author"])
        elif how:
            raise CommandError(_("Say which clients: --client ID."), returncode=2)
        self._show(change, json, options["only"] or ANY, options["after"], options["limit"])

    def _show(self, change: PriceChange, json: bool, which: Which, after: int, limit: int) -> None:
        listed = to_tell(change, which).filter(client_id__gt=after)
        found = list(listed[:limit])
        if json:
            return self.write_json(_records(found))
        head = ("", _("client"), _("e-mail"), pgettext("price", "old"), "",
                pgettext("price", "new"), _("told"), _("by"), _("note"))  # fmt: skip
        self.write(table("><<><><<<", [head, *map(_line, found)]))
        self.stdout.write(_said(standing(change)))
        if len(found) == limit:
            only = f" --only {which}" if which else ""
            self.next(f"notices {change.pk}{only} --after {found[-1].client_id}")


def _write_list(change: PriceChange, file: str, which: Which) -> None:
    """The list as a file, whole or not at all."""
    names = Names.of_changes([change], names_clients=True)
    listed = table_of(change, which, change.title or sentence(change, names))
    write = workbook.write if file.endswith(".xlsx") else ExcelCSV.of(get_language()).write
    try:
        with Path(file).open("xb") as sink:
            try:
                write(listed, sink, Limits(MOST_ROWS))
            except BaseException:
                Path(file).unlink()
                raise
    except OSError as error:
        raise CommandError(
            _("%(file)s can't be written: %(error)s") % {"file": file, "error": error.strerror}
        ) from None


def _marks(change: PriceChange, file: str) -> list[Mark]:
    try:
        with Path(file).open("rb") as told:
            marks = marks_of(change, told, reading_of({}))
    except BadBook as bad:
        raise CommandError(
            _("%(file)s is wrong, nobody was marked.\n%(bad)s") % {"file": file, "bad": bad}
        ) from None
    except OSError as error:
        raise CommandError(
            _("%(file)s can't be read: %(error)s") % {"file": file, "error": error.strerror}
        ) from None
    if not marks:
        raise CommandError(_("No line of %(file)s has a day in told_on.") % {"file": file})
    return marks


def _records(found: list[ToTell]) -> Iterator[dict[str, Any]]:
    for each in found:
        yield {name: getattr(each, name) for name in (*FIELDS, *OF_FACTS)}


def _line(each: Any) -> tuple[str, ...]:
    return (
        str(each.client_id),
        each.client_name or "",
        each.email or "",
        shown_amount(each.old_total),
        "→",
        shown_amount(each.new_total),
        day(each.told_on) if each.told_on else "",
        each.told_by,
        each.note,
    )


def _said(numbers: Standing) -> str:
    shown = {
        "told": grouped(numbers.told_in_time),
        "late": grouped(numbers.told_late),
        "total": grouped(numbers.total),
        "by": day(numbers.by),
    }
    if numbers.by is None:
        return _("told: %(told)s of %(total)s") % shown
    return (
        _("told in time: %(told)s of %(total)s; too late: %(late)s; by %(by)s all have to be")
        % shown
    )
