"""The forms of services and plans."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from desk.clients.forms import WithIds
from desk.fields import amount_field, text_field
from services.models import Plan


class ValueForm(forms.Form):
    """A new list price, or a new discount in per cent."""

    def __init__(self, *args: Any, kind: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if kind == "service":
            self.fields["value"] = amount_field(gettext_lazy("New list price"))
        else:
            self.fields["value"] = amount_field(
                gettext_lazy("New discount, in per cent"),
                decimal_places=0,
                help_text=_("A whole number from 0 to 100."),
            )


class ServiceForm(WithIds):
    def __init__(self, *args: Any, is_new: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"] = text_field(gettext_lazy("Name"), 50)
        if is_new:
            self.fields["full_price"] = amount_field(gettext_lazy("List price"))
        self.add_ids()


class PlanForm(WithIds):
    def __init__(self, *args: Any, is_new: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["plan_type"] = forms.ChoiceField(
            label=gettext_lazy("Type"), choices=Plan.Type.choices
        )
        if is_new:
            self.fields["discount_percent"] = amount_field(
                gettext_lazy("Discount, in per cent"), decimal_places=0
            )
        self.add_ids()
