"""Jobs in the admin, to be watched."""

from __future__ import annotations

from django.contrib import admin
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from unfold.decorators import display

from pricebook.kit.book_admin import Colours, ReadOnlyAdmin
from pricebook.kit.figures import grouped
from pricebook.words.stored import refusal_shown
from services.models import Job

COLOURS = Colours(
    {
        Job.Status.WAITING.label: "info",
        Job.Status.RUNNING.label: "warning",
        Job.Status.DONE.label: "success",
        Job.Status.REFUSED.label: "danger",
        Job.Status.FAILED.label: "danger",
    }
)


OUTCOMES = {
    "created": _lazy("created"),
    "changed": _lazy("changed"),
    "unchanged": _lazy("unchanged"),
    "refused": _lazy("refused"),
    "deleted": _lazy("deleted"),
    "left": _lazy("left"),
    "updated": _lazy("updated"),
}


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    """Bulks that workers write, and undos of them. The API and the command have the verbs."""

    list_display = ["__str__", "state", "bar", "outcomes", "author", "asked_at"]
    list_filter = ["status", "kind"]
    sortable_by: list[str] = []
    fields = [
        "kind", "undoes", "author", "state", "bar", "outcomes", "refusal", "skip", "dry_run",
        "asked_at", "started_at", "finished_at", "size", "sha256",
    ]  # fmt: skip
    readonly_fields = ["state", "bar", "outcomes", "refusal"]

    @display(description=_lazy("status"), label=COLOURS)
    def state(self, job: Job) -> str:
        return str(job.get_status_display())

    @admin.display(description=_lazy("lines"))
    def bar(self, job: Job) -> str:
        if job.lines is None:
            return _("not counted yet")
        return format_html(
            '<progress max="{}" value="{}" aria-label="{}"></progress> {}',
            job.lines or 1,
            job.lines_done,
            _("Lines"),
            _("%(done)s of %(total)s")
            % {"done": grouped(job.lines_done), "total": grouped(job.lines)},
        )

    @admin.display(description=_lazy("outcomes"))
    def outcomes(self, job: Job) -> str:
        said = [
            f"{grouped(number)} {OUTCOMES.get(outcome, outcome)}"
            for outcome, number in sorted(job.counts.items())
        ]
        return ", ".join(said) or _("none yet")

    @admin.display(description=_lazy("refusal"))
    def refusal(self, job: Job) -> str:
        if job.error is None:
            return _("none")
        lines = [
            (_("line %(number)s") % {"number": line["line"]}, refusal_shown(line["detail"]))
            for line in job.error.get("lines", [])
        ]
        listed = format_html_join("", "<li>{}: {}</li>", lines)
        detail = refusal_shown(job.error["detail"])
        return format_html("{} ({})<ul>{}</ul>", detail, job.error["code"], listed)
