"""The options of a command that say how a file is to be read; and the line that tells it."""

from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError
from django.utils.translation import gettext as _

from services.transfer.csv_file import COLUMNS, Column
from services.transfer.files import BadReading, Reading
from services.transfer.files.reading import CHOICES

HELP = {
    "encoding": "of a text",
    "delimiter": "between the values of a text: , ; | or tab",
    "decimal": "the sign before decimals: . or ,",
    "dates": "of which day and month could be taken for each other",
}
SHOWN = {"\t": "tab", ",": "comma", ";": "semicolon", ".": "point"}


def add_to(parser: ArgumentParser) -> None:
    group = parser.add_argument_group(
        "how the file is read", "found out where it can be; a question names the option to give"
    )
    for option, choices in CHOICES.items():
        shown = ", ".join(choice for choice in choices if choice.isprintable() and len(choice) > 1)
        help = f"{HELP[option]} ({shown})" if shown else HELP[option]
        group.add_argument(f"--{option}", metavar=option.upper(), help=help)
    group.add_argument("--sheet", metavar="NAME", help="of a workbook")
    group.add_argument(
        "--column",
        action="append",
        metavar="HEADER=COLUMN",
        help="a header of the file and our column, such as Kunde=company_name; Notiz= leaves one"
        " out; may be repeated",
    )
    group.add_argument("--mapping", metavar="NAME", help="read it as was kept by that name")
    group.add_argument(
        "--save-mapping", metavar="NAME", help="keep these options by a name, once it is imported"
    )


def reading_of(options: Mapping[str, Any], known: Mapping[str, Column] = COLUMNS) -> Reading:
    """The reading that options describe, of a file with these columns."""
    try:
        reading = Reading.of(options, known)
    except BadReading as error:
        raise CommandError(error.detail) from None
    if options.get("save_mapping") and reading.is_silent:
        raise CommandError(_("--save-mapping keeps options such as --column: give some."))
    return reading


def keep(reading: Reading, options: Mapping[str, Any]) -> str:
    """Keep it if that was asked for; returns the line that says so, or nothing."""
    name = options.get("save_mapping")
    if not name:
        return ""
    try:
        reading.keep(name)
    except BadReading as error:
        raise CommandError(error.detail) from None
    return _("Kept for other files: --mapping %(name)s") % {"name": name}


def told(understood: Mapping[str, str]) -> str:
    """`Read as csv: encoding utf-8, delimiter semicolon, decimal comma.`"""
    if not understood:
        return ""
    parts = [
        f"{name} {SHOWN.get(value, value)}"
        for name, value in understood.items()
        if name != "format" and value
    ]
    return _("Read as %(get)s: %(parts)s.") % {
        "get": understood.get("format") or _("a table"),
        "parts": ", ".join(parts),
    }
