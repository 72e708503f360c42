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
    UnfoldAdminTextInputWidget,
)

from services.models import Subscription


def line(label: str, length: int, required: bool = False, help_text: str = "") -> forms.CharField:
    return forms.CharField(
        label=label,
        max_length=length,
        required=required,
        widget=UnfoldAdminTextInputWidget,
        help_text=help_text,
    )


def choice(label: str, choices: list[tuple[str, str]], required: bool = False) -> forms.ChoiceField:
    if not required:
        choices = [("", "any"), *choices]
    return forms.ChoiceField(
        label=label, choices=choices, required=required, widget=UnfoldAdminSelectWidget
    )


def instant(label: str, help_text: str = "") -> forms.SplitDateTimeField:
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


def one_of(relation: str, required: bool = False) -> forms.ModelChoiceField:
    """A field for a service, a plan or a client, which is found by typing."""
    field = Subscription._meta.get_field(relation)
    return forms.ModelChoiceField(
        label=relation.capitalize(),
        queryset=field.related_model._default_manager.all(),  # type: ignore[union-attr]
        required=required,
        widget=Completion(field, admin.site),
    )
