"""Repricings in the admin, to be watched."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from unfold.decorators import display

from pricebook.kit.book_admin import Colours, ReadOnlyAdmin
from pricebook.kit.figures import grouped
from services.models import BookNow, Repricing
from services.repricing import progress

STATES = {"due": _lazy("due"), "running": _lazy("running"), "finished": _lazy("finished")}


@admin.register(Repricing)
class RepricingAdmin(ReadOnlyAdmin):
    """Repricings, which follow from edits of the catalogue. Read-only: only workers write them."""

    list_display = ["__str__", "state", "bar", "moved", "author", "comment", "requested_at"]
    list_select_related = ["service", "plan"]
    sortable_by: list[str] = []
    change_form_before_template = "services/repricing.html"
    fields = ["author", "comment", "requested_at"]

    def get_queryset(self, request: HttpRequest) -> models.QuerySet:
        found = super().get_queryset(request).annotate(asked_at=BookNow())
        return found.prefetch_related("steps")

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        context["repricing"] = context["original"]
        context["progress"] = progress(context["original"], context["original"].asked_at)
        return super().render_change_form(request, context, *args, **kwargs)

    @display(
        description=_lazy("state"),
        label=Colours(zip(STATES.values(), ("info", "warning", "success"), strict=True)),
    )
    def state(self, repricing: Repricing) -> str:
        if repricing.finished_at:
            return str(STATES["finished"])
        return str(STATES["running" if repricing.planned_at else "due"])

    @admin.display(description=_lazy("prices moved"))
    def moved(self, repricing: Repricing) -> str:
        return grouped(repricing.repriced)

    @admin.display(description=_lazy("looked at"))
    def bar(self, repricing: Any) -> str:
        now = progress(repricing, repricing.asked_at)
        return format_html(
            '<progress max="1" value="{}" aria-label="{}"></progress> {}',
            f"{now.fraction:.4f}",
            _("Looked at"),
            _("%(done)s of %(total)s") % {"done": grouped(now.done), "total": grouped(now.total)},
        )
