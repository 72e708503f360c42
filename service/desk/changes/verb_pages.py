"""The page of a verb of a price change: it asks, with figures, and does just that, once."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from desk.changes.figures import OutcomeShown, PreviewShown
from desk.changes.found import about_brake, change_or_404, name_of
from desk.changes.instants import InstantField, zone_field
from desk.changes.verb import BEGUN, BRINGS_BACK, VERBS, Verb, may, needs_another, seen
from desk.page import desk_page, show
from price_changes import verbs
from price_changes.admin.figures import in_force
from price_changes.admin.verbs import wake_workers
from price_changes.errors import ChangeError, MovedSincePreview
from price_changes.kinds import kind_of
from price_changes.kinds.words import Names
from price_changes.models import PriceChange
from price_changes.planning import status_now
from price_changes.planning.recount import Recount
from price_changes.running import allowing
from price_changes.running.rejecting import LONGEST
from price_changes.showing.instants import in_force_from
from price_changes.showing.progress import progress_of
from price_changes.showing.sentences import sentence
from pricebook.kit import figures
from pricebook.kit.access import author
from pricebook.kit.book_admin import missing_for
from pricebook.kit.read_timeout import long_read
from pricebook.kit.scopes import VIEW_CHANGE, VIEW_CLIENT

Status = PriceChange.Status


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
                widget=forms.RadioSelect,
            )
        if change.status == Status.HELD:
            self.fields["effective_at"] = InstantField(
                label=_("In force from"), help_text=_("Empty: at once.")
            )
            self.fields["time_zone"] = zone_field()

    def given(self) -> dict[str, Any]:
        """The values for `verbs.approve()`."""
        given = {name: value for name, value in self.cleaned_data.items() if value}
        if "effective_at" not in given:
            given.pop("time_zone", None)
        return given


class RejectForm(forms.Form):
    reason = forms.CharField(
        label=gettext_lazy("Why"),
        max_length=LONGEST,
        help_text=gettext_lazy("Its planner reads it, and so does whoever looks at it later."),
        widget=forms.Textarea(attrs={"rows": 3}),
    )

    def given(self) -> dict[str, Any]:
        return self.cleaned_data


FORMS: dict[str, Any] = {
    "approve": ApproveForm,
    "reject": lambda change, *data: RejectForm(*data),
}


@desk_page(VIEW_CHANGE)
def change_verb(request: HttpRequest, pk: int, verb: str) -> HttpResponse:
    """GET asks, with the figures of now; POST does it, once: a second one is told what has happened
    meanwhile."""
    if verb not in VERBS:
        raise Http404(_("There is no such step “%(verb)s”.") % {"verb": verb[:50]})
    asked = VERBS[verb]
    if not may(request.user, asked):
        raise PermissionDenied(missing_for(request.user, asked.needs[0]))
    change = change_or_404(pk)
    posted = request.POST if request.method == "POST" else None
    form = FORMS[verb](change, posted) if verb in FORMS else None
    if posted is not None and (form is None or form.is_valid()):
        return _do(request, change, asked, form.given() if form else {})
    if verb not in verbs.allowed(change):
        messages.error(request, allowing.wrong_state(change, verb).detail)
        return _to(change)
    if not asked.asks:  # its button is on the page of the change
        return _to(change)
    return _ask(request, change, asked, form)


def _ask(request: HttpRequest, change: Any, verb: Verb, form: Any) -> HttpResponse:
    context: dict[str, Any] = {"preview": None, "recount": None, "would": None, "outcome": None}
    try:
        with long_read():
            if verb.name == "approve" and change.has_approvable_preview:
                context["recount"] = Recount.of(change)
            elif verb.name == "revert":
                context["would"] = verbs.dry_run_of_revert(change.pk, author(request.user))
            elif verb.name == "cancel" and in_force(change):
                context["would"] = verbs.dry_run_of_cancel(change.pk, author(request.user))
    except ChangeError as error:
        messages.error(request, error.detail)
        return _to(change)
    recount = context["recount"]
    if recount is not None:
        change.old_value, change.new_value = recount.now.old_value, recount.now.new_value
    if change.preview:
        context["preview"] = PreviewShown(change, request.user.has_perm(VIEW_CLIENT))
    if change.started_at:
        context["outcome"] = OutcomeShown(change)
        context["progress"] = progress_of([change]).get(change.pk)
    names = Names.of_changes([change], request.user.has_perm(VIEW_CLIENT))
    says = verb.says
    if verb.name == "cancel" and (begun := in_force(change)):
        says = BEGUN[begun]
    if verb.name == "revert" and change.reverts_id is not None:
        says = str(BRINGS_BACK) % {"number": change.reverts_id}
    why = needs_another(request.user, verb.name, change)
    if context["would"] is not None and verb.name == "cancel":
        why = context["would"].needs_another
    return show(
        request,
        "changes/ask",
        f"{verb.label}: {name_of(change, names)}",
        change=change,
        verb=verb,
        says=says,
        sentence=sentence(change, names),
        from_when=in_force_from(change),
        form=form,
        seen=seen(change),
        why_another=why,
        approvable=verb.name != "approve" or (recount is not None and not recount.refuses_all),
        compared=_compared(recount) if recount is not None else None,
        drift=settings.APPROVAL_DRIFT,
        **context,
        **about_brake(request.user),
    )


def _compared(recount: Recount) -> list[tuple[str, str, str]]:
    """The figures of the planner's preview beside those of now."""
    was, now = recount.seen, recount.now
    return [
        (_("Rows that move"), figures.grouped(was.moves), figures.grouped(now.moves)),
        (_("Rows"), figures.grouped(was.rows), figures.grouped(now.rows)),
        (_("Total before"), figures.money(was.total_before), figures.money(now.total_before)),
        (_("Total after"), figures.money(was.total_after), figures.money(now.total_after)),
        (_("Difference"), figures.difference(was.difference), figures.difference(now.difference)),
    ]


def _do(request: HttpRequest, change: Any, verb: Verb, given: dict[str, Any]) -> HttpResponse:
    """Do it if the change is still as the question has shown it."""
    told = ""
    moved = False
    after = change
    with transaction.atomic():
        # Whoever comes second waits here, and then sees what the first has done. An approval
        # compares its fingerprint itself.
        locked: Any = PriceChange.objects.select_for_update().get(pk=change.pk)
        status_now.refresh([locked])
        shown = request.POST.get("seen")
        if verb.asks and verb.name != "approve" and shown != seen(locked):
            told = _("It is no longer as you saw it: it is %(state)s now. Look again.") % {
                "state": locked.get_status_display()
            }
        else:
            try:
                after = verb.does(locked, author(request.user), given)
            except MovedSincePreview as error:
                told, moved = error.detail, True
            except ChangeError as error:
                told = error.detail
    if told:
        messages.error(request, told if moved else _("Nothing was done. %(why)s") % {"why": told})
        again = moved or (verb.asks and verb.name in verbs.allowed(change_or_404(change.pk)))
        return _to(change, verb.name if again else "")
    transaction.on_commit(wake_workers, robust=True)
    messages.success(request, f"{verb.done} {_said(verb, after)}".strip())
    # A new preview that was asked for on the page of an approval leads back to that page.
    return _to(after, "approve" if request.POST.get("then") == "approve" else "")


def _said(verb: Verb, after: PriceChange) -> str:
    """The figures of what was done, said back."""
    preview = after.preview
    if verb.name not in ("approve", "revert", "preview") or not preview:
        return ""
    before, total = Decimal(preview["total_before"]), Decimal(preview["total_after"])
    return ngettext(
        "%(rows)s row moves, total %(before)s → %(after)s (%(difference)s).",
        "%(rows)s rows move, total %(before)s → %(after)s (%(difference)s).",
        preview["moves"],
    ) % {
        "rows": figures.grouped(preview["moves"]),
        "before": figures.amount(before),
        "after": figures.money(total),
        "difference": figures.difference(total - before),
    }


def _to(change: PriceChange, verb: str = "") -> HttpResponse:
    if verb:
        return HttpResponseRedirect(reverse("desk:change_verb", args=[change.pk, verb]))
    return HttpResponseRedirect(reverse("desk:change", args=[change.pk]))
