"""Authors: text that says who decided or wrote something, and what that is.

    ann (person 3)     a person, by the number of the user
    erp (key 3)        a program, by the number of its API key
    ann (claimed)      a name that was given at the command line: nobody has proved it
    ann                anything else: a name in SQL or Python, or of an earlier release

The type stands at the end, and a name has no parentheses, so no name can look like another type. It
is one text, and not columns, because the ledger, its triggers and all that read them have one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from django.utils.translation import gettext as _

LONGEST = 150  # characters: the length of every column of an author
TYPED = re.compile(r"(?P<name>[^()]*) \((?:(?P<kind>person|key) (?P<number>[0-9]{1,19})|claimed)\)")
OF_BOOK_CHECK = "check_book"  # the author of what a repair of the book writes
TYPE = re.compile(
    r"(?P<named>(?<=[^\s()]))? \((?:(?P<kind>person|key) (?P<number>[0-9]{1,19})|claimed)\)"
)
BRACKETS = str.maketrans("()", "[]")


class Kind(StrEnum):
    PERSON = "person"
    KEY = "key"
    CLAIMED = "claimed"
    UNTYPED = "untyped"


@dataclass(frozen=True)
class Author:
    """An author, taken apart. The number is that of the person or the key, else 0."""

    kind: Kind
    name: str
    number: int = 0


def person(number: int, name: str) -> str:
    return _typed(name, f"person {number}")


def key(number: int, name: str) -> str:
    return _typed(name, f"key {number}")


def claimed(name: str) -> str:
    return _typed(name, "claimed")


def parse(text: str) -> Author:
    found = TYPED.fullmatch(text)
    if found is None:
        return Author(Kind.UNTYPED, text)
    return Author(Kind(found["kind"] or "claimed"), found["name"], int(found["number"] or 0))


def in_words(text: str) -> str:
    """An author, or a sentence that names some, as people read it: without numbers.

    A person is a name, `erp (key)` a program, and a name that nobody has proved says so. A name
    without a type stays as it is kept.
    """
    if text == OF_BOOK_CHECK:
        return _("the book check")
    return TYPE.sub(_type_in_words, text)


def _type_in_words(found: re.Match[str]) -> str:
    said, is_named = {"number": found["number"]}, found["named"] is not None
    if found["kind"] == Kind.PERSON:
        return "" if is_named else _("a person without a name (No. %(number)s)") % said
    if found["kind"] == Kind.KEY:
        return " " + _("(key)") if is_named else _("key No. %(number)s") % said
    return " " + _("(name not proved)")


def _typed(name: str, what: str) -> str:
    """The name with its type: on one line, and cut if both are too long; the number says who."""
    # A character that turns the direction of the text, or hides, could make a name look like more.
    name = "".join(each if each.isprintable() else "_" for each in name.translate(BRACKETS))
    end = f" ({what})"
    return (name if len(name + end) <= LONGEST else name[: LONGEST - len(end) - 1] + "…") + end
