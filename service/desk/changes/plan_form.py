"""The form of the desk that plans a price change: `price_changes.forms` with calm fields.

A set is asked for by one effect at a time, so the form has just the fields that belong to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Model
from django.http import QueryDict
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from clients.models import Client
from desk.changes.instants import InstantField, zone_field
from desk.numbers import whole_number
from price_changes.errors import ChangeError
from price_changes.forms import PlanForm, where
from price_changes.kinds.adjustments import ADJUSTMENTS, OF_MOVES
from price_changes.kinds.kind import PlannedKind
from price_changes.kinds.plan_fields import PlanField
from price_changes.planning.notice_days import MOST
from pricebook.kit.amount_field import AmountField
from pricebook.kit.book_admin import missing_for, missing_to_pick
from pricebook.kit.scopes import VIEW_CLIENT
from services.local_time import instant_in, zone_named
from services.models import Plan, Service, book_clock
from services.parsing import BadValue
from services.reading.filter_kinds import Input
from services.reading.filters import FILTERS, LASTING, record_of

# The effects of a set, in the order of the choice, each with what its number is called.
EFFECTS: dict[str, tuple[Any, Any]] = {
    "percent": (gettext_lazy("Per cent"), gettext_lazy("Plus or minus per cent")),
    "add": (gettext_lazy("Plus or minus an amount"), gettext_lazy("Plus or minus")),
    "amount": (gettext_lazy("A new amount"), gettext_lazy("New price of each")),
    "lock": (gettext_lazy("Lock"), ""),
    "release": (gettext_lazy("Release locks"), ""),
    "follow": (gettext_lazy("Follow the catalogue again"), ""),
}
# The filters that people use most; the others are folded up until one is used.
FIRST = (
    "service",
    "plan",
    "plan_type",
    "client",
    "except_client",
    "price_state",
    "price_from",
    "price_to",
)
SERVICES = {Service: "name", Plan: "plan_type"}


class ClientField(forms.CharField):
    """A client by its name, or its number; the value is its number.

    `why_not`: which permission is missing to see names. Then only a number is shown and taken.
    """

    why_not = ""

    def __init__(self, **more: Any) -> None:
        super().__init__(
            max_length=200,
            required=False,
            widget=forms.TextInput(
                attrs={
                    "list": "clients",
                    "autocomplete": "off",
                    "data-clients": reverse("desk:change_clients"),
                }
            ),
            **more,
        )

    def clean(self, value: Any) -> Any:
        text = super().clean(value).strip()
        if not text:
            return None
        number = whole_number(text)
        if number is not None and Client.objects.filter(pk=number).exists():
            return number
        if self.why_not:
            raise ValidationError(self.why_not)
        found = list(Client.objects.filter(company_name__iexact=text).order_by("pk")[:5])
        if len(found) == 1:
            return found[0].pk
        if found:
            numbers = ", ".join(str(each.pk) for each in found)
            raise ValidationError(
                _("Several clients are called “%(name)s”: give the number of one, %(numbers)s.")
                % {"name": text, "numbers": numbers}
            )
        raise ValidationError(_("No client is called “%(name)s”.") % {"name": text[:100]})

    def prepare_value(self, value: Any) -> Any:
        """The name in place of a number that an address gave."""
        text = "" if self.why_not else str(value or "")
        if (number := whole_number(text)) is not None:
            named = Client.objects.filter(pk=number).values_list("company_name", flat=True)
            same = Client.objects.filter(company_name__iexact=named.first() or "").count()
            return named.first() if same == 1 else value
        return value


def field_of(input: Input, name: str, label: Any, help_text: Any = "", **more: Any) -> forms.Field:
    """The field in which a person gives a value of this kind."""
    match input:
        case Input.RECORD if record_of(name) == "client":
            return ClientField(label=label, help_text=help_text)
        case Input.RECORD:
            model: type[Model] = {"service": Service, "plan": Plan}[name]
            field = forms.ModelChoiceField(
                label=label,
                queryset=model._default_manager.order_by(*model._meta.ordering or ["pk"]),
                required=more.get("required", False),
                empty_label=_("choose") if more.get("required") else _("any"),
            )
            return field
        case Input.AMOUNT:
            return AmountField(
                label=label,
                help_text=help_text,
                required=more.get("required", False),
                decimal_places=more.get("decimal_places"),
                negative=more.get("negative", False),
                widget=forms.TextInput(attrs={"autocomplete": "off"}),
            )
        case Input.INSTANT:
            return InstantField(label=str(label), help_text=str(help_text))
        case Input.CHOICE:
            choices = list(more["choices"])
            if not more.get("required"):
                choices = [("", _("any")), *choices]
            return forms.ChoiceField(
                label=label, choices=choices, required=more.get("required", False)
            )
        case Input.DAYS:
            return forms.IntegerField(
                label=label,
                required=False,
                min_value=0,
                max_value=MOST,
                help_text=help_text,
                widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off"}),
            )
        case Input.FLAG:
            return forms.BooleanField(label=label, required=False, help_text=help_text)
        case Input.TEXT:
            return forms.CharField(
                label=label,
                max_length=more["length"],
                required=False,
                widget=forms.Textarea(attrs={"rows": 3}),
                help_text=help_text,
            )
        case _:
            return forms.CharField(
                label=label, max_length=more["length"], required=False, help_text=help_text
            )


def field_of_plan(each: PlanField) -> forms.Field:
    return field_of(
        each.input,
        each.name,
        each.label,
        each.hint,
        required=each.required,
        choices=each.choices,
        length=each.length,
        decimal_places=each.decimal_places,
        negative=each.negative,
    )


def field_of_filter(name: str) -> forms.Field:
    each = FILTERS[name]
    return field_of(
        each.kind.input,
        name,
        each.label,
        each.hint,
        choices=each.kind.choices,
        length=each.kind.schema.get("maxLength", 50),
    )


def switch_field(label: str, help_text: str = "") -> forms.BooleanField:
    return forms.BooleanField(label=label, required=False, help_text=help_text)


class DeskPlanForm(PlanForm):
    """The fields of a plan of one kind; for a set, of one effect (`adjustment`)."""

    field_of_filter = staticmethod(field_of_filter)
    field_of_plan = staticmethod(field_of_plan)
    switch_field = staticmethod(switch_field)

    def __init__(self, kind: PlannedKind, adjustment: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(kind, *args, **kwargs)
        self.adjustment = adjustment
        self.fields["time_zone"] = zone_field()
        if "adjustment" in self.fields:
            self._ask_for_one_effect()

    def _ask_for_one_effect(self) -> None:
        self.fields["adjustment"].widget = forms.HiddenInput()
        self.initial["adjustment"] = self.adjustment
        effect = ADJUSTMENTS[self.adjustment]
        if not effect.metavar:
            for name in (*OF_MOVES, "comment"):
                self.fields.pop(name, None)
        else:
            operand = self.fields["operand"]
            operand.label, operand.required = EFFECTS[self.adjustment][1], True
            operand.help_text = {
                "percent": _("5 raises by 5 %, -5 lowers."),
                "add": _("0.50 raises, -0.50 lowers."),
                "amount": "",
            }[self.adjustment]
            if self.adjustment != "percent":
                self.fields["operand"] = field_of(
                    Input.AMOUNT,
                    "operand",
                    operand.label,
                    operand.help_text,
                    required=True,
                    negative=self.adjustment == "add",
                )
        if not effect.takes_until:
            self.fields.pop("locked_until", None)
        else:
            self.fields["locked_until"].help_text = _("Empty: until they are released.")

    def parts(self) -> Iterator[dict[str, Any]]:
        """The parts of the form: a title, its fields, and those that are folded up."""
        for title, names in self.kind.sections:
            if "filter" in names:
                rest = [where(name) for name in LASTING if name not in FIRST]
                yield {
                    "title": title,
                    "fields": [self[where(name)] for name in FIRST] + [self["whole_book"]],
                    "folded": [self[name] for name in rest],
                    "is_open": any(self[name].value() not in _EMPTY for name in rest),
                    "is_counted": True,
                }
                continue
            given = [name for name in names if name in self.fields and name != "adjustment"]
            if "effective_at" in given:
                given.insert(given.index("effective_at") + 1, "time_zone")
            if given:
                is_counted = names[0] in ("service", "plan")
                yield {
                    "title": title,
                    "fields": [self[name] for name in given],
                    "folded": [],
                    "is_counted": is_counted,
                }

    def say_what_is_missing(self, user: Any) -> None:
        """Say at each picker that this person can't use which permission it takes."""
        for field in self.fields.values():
            why_not = ""
            if isinstance(field, forms.ModelChoiceField):
                why_not = missing_to_pick(user, field.queryset.model)  # type: ignore[union-attr]
                if why_not:
                    field.queryset = field.queryset.none()  # type: ignore[union-attr]
            elif isinstance(field, ClientField):
                why_not = missing_for(user, VIEW_CLIENT)
                field.why_not = why_not
            if why_not:
                field.help_text = f"{field.help_text} {why_not}".strip()

    def zone(self) -> str:
        return self.cleaned_data.get("time_zone") or timezone.get_current_timezone_name()

    def values(self) -> dict[str, Any]:
        values = super().values()
        if "effective_at" not in values:
            values.pop("time_zone", None)
        return values

    def clean(self) -> dict[str, Any]:
        self._make_instants()
        return super().clean()

    def _make_instants(self) -> None:
        """Make instants of the local times, but of that of the change, which is stored as given."""
        try:
            zone = zone_named(self.zone())
        except BadValue:
            self.add_error(
                "time_zone",
                _("“%(name)s” is no time zone; choose one, such as Europe/Berlin.")
                % {"name": self.zone()[:64]},
            )
            return
        for name, field in self.fields.items():
            given = self.cleaned_data.get(name)
            if not isinstance(field, InstantField) or not given:
                continue
            try:
                at = instant_in(name, given, zone)
            except BadValue as error:
                self.add_error(name, _in_words(error.detail))
            else:
                self.cleaned_data[name] = given if name == "effective_at" else at

    def refuse(self, error: ChangeError) -> None:
        parameter, words = str(error.about.get("parameter")), ""
        if parameter == "locked_until" and error.code == "unknown_field":
            words = _("This belongs to a change for new subscriptions only: tick that, or leave"
                      " this empty.")  # fmt: skip
        if words:
            self.add_error(parameter, words)
            return
        super().refuse(ChangeError(error.code, _in_words(error.detail), **error.about))

    @classmethod
    def asked_of(cls, kind: PlannedKind, adjustment: str, query: QueryDict) -> DeskPlanForm:
        """A form with initial values from the query of an address; unusable ones are left out."""
        form = cls(kind, adjustment)
        for name, value in query.dict().items():
            assert isinstance(value, str)
            field = form.fields.get(name)
            if field is None or name == "adjustment" or "\x00" in value:
                continue
            if isinstance(field, forms.ModelChoiceField):
                if value.isascii() and value.isdigit() and len(value) < 19:
                    form.initial[name] = value
            else:
                form.initial[name] = value[:200]
        return form


_EMPTY = ("", None, [None, None], ["", ""], False)
# The names of fields in errors of `plan()`, which are those of the API.
NAMES = {
    "effective_at": gettext_lazy("The instant"),
    "locked_until": gettext_lazy("The end of the lock"),
    "operand": gettext_lazy("The number"),
    "new_value": gettext_lazy("The new value"),
    "rounding_step": gettext_lazy("The step"),
}


def _in_words(detail: str) -> str:
    """An error of `plan()` without the names that only programs know."""
    for name, words in NAMES.items():
        detail = re.sub(rf"\b{name}\b", str(words), detail)
    return detail


def as_query(change: Any) -> QueryDict:
    """The values of a change, for the form of another one like it; no instant that has passed."""
    query = QueryDict(mutable=True)
    names = ("title", "reason", "comment", "service_id", "plan_id", "new_value", "adjustment")
    for name in (*names, "notice_days", "operand", "floor", "ceiling", "rounding_step"):
        value = getattr(change, name)
        if value not in (None, ""):
            query[name.removesuffix("_id")] = (
                f"{value.normalize():f}" if hasattr(value, "normalize") else str(value)
            )
    if change.for_new_only:
        query["for_new_only"] = "on"
    now = book_clock()
    for name in ("effective_at", "locked_until"):
        at = getattr(change, name)
        if at is not None and at > now:
            query[name] = at.isoformat()
    if "effective_at" in query and change.effective_zone:
        query["effective_at"], query["time_zone"] = change.effective_local, change.effective_zone
        if "locked_until" in query:
            query["locked_until"] = at_in(change.locked_until, change.effective_zone)
    which = change.filter
    if which is not None:
        for name, value in which.items():
            query[where(name)] = str(value)
        if not which:
            query["whole_book"] = "on"
    return query


def at_in(at: Any, zone: str) -> str:
    return str(at.astimezone(zone_named(zone)).replace(tzinfo=None).isoformat())
