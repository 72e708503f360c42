"""The fields of the forms that plan a price change, with the admin's widgets."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelect
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from price_changes.kinds.plan_fields import PlanField
from pricebook.kit.amount_field import AmountField
from services.models import Subscription
from services.reading.filter_kinds import Input
from services.reading.filters import FILTERS, record_of


def field_of_plan(each: PlanField) -> forms.Field:
    """The field in which a plan is given a value."""
    match each.input:
        case Input.RECORD:
            return record_field(each.name, each.required)
        case Input.AMOUNT:
            return AmountField(
                label=each.label,
                required=each.required,
                help_text=each.hint,
                decimal_places=each.decimal_places,
                negative=each.negative,
            )
        case Input.INSTANT:
            return instant_field(each.label, each.hint)
        case Input.CHOICE:
            return choice_field(each.label, list(each.choices), each.required)
        case Input.FLAG:
            return switch_field(each.label, each.hint)
        case Input.TEXT:
            return forms.CharField(
                label=each.label,
                max_length=each.length,
                required=False,
                widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
            )
        case Input.LINE:
            return line_field(each.label, each.length, help_text=each.hint)
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
    label: str, choices: list[tuple[str, str]], required: bool = False
) -> forms.ChoiceField:
    if not required:
        choices = [("", "any"), *choices]
    return forms.ChoiceField(
        label=label, choices=choices, required=required, widget=UnfoldAdminSelectWidget
    )


def instant_field(label: str, help_text: str = "") -> forms.SplitDateTimeField:
    zone = timezone.get_current_timezone_name()
    widget = UnfoldAdminSplitDateTimeWidget()
    for part, name in zip(widget.widgets, ("date", "time"), strict=True):
        part.attrs["aria-label"] = f"{label}: {name}"
    return forms.SplitDateTimeField(
        label=label,
        required=False,
        widget=widget,
        help_text=f"{help_text} Time zone: {zone}.".strip(),
    )


class Completion(AutocompleteSelect):
    """A completion that shows what it is for while it is empty, to screen readers too."""

    def build_attrs(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        what = f"{'Which' if self.is_required else 'Any'} {self.field.name}"
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
        label=relation.capitalize(),
        queryset=field.related_model._default_manager.all(),  # type: ignore[union-attr]
        required=required,
        widget=Completion(field, admin.site),
    )
