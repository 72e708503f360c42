"""The forms of clients and subscriptions."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from desk.fields import InstantField, amount_field, record_field, text_field, zone_said
from services.models import Plan, Service
from services.price_state import LONGEST_REASON

REASON = gettext_lazy("Reason")
PRICE = gettext_lazy("Price")
BOTH_IDS = gettext_lazy("Its name in another system: give both, or none.")


def _instant(label: Any, text: Any, required: bool = False) -> InstantField:
    return InstantField(label=label, required=required, help_text=zone_said(str(text)))


class LockForm(forms.Form):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["until"] = _instant(_("Locked until"), _("Empty: until it is released."))
        self.fields["reason"] = text_field(REASON, LONGEST_REASON)


class NegotiateForm(forms.Form):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["price"] = amount_field(PRICE)
        self.fields["reason"] = text_field(REASON, LONGEST_REASON)


class MoveForm(forms.Form):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["service"] = record_field(Service, gettext_lazy("Service"))
        self.fields["plan"] = record_field(Plan, gettext_lazy("Plan"))


class StartForm(forms.Form):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["started_at"] = _instant(_("It begins"), "", required=True)


class EndForm(forms.Form):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["ended_at"] = _instant(_("It ends"), _("Empty: now."))


class RestartForm(forms.Form):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["ended_at"] = _instant(_("Until"), _("Empty: without an end."))


class CorrectForm(forms.Form):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["since"] = _instant(_("Since"), "", required=True)
        until = _("Empty: up to its next move; if none has come, the price goes on.")
        self.fields["until"] = _instant(_("Until"), until)
        self.fields["price"] = amount_field(gettext_lazy("It should have paid"))
        self.fields["reason"] = text_field(REASON, LONGEST_REASON)


class AddForm(MoveForm):
    """A new subscription: at the rule's price, or a negotiated one, which takes a reason."""

    def __init__(self, *args: Any, may_negotiate: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["started_at"] = _instant(_("It begins"), _("Empty: now."))
        if may_negotiate:
            self.fields["price"] = amount_field(
                gettext_lazy("Negotiated price"),
                required=False,
                help_text=_("Empty: it follows the catalogue."),
            )
            self.fields["reason"] = text_field(REASON, LONGEST_REASON, required=False)
        self.fields["comment"] = text_field(gettext_lazy("Comment"), 50, required=False)

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        if given.get("price") is not None and not given.get("reason"):
            self.add_error("reason", _("Say why it has a price of its own."))
        if given.get("reason") and given.get("price") is None and not self.errors:
            self.add_error("price", _("A reason belongs to a negotiated price: give that, too."))
        return given


class WithIds(forms.Form):
    def add_ids(self) -> None:
        self.fields["source"] = text_field(
            gettext_lazy("Source"), 50, required=False, help_text=BOTH_IDS
        )
        self.fields["external_id"] = text_field(gettext_lazy("External id"), 50, required=False)

    def clean(self) -> dict[str, Any]:
        """An empty id is none."""
        given = super().clean() or self.cleaned_data
        for name in ("source", "external_id"):
            if given.get(name) == "":
                given[name] = None
        return given


class SubscriptionForm(WithIds):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["comment"] = text_field(gettext_lazy("Comment"), 50, required=False)
        self.add_ids()


class ClientForm(WithIds):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["company_name"] = text_field(gettext_lazy("Company"), 100)
        self.fields["email"] = forms.EmailField(
            label=gettext_lazy("E-mail"), required=False, max_length=150
        )
        self.fields["full_address"] = text_field(gettext_lazy("Address"), 200, required=False)
        self.add_ids()
