"""Fields of the desk's forms: an instant, and a service or a plan."""

from __future__ import annotations

from datetime import datetime, time
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from pricebook.kit.amount_field import AmountField
from services.bounds import FIRST_DAY, LAST_DAY
from services.local_time import NoSuchInstant, to_instant

SELECTED = 500  # records up to which a field lists them; beyond that it takes an id


class InstantInput(forms.MultiWidget):
    """A day and a time of it, each with a label of its own for screen readers."""

    use_fieldset = True

    def __init__(self, label: Any = "") -> None:
        parts = (gettext_lazy("Day"), gettext_lazy("Time"))
        super().__init__(
            [
                forms.DateInput(
                    {"type": "date", "aria-label": parts[0], "max": "9999-12-31"},
                    format="%Y-%m-%d",
                ),
                forms.TimeInput({"type": "time", "aria-label": parts[1]}, format="%H:%M"),
            ]
        )

    def decompress(self, value: datetime | None) -> list[Any]:
        if value is None:
            return [None, None]
        local = timezone.localtime(value)
        return [local.date(), local.time().replace(second=0, microsecond=0)]


class InstantField(forms.MultiValueField):
    """An instant in the deployment's time zone: a day, and a time of it, or its midnight.

    A local time that clocks skip or show twice is refused.
    """

    widget = InstantInput

    def __init__(self, *, help_text: Any = "", **options: Any) -> None:
        fields = (forms.DateField(required=False), forms.TimeField(required=False))
        super().__init__(fields=fields, require_all_fields=False, help_text=help_text, **options)

    def compress(self, parts: list[Any]) -> datetime | None:
        if not parts or parts[0] is None:
            if parts and parts[1] is not None:
                raise ValidationError(_("Give the day, too."))
            return None
        zone = timezone.get_current_timezone()
        try:
            at = to_instant(datetime.combine(parts[0], parts[1] or time()), zone)
        except NoSuchInstant as error:
            raise ValidationError(f"{parts[0]} {parts[1]} {error}.") from None
        except OverflowError:
            at = None
        if at is None or not FIRST_DAY <= at <= LAST_DAY:
            raise ValidationError(_("Give a day from 1900-01-01 to 9999-12-30."))
        return at


def zone_said(text: str) -> str:
    """A help text, and the zone in which the instant is given."""
    zone = {"zone": timezone.get_current_timezone_name()}
    said = _("Without a time: midnight. Time zone: %(zone)s.") % zone
    return f"{text} {said}".strip()


def record_field(model: Any, label: Any, **options: Any) -> forms.ModelChoiceField:
    """A service or a plan: one of a list; where the list would be too long, an id. One query."""
    records = model._default_manager.order_by(*model._meta.ordering)
    field = forms.ModelChoiceField(records, label=label, **options)
    if len(records[: SELECTED + 1]) > SELECTED:
        field.widget = forms.NumberInput({"min": 1})
        field.help_text = _("There are too many to list: type the number of its page.")
    return field


def text_field(label: Any, length: int, **options: Any) -> forms.CharField:
    return forms.CharField(label=label, max_length=length, **options)


def amount_field(label: Any, **options: Any) -> AmountField:
    """An amount with a plain text box: `AmountField` brings the admin's."""
    options.setdefault("widget", forms.TextInput({"autocomplete": "off"}))
    return AmountField(label=label, **options)
