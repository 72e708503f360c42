"""The fields that a request may give, and the values that it gives.

`values_of()` reads a JSON object by a table of `Field`s. Names that are not in the table are
refused, and so is a field that a change may not move: its refusal says what does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from django.utils.translation import gettext as _

from pricebook.kit.content import object_of
from services import fields, local_time, parsing
from services.fields import FieldRefused
from services.parsing import BadValue
from services.writing.refusals import WriteRefused

Parse = Callable[[str, Any], Any]
TIME_ZONE = "time_zone"


def missing(name: str) -> WriteRefused:
    return WriteRefused("missing", _("%(name)s is missing.") % {"name": name}, parameter=name)


@dataclass(frozen=True)
class Field:
    """A field of a body. `null` is what null means; without it, null is refused.

    `fixed` makes the refusal of a change that gives it, and says what moves it instead.
    """

    parse: Parse
    required: bool = False
    null: Any = ...
    fixed: Callable[[str], WriteRefused] | None = None
    instant: bool = False  # `time_zone` says where it is a local time

    def value_of(self, name: str, given: Any) -> Any:
        if given is None and self.null is not ...:
            return self.null
        if given is None:
            raise WriteRefused(
                "missing",
                _("%(name)s needs a value; null is none.") % {"name": name},
                parameter=name,
            )
        return self.parse(name, given)


def words(rule: Callable[[str], str]) -> Parse:
    """A field of text, by its rule."""

    def parse(name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise BadValue("bad_text", _("%(name)s is a text.") % {"name": name}, name, value)
        return by_rule(rule, name, value)

    return parse


def by_rule(rule: Callable[[str], str], name: str, value: str) -> str:
    try:
        return rule(value)
    except FieldRefused as error:
        raise BadValue(error.code, f"{name} {error}.", name, value, **error.about) from None


def percent(name: str, value: Any) -> int:
    digits = "" if isinstance(value, bool) else str(value)
    return int(by_rule(fields.percent, name, digits))


def email(name: str, value: Any) -> str:
    """An e-mail, or an empty text: there is none."""
    return "" if value == "" else words(fields.email)(name, value)


IDS = {
    "source": Field(words(fields.SOURCE), null=None),
    "external_id": Field(words(fields.EXTERNAL_ID), null=None),
}
RECORD = partial(Field, parsing.identifier, required=True)
INSTANT = partial(Field, parsing.instant, instant=True)
COMMENT = Field(words(fields.COMMENT))


def values_of(
    table: Mapping[str, Field],
    body: Any,
    *,
    changing: bool = False,
    any_of: Sequence[str] = (),
    called: str = "body",
) -> dict[str, Any]:
    """The values of a body, by name; those that it does not give are left out.

    `changing`: none is required but one of all. `any_of`: one of these is.
    """
    zoned = [name for name, field in table.items() if field.instant]
    known = [*table, *([TIME_ZONE] if zoned else [])]
    given = object_of(body, known, called)
    for name, field in table.items():
        if changing and field.fixed is not None and name in given:
            raise field.fixed(name)
        if not changing and field.required and given.get(name) is None:
            raise missing(name)
    one_of = any_of or [name for name, field in table.items() if field.fixed is None]
    if (changing or any_of) and not set(one_of) & given.keys():
        raise WriteRefused(
            "missing",
            _("Nothing is said: give one of %(one_of)s.") % {"one_of": ", ".join(one_of)},
            parameter=one_of[0],
            allowed=list(one_of),
        )
    zone = _zone(given, zoned)
    return {
        name: zone(name, given[name])
        if field.instant and zone is not None and given[name] is not None
        else field.value_of(name, given[name])
        for name, field in table.items()
        if name in given
    }


def _zone(given: Mapping[str, Any], zoned: list[str]) -> Callable[[str, Any], datetime] | None:
    """The parser of local times of the zone that a body names; None if it names none."""
    if given.get(TIME_ZONE) is None:
        return None
    zone = local_time.zone_named(given[TIME_ZONE])
    if all(given.get(name) is None for name in zoned):
        raise WriteRefused(
            "missing",
            _("time_zone says where %(zoned)s is a local time: give that too.")
            % {"zoned": " or ".join(zoned)},
            parameter=zoned[0],
        )
    return lambda name, value: local_time.instant_in(name, value, zone)
