"""The brake in the admin: its page, and what the other pages of price changes say of it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from unfold.widgets import UnfoldAdminTextareaWidget

from price_changes import verbs
from price_changes.errors import ChangeError
from price_changes.models import Brake
from price_changes.planning.braked import brake_on
from price_changes.running.brake import LONGEST_REASON, said
from pricebook.kit.access import author
from pricebook.kit.authors import in_words
from pricebook.kit.scopes import APPROVE, PULL_BRAKE
from services.reading.parameters import whole_number

PAGE = "admin:price_changes_pricechange_brake"
SHOWN = 50  # brakes of the past


class BrakeForm(forms.Form):
    reason = forms.CharField(
        max_length=LONGEST_REASON,
        label=_lazy("Reason"),
        help_text=_lazy("Everybody sees it."),
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
    )


def about_brake(user: Any) -> dict[str, Any]:
    """The brake, for a page: its sentence while it is on, else empty. One query."""
    brake = brake_on()
    return {
        "brake_on": said(brake) if brake else "",
        "may_brake": any(user.has_perm(each) for each in (APPROVE, PULL_BRAKE)),
    }


class BrakePages:
    """The page of the brake, as a part of the admin of price changes."""

    page: Any

    def brake_view(self, request: HttpRequest) -> HttpResponse:
        """Whether it is on, and the form that pulls or releases it; POST does it."""
        if not self.has_view_permission(request) and not about_brake(request.user)["may_brake"]:  # type: ignore[attr-defined]
            raise PermissionDenied
        form = BrakeForm(request.POST if request.method == "POST" else None)
        if request.method == "POST":
            if not about_brake(request.user)["may_brake"]:
                raise PermissionDenied
            if form.is_valid() and moved_by_button(request, form.cleaned_data["reason"]):
                return HttpResponseRedirect(reverse(PAGE))
        before = Brake.objects.exclude(released_at=None).order_by("-pk")[:SHOWN]
        page: HttpResponse = self.page(
            request,
            "brake",
            _("The brake"),
            form=form,
            brake_state=verbs.brake_state(),
            before=[said(brake) for brake in before],
        )
        return page


def moved_by_button(request: HttpRequest, reason: str) -> bool:
    """Pull the brake, or release the one that the page has shown, as the button says.

    A second person is told so, and so is one whose page has shown another brake.
    """
    asked = request.POST.get("does", "")
    seen = whole_number(request.POST.get("brake", ""))
    if asked != "pull" and (asked != "release" or seen is None):
        messages.error(request, _("Nothing was done: pull it or release it by its button."))
        return False
    try:
        if asked == "pull":
            verbs.pull_brake(author(request.user), reason)
        else:
            verbs.release_brake(author(request.user), reason, seen)
    except ChangeError as error:
        messages.error(
            request, _("Nothing was done. %(detail)s") % {"detail": in_words(error.detail)}
        )
        return False
    messages.success(request, _("The brake is on.") if asked == "pull" else _("The brake is off."))
    return True
