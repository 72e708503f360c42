"""Forms that plan price changes. Only `definition` checks the values that they ask for."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.db import transaction
from django.http import QueryDict
from django.utils import timezone
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldBooleanSwitchWidget

from price_changes import verbs
from price_changes.errors import ChangeError
from price_changes.fields import choice, instant, line, one_of
from price_changes.models import PriceChange
from price_changes.planning import definition
from pricebook.kit.amount_field import AmountField
from services.models import Plan, Service
from services.reading.filter_kinds import Input
from services.reading.filters import FILTERS, LASTING

Kind, Adjustment = PriceChange.Kind, PriceChange.Adjustment


class PlanForm(forms.Form):
    """The fields of every plan. `planned_by()` makes the change, or puts errors in the form."""

    data: Any  # a QueryDict

    kind: str
    heading: str
    about: str
    sections: list[tuple[str, list[str]]]
    WHEN = ("When and why", ["effective_at", "title", "reason"])

    title = line("Title", 100, help_text="What people will call it.")
    reason = forms.CharField(
        label="Reason",
        max_length=1000,
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
    )
    comment = line("Comment to stamp", 50, help_text="On rows it moves; never over a person's.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Made with the form, because the time zone is the request's.
        self.fields["effective_at"] = instant("In force from", "Empty: when it is approved.")
        self.fields["locked_until"] = instant("Until", self.until_means)

    until_means = ""

    def shown(self) -> list[tuple[str, list[forms.BoundField]]]:
        """The sections with their fields."""
        return [(title, [self[name] for name in names]) for title, names in self.sections]

    def values(self) -> dict[str, Any]:
        """The values for `verbs.plan()`."""
        given = self.cleaned_data
        values = {"kind": self.kind}
        for name in (*definition.COMMON, *definition.OF_KIND[Kind(self.kind)]):
            if name in given and given[name] not in (None, ""):
                values[name] = _plain(given[name])
        if "effective_at" in values:
            # The key of the zone: Django names a zone whose offset never changes by its offset.
            values["time_zone"] = str(timezone.get_current_timezone())
        return values

    def planned_by(self, author: str) -> PriceChange | None:
        """The change with its preview; None, with an error in the form, if it can't be planned."""
        try:
            with transaction.atomic():
                return verbs.preview(verbs.plan(self.values(), author).pk)
        except ChangeError as error:
            self.refuse(error)
            return None

    def refuse(self, error: ChangeError) -> None:
        name = self.field_about(str(error.about.get("parameter")))
        if name not in self.fields:
            self.add_error(None, error.detail)
            return
        # Error texts begin with the API's names of fields, which are not the labels on the page.
        self.add_error(name, re.sub(r"^[a-z_]+ (?=is|has|lies|needs|may)", "It ", error.detail))

    def field_about(self, parameter: str) -> str:
        return parameter

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        for name in self.errors:
            if isinstance(self.fields.get(name), forms.ModelChoiceField):
                # The completion's widget fails on a value that is no id when it is shown again.
                self.data = self.data.copy()
                self.data[name] = ""
        return cleaned

    @classmethod
    def asked_for(cls, query: QueryDict) -> dict[str, Any]:
        """Initial values from the query of an address; unusable ones are left out."""
        known, initial = cls().fields, {}
        for name, value in query.dict().items():
            assert isinstance(value, str)
            field = known.get(name)
            if isinstance(field, forms.ModelChoiceField):
                if value.isascii() and value.isdigit() and len(value) < 19:
                    initial[name] = value
            elif field is not None and not isinstance(field, forms.SplitDateTimeField):
                initial[name] = value[:200]
        return initial


def _plain(value: Any) -> Any:
    return value.pk if isinstance(value, Service | Plan) else value


class CatalogueForm(PlanForm):
    until_means = "They keep their price until then; empty: until they are released."

    for_new_only = forms.BooleanField(
        label="For new subscriptions only",
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        help_text="Those that follow the catalogue now are locked at the price they pay.",
    )


class ListPriceForm(CatalogueForm):
    kind = Kind.LIST_PRICE
    heading = "New list price"
    about = "Of one service. Moves the subscriptions that follow the catalogue, or only new ones."

    service = one_of("service", required=True)
    new_value = AmountField(label="New list price")

    sections = [
        ("What", ["service", "new_value"]),
        ("Whom it moves", ["for_new_only", "locked_until", "comment"]),
        PlanForm.WHEN,
    ]


class DiscountForm(CatalogueForm):
    kind = Kind.DISCOUNT
    heading = "New discount"
    about = "Of one plan. Moves the subscriptions that follow the catalogue, or only new ones."

    plan = one_of("plan", required=True)
    new_value = AmountField(label="New discount, in per cent", decimal_places=0)

    sections = [
        ("What", ["plan", "new_value"]),
        ("Whom it moves", ["for_new_only", "locked_until", "comment"]),
        PlanForm.WHEN,
    ]


def field_of(name: str) -> forms.Field:
    """The field in which a set is given this filter."""
    each = FILTERS[name]
    match each.kind.input:
        case Input.RECORD:
            return one_of(name)
        case Input.AMOUNT:
            return AmountField(label=each.label, required=False, help_text=each.hint)
        case Input.INSTANT:
            return instant(each.label, each.hint)
        case Input.CHOICE:
            return choice(each.label, list(each.kind.choices))
        case Input.LINE:
            length = each.kind.schema.get("maxLength", 50)
            return line(each.label, length, help_text=each.hint)


class SetForm(PlanForm):
    kind = Kind.SET
    heading = "Set of subscriptions"
    about = (
        "Those that a filter finds: a new amount, plus or minus an amount or per cent, locked,"
        " released, or following the catalogue again."
    )
    until_means = "For locks alone; empty: until they are released."

    whole_book = forms.BooleanField(
        label="The whole book",
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        help_text="Every subscription that there is, where no filter is set.",
    )
    adjustment = choice("What becomes of their price", Adjustment.choices, required=True)
    operand = AmountField(
        label="By how much",
        required=False,
        help_text="The new amount, or plus or minus (-5) an amount or per cent.",
        decimal_places=4,  # a percentage's
        negative=True,
    )
    rounding_step = AmountField(
        label="Round to", required=False, help_text="0.50, say. Empty: to the cent."
    )
    floor = AmountField(label="At least", required=False)
    ceiling = AmountField(label="At most", required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in LASTING:
            self.fields[f"where_{name}"] = field_of(name)
        self.sections = [
            (
                "Which subscriptions",
                [*(f"where_{name}" for name in LASTING), "whole_book"],
            ),
            (
                "Their price",
                ["adjustment", "operand", "rounding_step", "floor", "ceiling", "locked_until"],
            ),
            ("When and why", ["effective_at", "title", "reason", "comment"]),
        ]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if not self.errors and not self.where() and not cleaned.get("whole_book"):
            self.add_error(
                "whole_book",
                "No filter is set: that is every subscription. Say so here, or set one.",
            )
        return cleaned

    def where(self) -> dict[str, Any]:
        given = {name: self.cleaned_data.get(f"where_{name}") for name in LASTING}
        return {name: _plain(value) for name, value in given.items() if value not in (None, "")}

    def values(self) -> dict[str, Any]:
        return super().values() | {"filter": self.where()}

    def field_about(self, parameter: str) -> str:
        return parameter if parameter in self.fields else f"where_{parameter}"


FORMS: dict[str, type[PlanForm]] = {
    form.kind: form for form in (ListPriceForm, DiscountForm, SetForm)
}
