"""The rules of the fields that people, programs and files write: what each of them takes.

A file gives texts (`transfer.csv_file`), a request gives JSON (`writing.bodies`); the rule, and the
words that refuse a value, are these for both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from unicodedata import is_normalized

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import models
from django.utils.translation import gettext as _

from clients.models import Client
from pricebook.kit.directions import turning
from pricebook.kit.figures import grouped
from pricebook.kit.names import normal_form
from services.models import Plan, Service, Subscription

UNREADABLE = re.compile("[\0\udc80-\udcff]")  # NUL, and what `surrogateescape` makes of bad bytes
PERCENT = re.compile(r"[0-9]{1,2}|100")
IDENTIFIER = re.compile(r"[0-9]{1,18}")
LONGEST_EMAIL = 150  # that of a login name, which an import makes of it
# Those that Django's validator takes for certain, which needs eight times as long for it.
LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
PLAIN_EMAIL = re.compile(rf"[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*@(?:{LABEL}\.)+[A-Za-z]{{2,63}}")


class FieldRefused(ValueError):
    """A value that a field does not take. The text says why, to be read after the field's name."""

    def __init__(self, code: str, reason: str, **about: Any) -> None:
        super().__init__(reason)
        self.code = code
        self.about = about


@dataclass(frozen=True)
class Text:
    """The rule of a text of up to so many characters.

    One that is a name is returned as it is stored: composed, without blanks around it.
    """

    length: int
    required: bool = True
    is_name: bool = False

    def __call__(self, value: str) -> str:
        if self.is_name:
            value = normal_form(value)
        if len(value) > self.length:
            raise FieldRefused(
                "bad_text",
                _("has %(value)s characters; at most %(length)s are allowed")
                % {"value": grouped(len(value)), "length": self.length},
            )
        if self.required and not value:
            raise FieldRefused("too_short", _("is empty; it needs a value"))
        if bad := UNREADABLE.search(value):
            raise FieldRefused(
                "bad_text",
                _("has a NUL character; take it out")
                if bad[0] == "\0"
                else _("is not UTF-8 (byte 0x%(value)s); save the file as UTF-8")
                % {"value": format(ord(bad[0]) - 56320, "02X")},
            )
        if character := turning(value):
            raise FieldRefused(
                "bad_text",
                _(
                    "has a character %(character)s, which turns the direction of the text around"
                    " it; take it out"
                )
                % {"character": character},
            )
        return value

    def are_plain(self, values: Sequence[str]) -> bool:
        """Whether it takes each of these as it stands, for certain: False may be wrong, True not.

        For the columns of files: it costs a tenth of asking it of each.
        """
        text = f"|{'|'.join(values)}|"
        if not text.isprintable() or max(map(len, values), default=0) > self.length:
            return False
        if self.required and "||" in text:
            return False
        # A blank that can be printed is U+0020.
        return not self.is_name or (
            "| " not in text and " |" not in text and is_normalized("NFC", text)
        )


def are_plain(rule: object) -> Callable[[Sequence[str]], bool]:
    """`Text.are_plain` of a rule that is such a text, or none; of another rule False always."""
    found: Callable[[Sequence[str]], bool] = getattr(rule, "are_plain", lambda values: False)
    return found


def column(model: type[models.Model], name: str, required: bool = True) -> Text:
    """The rule of a text that a column stores."""
    length = model._meta.get_field(name).max_length  # type: ignore[union-attr]
    assert length is not None
    return Text(length, required)


def name(model: type[models.Model], column_name: str) -> Text:
    """The rule of a name that a column stores."""
    return replace(column(model, column_name), is_name=True)


COMPANY_NAME = name(Client, "company_name")
FULL_ADDRESS = column(Client, "full_address", required=False)
SERVICE_NAME = name(Service, "name")
COMMENT = column(Subscription, "comment", required=False)
SOURCE = name(Subscription, "source")
EXTERNAL_ID = name(Subscription, "external_id")
PRICE_REASON = column(Subscription, "price_reason", required=False)
EMAIL = Text(LONGEST_EMAIL, is_name=True)


def email(value: str) -> str:
    if PLAIN_EMAIL.fullmatch(value) and len(value) <= LONGEST_EMAIL:
        return value
    value = EMAIL(value)
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
