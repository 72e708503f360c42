"""The list of price changes in the admin: each with its sentence, its state and its progress."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from price_changes.kinds.words import Names
from price_changes.models import PriceChange
from price_changes.planning import status_now
from price_changes.showing.instants import in_force_from, zone_rules_differ
from price_changes.showing.progress import progress_of
from price_changes.showing.sentences import sentence
from pricebook.kit.figures import grouped

Status = PriceChange.Status
# The colour of each status's label, in the list and on the page.
COLOURS = {
    Status.PLANNED: "info",
    Status.SCHEDULED: "primary",
    Status.HELD: "danger",
    Status.APPLYING: "warning",
    Status.PAUSED: "danger",
    Status.APPLIED: "success",
    Status.CANCELLED: "default",
    Status.REVERTED: "default",
}
# Narrow values stay on one line: otherwise the table would break them to make room for wide ones.
ONE_LINE = '<span class="whitespace-nowrap">{}</span>'


class WithProgress(ChangeList):
    """A page of changes, each with its sentence and its progress: up to eight queries for all."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        changes = list(self.result_list)
        status_now.refresh(changes)
        names, progress = Names.of_changes(changes), progress_of(changes)
        for change in changes:
            change.says = sentence(change, names)
            change.progress = progress.get(change.pk)
        self.result_list = changes


class ListOfChanges:
    """The columns and filters of the list, as a part of the admin of price changes."""

    list_display = ["what", "status_shown", "effective", "bar", "rows_shown", "people"]
    list_display_links = ["what"]
    list_filter = [("status", ChoicesDropdownFilter), ("kind", ChoicesDropdownFilter)]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return WithProgress

    @admin.display(description=_lazy("price change"))
    def what(self, change: Any) -> str:
        if not change.title:
            return format_html('<span class="change-what">{}</span>', change.says)
        return format_html(
            '<span class="change-what">{}</span> <span class="change-says">{}</span>',
            change.title,
            change.says,
        )

    @display(
        description=_lazy("status"), label={status.label: COLOURS[status] for status in Status}
    )
    def status_shown(self, change: PriceChange) -> str:
        return change.get_status_display()

    @admin.display(description=_lazy("in force from"))
    def effective(self, change: PriceChange) -> str:
        said = format_html(ONE_LINE, in_force_from(change) or _("its approval"))
        if not (differ := zone_rules_differ(change)):
            return said
        return format_html(
            '{} <strong title="{}">{}</strong>', said, differ, _("Zone rules have moved")
        )

    @admin.display(description=_lazy("done"))
    def bar(self, change: Any) -> str:
        if change.progress is None:
            return ""
        return format_html(
            '<progress max="1" value="{}" aria-label="{}"></progress>',
            f"{change.progress.fraction:.4f}",
            _("Done"),
        )

    @admin.display(description=_lazy("rows"))
    def rows_shown(self, change: Any) -> str:
        if change.progress is not None:
            done, total = change.progress.done, change.progress.total
            return format_html(
                ONE_LINE,
                _("%(done)s of %(total)s") % {"done": grouped(done), "total": grouped(total)},
            )
        moves = (change.preview or {}).get("moves")
        return (
            ""
            if moves is None
            else format_html(ONE_LINE, _("%(rows)s would move") % {"rows": grouped(moves)})
        )

    @admin.display(description=_lazy("planned, approved by"))
    def people(self, change: PriceChange) -> str:
        both = dict.fromkeys(name for name in (change.planned_by, change.approved_by) if name)
        return ", ".join(both)
