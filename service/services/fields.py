"""The rules of the fields that people, programs and files write: what each of them takes.

A file gives texts (`transfer.csv_file`), a request gives JSON (`writing.bodies`); the rule, and the
words that refuse a value, are these for both.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import models
from django.utils.translation import gettext as _

from clients.models import Client
from pricebook.kit.figures import grouped
from pricebook.kit.names import normal_form
from services.models import Plan, Service, Subscription

UNREADABLE = re.compile("[\0\udc80-\udcff]")  # NUL, and what `surrogateescape` makes of bad bytes
PERCENT = re.compile(r"[0-9]{1,2}|100")
IDENTIFIER = re.compile(r"[0-9]{1,18}")
LONGEST_EMAIL = 150  # that of a login name, which an import makes of it


class FieldRefused(ValueError):
    """A value that a field does not take. The text says why, to be read after the field's name."""

    def __init__(self, code: str, reason: str, **about: Any) -> None:
        super().__init__(reason)
        self.code = code
        self.about = about


def text(length: int, required: bool = True) -> Callable[[str], str]:
    """The rule of a text of up to so many characters."""

    def check(value: str) -> str:
        if len(value) > length:
            raise FieldRefused(
                "bad_text",
                _("has %(value)s characters; at most %(length)s are allowed")
                % {"value": grouped(len(value)), "length": length},
            )
        if required and not value:
            raise FieldRefused("too_short", _("is empty; it needs a value"))
        if bad := UNREADABLE.search(value):
            raise FieldRefused(
                "bad_text",
                _("has a NUL character; take it out")
                if bad[0] == "\0"
                else _("is not UTF-8 (byte 0x%(value)s); save the file as UTF-8")
                % {"value": format(ord(bad[0]) - 56320, "02X")},
            )
        return value

    return check


def column(model: type[models.Model], name: str, required: bool = True) -> Callable[[str], str]:
    """The rule of a text that a column stores."""
    length = model._meta.get_field(name).max_length  # type: ignore[union-attr]
    assert length is not None
    return text(length, required)


def name(model: type[models.Model], column_name: str) -> Callable[[str], str]:
    """The rule of a name, which it returns as it is stored: composed, without blanks around it."""
    rule = column(model, column_name)
    return lambda value: rule(normal_form(value))


COMPANY_NAME = name(Client, "company_name")
FULL_ADDRESS = column(Client, "full_address", required=False)
SERVICE_NAME = name(Service, "name")
COMMENT = column(Subscription, "comment", required=False)
SOURCE = name(Subscription, "source")
EXTERNAL_ID = name(Subscription, "external_id")
PRICE_REASON = column(Subscription, "price_reason", required=False)


def email(value: str) -> str:
    value = text(LONGEST_EMAIL)(normal_form(value))
    try:
        validate_email(value)
    except ValidationError:
        raise FieldRefused(
            "bad_email", _("is not an e-mail address; allowed: name@domain")
        ) from None
    return value


def percent(value: str) -> str:
    if not PERCENT.fullmatch(value):
        raise FieldRefused(
            "out_of_range", _("is not a discount; allowed: a whole number from 0 to 100")
        )
    return value


def plan_type(value: str) -> str:
    return _one_of(value, list(Plan.Type.values), _("plan type"))


def price_state(value: str) -> str:
    return _one_of(value, list(Subscription.PriceState.values), _("price state"))


def identifier(value: str) -> str:
    if not IDENTIFIER.fullmatch(value) or int(value) == 0:
        raise FieldRefused("bad_id", _("is not an id; allowed: a whole number from 1 on"))
    return value


def _one_of(value: str, allowed: list[str], what: str) -> str:
    if value not in allowed:
        raise FieldRefused(
            "unknown_value",
            _("is not a %(what)s; allowed: %(allowed)s")
            % {"what": what, "allowed": ", ".join(allowed)},
            allowed=allowed,
        )
    return value
