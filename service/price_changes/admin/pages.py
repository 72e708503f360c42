"""Price changes in the admin: one change with its preview and outcome, its rows, and the verbs.

The verbs are those of `lifecycle`; each has a page that asks (GET) and does it (POST). The pages of
a change read its stored preview, its counters and a page of rows by keyset, and never all its rows,
but for a recount before an approval.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from price_changes import verbs
from price_changes.admin.brake import BrakePages, about_brake
from price_changes.admin.figures import (
    Outcome,
    Preview,
    at_todays_value,
    in_force,
    moves_soon,
    named_changes,
)
from price_changes.admin.listing import COLOURS, ListOfChanges
from price_changes.admin.verbs import CANCEL_BEGUN, VERBS, Verb, in_order, wake_workers
from price_changes.approval_form import ApproveForm
from price_changes.errors import ChangeError, MovedSincePreview
from price_changes.forms import PlanForm
from price_changes.kinds import TO_PLAN
from price_changes.kinds.words import Names
from price_changes.models import PriceChange
from price_changes.planning import status_now
from price_changes.planning.recount import Recount
from price_changes.running import allowing, limits
from price_changes.running.judging_edits import why_not_accept
from price_changes.showing.finding import titled_like
from price_changes.showing.instants import in_force_from, kept_instant, zone_rules_differ
from price_changes.showing.progress import progress_of
from price_changes.showing.rows import PAGE, kinds_of_rows, page_of_rows
from price_changes.showing.sentences import sentence
from pricebook.kit.access import author
from pricebook.kit.book_admin import BookAdmin, Searched, missing_for
from pricebook.kit.read_timeout import long_read
from pricebook.kit.scopes import VIEW_CLIENT, VIEW_SUBSCRIPTION
from pricebook.kit.snapshot import one_snapshot

Status = PriceChange.Status
# The verbs that may take another person, with the function that says why.
WHY_NOT: dict[str, Callable[[PriceChange, str], Any]] = {
    "approve": limits.why_not,
    "accept": why_not_accept,
}


def url_of(change_id: int, page: str = "change") -> str:
    return reverse(f"admin:price_changes_pricechange_{page}", args=[change_id])


@admin.register(PriceChange)
class PriceChangeAdmin(ListOfChanges, BrakePages, BookAdmin):
    desk_page = "desk:change"
    list_before_template = "price_changes/brake_banner.html"
    search_fields = ["title"]  # see searched
    search_help_text = _lazy("Title")
    sortable_by: list[str] = []
    actions = None

    # --- Permissions ----------------------------------------------------------------------

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def may(self, request: HttpRequest, *permissions: str) -> bool:
        """Whether this person has one of the permissions."""
        return any(
            request.user.has_perm(f"price_changes.{permission}_pricechange")
            for permission in permissions
        )

    def verbs(self, request: HttpRequest, change: PriceChange) -> list[Verb]:
        """The verbs that this person may use on the change now."""
        return [
            verb
            for verb in map(VERBS.__getitem__, in_order(verbs.allowed(change)))
            if self.may(request, *verb.permissions)
            and not self.needs_another(request, verb, change)
        ]

    def needs_another(self, request: HttpRequest, verb: Verb, change: PriceChange) -> bool:
        why_not = WHY_NOT.get(verb.name)
        return why_not is not None and why_not(change, author(request.user)) is not None

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, about_brake(request.user) | (extra_context or {}))

    def searched(self, words: str) -> Searched:
        return Searched(Q(title__icontains=words) | titled_like(words.split()))

    # --- Pages ----------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        def page(route: str, view: Any, name: str) -> URLPattern:
            return path(
                route,
                self.admin_site.admin_view(view),
                name=f"price_changes_pricechange_{name}",
            )

        return [
            page("plan/<slug:kind>/", self.plan_view, "plan"),
            page("brake/", self.brake_view, "brake"),
            page("<int:object_id>/rows/", self.rows_view, "rows"),
            *(
                page(f"<int:object_id>/{name}/", partial(self.verb_view, verb=verb), name)
                for name, verb in VERBS.items()
            ),
            *super().get_urls(),
        ]

    def page(
        self, request: HttpRequest, template: str, title: str | Promise, **context: Any
    ) -> TemplateResponse:
        return TemplateResponse(
            request,
            f"price_changes/{template}.html",
            {
                **self.admin_site.each_context(request),
                **about_brake(request.user),
                "opts": self.opts,
                "title": title,
                "heading": title,
                **context,
            },
        )

    def change_or_404(self, object_id: int) -> PriceChange:
        change = PriceChange.objects.filter(pk=object_id).first()
        if change is None:
            raise Http404(_("There is no price change %(object_id)s.") % {"object_id": object_id})
        status_now.refresh([change])
        return change

    def add_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """The page that asks for the kind of a new change."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        return self.page(request, "kinds", _("Plan a price change"), kinds=TO_PLAN.values())

    def plan_view(self, request: HttpRequest, kind: str) -> HttpResponse:
        """The form for a plan of this kind, filled from the address's query; then its preview."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        if kind not in TO_PLAN:
            raise Http404(
                _("There is no price change of the kind %(kind)s.") % {"kind": repr(kind)}
            )
        planned = TO_PLAN[kind]
        if request.method == "POST":
            form = PlanForm(planned, request.POST)
            if form.is_valid() and (change := form.planned_by(author(request.user))):
                messages.success(
                    request, _("Planned. Nothing has moved: look at the preview, and approve it.")
                )
                return HttpResponseRedirect(url_of(change.pk))
        else:
            form = PlanForm.asked_for(planned, request.GET)
        form.say_what_is_missing(request.user)
        return self.page(request, "plan", planned.heading, form=form, media=self.media + form.media)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        with one_snapshot():
            change = self.get_object(request, unquote(object_id))
            if change is None:
                return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
            may_see = self.has_view_permission(request, change)
            if not may_see or request.method not in ("GET", "HEAD"):
                raise PermissionDenied
            return self.page_of_change(request, change)

    def page_of_change(self, request: HttpRequest, change: Any) -> HttpResponse:
        status_now.refresh([change])
        has_moved = status_now.warning(change)
        previewed_at_value = at_todays_value(change)
        names_clients = request.user.has_perm(VIEW_CLIENT)
        preview = Preview(change, names_clients) if change.preview else None
        outcome = Outcome(change) if change.started_at else None
        others = named_changes(change, preview, outcome)
        names = Names.of_changes([change, *others.values()])
        return self.page(
            request,
            "change",
            str(change),
            change=change,
            original=change,
            heading=change.title,
            says=sentence(change, names),
            in_force_from=in_force_from(change),
            zone_rules=zone_rules_differ(change) or kept_instant(change),
            colour=COLOURS[Status(change.status)],
            verbs=self.verbs(request, change),
            needs_another=self.may(request, "approve")
            and any(
                self.needs_another(request, VERBS[name], change)
                for name in WHY_NOT.keys() & verbs.allowed(change)
            ),
            live=moves_soon(change),
            currency=settings.CURRENCY,
            previewed_at_value=previewed_at_value,
            warning=has_moved,
            preview=preview,
            progress=progress_of([change]).get(change.pk),
            outcome=outcome,
            back=[each for each in others.values() if each.reverts_id == change.pk],
            others={pk: each.title or sentence(each, names) for pk, each in others.items()},
        )

    def rows_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """A page of the rows old → new, of one kind."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        change = self.change_or_404(object_id)
        if missing := missing_for(request.user, VIEW_SUBSCRIPTION, VIEW_CLIENT):
            messages.error(
                request,
                _("Its rows show subscriptions and clients. %(missing)s") % {"missing": missing},
            )
            return HttpResponseRedirect(url_of(change.pk))
        kinds = kinds_of_rows(change)
        only = request.GET.get("only") or next(iter(kinds), "")
        after = request.GET.get("after", "0")
        if only not in kinds or not (after.isascii() and after.isdigit() and len(after) < 19):
            messages.error(request, _("There is no such list of rows; this is the first one."))
            return HttpResponseRedirect(url_of(change.pk, "rows") if kinds else url_of(change.pk))
        found = page_of_rows(change, only, int(after))
        names = Names.of(
            [row.service for row in found],
            [row.plan for row in found],
            [row.client for row in found],
        )
        return self.page(
            request,
            "rows",
            _("Rows of %(change)s") % {"change": change},
            change=change,
            original=change,
            previewed_at_value=at_todays_value(change),
            kinds=kinds,
            only=only,
            rows=[
                (row, names.client(row.client), names.service(row.service), names.plan(row.plan))
                for row in found
            ],
            next=found[-1].subscription if len(found) == PAGE else None,
            first=after == "0",
        )

    def verb_view(self, request: HttpRequest, object_id: int, verb: Verb) -> HttpResponse:
        """The page of a verb: GET asks, POST does it, once: a second person is told so."""
        if not self.may(request, *verb.permissions):
            raise PermissionDenied
        change = self.change_or_404(object_id)
        form = None
        if verb.name == "approve":
            form = ApproveForm(change, request.POST if request.method == "POST" else None)
        if request.method == "POST" and (form is None or form.is_valid()):
            return self.do(request, change, verb, form.cleaned_data if form else {})
        if verb.name not in verbs.allowed(change):
            messages.error(request, allowing.wrong_state(change, verb.name).detail)
            return HttpResponseRedirect(url_of(change.pk))
        says = verb.says
        if verb.name == "cancel" and (begun := in_force(change)):
            says = CANCEL_BEGUN[begun]
        counted = None
        if verb.name == "approve" and change.has_approvable_preview:
            try:
                with long_read():
                    counted = Recount.of(change)
            except ChangeError as error:
                messages.error(request, error.detail)
                return HttpResponseRedirect(url_of(change.pk))
            change.old_value, change.new_value = counted.now.old_value, counted.now.new_value
        return self.page(
            request,
            "ask",
            f"{verb.label}: {change}",
            change=change,
            original=change,
            verb=verb,
            says=says,
            in_force_from=in_force_from(change),
            sentence=sentence(change, Names.of_changes([change])),
            form=form,
            preview=change.preview and Preview(change, request.user.has_perm(VIEW_CLIENT)),
            recount=counted,
            # The page of an approval shows figures that can be approved, or no button.
            approvable=form is None or (counted is not None and not counted.refuses_all),
            drift=settings.APPROVAL_DRIFT,
            media=self.media + (form.media if form else self.media),
        )

    def do(
        self, request: HttpRequest, change: PriceChange, verb: Verb, given: dict[str, Any]
    ) -> HttpResponse:
        try:
            after = verb.does(change, author(request.user), given)
        except MovedSincePreview as error:
            messages.error(request, error.detail)
            return HttpResponseRedirect(url_of(change.pk, "approve"))
        except ChangeError as error:
            messages.error(request, _("Nothing was done. %(detail)s") % {"detail": error.detail})
            return HttpResponseRedirect(url_of(change.pk))
        transaction.on_commit(wake_workers, robust=True)
        messages.success(request, str(verb.done))
        # A new preview that was asked for on the page of an approval leads back to that page.
        page = "approve" if request.POST.get("then") == "approve" else "change"
        return HttpResponseRedirect(url_of(after.pk, page))
