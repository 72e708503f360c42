"""The lists of clients, services and plans, each with what its subscriptions pay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from desk.back import with_back
from desk.finding import form
from desk.finding.asked import Asked, asked, has_empty, without_empty
from desk.finding.page import head, refused, sheets, show_list, sizes
from desk.finding.words import LABELS, PLAN_TYPES
from pricebook.kit import figures
from pricebook.kit.errors import BadParameter
from pricebook.kit.scopes import VIEW_CLIENT, VIEW_SUBSCRIPTION
from services.models import Plan
from services.reading import breakdown
from services.reading.ordering import Ordering
from services.views.breakdown import too_many_found


@dataclass(frozen=True)
class Kind:
    """A list of records. `columns`: their headings, orders and texts, and whether they are numbers;
    the first one leads to the record, and what it pays stands behind it. `first`: the filters that
    are asked for most."""

    name: str
    title: Promise
    usual: Ordering
    columns: tuple[tuple[Promise, str, Callable[[dict[str, Any]], str], bool], ...]
    first: tuple[str, ...]
    empty: Promise


def _known(row: dict[str, Any]) -> str:
    return "" if row["source"] is None else f"{row['source']} {row['external_id']}"


# A filter is of the record itself here.
OWN_LABELS = {**LABELS, "q": gettext_lazy("Name"), "email": gettext_lazy("E-mail")}
KNOWN = (gettext_lazy("External id"), "", _known, False)
PAYS = (
    gettext_lazy("Pays now"),
    "total_amount",
    lambda row: figures.amount(row["total_amount"]),
    True,
)
CLIENTS = Kind(
    "client",
    gettext_lazy("Clients"),
    Ordering("company_name"),
    (
        (gettext_lazy("Client"), "company_name", lambda row: row["company_name"], False),
        PAYS,
        (gettext_lazy("E-mail"), "email", lambda row: row["email"], False),
        KNOWN,
    ),
    ("q", "email"),
    gettext_lazy("No client matches."),
)
SERVICES = Kind(
    "service",
    gettext_lazy("Services"),
    Ordering("name"),
    (
        (gettext_lazy("Service"), "name", lambda row: row["name"], False),
        (
            gettext_lazy("List price"),
            "full_price",
            lambda row: figures.amount(row["full_price"]),
            True,
        ),
        PAYS,
        KNOWN,
    ),
    ("q",),
    gettext_lazy("No service matches."),
)
PLANS = Kind(
    "plan",
    gettext_lazy("Plans"),
    Ordering("plan_type"),
    (
        (
            gettext_lazy("Plan"),
            "plan_type",
            lambda row: str(
                Plan(plan_type=row["plan_type"], discount_percent=row["discount_percent"])
            ),
            False,
        ),
        (
            gettext_lazy("Discount"),
            "discount_percent",
            lambda row: figures.percent(row["discount_percent"]),
            True,
        ),
        PAYS,
        KNOWN,
    ),
    ("plan_type",),
    gettext_lazy("No plan matches."),
)


def records(request: HttpRequest, kind: Kind) -> HttpResponse:
    """The page of such records that an address asks for. One query beside those of the person."""
    names, orderings = breakdown.FILTERS[kind.name], breakdown.ORDERINGS[kind.name]
    more = [name for name in names if name not in kind.first]
    choices: dict[str, form.Choices] = {"plan_type": [*PLAN_TYPES.items()]}
    make_form = partial(
        form.form_of, without_empty(request.GET), kind.first, more, choices, labels=OWN_LABELS
    )
    title = str(kind.title)
    try:
        wanted = asked(
            request,
            names,
            orderings,
            kind.usual,
            lambda values, ordering: breakdown.key_of_records(kind.name, values, ordering),
        )
        if has_empty(request.GET):
            return redirect(wanted.here)
        try:
            page = breakdown.page(
                kind.name, wanted.values, wanted.cursor, wanted.size, wanted.ordering
            )
        except breakdown.TooManyFound as error:
            raise too_many_found(wanted.values) from error
    except BadParameter as error:
        wrong = str(error.about["parameter"])
        return show_list(request, title, 400, form=make_form(wrong=wrong), problem=refused(error))
    columns = kind.columns
    heads = [
        head(wanted, label, name, is_number, orderings) for label, name, _says, is_number in columns
    ]
    heads.insert(
        kind.columns.index(PAYS) + 1,
        head(wanted, _("Subscriptions that pay"), "count", True, orderings),
    )
    query = {**wanted.values, "ordering": str(wanted.ordering)}
    said = {"plan_type": lambda value: str(PLAN_TYPES[value])}
    return show_list(
        request,
        title,
        form=make_form(),
        kept_order=str(wanted.ordering) if wanted.ordering != kind.usual else "",
        size=wanted.size,
        chips=form.chips_of(wanted, said, OWN_LABELS),
        figures=_figures(page),
        heads=heads,
        rows=_rows(request, kind, wanted, page.result),
        empty=str(kind.empty) if not page.result else "",
        sizes=sizes(wanted),
        next=wanted.at(page.next),
        previous=wanted.at(page.previous),
        sheets=sheets(f"/api/{kind.name}s/", query),
    )


def _figures(page: breakdown.Page) -> list[tuple[str, str, str]]:
    return [
        (
            _("Found"),
            figures.grouped(page.count),
            _("%(rows)s on this page") % {"rows": figures.grouped(len(page.result))},
        ),
        (
            _("Paid now"),
            figures.money(page.total.amount),
            _("by %(rows)s subscriptions that have begun and not ended")
            % {"rows": figures.grouped(page.total.subscriptions)},
        ),
    ]


def _rows(
    request: HttpRequest, kind: Kind, wanted: Asked, rows: Sequence[dict[str, Any]]
) -> SafeString:
    url, end = with_back(reverse(f"desk:{kind.name}", args=[0]), wanted.here).split("/0/")
    listed = reverse("desk:subscriptions")
    linked = request.user.has_perms((VIEW_SUBSCRIPTION, VIEW_CLIENT))
    (_label, _name, first, _is_number), *others = kind.columns
    found = []
    for row in rows:
        address, name = f"{url}/{row['id']}/{escape(end)}", escape(first(row))
        cells = [f'<th scope="row"><a href="{address}">{name}</a></th>']
        for _label, _name, says, is_number in others:
            number = ' class="number"' if is_number else ""
            cells.append(f"<td{number}>{escape(says(row))}</td>")
        count = figures.grouped(row["count"])
        if linked and row["count"]:
            query = f"{kind.name}={row['id']}&amp;state=active"
            count = f'<a href="{listed}?{query}">{count}</a>'
        cells.insert(kind.columns.index(PAYS) + 1, f'<td class="number">{count}</td>')
        found.append(f"<tr>{''.join(cells)}</tr>\n")
    return mark_safe("".join(found))  # noqa: S308 - each text is escaped
