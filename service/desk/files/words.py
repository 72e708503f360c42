"""Texts about jobs and files, for people."""

from __future__ import annotations

from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from pricebook.kit import authors

Label = str | Promise

STATES: dict[str, tuple[Label, str]] = {  # of a job: its word, and the class of its badge
    "waiting": (_lazy("waiting"), ""),
    "running": (_lazy("running"), "warn"),
    "done": (_lazy("done"), "good"),
    "refused": (_lazy("refused"), "alarm"),
    "failed": (_lazy("failed"), "alarm"),
    "cancelled": (_lazy("cancelled"), ""),
}
KINDS: dict[str, Label] = {
    "import": _lazy("File of the book"),
    "history": _lazy("File of the past"),
    "clients": _lazy("Clients in bulk"),
    "services": _lazy("Services in bulk"),
    "plans": _lazy("Plans in bulk"),
    "subscriptions": _lazy("Subscriptions in bulk"),
}
OUTCOMES: dict[str, Label] = {  # of a line, in the order in which they are shown
    "refused": _lazy("refused"),
    "changed": _lazy("changed"),
    "created": _lazy("new"),
    "deleted": _lazy("deleted"),
    "left": _lazy("left as it is"),
    "unchanged": _lazy("unchanged"),
}
RECORDS: dict[str, Label] = {
    "client": _lazy("client"),
    "service": _lazy("service"),
    "plan": _lazy("plan"),
}
RECORDS_NEW: dict[str, Label] = {
    "client": _lazy("new clients"),
    "service": _lazy("new services"),
    "plan": _lazy("new plans"),
}
COLUMNS: dict[str, Label] = {  # of files, and fields of records
    "company_name": _lazy("Client"),
    "email": _lazy("E-mail"),
    "full_address": _lazy("Address"),
    "service": _lazy("Service"),
    "full_price": _lazy("List price"),
    "plan_type": _lazy("Plan type"),
    "discount_percent": _lazy("Discount, %"),
    "source": _lazy("Source"),
    "external_id": _lazy("Id in the source"),
    "started_at": _lazy("Start"),
    "ended_at": _lazy("End"),
    "comment": _lazy("Comment"),
    "stamp": _lazy("Stamp"),
    "price": _lazy("Price"),
    "price_state": _lazy("Price state"),
    "locked_until": _lazy("Locked until"),
    "price_reason": _lazy("Reason of the price"),
    "id": _lazy("Id in this book"),
    "client": _lazy("Client"),
    "plan": _lazy("Plan"),
    "subscription": _lazy("Subscription"),
    "alike": _lazy("Place among alike ones"),
    "effective_at": _lazy("In force from"),
    "until": _lazy("Until"),
}
UNDERSTOOD: dict[str, Label] = {
    "format": _lazy("Kind of file"),
    "sheet": _lazy("Sheet"),
    "encoding": _lazy("Encoding"),
    "delimiter": _lazy("Separator"),
    "decimal": _lazy("Decimal sign"),
    "dates": _lazy("Dates"),
    "columns": _lazy("Columns with other names"),
    "left out": _lazy("Columns left out"),
    "hidden rows": _lazy("Hidden rows"),
}
CHOICES: dict[str, dict[str, Label]] = {
    "encoding": {
        "utf-8": "UTF-8",
        "utf-16": "UTF-16",
        "cp1251": _lazy("Windows-1251, Cyrillic"),
        "cp1252": _lazy("Windows-1252, Western Europe"),
    },
    "delimiter": {
        ",": _lazy("comma"),
        ";": _lazy("semicolon"),
        "\t": _lazy("tab"),
        "|": _lazy("vertical bar"),
    },
    "decimal": {".": _lazy("point: 1234.50"), ",": _lazy("comma: 1234,50")},
    "dates": {
        "iso": _lazy("year first: 2026-03-04"),
        "day_first": _lazy("day first: 04/03/2026 is 4 March"),
        "month_first": _lazy("month first: 04/03/2026 is 3 April"),
        "dotted": _lazy("day first, with points: 04.03.2026"),
    },
    "format": {"csv": "CSV", "xlsx": _lazy("workbook (.xlsx)")},
}
ALLOWED: dict[str, Label] = {  # what a column takes, where a value of it is wrong
    "full_price": _lazy("a price from 0 to 9999999999.99 with at most two decimals"),
    "price": _lazy("a price from 0 to 9999999999.99 with at most two decimals"),
    "discount_percent": _lazy("a whole number from 0 to 100"),
    "plan_type": _lazy("full, student or discount"),
    "started_at": _lazy("a date that is in the calendar, as 2026-03-04 or 04.03.2026"),
    "ended_at": _lazy("a date that is in the calendar, as 2026-03-04 or 04.03.2026, or nothing"),
    "locked_until": _lazy(
        "a date that is in the calendar, as 2026-03-04 or 04.03.2026, or nothing"
    ),
    "email": _lazy("one e-mail address, as ann@example.com"),
    "company_name": _lazy("1 to 100 characters"),
    "service": _lazy("1 to 50 characters"),
}
LEFT: dict[str, Label] = {  # reasons for which an undo leaves a record
    "touched_since": _lazy("somebody has changed it since"),
    "deleted_since": _lazy("somebody has deleted it since"),
    "in_use": _lazy("subscriptions have it, or had"),
    "has_paid": _lazy("it has been paid for"),
    "needs_another_person": _lazy("it takes another person"),
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
    """The name of a person; a program and a name that nobody has proved as they are kept."""
    author = authors.parse(job.author)
    return author.name if author.kind is authors.Kind.PERSON else str(job.author)


def effect_of(job: Any) -> str:
    """What became of a job, in a few words."""
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
    return str(LEFT.get(line.get("code", ""), line.get("detail", "")))
