"""Names as they are stored: composed (NFC), and without blanks around them.

`Café` may be written with one letter é, or as e and an accent: nobody sees which. The database
compares names by its function `alike`, by which such names are one, and those too that differ in
case or blanks alone (migration `services.0058_names_alike`).
"""

from __future__ import annotations

import unicodedata
from typing import Any

from django.db import models

# Those of Unicode, and what is as wide as nothing.
BLANKS = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u200b\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"
)


def normal_form(name: str) -> str:
    """The name as it is stored."""
    composed = name if name.isascii() else unicodedata.normalize("NFC", name)
    return composed.strip(BLANKS)


class NameField(models.CharField):
    """A text that is stored, and looked up, in its normal form."""

    def to_python(self, value: Any) -> Any:
        return _normal(super().to_python(value))

    def get_prep_value(self, value: Any) -> Any:
        return _normal(super().get_prep_value(value))

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        value = _normal(super().pre_save(model_instance, add))
        setattr(model_instance, self.attname, value)
        return value

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.CharField", args, kwargs  # in the database it is one


def _normal(value: Any) -> Any:
    return normal_form(value) if isinstance(value, str) else value
