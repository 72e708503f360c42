"""The form of an approval: the preview that was seen, and what to do if rows have moved by then."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext as _
from unfold.widgets import RADIO_CLASSES

from price_changes.fields import instant_field
from price_changes.kinds import kind_of
from price_changes.models import PriceChange


class ApproveForm(forms.Form):
    """The fingerprint of the preview that was seen, and what to do if rows have moved by then."""

    fingerprint = forms.CharField(max_length=100, widget=forms.HiddenInput)

    def __init__(self, change: PriceChange, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["fingerprint"] = change.fingerprint
        kind = kind_of(change)
        if len(kind.when_moved) > 1 and change.reverts_id is None:
            self.fields["when_moved"] = forms.ChoiceField(
                label=str(kind.when_moved_label),
                choices=list(kind.when_moved.items()),
                initial=change.when_moved or next(iter(kind.when_moved)),
                widget=forms.RadioSelect(attrs={"class": " ".join(RADIO_CLASSES)}),
            )
        if change.status == PriceChange.Status.HELD:
            self.fields["effective_at"] = instant_field(_("In force from"), _("Empty: at once."))

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        if given.get("effective_at"):
            given["time_zone"] = str(timezone.get_current_timezone())
        return given
