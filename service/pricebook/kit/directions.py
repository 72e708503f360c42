"""Characters that turn the direction of the text around them.

Those that embed, override or isolate a direction reach beyond the name that has them: in a sentence
with figures they show these in another order. The marks U+200E and U+200F alone turn nothing else,
and are allowed: names in Arabic or Hebrew need them.
"""

from __future__ import annotations

import re

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")


def turning(text: str) -> str:
    """The first such character of a text, as its code point, "U+202E"; empty if it has none."""
    found = None if text.isascii() else TURNING.search(text)
    return f"U+{ord(found[0]):04X}" if found else ""


def refuse_turning(text: str) -> None:
    """The validator of a form's field."""
    if character := turning(text):
        raise ValidationError(
            _(
                "There is a character %(character)s in it, which turns the direction of the text"
                " around it; take it out."
            )
            % {"character": character},
            code="bad_text",
        )
