"""A filter: the kind of its values, how its rows are found, its form field, its words."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from functools import partial
from typing import Any

from django.db.models import Q
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from services import parsing
from services.parsing import MAX_BIGINT, BadValue
from services.reading.scheduled import parse_pending


class Input(Enum):
    """The form field in which a person gives a value."""

    RECORD = auto()  # a service, a plan or a client, found by typing
    AMOUNT = auto()
    INSTANT = auto()
    CHOICE = auto()
    LINE = auto()
    # These are fields of the plan of a price change alone.
    TEXT = auto()
    FLAG = auto()
    DAYS = auto()  # a number of days, up to a year
    FILTER = auto()  # which subscriptions: a field for each filter


@dataclass(frozen=True)
class ValueKind:
    """A type of the values of filters: how they are parsed, and given in a form.

    `schema` is that of the API. `choices` are the values with their labels, if there are few.
    """

    parse: Callable[[str, Any], Any]
    schema: dict[str, Any]
    input: Input = Input.LINE
    choices: tuple[tuple[str, str], ...] = ()


ID = ValueKind(parsing.identifier, {"type": "integer", "minimum": 1, "maximum": MAX_BIGINT})
RECORD = replace(ID, input=Input.RECORD)
PRICE = ValueKind(
    parsing.money,
    {"type": "string", "format": "decimal", "pattern": r"^[0-9]{1,10}(\.[0-9]{1,2})?$"},
    Input.AMOUNT,
)
INSTANT = ValueKind(parsing.instant, {"type": "string", "format": "date-time"}, Input.INSTANT)


def text(length: int) -> ValueKind:
    return ValueKind(partial(parsing.text, length=length), {"type": "string", "maxLength": length})


def one_of(labelled: Iterable[tuple[str, str | Promise]]) -> ValueKind:
    choices: Any = tuple(labelled)  # labels in the language of the reader
    words = [word for word, _ in choices]
    schema = {"type": "string", "enum": words}
    return ValueKind(partial(parsing.word, words=words), schema, Input.CHOICE, choices)


def _searched(name: str, value: Any) -> str:
    words = parsing.text(name, value, 100)
    if len(words.strip()) < 3:
        raise BadValue(
            "too_short", _("%(name)s has three letters or more.") % {"name": name}, name, value
        )
    return words


SEARCH = ValueKind(_searched, {"type": "string", "minLength": 3, "maxLength": 100})
PENDING = ValueKind(parse_pending, {"type": "string", "pattern": "^(true|false|[0-9]{1,19})$"})


class Access(Enum):
    """How the rows that match a filter are found; `access_paths` decides by it."""

    COUNTED = auto()  # along an index, and the subtotals know how many match
    FEW = auto()  # an index leads to few rows, whatever else is asked for
    INDEXED = (
        auto()
    )  # an index leads to rows that may be many: one client may have half of the book
    SEARCHED = auto()  # indexes of names lead to rows, and the planner can't tell how many
    JUDGED = auto()  # each row is compared with each scheduled change: no index helps
    SCANNED = auto()  # it has no index


@dataclass(frozen=True)
class Filter:
    """A filter of the vocabulary.

    - `condition`: a lookup of Django's, or a function that makes a Q
    - `help`: of the API; `label` and `hint`: of the form that plans a change of a set
    - `not_for_a_change`: why it can't be part of a price change, if it can't
    - `then`: where time alone can change the value, SQL that asks the same of a row as it stands at
      the instant of a change: of its state, price, ended and upcoming, with a placeholder
    - `has_history`: the ledger knows what the value was at an instant. Otherwise the rows that
      match are fixed at the approval of a change.
    - `timeless`: the subscriptions that match change only when the book does, and not with the
      clock, nor with what is scheduled
    - `adjective`: it stands before "subscriptions" in the sentence of a change
    """

    kind: ValueKind
    access: Access
    condition: str | Callable[[Any], Q]
    help: str
    label: str | Promise
    hint: str | Promise = ""
    not_for_a_change: str | Promise = ""
    then: str = ""
    has_history: bool = True
    adjective: bool = False
    timeless: bool = True

    def q(self, value: Any) -> Q:
        if callable(self.condition):
            return self.condition(value)
        return Q(**{self.condition: value})


def a_filter(
    kind: ValueKind,
    access: Access,
    condition: str | Callable[[Any], Q],
    help: str,
    label: str | Promise,
    **more: Any,
) -> Any:
    """The field of `BookFilter` that a `Filter` of these values is."""
    about = Filter(kind, access, condition, help, label, **more)
    return field(default=None, metadata={"filter": about})
