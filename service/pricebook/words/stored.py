"""Sentences that are stored in English, and shown in the reader's language.

A text that outlives its request is written in English, whoever reads meanwhile. `shown` finds the
sentences that it was made of, by their texts with %(name)s for values, and looks each up. A text
that nobody has made known stays as it is: the words of a person, or of the database.

    NOTE = known(gettext_noop("It waits for %(writer)s."))
    change.note = NOTE % {"writer": "ann"}
    shown(change.note)  # in Russian: Ожидание: ann.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Self

from babel.numbers import format_decimal
from django.conf import settings
from django.utils.translation import get_language, gettext

from pricebook.kit import figures

ENGLISH = "en"
PLACE = re.compile(r"%\((\w+)\)s")
COUNT = re.compile(r"\d{1,3}(?:,\d{3})+")
MONEY = re.compile(r"\d{1,3}(?:,\d{3})*(?:\.\d+)?")
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|\+\d\d:\d\d)")
SENTENCE_END = re.compile(r"(?<=[.!?]) ")


class Said(str):
    """A sentence in the reader's language that knows itself in English, in which it is stored."""

    english: str

    @classmethod
    def of(cls, english: str) -> Self:
        """The sentence that is this one in English."""
        said = cls(shown(english))
        said.english = english
        return said


def in_english(text: str) -> str:
    """The text as it is stored."""
    return text.english if isinstance(text, Said) else text


@dataclass(frozen=True)
class _Known:
    text: str
    pattern: re.Pattern[str]


_KNOWN: list[_Known] = []


def known(text: str) -> str:
    """Make a text known that sentences are stored of. Returns the text."""
    _KNOWN.append(_Known(text, _pattern(text)))
    _KNOWN.sort(key=lambda each: -len(each.text))  # the text that says most comes first
    return text


def shown(text: str) -> str:
    """A stored text in the reader's language."""
    if not text or (get_language() or settings.LANGUAGE_CODE).startswith(ENGLISH):
        return text
    return " ".join(_told(text))


def _told(text: str) -> Iterator[str]:
    """Its sentences, each by the longest part of the text that is known."""
    ends = [match.start() for match in SENTENCE_END.finditer(text)] + [len(text)]
    start = 0
    while start < len(text):
        rest = [end for end in ends if end > start]
        for end in reversed(rest):
            if (found := _looked_up(text[start:end])) is not None:
                break
        else:
            end = rest[0]
            found = text[start:end]
        yield found
        start = end + 1


def _looked_up(part: str) -> str | None:
    for each in _KNOWN:
        if said := each.pattern.fullmatch(part):
            values = {name: _value(value) for name, value in said.groupdict().items()}
            return gettext(each.text) % values
    return None


def _value(value: str) -> str:
    """A value of a sentence: a phrase that is known too, or a figure; else as it is."""
    if (phrase := _looked_up(value)) is not None:
        return phrase
    if COUNT.fullmatch(value):
        return figures.grouped(int(value.replace(",", "")))
    amount, _, currency = value.partition(" ")
    if MONEY.fullmatch(amount) and currency in ("", settings.CURRENCY):
        number = Decimal(amount.replace(",", ""))
        return figures.money(number) if currency else _decimal(number)
    if INSTANT.fullmatch(value):
        with suppress(ValueError):
            return figures.instant(datetime.fromisoformat(value))
    return value


def _decimal(number: Decimal) -> str:
    decimals = -int(number.as_tuple().exponent)
    pattern = f"#,##0.{'0' * decimals}" if decimals > 0 else "0"  # (as of a change)
    locale = (get_language() or settings.LANGUAGE_CODE).replace("-", "_")
    return str(format_decimal(number, pattern, locale))


@cache
def _pattern(text: str) -> re.Pattern[str]:
    """The text with a group for each place; a place that comes twice has the same value twice."""
    said, seen = [], set()
    for index, part in enumerate(PLACE.split(text)):
        if index % 2 == 0:
            said.append(re.escape(part.replace("%%", "%")))
        elif part in seen:
            said.append(f"(?P={part})")
        else:
            seen.add(part)
            said.append(f"(?P<{part}>.+?)")
    return re.compile("".join(said), re.DOTALL)
