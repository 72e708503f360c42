"""The form of a list's filters, and the filters that are set, each with a way to take it away."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.http import QueryDict
from django.utils.functional import Promise

from desk.finding.asked import Asked
from desk.finding.words import LABELS, label_of
from pricebook.kit import figures
from services.reading.filter_kinds import Input
from services.reading.filters import FILTERS

Choices = Sequence[tuple[str, str | Promise]]
MOST_CHOICES = 300


@dataclass(frozen=True)
class Option:
    value: str
    label: str
    selected: bool


@dataclass(frozen=True)
class Field:
    """A field of the form; `type` is that of the input, or "select"."""

    name: str
    label: str | Promise
    type: str
    value: str
    options: tuple[Option, ...] = ()
    is_amount: bool = False
    longest: int = 100
    is_wrong: bool = False


@dataclass(frozen=True)
class Chip:
    """A filter that is set, and the address of the list without it."""

    label: str | Promise
    value: str
    without: str


@dataclass(frozen=True)
class Form:
    """`first`: the fields that are asked for most; `more`: the others, opened if one is set."""

    first: list[Field]
    more: list[Field]
    is_open: bool
    kept: list[tuple[str, str]]  # hidden: what no field has


def form_of(
    query: QueryDict,
    first: Iterable[str],
    more: Iterable[str],
    choices: Mapping[str, Choices],
    wrong: str = "",
    kept: Mapping[str, str] | None = None,
    labels: Mapping[str, str | Promise] = LABELS,
) -> Form:
    """The form with what an address gives, also where it can't be used.

    `wrong`: the name of the value that can't be used; `kept`: values without a field.
    """

    def field_of(name: str) -> Field:
        value = query.get(name, "")
        label, is_wrong = label_of(name, labels), name == wrong
        options = choices.get(name)
        if options is not None and len(options) <= MOST_CHOICES:
            made = [Option(each, str(said), each == value) for each, said in options]
            if value and not any(each.selected for each in made):
                made.append(Option(value, value, True))
            return Field(name, label, "select", value, tuple(made), is_wrong=is_wrong)
        kind = FILTERS[name].kind
        if kind.input == Input.INSTANT and (not value or len(value) == 10):
            is_day = len(value.split("-")) == 3
            kind_of_input = "date" if is_day or not value else "text"
            return Field(name, label, kind_of_input, value, is_wrong=is_wrong)
        return Field(
            name,
            label,
            "search" if name == "q" else "text",
            value,
            is_amount=kind.input == Input.AMOUNT,
            longest=kind.schema.get("maxLength", 100),
            is_wrong=is_wrong,
        )

    first, more = list(first), list(more)
    return Form(
        [field_of(name) for name in first],
        [field_of(name) for name in more],
        any(query.get(name) for name in more),
        [(name, value) for name, value in (kept or {}).items() if name not in (*first, *more)],
    )


def chips_of(
    asked: Asked,
    said: Mapping[str, Callable[[Any], str]],
    labels: Mapping[str, str | Promise] = LABELS,
) -> list[Chip]:
    """The filters that are set, with their values in words: `said` has the words by filter."""
    found = []
    for name, value in asked.values.items():
        if name == "external_id":  # it stands with its source
            continue
        text = said[name](value) if name in said else shown(value)
        without: dict[str, None] = {name: None}
        if name == "source" and "external_id" in asked.values:
            text, without = (
                f"{text} · {asked.values['external_id']}",
                {**without, "external_id": None},
            )
        found.append(Chip(label_of(name, labels), text, asked.address(**without)))
    return found


def shown(value: Any) -> str:
    if isinstance(value, datetime):
        text = figures.instant(value)
        return figures.day(value) if " 00:00 " in text else text
    return figures.money(value) if isinstance(value, Decimal) else str(value)
