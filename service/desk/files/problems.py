"""Why a file was refused, sorted by what settles it: a choice, a column, a tick, or a correction.

questions   values with two readings: each reading is spelled out, and can be chosen
headers     columns that the book does not know: each may be named
allowed     lines that differ from the book, or are unclear, and what lets them pass
wrong       what has to be corrected in the file
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.utils import translation
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from desk.files.words import ALLOWED, COLUMNS, choice, column
from pricebook.kit import figures
from pricebook.kit.currency import minor_unit
from pricebook.words.stored import refusal_shown, shown_in_context
from services.models import Job
from services.past.importing import COLUMNS as HISTORY
from services.transfer.csv_file import COLUMNS as BOOK
from services.transfer.files.reading import CHOICES, header_key
from services.transfer.files.values import AMOUNT, MOMENT, kind_of, readings

OF_READING = (*CHOICES, "sheet")


@dataclass(frozen=True)
class Answer:
    value: str  # as `decimal=.`
    says: str


@dataclass(frozen=True)
class Question:
    name: str  # of the fields of the form
    says: str
    place: str
    value: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Heading:
    """A column of the file that the book does not know. `meant`: ours, if it is plain."""

    name: str
    header: str
    meant: str


@dataclass(frozen=True)
class Wrong:
    place: str
    column: str
    value: str
    reason: str


@dataclass
class Problems:
    said: str = ""  # about the whole file
    questions: list[Question] = field(default_factory=list)
    headers: list[Heading] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # columns that the file must have
    allowed: list[tuple[str, str]] = field(default_factory=list)  # option, its label
    wrong: list[Wrong] = field(default_factory=list)
    count: int = 0

    @property
    def asks(self) -> bool:
        return bool(self.questions or self.headers or self.allowed)


def problems_of(job: Job) -> Problems:
    """The refusal of a job, for its page. No query."""
    error = job.error or {}
    told: list[dict[str, Any]] = error.get("problems", [])
    found = Problems(count=error.get("refused", 0))
    known = columns_of(job)
    for problem in told:
        options = {each.partition("=")[0] for each in problem["answers"]}
        if options == {"column"}:
            headers = [each.partition("=")[2].removesuffix(":") for each in problem["answers"]]
            found.headers += [
                Heading(f"column-{len(found.headers) + n}", header, meant_by(header, known))
                for n, header in enumerate(headers)
            ]
        elif options & {"update", "add"}:
            option = options.pop()
            if option not in dict(found.allowed):
                found.allowed.append((option, label_of(option)))
            found.wrong.append(wrong_of(problem))
        elif options and options <= {*OF_READING}:
            found.questions.append(question_of(problem, len(found.questions), known))
        elif is_missing(problem, known):
            found.missing.append(problem["value"])
        elif not problem["line"]:
            found.said = whole_of(problem)
        else:
            found.wrong.append(wrong_of(problem))
    if any(each["code"] == "bad_header" for each in told):
        offer_again(job, found, known)
    if not told:
        found.said = refusal_shown(error.get("detail", ""))
    return found


def offer_again(job: Job, found: Problems, known: Mapping[str, Any]) -> None:
    """Offer the columns again that somebody has named, where the header is wrong."""
    named = (job.options or {}).get("reading", {}).get("columns", {})
    for header, chosen in named.items():
        name = f"column-{len(found.headers)}"
        found.headers.append(Heading(name, header, chosen or meant_by(header, known)))


def columns_of(job: Job) -> Mapping[str, Any]:
    return HISTORY if job.kind == Job.Kind.HISTORY else BOOK


def choices_of(job: Job) -> list[tuple[str, str]]:
    return [(name, column(name)) for name in columns_of(job)]


def is_missing(problem: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    return (
        problem["code"] == "bad_header"
        and problem["value"] in known
        and problem["reason"].startswith("is missing")
    )


def meant_by(header: str, known: Mapping[str, Any]) -> str:
    """Our column that a header names in words of the desk; it is offered, and not taken."""
    key = _letters(header_key(header))
    plain = key.replace(" ", "_").replace("-", "_")
    if plain in known:
        return plain
    for language, _name in settings.LANGUAGES:
        with translation.override(language):
            for name in COLUMNS:
                if name in known and _letters(header_key(column(name))) == key:
                    return name
    return ""


def _letters(text: str) -> str:
    """A text without what people leave out of a heading or put into it: "Discount %"."""
    return " ".join(re.sub(r"[^\w\s-]", " ", text).split())


def question_of(problem: Mapping[str, Any], number: int, known: Mapping[str, Any]) -> Question:
    name = problem["column"]
    kind = kind_of(known[name]) if name in known else ""
    found = readings(kind, problem["value"])
    answers = []
    for each in problem["answers"]:
        option, _sign, way = each.partition("=")
        says = choice(option, way)
        if reading := found.get(way, found.get("dotted", "") if way == "day_first" else ""):
            says = f"{spelled(kind, reading)} ({says})"
        answers.append(Answer(each, says))
    if problem["code"] == "encoding_unclear":
        says = _("The file is not UTF-8. Which encoding is it in? %(reason)s") % {
            "reason": reason_of(problem)
        }
    elif problem["code"] == "sheet_unclear":
        says = _("Several sheets have the columns of the book. Which one is it?")
    elif problem["code"] == "number_as_text":
        says = _("%(column)s: a cell has a text where a number or a date belongs. How is it meant?")
        says %= {"column": column(name)}
    else:
        says = _("%(column)s: a value can be read in two ways. How is it meant?") % {
            "column": column(name)
        }
    return Question(f"answer-{number}", says, place_of(problem), problem["value"], tuple(answers))


def spelled(kind: str, reading: str) -> str:
    """A reading without the signs that are in doubt: 1,234.00 USD, 4 March 2026."""
    if kind == AMOUNT:
        number = Decimal(reading)
        places = -int(number.as_tuple().exponent)
        if places <= minor_unit():
            return figures.money(number)
        return ngettext(
            "%(number)s, with %(places)s decimal: no price",
            "%(number)s, with %(places)s decimals: no price",
            places,
        ) % {"number": reading, "places": places}
    if kind == MOMENT:
        return date_format(datetime.fromisoformat(reading), "j F Y")
    return reading


def label_of(option: str) -> str:
    if option == "update":
        return _("Change what differs from the book")
    return _("Add lines that may be subscriptions which somebody has edited since")


def wrong_of(problem: Mapping[str, Any]) -> Wrong:
    reason = reason_of(problem)
    if problem["code"] in ("bad_value", "not_as_said") and problem["column"] in ALLOWED:
        reason = _("This is not what the column takes: %(allowed)s.") % {
            "allowed": ALLOWED[problem["column"]]
        }
    elif problem["code"] == "differs":
        reason = _("The book has another value: it %(reason)s.") % {"reason": reason}
    return Wrong(place_of(problem), column(problem["column"]), problem["value"], reason)


def whole_of(problem: Mapping[str, Any]) -> str:
    return _("The file %(reason)s.") % {"reason": reason_of(problem).rstrip(".")}


def reason_of(problem: Mapping[str, Any]) -> str:
    """The reason in the reader's language: of the files' texts, or of those of fields."""
    said = shown_in_context(problem["reason"], "file")
    return refusal_shown(said) if said == problem["reason"] else said


def place_of(problem: Mapping[str, Any]) -> str:
    if problem["cell"]:
        return str(problem["cell"])
    if not problem["line"]:
        return ""
    return _("line %(number)s") % {"number": problem["line"]}


def rows_of(job: Job) -> Iterator[tuple[str, str, str, str]]:
    """The problems as rows of a sheet: place, column, value, reason."""
    for each in (job.error or {}).get("problems", []):
        found = wrong_of(each)
        yield found.place, found.column, found.value, found.reason


def counted(number: int) -> str:
    return ngettext(
        "%(number)s place of the file has to be settled.",
        "%(number)s places of the file have to be settled.",
        number,
    ) % {"number": figures.grouped(number)}
