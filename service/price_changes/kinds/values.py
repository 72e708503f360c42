"""Checks of the values that a caller gives for a plan; each ChangeError names the bad value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar

from django.utils.translation import gettext as _

from price_changes.errors import ChangeError
from pricebook.kit.directions import turning
from services import parsing
from services.catalogue_subject import CatalogueSubject
from services.models import book_clock
from services.parsing import BadValue

Given = ParamSpec("Given")
Value = TypeVar("Value")


def refusing(parse: Callable[Given, Value]) -> Callable[Given, Value]:
    """The same parser, which raises ChangeError in place of BadValue."""

    @wraps(parse)
    def checked(*args: Given.args, **kwargs: Given.kwargs) -> Value:
        try:
            return parse(*args, **kwargs)
        except BadValue as error:
            raise ChangeError(error.code, error.detail, **error.about) from None

    return checked


parse_money = refusing(parsing.money)
parse_number = refusing(parsing.number)
parse_instant = refusing(parsing.instant)
parse_word = refusing(parsing.word)
parse_flag = refusing(parsing.flag)
parse_id = refusing(parsing.identifier)


def in_future(name: str, value: Any) -> datetime:
    at = parse_instant(name, value)
    if at <= book_clock():
        raise ChangeError(
            "in_the_past",
            _("%(name)s is %(isoformat)s, which has passed; give a later one, or none for at once.")
            % {"name": name, "isoformat": at.isoformat()},
            parameter=name,
            value=at.isoformat(),
        )
    return at


def refuse_lock_that_has_ended(until: datetime | None, at: datetime | None) -> None:
    if until is not None and at is not None and until <= at:
        raise ChangeError(
            "lock_ends_too_early",
            _(
                "The locks would end at %(isoformat)s, not after the change comes into force,"
                " at %(isoformat2)s; let them end later."
            )
            % {"isoformat": until.isoformat(), "isoformat2": at.isoformat()},
            parameter="locked_until",
            value=until.isoformat(),
        )


def required(name: str, given: Mapping[str, Any], hint: str = "") -> Any:
    """The value; if there is none, a ChangeError with the hint."""
    if given.get(name) is None:
        raise ChangeError(
            "missing",
            _("%(name)s is missing%(hint)s.") % {"name": name, "hint": hint},
            parameter=name,
        )
    return given[name]


def parse_text(name: str, value: Any, length: int) -> str:
    text = refusing(parsing.text)(name, value, length).strip()
    if character := turning(text):
        raise ChangeError(
            "bad_text",
            _(
                "%(name)s has a character %(character)s, which turns the direction of the text"
                " around it; take it out."
            )
            % {"name": name, "character": character},
            parameter=name,
            value=text[:100],
        )
    return text


def find_record(name: Literal["service", "plan"], value: Any) -> Any:
    """The service or plan with this id. One query."""
    pk = parse_id(name, value)
    found = CatalogueSubject(name, pk).model._default_manager.filter(pk=pk).first()
    if found is None:
        raise ChangeError(
            "not_found",
            _("There is no %(name)s %(pk)s.") % {"name": _(name), "pk": pk},
            parameter=name,
            value=str(pk),
        )
    return found
