"""Webhook endpoints in the admin: made, watched, tested, rotated, replayed; and their log."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http import HttpResponseRedirect as Redirect
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import ngettext
from unfold.decorators import display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from events import endpoints, queues
from events.given import checked_name, checked_types, checked_url
from events.models import Attempt, Endpoint
from events.tasks import tell_events
from events.types import TYPES
from pricebook.kit.access import author
from pricebook.kit.authors import in_words
from pricebook.kit.book_admin import BookAdmin, Colours
from pricebook.kit.figures import grouped
from pricebook.kit.open_forms import OpenForm
from pricebook.kit.refusal import Refusal
from pricebook.kit.scopes import VIEW_EVENT
from services import parsing
from services.tasks import wake

ONCE = _lazy("The secret of {} is: {} It is shown this once: give it to the receiver now.")
SHOWN = 10  # attempts
STATES = {
    "delivering": _lazy("delivering"),
    "failing": _lazy("failing"),
    "disabled": _lazy("disabled"),
}
# The buttons: what is said when it is done, and the label.
VERBS = {
    "test": (_lazy("A test event is sent soon: the log shows it."), _lazy("Send a test event")),
    "rotate": ("", _lazy("New secret")),
    "end_rotation": (_lazy("The new secret alone signs from now on."), _lazy("End the old secret")),
    "enable": (_lazy("Enabled."), _lazy("Enable")),
    "disable": (_lazy("Disabled: events wait for it."), _lazy("Disable")),
    "replay": (_lazy("Events are sent again from that number on."), _lazy("Replay")),
}


class EndpointForm(OpenForm):
    types = forms.MultipleChoiceField(
        label=_lazy("Types"),
        choices=[(each, each) for each in TYPES],
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text=_lazy("None stands for all. docs/events.md says what each tells."),
    )

    class Meta:
        model = Endpoint
        fields = ("name", "url", "types")

    def clean_name(self) -> str:
        return self.checked(checked_name, "name")

    def clean_url(self) -> str:
        if self.instance.pk is not None and "url" not in self.changed_data:
            return str(self.cleaned_data["url"])
        return self.checked(checked_url, "url")

    def clean_types(self) -> list[str]:
        return self.checked(checked_types, "types")

    def checked(self, check: Any, name: str) -> Any:
        try:
            return check(self.cleaned_data[name])
        except Refusal as error:
            raise forms.ValidationError(error.detail) from error


@admin.register(Endpoint)
class EndpointAdmin(BookAdmin):
    """Addresses that are sent events. A secret is shown once, when made or rotated."""

    form = EndpointForm
    change_form_outer_before_template = "events/endpoint.html"
    list_display = ["name", "state_shown", "behind_shown", "failing_since", "types_shown", "url"]
    list_filter = ["status"]
    search_fields = ["name", "url"]
    search_help_text = _lazy("Name or address")
    ordering = ["name"]
    sortable_by: list[str] = []
    fields = ["name", "url", "types"]
    shown = [
        "state_shown",
        "delivered_through",
        "behind_shown",
        "failing_since",
        "attempts",
        "next_attempt_at",
        "disabled_at",
        "why_disabled",
        "previous_secret_until",
        "created_by",
        "created_at",
    ]
    readonly_fields = shown
    actions: list[str] = []

    def get_queryset(self, request: HttpRequest) -> QuerySet[Endpoint]:
        return queues.for_readers()

    def get_fields(self, request: HttpRequest, obj: Endpoint | None = None) -> list[str]:
        return [*self.fields, *(self.shown if obj else [])]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """An endpoint is sent all events, so it takes the right to read them."""
        return super().has_add_permission(request) and request.user.has_perm(VIEW_EVENT)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and request.user.has_perm(VIEW_EVENT)

    def save_model(
        self, request: HttpRequest, obj: Endpoint, form: forms.ModelForm, change: bool
    ) -> None:
        given, by = form.cleaned_data, author(request.user)
        if change:
            touched = {name: given[name] for name in form.changed_data if name in self.fields}
            endpoints.change(obj.pk, by, **touched)
        else:
            made = endpoints.create(given["name"], given["url"], given["types"], by)
            obj.__dict__.update(made.__dict__)
            messages.warning(request, str(ONCE).format(made, made.secret))
        wake(tell_events)

    def delete_model(self, request: HttpRequest, obj: Endpoint) -> None:
        endpoints.delete(obj.pk, author(request.user))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Endpoint]) -> None:
        for endpoint in queryset:
            self.delete_model(request, endpoint)

    def get_urls(self) -> list[URLPattern]:
        mine = path(
            "<int:pk>/verb/<slug:verb>/",
            self.admin_site.admin_view(self.verb_view),
            name="events_endpoint_verb",
        )
        return [mine, *super().get_urls()]

    def verb_view(self, request: HttpRequest, pk: int, verb: str) -> HttpResponse:
        """Do what a button of the page says; POST alone does it."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if verb not in VERBS:
            raise Http404
        if not self.has_change_permission(request):
            raise PermissionDenied
        try:
            self._do(request, pk, verb)
        except Refusal as error:
            if error.status_code == 404:
                raise Http404 from None
            messages.error(request, _("Nothing was done. %(detail)s") % {"detail": error.detail})
        else:
            wake(tell_events)
        return Redirect(reverse("admin:events_endpoint_change", args=[pk]))

    def _do(self, request: HttpRequest, pk: int, verb: str) -> None:
        by, said = author(request.user), VERBS[verb][0]
        if verb == "rotate":
            rotated = endpoints.rotate(pk, by)
            messages.warning(request, str(ONCE).format(rotated, rotated.secret))
            return
        if verb == "replay":
            endpoints.replay(pk, by, parsing.identifier("from", request.POST.get("from", "")))
        elif verb == "disable":
            endpoints.disable(pk, by, request.POST.get("reason", ""))
        else:
            getattr(endpoints, verb)(pk, by)
        messages.success(request, str(said))

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = extra_context or {}
        if object_id.isascii() and object_id.isdigit() and len(object_id) < 19:
            log = Attempt.objects.filter(endpoint_id=int(object_id)).order_by("-id")
            endpoint = queues.for_readers().filter(pk=int(object_id)).first()
            context |= {
                "endpoint": endpoint,
                "log": list(log[:SHOWN]),
                "may_do": self.has_change_permission(request),
                "verbs": self._buttons(endpoint) if endpoint else [],
                "oldest": queues.oldest_number(),
            }
        return super().change_view(request, object_id, form_url, context)

    @staticmethod
    def _buttons(endpoint: Endpoint) -> list[tuple[str, str]]:
        enabled = endpoint.status == Endpoint.Status.ENABLED
        names = ["test", "rotate", "disable" if enabled else "enable"]
        if endpoint.previous_secret:
            names.insert(2, "end_rotation")
        return [(name, str(VERBS[name][1])) for name in names]

    @display(
        description=_lazy("state"),
        label=Colours(zip(STATES.values(), ("success", "warning", "danger"), strict=True)),
    )
    def state_shown(self, endpoint: Endpoint) -> str:
        return str(STATES[queues.state_of(endpoint)])

    @admin.display(description=_lazy("behind by"))
    def behind_shown(self, endpoint: Endpoint) -> str:
        number = queues.behind(endpoint)
        shown = ngettext("%(number)s event", "%(number)s events", number)
        return shown % {"number": grouped(number)}

    @admin.display(description=_lazy("disabled reason"))
    def why_disabled(self, endpoint: Endpoint) -> str:
        return in_words(queues.why_disabled(endpoint))

    @admin.display(description=_lazy("types"))
    def types_shown(self, endpoint: Endpoint) -> str:
        return ", ".join(endpoint.types) or _("all")
