"""The fields of the forms that plan a price change, with the admin's widgets."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelect
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from price_changes.kinds.plan_fields import PlanField
from price_changes.planning.notice_days import MOST
from pricebook.kit.amount_field import AmountField
from services.models import Subscription
from services.reading.filter_kinds import Input
from services.reading.filters import FILTERS, record_of


def field_of_plan(each: PlanField) -> forms.Field:
    """The field in which a plan is given a value."""
    label, hint = str(each.label), str(each.hint)
    match each.input:
        case Input.RECORD:
            return record_field(each.name, each.required)
        case Input.AMOUNT:
            return AmountField(
                label=label,
                required=each.required,
                help_text=hint,
                decimal_places=each.decimal_places,
                negative=each.negative,
            )
        case Input.INSTANT:
            return instant_field(label, hint)
        case Input.CHOICE:
            return choice_field(label, list(each.choices), each.required)
        case Input.DAYS:
            return days_field(label, hint)
        case Input.FLAG:
            return switch_field(label, hint)
        case Input.TEXT:
            return forms.CharField(
                label=label,
                max_length=each.length,
                required=False,
                widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
            )
        case Input.LINE:
            return line_field(label, each.length, help_text=hint)
        case Input.FILTER:
            raise TypeError("a filter has a field for each of its names: field_of_filter")


def field_of_filter(name: str) -> forms.Field:
    """The field in which a set is given this filter."""
    each = FILTERS[name]
    label, hint = str(each.label), str(each.hint)
    match each.kind.input:
        case Input.RECORD:
            field = record_field(record_of(name))
            field.label, field.help_text = label, hint
            return field
        case Input.AMOUNT:
            return AmountField(label=label, required=False, help_text=hint)
        case Input.INSTANT:
            return instant_field(label, hint)
        case Input.CHOICE:
            return choice_field(label, list(each.kind.choices))
        case _:
            length = each.kind.schema.get("maxLength", 50)
            return line_field(label, length, help_text=hint)


def switch_field(label: str, help_text: str = "") -> forms.BooleanField:
    return forms.BooleanField(
        label=label, required=False, widget=UnfoldBooleanSwitchWidget, help_text=help_text
    )


def days_field(label: str, help_text: str = "") -> forms.IntegerField:
    return forms.IntegerField(
        label=label,
        required=False,
        min_value=0,
        max_value=MOST,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "numeric"}),
        help_text=help_text,
    )


def line_field(
    label: str, length: int, required: bool = False, help_text: str = ""
) -> forms.CharField:
    return forms.CharField(
        label=label,
        max_length=length,
        required=required,
        widget=UnfoldAdminTextInputWidget,
        help_text=help_text,
    )


def choice_field(
    label: str, choices: list[tuple[str, str | Promise]], required: bool = False
) -> forms.ChoiceField:
    if not required:
        choices = [("", _("any")), *choices]
    return forms.ChoiceField(
        label=label, choices=choices, required=required, widget=UnfoldAdminSelectWidget
    )


def instant_field(label: str, help_text: str = "") -> forms.SplitDateTimeField:
    zone = timezone.get_current_timezone_name()
    widget = UnfoldAdminSplitDateTimeWidget()
    for part, name in zip(widget.widgets, (_("date"), _("time")), strict=True):
        part.attrs["aria-label"] = f"{label}: {name}"
    return forms.SplitDateTimeField(
        label=label,
        required=False,
        widget=widget,
        help_text=" ".join(
            filter(None, [str(help_text), _("Time zone: %(zone)s.") % {"zone": zone}])
        ),
    )


class Completion(AutocompleteSelect):
    """A completion that shows what it is for while it is empty, to screen readers too."""

    def build_attrs(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        text = _("Which %(name)s") if self.is_required else _("Any %(name)s")
        what = text % {"name": _name(self.field.name)}
        return {**super().build_attrs(*args, **kwargs), "data-placeholder": what}

    class Media:
        # In one list with the script that it must come after: a list keeps its order.
        js = [
            "admin/js/jquery.init.js",
            "admin/js/autocomplete.js",
            "pricebook/completions.js",
        ]


def record_field(relation: str, required: bool = False) -> forms.ModelChoiceField:
    """A field for a service, a plan or a client, which is found by typing."""
    field = Subscription._meta.get_field(relation)
    return forms.ModelChoiceField(
        label=_name(relation).capitalize(),
        queryset=field.related_model._default_manager.all(),  # type: ignore[union-attr]
        required=required,
        widget=Completion(field, admin.site),
    )


def _name(relation: str) -> str:
    return {"service": _("service"), "plan": _("plan"), "client": _("client")}[relation]
