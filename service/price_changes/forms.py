"""The form that plans a price change of any kind. Only `plan()` checks the values it asks for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from django import forms
from django.db import transaction
from django.http import QueryDict
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from price_changes import verbs
from price_changes.errors import ChangeError
from price_changes.fields import field_of_filter, field_of_plan, switch_field
from price_changes.kinds.kind import PlannedKind
from price_changes.kinds.plan_fields import COMMON
from price_changes.models import PriceChange
from pricebook.kit.book_admin import missing_to_pick
from services.models import Plan, Service
from services.reading.filter_kinds import Input
from services.reading.filters import LASTING


class PlanForm(forms.Form):
    """The fields of a plan of one kind. `planned_by()` makes the change, or puts errors in it.

    A filter has a field for each of its names, and one that says that the whole book is meant.
    """

    data: Any  # a QueryDict
    # A form with widgets of its own has makers of its own.
    field_of_filter = staticmethod(field_of_filter)
    field_of_plan = staticmethod(field_of_plan)
    switch_field = staticmethod(switch_field)

    def __init__(self, kind: PlannedKind, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kind = kind
        # Made with the form, because the time zone is the request's.
        for each in (*COMMON, *kind.fields):
            if each.input == Input.FILTER:
                self.fields |= {where(name): self.field_of_filter(name) for name in LASTING}
                self.fields["whole_book"] = self.switch_field(
                    _("The whole book"),
                    _("Every subscription that there is, where no filter is set."),
                )
            elif each.label:
                self.fields[each.name] = self.field_of_plan(each)

    @property
    def has_filter(self) -> bool:
        return "whole_book" in self.fields

    def shown(self) -> Iterator[tuple[str | Promise, list[forms.BoundField]]]:
        """The parts of the form with their fields."""
        for title, names in self.kind.sections:
            if "filter" in names:
                names = (*map(where, LASTING), "whole_book")
            yield title, [self[name] for name in names]

    def say_what_is_missing(self, user: Any) -> None:
        """Say at each picker that this person can't use which permission it takes."""
        for field in self.fields.values():
            if isinstance(field, forms.ModelChoiceField):
                why_not = missing_to_pick(user, field.queryset.model)  # type: ignore[union-attr]
                field.help_text = f"{field.help_text} {why_not}".strip()

    def values(self) -> dict[str, Any]:
        """The values for `verbs.plan()`."""
        given = self.cleaned_data
        values: dict[str, Any] = {"kind": self.kind.name.value}
        for each in (*COMMON, *self.kind.fields):
            if given.get(each.name) not in (None, ""):
                values[each.name] = _plain(given[each.name])
        if "effective_at" in values:
            values["time_zone"] = self.zone()
        if self.has_filter:
            values["filter"] = self.filter()
        return values

    def zone(self) -> str:
        """The time zone of its local times, by its key: Django names one whose offset never changes
        by its offset."""
        return str(timezone.get_current_timezone())

    def filter(self) -> dict[str, Any]:
        given = {name: self.cleaned_data.get(where(name)) for name in LASTING}
        return {name: _plain(value) for name, value in given.items() if value not in (None, "")}

    def planned_by(self, author: str) -> PriceChange | None:
        """The change with its preview; None, with an error in the form, if it can't be planned."""
        try:
            with transaction.atomic():
                return verbs.preview(verbs.plan(self.values(), author).pk)
        except ChangeError as error:
            self.refuse(error)
            return None

    def refuse(self, error: ChangeError) -> None:
        parameter = str(error.about.get("parameter"))
        name = parameter if parameter in self.fields else where(parameter)
        if name not in self.fields:
            self.add_error(None, error.detail)
            return
        # Error texts begin with the API's names of fields, which are not the labels on the page.
        said = re.sub(r"^[a-z_]+ (?=is|has|lies|needs|may)", "It ", error.detail)
        if (get_language() or "en") != "en":
            said = re.sub(rf"^{re.escape(parameter)}\b", f"«{self.fields[name].label}»", said)
        self.add_error(name, said)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        for name in self.errors:
            if isinstance(self.fields.get(name), forms.ModelChoiceField):
                # The completion's widget fails on a value that is no id when it is shown again.
                self.data = self.data.copy()
                self.data[name] = ""
        if self.has_filter and not self.errors and not self.filter() and not cleaned["whole_book"]:
            self.add_error(
                "whole_book",
                _("No filter is set: that is every subscription. Say so here, or set one."),
            )
        return cleaned

    @classmethod
    def asked_for(cls, kind: PlannedKind, query: QueryDict) -> PlanForm:
        """A form with initial values from the query of an address; unusable ones are left out."""
        form = cls(kind)
        for name, value in query.dict().items():
            assert isinstance(value, str)
            field = form.fields.get(name)
            if isinstance(field, forms.ModelChoiceField):
                if value.isascii() and value.isdigit() and len(value) < 19:
                    form.initial[name] = value
            elif field is not None and not isinstance(field, forms.SplitDateTimeField):
                form.initial[name] = value[:200]
        return form


def where(name: str) -> str:
    """The field of a filter's name, which may be that of a field of the plan too."""
    return f"where_{name}"


def _plain(value: Any) -> Any:
    return value.pk if isinstance(value, Service | Plan) else value
