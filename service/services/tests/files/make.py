"""Makes the files of this folder again, by openpyxl, XlsxWriter, polars, pandas and LibreOffice.

    python make.py FOLDER

`cases.py` has the right reading of each file, and the program and version that made it. Files "by
hand" are written byte by byte, as Excel's documentation, ECMA-376 and other formats say.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pandas
import polars
import xlsxwriter
from openpyxl.cell.rich_text import CellRichText, TextBlock
from openpyxl.cell.text import InlineFont
from openpyxl.utils.datetime import CALENDAR_MAC_1904

OUT = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
COLUMNS = [
    "company_name", "email", "service", "full_price", "plan_type", "discount_percent",
    "source", "external_id", "started_at", "comment",
]  # fmt: skip
LATIN = [
    ["Müller GmbH", "m@example.com", "Phone", Decimal("1234.50"), "full", 0, "crm", "00042",
     date(2026, 3, 4), ""],
    ["Acme; Inc, Ltd", "a@example.com", "DSL", Decimal("19.90"), "discount", 20, "crm", "K-7",
     datetime(2026, 12, 31, 9, 30), 'say "hi"'],
    ["Zoë", "z@example.com", "Phone", Decimal("1234.50"), "student", 15, "crm", "9",
     date(2026, 4, 3), "two\nlines"],
]  # fmt: skip
CYRILLIC = [["ООО Ромашка", *LATIN[0][1:]], ["ИП Ёлкин", *LATIN[1][1:]], ["Щука", *LATIN[2][1:]]]
Rows = list[list[Any]]
PRICE, PERCENT, EXTERNAL_ID, START = 3, 5, 7, 8


def with_cells(*cells: tuple[int, int, Any], rows: Rows = LATIN) -> Rows:
    changed = [list(row) for row in rows]
    for row, column, value in cells:
        changed[row][column] = value
    return changed


def put(name: str, content: bytes) -> None:
    (OUT / name).write_bytes(content)


# --- Texts, by hand ---------------------------------------------------------------------------


def text(
    rows: Rows = LATIN,
    delimiter: str = ",",
    price: Callable[[Decimal], str] = str,
    day: str = "%Y-%m-%d",
    time: str = "T%H:%M",
    header: list[str] = COLUMNS,
    line_end: str = "\r\n",
) -> str:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=line_end)
    writer.writerow(header)
    for row in rows:
        writer.writerow([_cell(value, price, day, time) for value in row])
    return out.getvalue()


def _cell(value: Any, price: Callable[[Decimal], str], day: str, time: str) -> str:
    if isinstance(value, Decimal):
        return price(value)
    if isinstance(value, date):
        shown = value.strftime(day + (time if isinstance(value, datetime) else ""))
        return re.sub(r"\b0(\d[/])", r"\1", shown) if day == "%m/%d/%Y" else shown
    return str(value)


def comma(value: Decimal) -> str:
    return str(value).replace(".", ",")


def grouped(thousands: str, decimal: str) -> Callable[[Decimal], str]:
    return lambda value: f"{value:,}".translate({ord(","): thousands, ord("."): decimal})


GERMAN: dict[str, Any] = {"delimiter": ";", "price": comma, "day": "%d.%m.%Y", "time": " %H:%M"}
US: dict[str, Any] = {"day": "%m/%d/%Y", "time": " %H:%M"}
NAMES = [
    "Kunde", "E-Mail", "Produkt", "Listenpreis", "Tarif", "Rabatt", "System", "Nummer", "Beginn",
    "Bemerkung",
]  # fmt: skip
START_DAYS = [(0, START, "03/04/2026"), (1, START, "05/06/2026"), (2, START, "07/07/2026")]


def texts() -> None:
    put("ours.csv", text(line_end="\n").encode())
    put("excel_de.csv", b"\xef\xbb\xbf" + text(**GERMAN).encode())
    put("excel_de_cp1252.csv", text(**GERMAN).encode("cp1252"))
    put("excel_ru_cp1251.csv", text(CYRILLIC, **GERMAN).encode("cp1251"))
    put("comma_cp1252.csv", text().encode("cp1252"))
    german_tab = text(**GERMAN | {"delimiter": "\t"})
    put("excel_unicode_text.txt", b"\xff\xfe" + german_tab.encode("utf-16-le"))
    put("utf16_be.txt", b"\xfe\xff" + german_tab.encode("utf-16-be"))
    put("utf16_le_no_mark.txt", german_tab.encode("utf-16-le"))
    put("utf32.txt", b"\xff\xfe\0\0" + german_tab.encode("utf-32-le"))
    put("sep_line.csv", ("sep=;\r\n" + text(**GERMAN)).encode())
    put("excel_us.csv", text(**US).encode())
    put("excel_us_am_pm.csv", text(**US | {"time": " %I:%M:%S %p"}).encode())
    put("dates_unclear.csv", text(with_cells(*START_DAYS)).encode())
    put("excel_uk.csv", text(day="%d/%m/%Y", time=" %H:%M").encode())
    both = with_cells(*START_DAYS[:1], (1, START, "31/12/2026"), (2, START, "12/31/2026"))
    put("dates_both_ways.csv", text(both).encode())
    put("dutch_dashes.csv", text(**GERMAN | {"day": "%d-%m-%Y"}).encode())
    put("japanese_slashes.csv", text(day="%Y/%m/%d", time=" %H:%M").encode())
    french = {"price": grouped("\u202f", ","), "day": "%d/%m/%Y"}
    put("excel_fr.csv", text(**GERMAN | french).encode())
    put("excel_ru.csv", text(CYRILLIC, **GERMAN | {"price": grouped("\u00a0", ",")}).encode())
    put("excel_ch.csv", text(**GERMAN | {"price": grouped("'", ".")}).encode())
    put("points_in_thousands.csv", text(**GERMAN | {"price": grouped(".", ",")}).encode())
    unclear = with_cells((0, PRICE, "1,234"), (1, PRICE, "20"), (2, PRICE, "1,234"))
    put("amount_unclear.csv", text(unclear).encode())
    decided = with_cells((0, PRICE, "1,234"), (1, PRICE, "19.90"), (2, PRICE, "1,234"))
    put("amount_decided.csv", text(decided).encode())
    both = with_cells((0, PRICE, "1,234"), (1, PRICE, "19.90"), (2, PRICE, "4,50"))
    put("amounts_both_ways.csv", text(both).encode())
    put("pipe.txt", text(delimiter="|").encode())
    put("tabs.tsv", text(delimiter="\t", line_end="\n").encode())
    put("old_mac.csv", text(with_cells((2, 9, "one line")), **GERMAN, line_end="\r").encode())
    put("header_in_any_case.csv", text(header=[f" {n.title()} " for n in COLUMNS]).encode())
    noted = [[*row, "x"] for row in LATIN]
    put("german_names.csv", text(noted, header=[*NAMES, "Notiz"], **GERMAN).encode())
    put("one_unknown.csv", text(noted, header=[*COLUMNS, "Notiz"]).encode())
    empty = [[*row, "", ""] for row in with_cells(rows=[*LATIN, [""] * len(COLUMNS)])]
    put("empty_around.csv", text(empty, header=[*COLUMNS, "", ""], **GERMAN).encode())
    nameless = [[*LATIN[0], "x"], *[[*row, ""] for row in LATIN[1:]]]
    put("nameless_column.csv", text(nameless, header=[*COLUMNS, ""], **GERMAN).encode())
    end = "# end: version=1.1 changed=false count=3 total_amount=10.00"
    put("export_resaved.csv", (text(**US) + end + "," * 9 + "\r\n").encode())
    put("export_cut.csv", (text() + end.replace("count=3", "count=4") + "\n").encode())
    put("excel_de_times.csv", text(**GERMAN | {"time": " %H:%M:%S"}).encode())
    put("two_digit_years.csv", text(day="%m/%d/%y", time=" %H:%M").encode())
    percent = with_cells((1, PERCENT, "20%"), (2, PERCENT, "15,0"))
    put("percent_signs.csv", text(percent, **GERMAN).encode())
    put("euro_signs.csv", text(with_cells((1, PRICE, "19,90 €")), **GERMAN).encode())
    put("quote_missing.csv", text(**GERMAN).replace('"two', "two").encode())
    put("short_row.csv", (text() + "Acme,x@example.com\r\n").encode())
    put("nothing.csv", b"")
    put("blank_lines.csv", b"\r\n;;;\r\n\r\n")
    put("packed.csv.gz", gzip.compress(text(**GERMAN).encode(), mtime=0))
    twice = gzip.compress(gzip.compress(text().encode(), mtime=0), mtime=0)
    put("packed_twice.csv.gz", twice)
    put("packed_cut.csv.gz", gzip.compress(text(**GERMAN).encode(), mtime=0)[:-30])


def not_tables() -> None:
    put("book.pdf", b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n%%EOF\n")
    page = "<html><head></head><body><table><tr><td>company_name</td></tr></table></body></html>"
    put("page.xls", page.encode())
    old = b'<?xml version="1.0"?>\n<?mso-application progid="Excel.Sheet"?>\n<Workbook/>\n'
    put("xml_2003.xls", old)
    put("book.json", b'[{"company_name": "Acme"}]\n')
    put("picture.png", b"\x89PNG\r\n\x1a\n" + bytes(64))
    put("zeros.csv", b"company_name,\0\0\0\0\n")
    ole = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)
    put("with_password.xlsx", ole + "EncryptedPackage".encode("utf-16-le") + bytes(480))
    archive({"notes.txt": "x"}, "notes.zip")
    archive({"[Content_Types].xml": "<x/>", "word/document.xml": "<x/>"}, "letter.docx")
    archive({"[Content_Types].xml": "<x/>", "xl/workbook.bin": "x"}, "binary.xlsb")
    archive({"Index/Document.iwa": "x"}, "apple.numbers")


def archive(members: dict[str, str], name: str) -> None:
    with zipfile.ZipFile(OUT / name, "w", zipfile.ZIP_DEFLATED) as out:
        for member, content in members.items():
            out.writestr(zipfile.ZipInfo(member, (2026, 1, 1, 0, 0, 0)), content)


# --- Workbooks ----------------------------------------------------------------------------------


def by_openpyxl(
    name: str, rows: Rows = LATIN, change: Callable[[Any], None] = lambda book: None
) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Book"
    for row in [COLUMNS, *rows]:
        sheet.append(row)
    change(book)
    book.save(OUT / name)


def openpyxls() -> None:
    by_openpyxl("openpyxl.xlsx")
    by_openpyxl("iso_dates.xlsx", change=lambda book: setattr(book, "iso_dates", True))
    by_openpyxl(
        "days_from_1904.xlsx", change=lambda book: setattr(book, "epoch", CALENDAR_MAC_1904)
    )
    by_openpyxl("formula_without_result.xlsx", with_cells((0, PRICE, "=1000+234.5")))
    by_openpyxl("merged.xlsx", change=lambda book: book.active.merge_cells("A2:A3"))
    by_openpyxl("merged_beside.xlsx", change=lambda book: book.active.merge_cells("M2:N3"))
    by_openpyxl("errors.xlsx", with_cells((0, PRICE, "#N/A"), (1, EXTERNAL_ID, "#REF!")))
    by_openpyxl("truth.xlsx", with_cells((0, EXTERNAL_ID, True)))
    rich = CellRichText("Mül", TextBlock(InlineFont(b=True), "ler"), " GmbH")
    by_openpyxl("rich_text.xlsx", with_cells((0, 0, rich)))
    as_text = with_cells((0, PRICE, "1234.50"), (1, PRICE, "19,90"), (0, START, "2026-03-04"))
    by_openpyxl("numbers_as_text.xlsx", as_text)
    canonical = with_cells((0, PRICE, "1234.50"), (0, START, "2026-03-04"))
    by_openpyxl("canonical_texts.xlsx", canonical)

    def notes_first(book: Any) -> None:
        book.create_sheet("Notes", 0).append(["Prepared by", "finance"])
        book.create_sheet("Empty")

    by_openpyxl("two_sheets.xlsx", change=notes_first)
    by_openpyxl("our_columns_twice.xlsx", change=_copied)
    by_openpyxl("copy_is_hidden.xlsx", change=lambda book: _copied(book, "hidden"))
    by_openpyxl("title_above.xlsx", change=_title)
    by_openpyxl("hidden_row.xlsx", change=_hidden_row)
    by_openpyxl("stray_cell.xlsx", change=lambda book: book.active.cell(3, 14, "?"))
    by_openpyxl("formats_alone_around.xlsx", change=_formats_alone)
    by_openpyxl("mail_links.xlsx", change=_mail_links)
    by_openpyxl("format_hides_time.xlsx", change=lambda book: _format(book, "I3", "dd.mm.yyyy"))
    by_openpyxl("format_hides_day.xlsx", change=lambda book: _format(book, "I2", "mmm yyyy"))
    by_openpyxl("german_dates.xlsx", change=_german_dates)
    by_openpyxl("date_as_number.xlsx", with_cells((0, START, 46085)))
    by_openpyxl("date_for_price.xlsx", with_cells((0, PRICE, date(2026, 3, 4))))
    by_openpyxl("date_for_id.xlsx", with_cells((0, EXTERNAL_ID, date(2026, 3, 1))))
    by_openpyxl("leap_day_1900.xlsx", with_cells((0, START, 60)),
                lambda book: _format(book, "I2", "yyyy-mm-dd"))  # fmt: skip


def _copied(book: Any, state: str = "visible") -> None:
    book.copy_worksheet(book.active).title = "Book of May"
    book["Book of May"].sheet_state = state


def _title(book: Any) -> None:
    book.active.insert_rows(1)
    book.active["A1"] = "Our clients"


def _hidden_row(book: Any) -> None:
    book.active.row_dimensions[3].hidden = True


def _formats_alone(book: Any) -> None:
    for place in ("P2", "A50", "C900"):
        book.active[place].number_format = "0.00"


def _mail_links(book: Any) -> None:
    book.active["B2"].hyperlink = "mailto:m@example.com"


def _format(book: Any, place: str, code: str) -> None:
    book.active[place].number_format = code


def _german_dates(book: Any) -> None:
    for place in ("I2", "I3", "I4"):
        _format(book, place, '[$-407]dddd", "d/ mmmm yyyy\\ hh:mm;@')


def by_xlsxwriter(name: str, rows: Rows = LATIN, formats: Any = (), **options: Any) -> None:
    book = xlsxwriter.Workbook(OUT / name, options)
    sheet = book.add_worksheet("Book")
    for number, row in enumerate([COLUMNS, *rows]):
        for column, value in enumerate(row):
            is_date = isinstance(value, date)
            code = dict(formats).get((number - 1, column), "yyyy-mm-dd hh:mm" if is_date else "")
            form = book.add_format({"num_format": code}) if code else None
            if isinstance(value, str) and not value.startswith("="):
                sheet.write_string(number, column, value, form)
            else:
                sheet.write(number, column, value, form)
    book.close()


def xlsxwriters() -> None:
    by_xlsxwriter("xlsxwriter.xlsx")
    by_xlsxwriter("constant_memory.xlsx", constant_memory=True)
    by_xlsxwriter("formula_to_be_calculated.xlsx", with_cells((0, PRICE, "=1000+234.5")))
    price = (0, PRICE)
    by_xlsxwriter("not_as_shown.xlsx", with_cells((*price, 2.675)), {price: "0.00"})
    by_xlsxwriter("no_cents_shown.xlsx", formats={price: "#,##0"})
    by_xlsxwriter("too_exact.xlsx", with_cells((*price, 2.675)))
    by_xlsxwriter("float_sum.xlsx", with_cells((*price, 0.1 + 0.2 + 1234.2)), {price: "0.00"})
    by_xlsxwriter("dollars.xlsx", formats={price: '"$"#,##0.00', (2, PRICE): "[$$-409]#,##0.00"})
    accounts = '_-* #,##0.00\\ "$"_-;\\-* #,##0.00\\ "$"_-;_-* "-"??\\ "$"_-;_-@_-'
    in_accounts = dict.fromkeys([(row, PRICE) for row in range(3)], accounts)
    by_xlsxwriter("accounting.xlsx", with_cells((1, PRICE, 0)), in_accounts)
    by_xlsxwriter("euros.xlsx", formats={price: "#,##0.00\\ [$€-407]"})
    by_xlsxwriter("thousands.xlsx", formats={price: "0.0,"})
    by_xlsxwriter("exponent.xlsx", formats={price: "0.00E+00"})
    by_xlsxwriter("hidden_by_format.xlsx", formats={price: ";;;"})
    ids = with_cells((0, EXTERNAL_ID, 42), (2, EXTERNAL_ID, 9))
    by_xlsxwriter("ids_are_numbers.xlsx", ids, {(0, EXTERNAL_ID): "00000"})
    long = with_cells((0, EXTERNAL_ID, Decimal("1234567890123456")))
    by_xlsxwriter("id_of_16_digits.xlsx", long)
    by_xlsxwriter("percent.xlsx", with_cells((1, PERCENT, 0.2)), {(1, PERCENT): "0%"})
    by_xlsxwriter("time_alone.xlsx", with_cells((0, START, 0.5)), {(0, START): "hh:mm"})
    by_xlsxwriter("duration.xlsx", with_cells((0, START, 1.5)), {(0, START): "[h]:mm"})


def edited(source: str, name: str, *edits: tuple[str, str, str]) -> None:
    """A workbook with texts of its members replaced (member, old, new), or members added."""
    with zipfile.ZipFile(OUT / source) as old:
        members = {info.filename: old.read(info).decode() for info in old.infolist()}
    for member, was, becomes in edits:
        if was:
            assert re.search(was, members[member]), (name, was)
            members[member] = re.sub(was, becomes, members[member])
        else:
            members[member] = becomes
    archive(members, name)


def by_hand() -> None:
    sheet = "xl/worksheets/sheet1.xml"
    strings = "xl/sharedStrings.xml"
    entity = '<!DOCTYPE x [<!ENTITY a "b">]><'
    edited("openpyxl.xlsx", "document_type.xlsx", (sheet, "^<", entity))
    edited("openpyxl.xlsx", "macros.xlsm", ("xl/vbaProject.bin", "", "x"))
    edited("openpyxl.xlsx", "links.xlsx", ("xl/externalLinks/externalLink1.xml", "", "<x/>"))
    edited("xlsxwriter.xlsx", "without_places.xlsx", (sheet, r'(<c|<row) r="\w+"', r"\1"))
    tags, prefixed = r"<(/?)(?=[a-z])(?!\?)", r"<\1x:"
    edited("xlsxwriter.xlsx", "with_prefix.xlsx",
           (sheet, tags, prefixed), (sheet, 'xmlns="', 'xmlns:x="'),
           (strings, tags, prefixed), (strings, 'xmlns="', 'xmlns:x="'))  # fmt: skip
    phonetic = 'Müller GmbH</t><rPh sb="0" eb="1"><t>mu</t></rPh>'
    edited("xlsxwriter.xlsx", "phonetic.xlsx", (strings, "Müller GmbH</t>", phonetic))
    edited("xlsxwriter.xlsx", "escapes.xlsx", (strings, "two\nlines", "two_x000A_lines"))
    edited("xlsxwriter.xlsx", "damaged.xlsx", (sheet, "</sheetData>", ""))
    put("cut.xlsx", (OUT / "xlsxwriter.xlsx").read_bytes()[:3000])
    put("packed.xlsx.gz", gzip.compress((OUT / "xlsxwriter.xlsx").read_bytes(), mtime=0))


# --- Other programs -------------------------------------------------------------------------------


def frames() -> None:
    frame = polars.DataFrame([list(map(str, row)) for row in LATIN], COLUMNS, orient="row")
    typed = frame.with_columns(
        polars.col("full_price").cast(polars.Decimal(12, 2)),
        polars.col("discount_percent").cast(polars.Int64),
        polars.Series("started_at", [date(2026, 3, 4), date(2026, 12, 31), date(2026, 4, 3)]),
    )
    typed.write_csv(OUT / "polars.csv")
    typed.write_csv(OUT / "polars_bom_semicolon.csv", separator=";", include_bom=True)
    typed.write_excel(OUT / "polars.xlsx", worksheet="Book")
    typed.write_parquet(OUT / "polars.parquet")
    rows = pandas.DataFrame(LATIN, columns=COLUMNS)
    rows.to_excel(OUT / "pandas.xlsx", index=False)
    rows.to_csv(OUT / "pandas_decimal_comma.csv", sep=";", decimal=",", index=False)


def office(source: str, to: str, name: str) -> None:
    """Let LibreOffice convert a file."""
    subprocess.run(
        ["soffice", "--headless", "--convert-to", to, "--outdir", str(OUT / "tmp"), source],
        cwd=OUT, check=True, capture_output=True,
    )  # fmt: skip
    suffix = to.partition(":")[0]
    (OUT / "tmp" / f"{Path(source).stem}.{suffix}").rename(OUT / name)


def offices() -> None:
    office("xlsxwriter.xlsx", "xlsx", "libreoffice.xlsx")
    office("xlsxwriter.xlsx", "ods", "libreoffice.ods")
    office("xlsxwriter.xlsx", "xls", "libreoffice.xls")
    office("xlsxwriter.xlsx", "html", "libreoffice.html")
    office("xlsxwriter.xlsx", "csv", "libreoffice.csv")
    filters = "csv:Text - txt - csv (StarCalc)"
    office("xlsxwriter.xlsx", f"{filters}:59,34,76,1,,1031,false,true", "libreoffice_de.csv")
    office("xlsxwriter.xlsx", f"{filters}:9,34,65535,1,,1033,false,false", "libreoffice_utf16.csv")
    office("xlsxwriter.xlsx", f"{filters}:59,34,1,1,,1031,false,false", "libreoffice_ansi.csv")
    office("dollars.xlsx", f"{filters}:44,34,76,1,,1033,false,true", "libreoffice_dollars.csv")
    office("formula_without_result.xlsx", "xlsx", "libreoffice_formula.xlsx")
    by_openpyxl("division.xlsx", with_cells((0, PRICE, "=1/0"), (1, PRICE, "=NA()")))
    office("division.xlsx", "xlsx", "libreoffice_errors.xlsx")
    (OUT / "division.xlsx").unlink()
    (OUT / "tmp").rmdir()


if __name__ == "__main__":
    for make in (texts, not_tables, openpyxls, xlsxwriters, by_hand, frames, offices):
        make()
