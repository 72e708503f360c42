"""How the sender of a file says it is to be read: options of a command, parameters of a request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from django.utils.translation import pgettext

from pricebook.kit.refusal import Refusal
from services.fields import UNREADABLE
from services.models import ImportMapping
from services.transfer.csv_file import COLUMNS, Column

ENCODINGS = ("utf-8", "utf-16", "cp1251", "cp1252")
DELIMITERS = (",", ";", "\t", "|")
NAMED_DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", r"\t": "\t", "pipe": "|"}
DECIMALS = (".", ",")
DATES = ("iso", "day_first", "month_first")
CHOICES = {
    "encoding": ENCODINGS,
    "delimiter": DELIMITERS,
    "decimal": DECIMALS,
    "dates": DATES,
}


class BadReading(Refusal):
    """An option of how a file is to be read that can't be used. `about` has parameter and value."""

    def __init__(self, parameter: str, value: object, detail: str, **about: Any) -> None:
        super().__init__(
            "bad_reading", detail, parameter=parameter, value=str(value)[:100], **about
        )


@dataclass(frozen=True)
class Reading:
    """How a file is to be read, as its sender has said; None: found out, or asked."""

    encoding: str | None = None  # "utf-8", "utf-16", "cp1251", "cp1252"
    delimiter: str | None = None  # "," ";" "\t" "|"
    decimal: str | None = None  # "." or ","
    dates: str | None = None  # "iso", "day_first", "month_first"
    sheet: str | None = None  # the name of a worksheet
    columns: Mapping[str, str] = field(default_factory=dict)  # header → our column, "": ignored
    # Ours, of the kind of file that it is: those of a book, or of its past.
    known: Mapping[str, Column] = field(default_factory=lambda: COLUMNS, compare=False, repr=False)

    @classmethod
    def of(cls, given: Mapping[str, Any], known: Mapping[str, Column] = COLUMNS) -> Reading:
        """The reading that somebody has given by names; others in `given` do not matter here.

        `columns` maps headers; `column` is a list of `header=column` (or `header:column`), which
        go over it. `mapping` names a reading that was kept, which all others go over: one query.
        Values that are None or empty are not given. Raises BadReading.
        """
        name = given.get("mapping")
        kept = cls._kept(str(name), known) if name else cls()
        said: dict[str, Any] = {}
        for option, allowed in CHOICES.items():
            value = given.get(option)
            if value is None or value == "":
                continue
            found = _chosen(str(value), allowed)
            if found is None:
                shown = ["tab" if each == "\t" else each for each in allowed]
                raise BadReading(
                    option,
                    value,
                    pgettext("file", "%(option)s is one of %(shown)s; %(value)s is none of them.")
                    % {"option": option, "shown": " ".join(shown), "value": repr(str(value)[:100])},
                    allowed=shown,
                )
            said[option] = found
        if sheet := given.get("sheet"):
            said["sheet"] = str(sheet)
        columns = dict(kept.columns)
        columns.update(_columns(given.get("columns") or {}, known))
        columns.update(_columns(_pairs(given.get("column") or ()), known))
        for option, texts in (("column", columns), ("sheet", [said.get("sheet", "")])):
            if bad := next((text for text in texts if UNREADABLE.search(text)), None):
                value = UNREADABLE.sub("?", bad)
                raise BadReading(
                    option,
                    value,
                    pgettext(
                        "file",
                        "%(value)s had a character of no text in place of each ?; correct it.",
                    )
                    % {"value": repr(value[:100])},
                )
        return replace(kept, **said, columns=columns, known=known)

    @classmethod
    def _kept(cls, name: str, known: Mapping[str, Column]) -> Reading:
        kept = ImportMapping.objects.filter(name=name).first() if name.isprintable() else None
        if kept is None:
            names = list(ImportMapping.objects.values_list("name", flat=True)[:20])
            there = (
                pgettext("file", "kept are: %(names)s") % {"names": ", ".join(names)}
                if names
                else pgettext("file", "none is kept yet")
            )
            raise BadReading(
                "mapping",
                name,
                pgettext("file", "No mapping is kept as %(name)s; %(there)s.")
                % {"name": repr(name[:50]), "there": there},
            )
        return cls.of(kept.reading, known)

    def keep(self, name: str) -> None:
        """Keep it by a name, over what was kept by that name. Raises BadReading."""
        length = ImportMapping._meta.get_field("name").max_length
        if not name.strip() or len(name) > (length or 0) or not name.isprintable():
            raise BadReading(
                "save_mapping",
                name,
                pgettext("file", "The name of a mapping has 1 to %(length)s characters.")
                % {"length": length},
            )
        ImportMapping.objects.update_or_create(name=name, defaults={"reading": self.said})

    @property
    def said(self) -> dict[str, Any]:
        """The options that were given, which `of` takes."""
        given = {option: getattr(self, option) for option in (*CHOICES, "sheet")}
        given["columns"] = dict(self.columns)
        return {option: value for option, value in given.items() if value}

    @property
    def is_silent(self) -> bool:
        return self == Reading()

    def column_of(self, header: str) -> str | None:
        """Our column that a header of the file stands for; "" to ignore it, None if unknown."""
        name = header_key(header)
        return self._by_header.get(name, name if name in self.known else None)

    @cached_property
    def _by_header(self) -> dict[str, str]:
        return {header_key(header): column for header, column in self.columns.items()}


def header_key(header: str) -> str:
    """A header as it is compared: in any case, with any blanks around it."""
    return header.strip().casefold()


def _chosen(value: str, allowed: tuple[str, ...]) -> str | None:
    """The choice that is meant: `UTF8`, `Windows-1251`, `tab` and `day-first` are some."""
    if value in allowed:
        return value
    bare = re.sub("[-_ ]", "", value.lower()).replace("windows", "cp")
    named = {re.sub("[-_]", "", choice): choice for choice in allowed}
    found = named.get(bare) if bare else None
    return found or next((d for d in [NAMED_DELIMITERS.get(bare)] if d in allowed), None)


def _pairs(given: str | Iterable[str]) -> dict[str, str]:
    pairs = {}
    for pair in [given] if isinstance(given, str) else given:
        at = max(pair.rfind("="), pair.rfind(":"))  # our columns have neither
        if at < 1:
            raise BadReading(
                "column",
                pair,
                pgettext(
                    "file",
                    "column is header=column, such as Kunde=company_name, and %(pair)s is not.",
                )
                % {"pair": repr(pair[:100])},
            )
        pairs[pair[:at]] = pair[at + 1 :]
    return pairs


def _columns(given: Any, known: Mapping[str, Column]) -> dict[str, str]:
    if not isinstance(given, Mapping):
        raise BadReading(
            "columns", given, pgettext("file", "columns maps headers of the file to columns.")
        )
    columns: dict[str, str] = {}
    for header, column in given.items():
        column = str(column).strip()
        if column and column not in known:
            raise BadReading(
                "column",
                column,
                pgettext("file", "%(column)s is not a column of ours; known are: %(known)s.")
                % {"column": repr(column[:100]), "known": ", ".join(known)},
                allowed=list(known),
            )
        columns[str(header)] = column
    return columns
