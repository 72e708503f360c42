"""The page of the brake: whether it is on, and the form that pulls or releases it."""

from __future__ import annotations

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from desk.changes.found import about_brake
from desk.page import desk_page, show
from price_changes import verbs
from price_changes.admin.brake import moved_by_button
from price_changes.models import Brake
from price_changes.running.brake import LONGEST_REASON, said
from pricebook.kit.authors import in_words
from pricebook.kit.book_admin import missing_for
from pricebook.kit.scopes import VIEW_CHANGE

SHOWN = 50  # brakes of the past


class BrakeForm(forms.Form):
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=LONGEST_REASON,
        help_text=gettext_lazy("Everybody sees it."),
        widget=forms.Textarea(attrs={"rows": 2}),
    )


@desk_page()
def brake(request: HttpRequest) -> HttpResponse:
    """POST pulls or releases it, as the button says: a second person is told so, and so is one
    whose page has shown another brake. Four queries."""
    may = about_brake(request.user)
    if not may["may_brake"] and (missing := missing_for(request.user, VIEW_CHANGE)):
        raise PermissionDenied(missing)
    form = BrakeForm(request.POST if request.method == "POST" else None)
    if request.method == "POST":
        if not may["may_brake"]:
            raise PermissionDenied(_("You may not pull or release the brake."))
        if form.is_valid() and moved_by_button(request, form.cleaned_data["reason"]):
            return HttpResponseRedirect(reverse("desk:brake"))
    before = Brake.objects.exclude(released_at=None).order_by("-pk")[:SHOWN]
    return show(
        request,
        "changes/brake",
        _("The brake"),
        form=form,
        brake_state=verbs.brake_state(),
        before=[in_words(said(each)) for each in before],
        **may,
    )
