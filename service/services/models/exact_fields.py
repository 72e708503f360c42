"""Fields that refuse a number that their column can't have exactly, where Django's fields round.

`save`, `bulk_create`, `bulk_update` and `QuerySet.update` raise a ValidationError before any SQL is
sent. The database refuses what Python can't see, an expression or SQL by hand: where somebody
writes a column by hand it is `numeric` without a precision, because a cast to `numeric(12,2)` or to
an integer rounds before a constraint is asked, and constraints named for the rule keep it exact.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import DecimalValidator
from django.db import models
from django.db.models import F, Func, Q, Value
from django.utils.translation import gettext as _

from pricebook.kit.currency import minor_unit


def exact(field: models.Field, value: Any, decimal_places: int) -> Decimal:
    """The value as a Decimal of so many decimals; ValidationError if it has more, or is no number.

    A float counts as the number that it is written as: 9.995, and not the binary one.
    """
    try:
        number = Decimal(str(value))
        if number == (rounded := round(number, decimal_places)):
            return rounded
    except ArithmeticError:  # it is no number, or infinite, or has more digits than any column
        pass
    allowed = (
        _("a number of up to %(decimal_places)s decimals") % {"decimal_places": decimal_places}
        if decimal_places
        else _("a whole number")
    )
    raise ValidationError(
        _("%(name)s is %(allowed)s; %(value)s is none, and is not rounded to one.")
        % {"name": field.name, "allowed": allowed, "value": repr(str(value)[:100])},
        code="too_exact",
    )


HUNDREDTHS = 2  # the decimals in which amounts are stored, whatever the currency has


class ExactDecimalField(models.DecimalField):
    """A decimal of `decimal_places` decimals, never rounded; with two, an amount of the currency.

    `unbounded`: the column is `numeric` without a precision, for a constraint to refuse more.
    """

    def __init__(self, *args: Any, unbounded: bool = False, **options: Any) -> None:
        self.unbounded = unbounded
        super().__init__(*args, **options)

    @property
    def decimal_places(self) -> int:
        """The decimals that a value may have, for forms, validators and serializers."""
        return minor_unit() if self._stored_places == HUNDREDTHS else self._stored_places

    @decimal_places.setter
    def decimal_places(self, places: int) -> None:
        self._stored_places = places

    @property
    def validators(self) -> list[Any]:
        """Made anew each time: Django would keep those of the currency that was asked for first."""
        return [
            *self.default_validators,
            *self._validators,  # type: ignore[attr-defined] # not in the stubs
            DecimalValidator(self.max_digits, self.decimal_places),
        ]

    def deconstruct(self) -> Any:
        name, path, args, options = super().deconstruct()
        options["decimal_places"] = self._stored_places
        if self.unbounded:
            options["unbounded"] = True
        return name, path, args, options

    def db_type(self, connection: Any) -> str | None:
        return "numeric" if self.unbounded else f"numeric({self.max_digits}, {self._stored_places})"

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        if value is None or hasattr(value, "as_sql"):
            return super().get_db_prep_save(value, connection)
        return exact(self, value, self.decimal_places)


class WholePercentField(models.PositiveSmallIntegerField):
    """A percentage: an int in Python, never cut to one. A filter by 12.5 finds nothing."""

    def db_type(self, connection: Any) -> str:
        return "numeric"

    def from_db_value(self, value: Decimal | None, *args: Any) -> int | None:
        return None if value is None else int(value)

    def to_python(self, value: Any) -> Any:
        if isinstance(value, float | Decimal):
            return int(exact(self, value, 0))
        return super().to_python(value)

    def get_prep_value(self, value: Any) -> Any:
        if isinstance(value, float | Decimal) and value != value // 1:
            return Decimal(str(value))  # for a comparison
        return super().get_prep_value(value)

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        if not prepared:
            value = self.get_prep_value(value)
        if isinstance(value, Decimal):
            return value
        return super().get_db_prep_value(value, connection, prepared=True)

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        if value is None or hasattr(value, "as_sql"):
            return super().get_db_prep_save(value, connection)
        return int(exact(self, value, 0))


class MinorUnit(Func):
    """The decimals that an amount of the book's currency has."""

    function = "minor_unit"
    arity = 0
    output_field = models.IntegerField()


def is_exact(field: str, decimal_places: int | None = None) -> Q:
    """The condition that a field has no more decimals than this; if None, than the currency has."""
    places = MinorUnit() if decimal_places is None else Value(decimal_places)
    return Q(**{field: Func(F(field), places, function="round")})
