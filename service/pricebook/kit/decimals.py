"""`?decimals=string`: an answer whose decimals are texts, for readers whose numbers are floats.

It is a parameter of each address and not a header: it goes on in the addresses of the next pages,
caches tell the two answers apart, and every generator of clients can declare it.
"""

from __future__ import annotations

import re
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.utils.translation import gettext as _
from rest_framework import serializers

from pricebook.kit.errors import BadParameter

NAME = "decimals"
AS_TEXT = "string"
IN_QUERY = re.compile(rf"(^|&){NAME}=[^&]*")


class FigureField(serializers.DecimalField):
    """An amount, or a count, which is a whole number in each form."""


def as_text(request: Any) -> bool:
    """Whether the decimals of the answer are texts; not of a refusal of the parameters."""
    try:
        return bool(request.GET.get(NAME) == AS_TEXT)
    except SuspiciousOperation:  # there are too many to be read
        return False


def refuse_others(request: Any) -> None:
    """Raise BadParameter for a value that there is not, and if it is given twice."""
    given = request.GET.getlist(NAME)
    if given not in ([], [AS_TEXT]):
        raise BadParameter(
            NAME,
            ", ".join(given),
            _("%(name)s may be %(as_text)s, once; without it decimals are numbers.")
            % {"name": NAME, "as_text": AS_TEXT},
            "repeated_parameter" if len(given) > 1 else "bad_parameter",
            allowed=[AS_TEXT],
        )


def without(full_path: str) -> str:
    """A path with its query, but for this parameter, which has no say in what a request does."""
    path, _, query = full_path.partition("?")
    if NAME not in query:
        return full_path
    rest = IN_QUERY.sub("", query).lstrip("&")
    return f"{path}?{rest}" if rest else path
