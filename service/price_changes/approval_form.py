"""The form of an approval: the preview that was seen, and what to do if rows have moved by then."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils import timezone
from unfold.widgets import RADIO_CLASSES

from price_changes.fields import instant
from price_changes.models import PriceChange
from price_changes.planning.catalogue_value import CATALOGUE

Kind, WhenMoved = PriceChange.Kind, PriceChange.WhenMoved


class ApproveForm(forms.Form):
    """The fingerprint of the preview that was seen, and what to do if rows have moved by then."""

    MEANS = {
        WhenMoved.HOLD: "Hold: if any of these rows has moved by then, nothing happens and you are"
        " asked again.",
        WhenMoved.FROZEN: "Frozen: the rows of this preview that nobody has moved by then are"
        " moved; the others are skipped, with the reason.",
        WhenMoved.CURRENT: "Current: all rows that match then are moved, from the price that they"
        " have then.",
    }

    MEANS_OF_CATALOGUE = {
        WhenMoved.HOLD: "Hold: if the catalogue has another value before it than the one that you"
        " see here, nothing happens and you are asked again.",
        WhenMoved.CURRENT: "Current: it takes effect, whatever value the catalogue has before it.",
    }

    fingerprint = forms.CharField(max_length=100, widget=forms.HiddenInput)

    def __init__(self, change: PriceChange, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["fingerprint"] = change.fingerprint
        of_catalogue = change.kind in CATALOGUE and change.reverts_id is None
        if change.kind == Kind.SET or of_catalogue:
            self.fields["when_moved"] = forms.ChoiceField(
                label="If another value is there by then"
                if of_catalogue
                else "If rows have moved by then",
                choices=list((self.MEANS_OF_CATALOGUE if of_catalogue else self.MEANS).items()),
                initial=change.when_moved or WhenMoved.HOLD,
                widget=forms.RadioSelect(attrs={"class": " ".join(RADIO_CLASSES)}),
            )
        if change.status == PriceChange.Status.HELD:
            self.fields["effective_at"] = instant("In force from", "Empty: at once.")

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        if given.get("effective_at"):
            given["time_zone"] = str(timezone.get_current_timezone())
        return given
