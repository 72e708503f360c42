"""Texts about jobs and files, for people."""

from __future__ import annotations

from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from pricebook.kit import authors
from pricebook.words.stored import refusal_shown
from services.transfer.sheets.headings import OF_BOOK

Label = str | Promise

STATES: dict[str, tuple[Label, str]] = {  # of a job: its word, and the class of its badge
    "waiting": (gettext_lazy("waiting"), ""),
    "running": (gettext_lazy("running"), "warn"),
    "done": (gettext_lazy("done"), "good"),
    "refused": (gettext_lazy("refused"), "alarm"),
    "failed": (gettext_lazy("failed"), "alarm"),
    "cancelled": (gettext_lazy("cancelled"), ""),
}
KINDS: dict[str, Label] = {
    "import": gettext_lazy("File of the book"),
    "history": gettext_lazy("File of the past"),
    "clients": gettext_lazy("Clients in bulk"),
    "services": gettext_lazy("Services in bulk"),
    "plans": gettext_lazy("Plans in bulk"),
    "subscriptions": gettext_lazy("Subscriptions in bulk"),
}
OUTCOMES: dict[str, Label] = {  # of a line, in the order in which they are shown
    "refused": gettext_lazy("refused"),
    "changed": gettext_lazy("changed"),
    "created": gettext_lazy("new"),
    "deleted": gettext_lazy("deleted"),
    "left": gettext_lazy("left as it is"),
    "unchanged": gettext_lazy("unchanged"),
}
RECORDS: dict[str, Label] = {
    "client": gettext_lazy("client"),
    "service": gettext_lazy("service"),
    "plan": gettext_lazy("plan"),
}
RECORDS_NEW: dict[str, Label] = {
    "client": gettext_lazy("new clients"),
    "service": gettext_lazy("new services"),
    "plan": gettext_lazy("new plans"),
}
COLUMNS: dict[str, Label] = {  # of files, and fields of records
    **OF_BOOK,
    "client": gettext_lazy("Client"),
    "plan": gettext_lazy("Plan"),
    "subscription": gettext_lazy("Subscription"),
    "alike": gettext_lazy("Place among alike ones"),
    "effective_at": gettext_lazy("In force from"),
    "until": gettext_lazy("Until"),
}
UNDERSTOOD: dict[str, Label] = {
    "format": gettext_lazy("Kind of file"),
    "sheet": gettext_lazy("Sheet"),
    "encoding": gettext_lazy("Encoding"),
    "delimiter": gettext_lazy("Separator"),
    "decimal": gettext_lazy("Decimal sign"),
    "dates": gettext_lazy("Dates"),
    "columns": gettext_lazy("Columns with other names"),
    "left out": gettext_lazy("Columns left out"),
    "hidden rows": gettext_lazy("Hidden rows"),
}
CHOICES: dict[str, dict[str, Label]] = {
    "encoding": {
        "utf-8": "UTF-8",
        "utf-16": "UTF-16",
        "cp1251": gettext_lazy("Windows-1251, Cyrillic"),
        "cp1252": gettext_lazy("Windows-1252, Western Europe"),
    },
    "delimiter": {
        ",": gettext_lazy("comma"),
        ";": gettext_lazy("semicolon"),
        "\t": gettext_lazy("tab"),
        "|": gettext_lazy("vertical bar"),
    },
    "decimal": {".": gettext_lazy("point: 1234.50"), ",": gettext_lazy("comma: 1234,50")},
    "dates": {
        "iso": gettext_lazy("year first: 2026-03-04"),
        "day_first": gettext_lazy("day first: 04/03/2026 is 4 March"),
        "month_first": gettext_lazy("month first: 04/03/2026 is 3 April"),
        "dotted": gettext_lazy("day first, with points: 04.03.2026"),
    },
    "format": {"csv": "CSV", "xlsx": gettext_lazy("workbook (.xlsx)")},
}
ALLOWED: dict[str, Label] = {  # what a column takes, where a value of it is wrong
    "full_price": gettext_lazy("a price from 0 to 9999999999.99 with at most two decimals"),
    "price": gettext_lazy("a price from 0 to 9999999999.99 with at most two decimals"),
    "discount_percent": gettext_lazy("a whole number from 0 to 100"),
    "plan_type": gettext_lazy("full, student or discount"),
    "started_at": gettext_lazy("a date that is in the calendar, as 2026-03-04 or 04.03.2026"),
    "ended_at": gettext_lazy(
        "a date that is in the calendar, as 2026-03-04 or 04.03.2026, or nothing"
    ),
    "locked_until": gettext_lazy(
        "a date that is in the calendar, as 2026-03-04 or 04.03.2026, or nothing"
    ),
    "email": gettext_lazy("one e-mail address, as ann@example.com"),
    "company_name": gettext_lazy("1 to 100 characters"),
    "service": gettext_lazy("1 to 50 characters"),
}
LEFT: dict[str, Label] = {  # reasons for which an undo leaves a record
    "touched_since": gettext_lazy("somebody has changed it since"),
    "deleted_since": gettext_lazy("somebody has deleted it since"),
    "in_use": gettext_lazy("subscriptions have it, or had"),
    "has_paid": gettext_lazy("it has been paid for"),
    "needs_another_person": gettext_lazy("it takes another person"),
}


def state_of(job: Any) -> tuple[str, str]:
    word, badge = STATES[job.status]
    return str(word), badge


def title_of(job: Any) -> str:
    if job.undoes_id is not None:
        title = (
            _("Undo of job %(number)s")
            if not job.dry_run
            else _("Look at an undo of job %(number)s")
        )
        return title % {"number": job.undoes_id}
    if job.file_name:
        return str(job.file_name)
    return _("%(kind)s, job %(number)s") % {"kind": KINDS[job.kind], "number": job.pk}


def author_of(job: Any) -> str:
    return authors.in_words(job.author)


def effect_of(job: Any) -> str:
    """The effect of a job, in a few words."""
    if job.status in ("waiting", "running"):
        return _("not ended yet")
    if job.status != "done":
        return _("nothing written") if job.kind in job.OF_FILES else _("see its lines")
    return _("looked at, nothing written") if job.dry_run else _("written")


def column(name: str) -> str:
    return str(COLUMNS.get(name, name))


def choice(option: str, value: str) -> str:
    return str(CHOICES.get(option, {}).get(value, value))


def kept_by_undo(line: dict[str, Any]) -> str:
    return str(LEFT.get(line.get("code", "")) or refusal_shown(line.get("detail", "")))
