"""The values of one column as texts: strictly ours, or in a notation that the column decides.

A value that is read strictly needs no decision: `4.50`, `2026-10-01`. Another one has readings,
each by a way: `1,234` is 1234 with a decimal point, 1.234 with a decimal comma. If the readings
agree, the value is certain. If only some ways read it, it speaks for them: `4,50` for the comma. A
value with two readings is taken in the way that all others of its column speak for; if none does,
or if they speak for both, it is a question.
"""

from __future__ import annotations

from collections.abc import Callable

from django.utils.translation import pgettext

from pricebook.kit.amount_field import readings_by_sign
from services.transfer.csv_file import Column
from services.transfer.files import dates
from services.transfer.files.reading import Reading
from services.transfer.sheets.headings import WORDS, code_meant

AMOUNT, PERCENT, MOMENT, TEXT = "amount", "percent", "moment", "text"
KINDS = {"numeric": AMOUNT, "integer": PERCENT, "timestamptz": MOMENT}
# The option that says how values of a kind are read, and the ways that each of its choices allows.
OPTIONS = {AMOUNT: "decimal", PERCENT: "decimal", MOMENT: "dates"}
ALLOWED = {
    ".": (".",),
    ",": (",",),
    "iso": (dates.ISO,),
    "day_first": (dates.ISO, dates.DOTTED, dates.DAY_FIRST),
    "month_first": (dates.ISO, dates.MONTH_FIRST),
}
CODES = {"decimal": "amount_unclear", "dates": "date_unclear"}


class Undecided(ValueError):
    """A value that isn't strictly ours, so that the column has to be read before it."""


class Refused(ValueError):
    """A value that can't be taken as it stands there: `code`, and what would settle it."""

    def __init__(self, code: str, reason: str, answers: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.code = code
        self.answers = answers


class Asked(Refused):
    """A value with two readings."""


def kind_of(column: Column) -> str:
    return KINDS.get(column.type.partition("(")[0], TEXT)


def readings(kind: str, text: str) -> dict[str, str]:
    """The meanings of a text in a column of that kind, in our notation, by the way of reading."""
    text = text.strip()
    if kind == MOMENT:
        return dates.readings(text)
    if kind == AMOUNT:
        return {sign: f"{number:f}" for sign, number in readings_by_sign(text).items()}
    if kind == PERCENT:
        by_sign = readings_by_sign(text.removesuffix("%").rstrip())
        return {
            sign: f"{number:.0f}"
            for sign, number in by_sign.items()
            if number == number.to_integral_value()
        }
    return {}


def _of_words(column: str, parse: Callable[[str], str]) -> Callable[[str], str]:
    """The parser of a column of codes, which people's files have words for."""
    return lambda text: parse(code_meant(column, text))


class Values:
    """The values of a column: `see` all that are not strictly ours, and then `parse` each."""

    def __init__(self, column: str, said: Reading) -> None:
        self.column = column
        self.kind = kind_of(said.known[column])
        self.strict: Callable[[str], str] = said.known[column].parse
        if column in WORDS:
            self.strict = _of_words(column, self.strict)
        self.option = OPTIONS.get(self.kind)
        self.said: str | None = getattr(said, self.option) if self.option else None
        self.spoken_for: set[str] = set()  # the ways that values have spoken for
        self.decides = self.option is not None and self.said is None

    def parse_or_wait(self, text: str) -> str:
        """The value, as the import takes it, if that is certain now; else Undecided.

        ValueError if it is no value at all.
        """
        if not self.decides:
            return self.parse(text)
        try:
            value = self.strict(text)
        except ValueError:
            if readings(self.kind, text):
                raise Undecided from None
            raise
        if self.option == "decimal" and "." in text:  # at most two decimals: no thousands
            self.spoken_for.add(".")
        return value

    def see(self, text: str) -> None:
        """Let a value speak for a way of reading."""
        found = readings(self.kind, text)
        if len(found) == 1:
            self.spoken_for |= found.keys()

    def parse(self, text: str) -> str:
        """The value, as the import takes it. Asked if it has two readings, ValueError if none."""
        if self.said is not None:
            return self._as_said(text)
        try:
            return self.strict(text)
        except ValueError as error:
            if not (found := readings(self.kind, text)):
                raise self.unread(text, error) from None
        if len(set(found.values())) == 1:
            return self.strict(next(iter(found.values())))
        spoken_for = self.spoken_for & found.keys()
        if len(spoken_for) == 1:
            return self.strict(found[spoken_for.pop()])
        raise self._question(found)

    def _as_said(self, text: str) -> str:
        assert self.said is not None
        found = readings(self.kind, text)
        allowed = [found[way] for way in ALLOWED[self.said] if way in found]
        if allowed:
            return self.strict(allowed[0])
        if not found:  # nothing that can be read in two ways: an instant with an offset, an error
            try:
                return self.strict(text)
            except ValueError as error:
                raise self.unread(text, error) from None
        others = pgettext("file", " or ").join(dict.fromkeys(found.values()))
        raise Refused(
            "not_as_said",
            pgettext(
                "file",
                "is %(others)s, and not what %(option)s=%(said)s says; correct the value, or"
                " say something else",
            )
            % {"others": others, "option": self.option, "said": self.said},
        )

    def _question(self, found: dict[str, str]) -> Asked:
        assert self.option is not None
        texts = [f"{value} ({self.option}={way})" for way, value in found.items()]
        both = self.spoken_for & found.keys()
        why = (
            pgettext("file", "others speak for both")
            if both
            else pgettext("file", "nothing decides")
        )
        first, second = (f"{self.option}={way}" for way in found)
        flags = pgettext("file", " or ").join(f"--{self.option} {way}" for way in found)
        return Asked(
            CODES[self.option],
            pgettext(
                "file",
                "can be read as %(texts)s, and in this column %(why)s: say %(first)s or"
                " %(second)s (import_book: %(flags)s)",
            )
            % {
                "texts": pgettext("file", " or as ").join(texts),
                "why": why,
                "first": first,
                "second": second,
                "flags": flags,
            },
            (first, second),
        )

    def unread(self, text: str, error: ValueError) -> ValueError:
        """Why a text has no reading: `error`, or what the notation of its column says of it."""
        if self.kind != MOMENT:
            return error
        text = text.strip()
        if dates.TWO_DIGITS.fullmatch(text):
            reason = pgettext("file", "has a year of two digits; write all four")
            return Refused("bad_value", reason)
        ways = ALLOWED[self.said] if self.said is not None else sorted(self.spoken_for)
        here = [dates.EXAMPLES[way] for way in ways if way in dates.EXAMPLES]
        allowed = ""
        if here:
            examples = ", ".join([*here, "2026-12-31"])
            allowed = pgettext("file", "; allowed: %(examples)s") % {"examples": examples}
        if dates.is_no_day(text):
            reason = pgettext("file", "is not a date: there is no such day or time%(allowed)s")
            return Refused("bad_value", reason % {"allowed": allowed})
        reason = pgettext("file", "is not a date or a time%(allowed)s") % {"allowed": allowed}
        return Refused("bad_value", reason) if here else error

    @property
    def way(self) -> str:
        """How its values were read, for people: what was said, or what they spoke for."""
        if self.said is not None:
            return self.said
        return " and ".join(sorted(self.spoken_for - {dates.ISO}))
