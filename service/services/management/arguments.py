"""Arguments that several commands share: numbers and instants, checked when parsed; an author."""

import getpass
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from django.core.management.base import CommandError
from django.utils.translation import gettext as _

from pricebook.kit import authors
from services import parsing
from services.parsing import BadValue

Value = TypeVar("Value")


def number(text: str) -> int:
    """Parse an id."""
    return _checked(parsing.identifier, text)


def count(text: str) -> int:
    """Parse how many rows to print at most."""
    if not (text.isascii() and text.isdigit() and 0 < len(text) <= 6 and int(text)):
        raise ArgumentTypeError(
            _("a whole number from 1 to 999999; %(text)s is not") % {"text": repr(text[:100])}
        )
    return int(text)


def instant(text: str) -> datetime:
    """Parse an instant with its time zone."""
    return _checked(parsing.instant, text)


def add_author(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--author",
        metavar="NAME",
        help="the person who decides it (default: your login name); it is stored as claimed, and"
        " is no second person for an approval",
    )


def author_of(given: str | None) -> str:
    """The author that was given, or else the name of the login, as a claim."""
    if given is None:
        try:
            return authors.claimed(getpass.getuser())
        except (KeyError, OSError):  # a container's user may have no name
            raise CommandError(_("Your login has no name: give --author NAME.")) from None
    try:
        name = parsing.text("--author", given, 150).strip()
    except BadValue as error:
        raise CommandError(error.detail) from None
    if not name:
        raise CommandError(_("--author is empty: give a name, or leave it out."))
    return authors.claimed(name)


def _checked(parse: Callable[[str, str], Value], text: str) -> Value:
    try:
        return parse("it", text)
    except BadValue as error:
        raise ArgumentTypeError(
            _("%(detail)s This is %(text)s.") % {"detail": error.detail, "text": repr(text[:100])}
        ) from None
