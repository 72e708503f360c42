"""A table as an answer of the API: `?format=xlsx`, or `?format=excel-csv&locale=ru`.

It is written to a temporary file first, so each refusal comes before the first byte, and the length
of the answer is known: who reads less has not got all of it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from tempfile import TemporaryFile
from typing import IO, Any

from django.http import QueryDict, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from pricebook.kit.access import caller
from services.reading import parameters
from services.transfer import streaming
from services.transfer.sheets import workbook
from services.transfer.sheets.excel_csv import ExcelCSV
from services.transfer.sheets.headings import in_words
from services.transfer.sheets.table import Limits, Table, Written, over_http

IN_WORDS = "sheet_in_words"  # set on a request of a page for people, who read it in their language
Writer = Callable[[Table, Any, Limits], Written]
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


class _Sheet(streaming.Unrendered):
    pass


class XLSXRenderer(_Sheet):
    media_type = XLSX
    format = "xlsx"


class ExcelCSVRenderer(_Sheet):
    media_type = "text/csv"
    format = "excel-csv"


RENDERERS = (XLSXRenderer, ExcelCSVRenderer)
DESCRIPTION = (
    "`format=xlsx` sends a workbook with all that match, and `format=excel-csv` with `locale=` the"
    " CSV that the Excel of a locale reads. They take the filters alone. `Content-Length` says when"
    " the answer is complete, `Row-Count` how many rows it has, `Column-Sums` what its amounts add"
    " up to, `Book-Version` and `Book-Changed` of which book it is."
)
LOCALE = OpenApiParameter(
    "locale",
    {"type": "string", "maxLength": 30, "pattern": "^[A-Za-z]+([_-][A-Za-z0-9]+)*$"},
    description="With `format=excel-csv`, and only then: ru, de, en_GB…",
)
HEADERS = [
    OpenApiParameter(
        name, str, OpenApiParameter.HEADER, response=[200], description=f"With a sheet: {text}"
    )
    for name, text in {
        "Row-Count": "the number of its rows.",
        "Column-Sums": "what the amounts of each column add up to, as `price=24950.00`.",
        "Book-Changed": "whether the book changed while it was written, `true` or `false`.",
        "Book-Version": "the version of the book at its end; of a stream, at its start.",
    }.items()
]
PARAMETERS = [LOCALE, *HEADERS]


def responses(page: Any) -> dict[tuple[int, str], Any]:
    """The answers 200 of a list as the schema describes them: a page of JSON, or a sheet."""
    return {
        (200, "application/json"): page,
        (200, XLSX): OpenApiTypes.BINARY,
        (200, ExcelCSVRenderer.media_type): OpenApiTypes.STR,
    }


class Sheets:
    """A view whose `sheet_actions` (without actions: its GET) also answer with a sheet."""

    sheet_actions: tuple[str, ...] = ()

    def get_renderers(self) -> list[BaseRenderer]:
        renderers: list[BaseRenderer] = super().get_renderers()  # type: ignore[misc]
        action = getattr(self, "action", None)
        if action in self.sheet_actions or not self.sheet_actions:
            renderers += [renderer() for renderer in RENDERERS]
        return renderers

    def handle_exception(self, exc: Exception) -> Response:
        streaming.errors_are_json(self.request)  # type: ignore[attr-defined]
        return super().handle_exception(exc)  # type: ignore[misc,no-any-return]


def is_wanted(request: Request) -> bool:
    return isinstance(getattr(request, "accepted_renderer", None), _Sheet)


def refuse_unknown(request: Request, known: Iterable[str], of_pages: Iterable[str] = ()) -> bool:
    """Whether a request wants a sheet. BadParameter for a name that it may not give.

    It may give those that are `known`, and `of_pages` unless it wants a sheet.
    """
    known, of_pages, query = list(known), list(of_pages), request.query_params
    if not is_wanted(request):
        parameters.refuse_unknown(query, [*known, *of_pages])
        return False
    format = request.accepted_renderer.format
    if format == ExcelCSVRenderer.format:
        known.append(LOCALE.name)
    streaming.refuse_what_pages_take(query, format, known, of_pages)
    return True


def filters_of(query: QueryDict) -> dict[str, str]:
    """The parameters of a request that the sheet "About" names."""
    of_form = ("format", LOCALE.name, "decimals")
    return {name: str(query[name]) for name in query if name not in of_form}


def answer(
    request: Request, table: Table, links: Callable[[], dict[str, str]] = dict
) -> StreamingHttpResponse:
    """The table as the request wants it; its query string has been checked, except for the locale.

    `links`: further headers, asked for when it is written. Raises UnknownLocale, TooManyRows,
    ReadTimedOut, and as `streaming.Places.take`.
    """
    if getattr(request, IN_WORDS, False):
        table = in_words(table)
    writer, media_type, ending = _form(request)
    body = streaming.Body(caller(request))
    name = f"{table.name.lower().replace(' ', '-')}.{ending}"
    headers = {
        "Cache-Control": "no-store",
        "Content-Disposition": f'attachment; filename="{name}"',
    }
    try:
        if request.method != "HEAD":
            file = TemporaryFile()  # noqa: SIM115 - it is closed with the body
            weakref.finalize(body, file.close)
            written = writer(table, file, over_http())
            body.pieces = _pieces(file)
            headers |= _said(written, file) | links()
    except BaseException:
        body.close()
        raise
    return StreamingHttpResponse(body, content_type=media_type, headers=headers)


def _form(request: Request) -> tuple[Writer, str, str]:
    if request.accepted_renderer.format == XLSXRenderer.format:
        return workbook.write, XLSX, "xlsx"
    form = ExcelCSV.of(parameters.value_of(request.query_params, LOCALE.name))
    return form.write, "text/csv; charset=utf-8", "csv"


def _said(written: Written, file: IO[bytes]) -> dict[str, str]:
    sums = ", ".join(f"{name}={amount:f}" for name, amount in written.sums.items())
    return {
        "Content-Length": str(file.seek(0, 2)),
        "Row-Count": str(written.rows),
        "Book-Version": written.moment.version,
        "Book-Changed": str(written.moment.changed).lower(),
        **({"Column-Sums": sums} if sums else {}),
    }


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while piece := file.read(streaming.PIECE):
            yield piece
