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
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Self

from babel.messages.mofile import read_mo
from babel.numbers import format_decimal
from django.conf import settings
from django.utils.translation import get_language, gettext, ngettext, to_locale

from pricebook.kit import figures

ENGLISH = "en"
PLACE = re.compile(r"%\((\w+)\)s")
COUNT = re.compile(r"\d{1,3}(?:,\d{3})+")
MONEY = re.compile(r"\d{1,3}(?:,\d{3})*(?:\.\d+)?")
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|\+\d\d:\d\d)")
LITERAL = 8  # characters of a text that are enough to know it by
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


_READ: list[Callable[[str], str]] = []


def read_values(read: Callable[[str], str]) -> None:
    """Let values of sentences be read by a function, which gives back what it does not know."""
    _READ.append(read)


def shown(text: str) -> str:
    """A stored text in the reader's language."""
    if not text or _language().startswith(ENGLISH):
        return text
    return " ".join(_told(text))


def shown_in_context(text: str, context: str) -> str:
    """A stored text that was looked up with a context (`pgettext`), in the reader's language.

    The texts of the context are those of the catalogues.
    """
    language = _language()
    if not text or language.startswith(ENGLISH):
        return text
    return _in_context(text, context, language) or text


def _in_context(text: str, context: str, language: str) -> str | None:
    for pattern, translation in _of_context(context, language):
        if said := pattern.fullmatch(text):
            values = {
                name: _in_context(value, context, language) or _figure(value)
                for name, value in said.groupdict().items()
            }
            return translation % values
    return None


def refusal_shown(text: str) -> str:
    """A refusal that a worker has stored in English, in the reader's language.

    Any text of the catalogues may be one, so all are looked through: for a page about one record.
    """
    language = _language()
    if not text or language.startswith(ENGLISH):
        return text
    return _in_catalogues(text, language) or text


def _in_catalogues(text: str, language: str) -> str | None:
    for literal, singular, plural in _messages(language):
        if literal not in text:
            continue
        said = _pattern(singular).fullmatch(text) or (plural and _pattern(plural).fullmatch(text))
        if not said:
            continue
        found = said.groupdict()
        if plural:
            numbers = (value.replace(",", "") for value in found.values())
            number = next((int(each) for each in reversed([*numbers]) if each.isdigit()), 2)
            translation = ngettext(singular, plural, number)
        else:
            translation = gettext(singular)
        if not PLACE.search(translation):
            return translation.replace("%%", "%") if found else translation
        return translation % {
            name: _in_catalogues(value, language) or _value(value) for name, value in found.items()
        }
    return None


@cache
def _messages(language: str) -> list[tuple[str, str, str]]:
    """The texts of all catalogues without a context, those with most words first.

    Each with its longest part that is no value, and its plural if it has one. Texts of little but
    values are left out: they would be found in anything.
    """
    found: dict[str, tuple[int, str, str, str]] = {}
    place = f"*/locale/{to_locale(language)}/LC_MESSAGES/django.mo"
    for path in sorted(settings.BASE_DIR.glob(place)):
        with path.open("rb") as file:
            for message in read_mo(file):
                if message.context is None and message.id:
                    one, many = (message.id, "") if isinstance(message.id, str) else message.id[:2]
                    parts = PLACE.split(many or one)[::2]
                    literal = max(parts, key=len).replace("%%", "%")
                    if len(literal) >= LITERAL:
                        found[one] = (sum(map(len, parts)), literal, one, many)
    by_words = sorted(found.values(), key=lambda each: -each[0])
    return [(literal, one, many) for _length, literal, one, many in by_words]


@cache
def _of_context(context: str, language: str) -> list[tuple[re.Pattern[str], str]]:
    found = {}
    place = f"*/locale/{to_locale(language)}/LC_MESSAGES/django.mo"
    for path in sorted(settings.BASE_DIR.glob(place)):
        with path.open("rb") as file:
            for message in read_mo(file):
                if message.context == context and isinstance(message.id, str):
                    found[message.id] = str(message.string)
    by_length = sorted(found.items(), key=lambda each: -len(each[0]))
    return [
        (_pattern(text), said if PLACE.search(text) else said.replace("%", "%%"))
        for text, said in by_length
    ]


def _language() -> str:
    return get_language() or settings.LANGUAGE_CODE


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
    phrase = _looked_up(value)
    if phrase is not None:
        return phrase
    for read in _READ:
        if (said := read(value)) != value:
            return said
    return _figure(value)


def _figure(value: str) -> str:
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
    return str(format_decimal(number, pattern, to_locale(_language())))


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
