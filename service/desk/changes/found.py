"""A price change that an address names, and its name on pages."""

from __future__ import annotations

from typing import Any

from django.http import Http404
from django.utils.translation import gettext as _

from price_changes.kinds.words import Names
from price_changes.models import PriceChange
from price_changes.planning import status_now
from price_changes.planning.braked import brake_on
from price_changes.running.brake import said
from price_changes.showing.sentences import sentence
from pricebook.kit.authors import in_words
from pricebook.kit.scopes import APPROVE, PULL_BRAKE
from services.parsing import MAX_BIGINT

Status = PriceChange.Status
COLOURS = {
    Status.PLANNED: "warn",
    Status.SCHEDULED: "good",
    Status.HELD: "alarm",
    Status.APPLYING: "good",
    Status.PAUSED: "alarm",
    Status.APPLIED: "",
    Status.CANCELLED: "",
    Status.REVERTED: "",
}


def change_or_404(pk: int) -> Any:
    """The change as it stands now. One query, up to three more for a scheduled one."""
    found = PriceChange.objects.select_related("reverts").filter(pk=pk) if pk <= MAX_BIGINT else []
    for change in found:
        status_now.refresh([change])
        return change
    raise Http404(_("There is no price change %(number)s.") % {"number": pk})


def state_of(change: PriceChange) -> str:
    """The state in words: a rejected change is not just a cancelled one."""
    if change.status == Status.CANCELLED and change.rejected_because:
        return _("Rejected")
    return str(change.get_status_display())


def name_of(change: PriceChange, names: Names) -> str:
    return change.title or sentence(change, names)


def about_brake(user: Any) -> dict[str, Any]:
    """The brake for a page: its sentence while it is on, else empty. One query."""
    brake = brake_on()
    return {
        "brake_on": in_words(said(brake)) if brake else "",
        "may_brake": any(user.has_perm(each) for each in (APPROVE, PULL_BRAKE)),
    }
