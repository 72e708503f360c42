"""Whether a database knows all letters: where it doesn't, the search finds no Cyrillic name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core import checks
from django.db import connections

ABOUT = """
SELECT datctype, encoding = pg_char_to_encoding('UTF8'), to_regproc('show_trgm') IS NOT NULL
  FROM pg_database WHERE datname = current_database()
"""
ALIKE = "SELECT lower('ПОЖАР') = 'пожар'"
TRIGRAMS = "SELECT cardinality(show_trgm('пожар')) > 0"
FIX = (
    "Make a database that knows them, and load a dump of this one into it:"
    " CREATE DATABASE … TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'."
)


def why_not(cursor: Any) -> str | None:
    """The reason for which the search can't find names in all alphabets; None if it can.

    Up to three queries. Before the extension of the trigrams is there, LC_CTYPE has to tell.
    """
    cursor.execute(ABOUT)
    ctype, is_unicode, has_trigrams = cursor.fetchone()
    if not is_unicode:
        return "The encoding of the database is not UTF8: it can't have names in all alphabets."
    cursor.execute(ALIKE)
    (knows,) = cursor.fetchone()
    if knows and has_trigrams:
        cursor.execute(TRIGRAMS)
        (knows,) = cursor.fetchone()
    elif ctype in ("C", "POSIX"):
        knows = False
    if knows:
        return None
    return (
        f"LC_CTYPE of the database is {ctype!r}, by which only the letters a to z are letters: the"
        " search finds no name in Cyrillic, Greek or any other alphabet."
    )


def check_letters(
    *, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """An error for each database that the search can't use: `check --database`, and `migrate`."""
    found: list[checks.CheckMessage] = []
    for alias in databases or []:
        with connections[alias].cursor() as cursor:
            why = why_not(cursor)
        if why is not None:
            found.append(checks.Error(why, hint=FIX, id="pricebook.E001"))
    return found
