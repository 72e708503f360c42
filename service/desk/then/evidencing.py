"""The page of a month's evidence, and its file."""

from __future__ import annotations

import weakref
from tempfile import TemporaryFile
from typing import Any

from django.http import FileResponse, HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from desk.page import desk_page, show
from desk.then import steps
from desk.then.asked import address
from desk.then.evidence import Evidence
from desk.then.moments import BadMoment, Month, last_months
from price_changes.showing.bridges import changes_of
from pricebook.kit.refusal import Refusal
from pricebook.kit.scopes import VIEW_CHANGE, VIEW_CLIENT, VIEW_LEDGER, VIEW_SUBSCRIPTION
from services.audit import book_check
from services.models import book_clock
from services.transfer.sheets.answering import XLSX
from services.transfer.sheets.table import over_http

NEEDS = (VIEW_SUBSCRIPTION, VIEW_CHANGE)
# The file has every decision about one subscription, with ids of clients.
NEEDS_FOR_FILE = (*NEEDS, VIEW_LEDGER, VIEW_CLIENT)
SHOWN = 30


@desk_page(*NEEDS)
@require_safe
def evidence(request: HttpRequest) -> HttpResponse:
    """The content of a month's file, in short: last month's unless another one is asked for."""
    now = book_clock()
    months = [Month.of(now), *last_months(now)]
    title = _("Evidence of a month")
    context: dict[str, Any] = {"months": [(month, address(month=month)) for month in months]}
    try:
        found = _found(request)
    except BadMoment as error:
        return show(request, "then/evidence", title, 400, bad=str(error), **context)
    return show(
        request,
        "then/evidence",
        title,
        **context,
        evidence=found,
        lines=steps.lines_of(found.bridge.steps, changes_of(found.bridge, found.names_clients)),
        difference=found.bridge.total_until.amount - found.bridge.total_since.amount,
        decided=found.decided[:SHOWN],
        edits=found.edits[:SHOWN],
        more=max(0, len(found.decided) - SHOWN) + max(0, len(found.edits) - SHOWN),
        decisions=len(list(found.decisions(1_001))),
        check=book_check.last_book_check(),
        may_have_file=all(request.user.has_perm(each) for each in NEEDS_FOR_FILE),
        file=address(month=found.month),
    )


@desk_page(*NEEDS_FOR_FILE)
@require_safe
def evidence_file(request: HttpRequest) -> Any:
    """The workbook. It is written before the first byte is sent."""
    try:
        found = _found(request)
    except BadMoment as error:
        return show(request, "then/evidence", _("Evidence of a month"), 400, bad=str(error))
    file = TemporaryFile()  # noqa: SIM115 - closed with the answer
    try:
        found.write(file, over_http())
    except Refusal as error:
        file.close()
        return show(
            request, "then/evidence", _("Evidence of a month"), 413, bad=error.detail, too_long=True
        )
    file.seek(0)
    answer = FileResponse(
        file, as_attachment=True, filename=f"evidence-{found.month}.xlsx", content_type=XLSX
    )
    weakref.finalize(answer, file.close)
    return answer


def _found(request: HttpRequest) -> Evidence:
    now = book_clock()
    text = request.GET.get("month", "")
    month = Month.parse(text) if text else Month.of(now).previous
    if month.since >= now:
        raise BadMoment(_("%(month)s has not begun.") % {"month": month.name})
    return Evidence(month, now, request.user.has_perm(VIEW_CLIENT))
