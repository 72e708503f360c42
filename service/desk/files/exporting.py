"""Take lists out: as CSV for programs, as CSV for the reader's Excel, as a workbook.

The answers are those of the API, asked for in the person's name: filters, limits and rights are its
own, and what it refuses is said on the page.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from tempfile import TemporaryFile
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import (
    FileResponse,
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    QueryDict,
)
from django.urls import resolve
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_safe

from desk.files.rights import refuse_unless
from desk.files.sheets import locale_here
from desk.numbers import whole_number
from desk.page import desk_page, show
from pricebook.kit.access import caller
from pricebook.kit.scopes import (
    VIEW_CHANGE,
    VIEW_CLIENT,
    VIEW_LEDGER,
    VIEW_PLAN,
    VIEW_SERVICE,
    VIEW_SUBSCRIPTION,
)
from services.models import Plan, Service
from services.past.exporting import export_history
from services.reading.total import total_amount
from services.transfer import streaming
from services.transfer.sheets import answering
from services.transfer.sheets.headings import PRICE_STATES
from services.transfer.sheets.table import ROWS_OVER_HTTP

XLSX, EXCEL, CSV = "xlsx", "excel-csv", "csv"


@dataclass(frozen=True)
class Export:
    """A list that can be taken out: its path in the API, its forms, the filters of its form."""

    name: str
    label: Any
    says: Any
    path: str
    forms: tuple[str, ...]
    needs: tuple[str, ...]
    filters: tuple[str, ...] = ()
    fixed: tuple[tuple[str, str], ...] = ()


OF_BOOK = ("state", "service", "plan", "price_state", "started_from", "started_to")
EXPORTS = (
    Export(
        "subscriptions",
        gettext_lazy("Subscriptions"),
        gettext_lazy(
            "Each with its client, service, plan, price and price state. This is also the file of"
            " the book: an empty book reads it, and is equal then."
        ),
        "/api/subscriptions/",
        (XLSX, EXCEL, CSV),
        (VIEW_SUBSCRIPTION,),
        OF_BOOK,
    ),
    Export(
        "clients",
        gettext_lazy("Clients"),
        gettext_lazy("Each with the subscriptions that it has, and what it pays for them."),
        "/api/clients/",
        (XLSX, EXCEL),
        (VIEW_CLIENT,),
    ),
    Export(
        "services",
        gettext_lazy("Services"),
        gettext_lazy("Each with its list price, and what is paid for it."),
        "/api/services/",
        (XLSX, EXCEL),
        (VIEW_SERVICE,),
    ),
    Export(
        "plans",
        gettext_lazy("Plans"),
        gettext_lazy("Each with its discount, and what is paid by it."),
        "/api/plans/",
        (XLSX, EXCEL),
        (VIEW_PLAN,),
    ),
    Export(
        "totals",
        gettext_lazy("Totals by service and plan"),
        gettext_lazy("The number and the sum of the prices of each pair."),
        "/api/totals/",
        (XLSX, EXCEL),
        (VIEW_SUBSCRIPTION,),
        ("state",),
        (("by", "service,plan"),),
    ),
    Export(
        "ledger",
        gettext_lazy("The ledger"),
        gettext_lazy(
            "Each price that came into force, with its instant and its author, from the first."
        ),
        "/api/ledger/",
        (XLSX, EXCEL),
        (VIEW_LEDGER,),
        fixed=(("limit", str(ROWS_OVER_HTTP)),),
    ),
    Export(
        "changes",
        gettext_lazy("Rows of a price change"),
        gettext_lazy("Its rows with the old and the new price, or what became of each."),
        "/api/price-changes/{number}/rows/",
        (XLSX, EXCEL),
        (VIEW_CHANGE, VIEW_CLIENT),
        ("number",),
    ),
    Export(
        "history",
        gettext_lazy("The past of the book"),
        gettext_lazy(
            "The prices that each subscription has paid, from when on: with the file of the book it"
            " makes an empty book that tells the same of the past."
        ),
        "",
        (CSV,),
        (VIEW_SUBSCRIPTION, VIEW_CLIENT, VIEW_LEDGER),
    ),
)
BY_NAME = {each.name: each for each in EXPORTS}
FORMS = {
    XLSX: gettext_lazy("Workbook (.xlsx)"),
    EXCEL: gettext_lazy("CSV for Excel"),
    CSV: gettext_lazy("CSV for programs"),
}
STATES = {
    "active": gettext_lazy("active"),
    "ended": gettext_lazy("ended"),
    "upcoming": gettext_lazy("not begun"),
}
DATES = ("started_from", "started_to")


@desk_page(VIEW_SUBSCRIPTION)
@require_safe
def exports(request: HttpRequest) -> HttpResponse:
    """All that can be taken out. Two queries."""
    return page(request)


def page(request: HttpRequest, status: int = 200) -> HttpResponse:
    user = request.user
    mine = [each for each in EXPORTS if user.has_perms(each.needs)]
    return show(
        request,
        "files/exports",
        _("Exports"),
        status,
        exports=[
            {"export": each, "forms": [(form, FORMS[form]) for form in each.forms]} for each in mine
        ],
        states=STATES.items(),
        price_states=PRICE_STATES.items(),
        services=Service.objects.order_by("name").values_list("pk", "name")[:500]
        if user.has_perm(VIEW_SERVICE)
        else [],
        plans=Plan.objects.order_by("plan_type", "discount_percent")[:500]
        if user.has_perm(VIEW_PLAN)
        else [],
        given=request.GET,
        most=ROWS_OVER_HTTP,
    )


@desk_page(VIEW_SUBSCRIPTION)
@require_safe  # the API would write what is posted to the address of its list
def export(request: HttpRequest, name: str) -> HttpResponseBase:
    """A list as a file: the API's answer, or the page with what it has refused."""
    wanted = BY_NAME.get(name)
    if wanted is None:
        raise Http404(_("There is no list “%(name)s”.") % {"name": name[:50]})
    refuse_unless(request.user, *wanted.needs)
    form = request.GET.get("format", wanted.forms[0])
    if form not in wanted.forms:
        raise Http404(_("There is no form “%(form)s” of a table.") % {"form": form[:50]})
    if name == "history":
        return history(request)
    query = QueryDict(mutable=True)
    query["format"] = form
    if form == EXCEL:
        query["locale"] = locale_here()
    query.update(dict(wanted.fixed))
    path = wanted.path
    for filter in wanted.filters:
        value = request.GET.get(filter, "").strip()
        if filter == "number":
            number = whole_number(value)
            if number is None:
                messages.error(request, _("Give the number of the price change."))
                return page(request, 400)
            path = path.format(number=number)
        elif value:
            query[filter] = instant_of(value) if filter in DATES else value
    return asked(request, path, query)


def instant_of(text: str) -> str:
    """The beginning of a day, as the API takes it; a text that is no day is for it to refuse."""
    try:
        on = parse_date(text)
    except ValueError:
        on = None
    if on is None:
        return text
    midnight = timezone.make_aware(datetime(on.year, on.month, on.day))
    return midnight.isoformat()


def asked(request: HttpRequest, path: str, query: QueryDict) -> HttpResponseBase:
    """The answer of the API to this person; its refusal becomes a message of the page."""
    found = resolve(path)
    given, request.GET = request.GET, query  # type: ignore[assignment]
    setattr(request, answering.IN_WORDS, True)
    try:
        answer: Any = found.func(request, *found.args, **found.kwargs)
        if answer.status_code < 400:
            return answer  # type: ignore[no-any-return]
        answer = answer.render() if hasattr(answer, "render") else answer
        try:
            said = json.loads(answer.content)["detail"]
        except (ValueError, KeyError):
            said = _("The list can't be made now.")
    finally:
        request.GET = given
    messages.error(request, said)
    return page(request, answer.status_code)


def history(request: HttpRequest) -> HttpResponseBase:
    """The file of the past, whole before its first byte; it takes a place of the streams."""
    rows = total_amount().subscriptions
    if rows > ROWS_OVER_HTTP:
        messages.error(
            request,
            _("These are %(rows)s subscriptions: the command export_history writes them.")
            % {"rows": rows},
        )
        return page(request, 413)
    try:
        place = streaming.Body(caller(request))  # type: ignore[arg-type]
    except Exception as error:
        messages.error(request, str(error))
        return page(request, 503)
    file = TemporaryFile()  # noqa: SIM115 - the answer closes it
    try:
        export_history(file)
    finally:
        place.close()
    file.seek(0)
    name = f"past-{settings.CURRENCY.lower()}.csv"
    return FileResponse(file, as_attachment=True, filename=name, content_type="text/csv")
