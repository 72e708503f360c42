"""Tables as files that a browser saves: a workbook, or the CSV of the reader's Excel."""

from __future__ import annotations

from dataclasses import replace
from tempfile import TemporaryFile

from django.http import FileResponse, Http404, HttpRequest, StreamingHttpResponse
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from services.transfer.sheets import workbook
from services.transfer.sheets.excel_csv import ExcelCSV
from services.transfer.sheets.table import Table, over_http


def locale_here() -> str:
    return (get_language() or "en").replace("-", "_")


def sheet(request: HttpRequest, table: Table) -> StreamingHttpResponse:
    """The table in the form that `format` names: xlsx, or csv. Raises Http404 for another."""
    form = request.GET.get("format", "xlsx")
    if form not in ("xlsx", "csv"):
        raise Http404(_("There is no form “%(form)s” of a table.") % {"form": form[:50]})
    table = replace(table, is_in_words=True)  # its headings are those of the page
    file = TemporaryFile()  # noqa: SIM115 - the answer closes it
    if form == "xlsx":
        workbook.write(table, file, over_http())
    else:
        ExcelCSV.of(locale_here()).write(table, file, over_http())
    file.seek(0)
    return FileResponse(file, as_attachment=True, filename=f"{table.name}.{form}")
