"""Fields for an instant that a person gives as a date, maybe a time, and a time zone."""

from __future__ import annotations

import re
from datetime import datetime
from functools import cache
from typing import Any
from zoneinfo import available_timezones

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

TIME = re.compile(r"([01]?[0-9]|2[0-3])[:.]([0-5][0-9])(:[0-5][0-9])?([+-][0-9]{2}:[0-9]{2}|Z)?")
DATES = ["%Y-%m-%d", "%d.%m.%Y"]


class InstantInput(forms.MultiWidget):
    """A date, and a time beside it."""

    template_name = "desk/changes/instant.html"

    def __init__(self) -> None:
        date = forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
        time = forms.TextInput(attrs={"placeholder": "00:00", "size": 8, "autocomplete": "off"})
        super().__init__([date, time])

    def decompress(self, value: Any) -> list[Any]:
        """A stored text or instant, as `asked_for` and a clone give it; anything else is left
        out."""
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                return [None, None]
        if not isinstance(value, datetime):
            return [None, None]
        if value.tzinfo is not None:
            value = timezone.localtime(value)
        midnight = value.hour == value.minute == value.second == 0
        return [value.date(), None if midnight else f"{value:%H:%M:%S}".removesuffix(":00")]


class InstantField(forms.MultiValueField):
    """A local time as text, "2027-01-15T00:00", for its zone to make an instant of.

    The time is midnight if it is left out, and may have the offset of the clocks there, which tells
    one of two readings.
    """

    def __init__(self, label: str = "", help_text: str = "") -> None:
        date = forms.DateField(required=False, input_formats=DATES)
        time = forms.CharField(required=False, max_length=20)
        super().__init__(
            fields=(date, time),
            label=label,
            help_text=help_text,
            required=False,
            require_all_fields=False,
            widget=InstantInput(),
        )
        for part, said in zip(self.widget.widgets, (_("date"), _("time")), strict=True):
            part.attrs["aria-label"] = f"{label}: {said}"

    def compress(self, values: list[Any]) -> str | None:
        if not values or not any(values):
            return None
        day, time = values
        if not day:
            raise ValidationError(_("Give the date too."))
        if not time:
            return f"{day.isoformat()}T00:00"
        match = TIME.fullmatch(time.strip())
        if match is None:
            raise ValidationError(
                _("“%(time)s” is no time; type it as 09:30.") % {"time": time[:20]}
            )
        hour, minute, second, offset = match.groups()
        return f"{day.isoformat()}T{int(hour):02}:{minute}{second or ''}{offset or ''}"


class ZoneInput(forms.TextInput):
    """The name of a time zone, with those that there are to choose from."""

    template_name = "desk/changes/zone.html"

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        context = super().get_context(name, value, {**(attrs or {}), "list": "zones"})
        return {**context, "zones": zones()}


@cache
def zones() -> list[str]:
    return sorted(name for name in available_timezones() if "/" in name or name == "UTC")


def zone_field() -> forms.CharField:
    return forms.CharField(
        label=gettext_lazy("Time zone"),
        max_length=64,
        required=False,
        initial=timezone.get_current_timezone_name,
        widget=ZoneInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        help_text=gettext_lazy("The times on this page are those of clocks there."),
    )
