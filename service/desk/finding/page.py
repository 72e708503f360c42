"""Parts that the pages of lists share: headings that sort, sizes, sheets, and bad addresses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.utils.functional import Promise
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from desk.finding.asked import SIZES, Asked
from desk.finding.words import OTHERS, label_of
from desk.page import show
from pricebook.kit.errors import BadParameter
from services.reading.ordering import Ordering


@dataclass(frozen=True)
class Head:
    """A heading of the table. `sorts`: the address in this order, empty if it does not sort."""

    label: str | Promise
    sorts: str = ""
    sorted: str = ""  # "ascending" or "descending", if the list is in this order
    is_number: bool = False


def head(
    asked: Asked,
    label: str | Promise,
    name: str = "",
    is_number: bool = False,
    orderings: Mapping[str, Ordering] | None = None,
) -> Head:
    """The heading of a column. Its first click sorts a column of numbers from the largest."""
    if not name or (orderings is not None and name not in orderings):
        return Head(label, is_number=is_number)
    here = asked.ordering.name == name
    turned = Ordering(name, not asked.ordering.descending if here else is_number)
    other = replace(asked, ordering=turned)
    way = "descending" if asked.ordering.descending else "ascending"
    return Head(label, other.address(), way if here else "", is_number)


def sizes(asked: Asked) -> list[tuple[int, str]]:
    """The sizes of a page, each with its address; empty at the one that it has."""
    return [
        (size, "" if size == asked.size else replace(asked, size=size).address()) for size in SIZES
    ]


def sheets(path: str, query: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The addresses of the API's sheets of the same rows, for the reader's language."""
    locale = (get_language() or "en").replace("-", "_")
    forms = [
        (_("Excel workbook"), {"format": "xlsx"}),
        (_("CSV for Excel"), {"format": "excel-csv", "locale": locale}),
    ]
    return [(said, f"{path}?{urlencode({**query, **form})}") for said, form in forms]


def refused(error: BadParameter) -> str:
    """A sentence that names the value of an address that can't be used, and says why."""
    name, value = str(error.about["parameter"]), str(error.about["value"])
    label = OTHERS.get(name) or label_of(name)
    shown = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in value)
    said = _("%(label)s: “%(value)s” can't be used.") % {"label": label, "value": shown}
    return f"{said} {error.detail}"


def show_list(request: HttpRequest, title: str, status: int = 200, **context: Any) -> HttpResponse:
    return show(request, "finding/list", title, status, path=request.path, **context)
