"""The right reading of each file of this folder: its rows, or where it is refused, and why.

`make.py` makes them. A place is a line, a cell of a workbook, or the file (0).
"""

from __future__ import annotations

from typing import Any, NamedTuple

HAND = "by hand"
EXCEL = "by hand, as Excel 365 writes it"
OPENPYXL = "openpyxl 3.1.5"
XLSXWRITER = "XlsxWriter 3.3.1"
POLARS = "polars 2.1.0"
PANDAS = "pandas 3.1.1"
LIBREOFFICE = "LibreOffice 7.4.7.2"
EDITED = "XlsxWriter 3.3.1 or openpyxl 3.1.5, then edited by hand"

# The three rows of nearly all of them: name, list price, discount, id elsewhere, start, comment.
ROWS = (
    ("Müller GmbH", "1234.50", "0", "00042", "2026-03-04T00:00:00", ""),
    ("Acme; Inc, Ltd", "19.90", "20", "K-7", "2026-12-31T09:30:00", 'say "hi"'),
    ("Zoë", "1234.50", "15", "9", "2026-04-03T00:00:00", "two\nlines"),
)
COLUMNS = (
    "company_name", "full_price", "discount_percent", "external_id", "started_at", "comment",
)  # fmt: skip


class Case(NamedTuple):
    file: str
    made_by: str
    said: dict[str, Any] = {}
    refused: list[tuple[str, int | str]] = []  # code and place of each problem
    differs: dict[tuple[int, str], str] = {}  # values that differ from ROWS, by row and column
    understood: dict[str, str] = {}  # some of it
    answers: tuple[str, ...] = ()  # of the first problem


RUSSIAN = {
    (0, "company_name"): "ООО Ромашка",
    (1, "company_name"): "ИП Ёлкин",
    (2, "company_name"): "Щука",
}
WITHOUT_TIME = {(1, "started_at"): "2026-12-31T00:00:00"}
GERMAN = {
    "Kunde": "company_name", "E-Mail": "email", "Produkt": "service", "Listenpreis": "full_price",
    "Tarif": "plan_type", "Rabatt": "discount_percent", "System": "source",
    "Nummer": "external_id", "Beginn": "started_at", "Bemerkung": "comment", "Notiz": "",
}  # fmt: skip
BOTH_ENCODINGS = ("encoding=cp1251", "encoding=cp1252")
BOTH_DECIMALS = ("decimal=.", "decimal=,")
BOTH_DATES = ("dates=day_first", "dates=month_first")
POINTS = {(0, "full_price"): "1234", (2, "full_price"): "1234"}
MARCH = {
    (0, "started_at"): "2026-03-04T00:00:00",
    (1, "started_at"): "2026-05-06T00:00:00",
    (2, "started_at"): "2026-07-07T00:00:00",
}
APRIL = {
    (0, "started_at"): "2026-04-03T00:00:00",
    (1, "started_at"): "2026-06-05T00:00:00",
    (2, "started_at"): "2026-07-07T00:00:00",
}

TEXTS = [
    Case("ours.csv", HAND, understood={"format": "csv", "encoding": "utf-8", "delimiter": ","}),
    Case("excel_de.csv", EXCEL, understood={"delimiter": ";", "decimal": ",", "dates": "dotted"}),
    Case("excel_de.csv", EXCEL, {"decimal": ",", "dates": "day_first"}),
    Case("excel_de.csv", EXCEL, {"delimiter": "tab"}, [("bad_header", 1)]),
    Case("excel_de.csv", EXCEL, {"encoding": "cp1252"}, [("wrong_encoding", 0)]),
    Case("excel_de.csv", EXCEL, {"decimal": "."}, [("not_as_said", n) for n in (2, 3, 4)]),
    Case("excel_de.csv", EXCEL, {"dates": "iso"}, [("not_as_said", n) for n in (2, 3, 4)]),
    Case("excel_de.csv", EXCEL, {"dates": "month_first"},
         [("not_as_said", n) for n in (2, 3, 4)]),
    Case("excel_de_cp1252.csv", EXCEL, {}, [("encoding_unclear", 2)], answers=BOTH_ENCODINGS),
    Case("excel_de_cp1252.csv", EXCEL, {"encoding": "cp1252"}),
    Case("excel_ru_cp1251.csv", EXCEL, {}, [("encoding_unclear", 2)], answers=BOTH_ENCODINGS),
    Case("excel_ru_cp1251.csv", EXCEL, {"encoding": "cp1251"}, differs=RUSSIAN),
    Case("excel_ru_cp1251.csv", EXCEL, {"encoding": "utf-16"}, [("wrong_encoding", 0)]),
    Case("comma_cp1252.csv", HAND, {}, [("encoding_unclear", 2)], answers=BOTH_ENCODINGS),
    Case("excel_unicode_text.txt", EXCEL, understood={"encoding": "utf-16", "delimiter": "\t"}),
    Case("utf16_be.txt", HAND, understood={"encoding": "utf-16"}),
    Case("utf16_le_no_mark.txt", HAND, understood={"encoding": "utf-16"}),
    Case("utf32.txt", HAND, {}, [("wrong_format", 0)]),
    Case("sep_line.csv", EXCEL, understood={"delimiter": ";"}),
    Case("excel_us.csv", EXCEL, understood={"dates": "month_first"}),
    Case("excel_us.csv", EXCEL, {"dates": "day_first"}, [("not_as_said", 3)]),
    Case("excel_us_am_pm.csv", EXCEL, understood={"dates": "month_first"}),
    Case("dates_unclear.csv", EXCEL, {}, [("date_unclear", 2)], answers=BOTH_DATES),
    Case("dates_unclear.csv", EXCEL, {"dates": "month_first"}, differs=MARCH),
    Case("dates_unclear.csv", EXCEL, {"dates": "day_first"}, differs=APRIL),
    Case("dates_both_ways.csv", HAND, {}, [("date_unclear", 2)], answers=BOTH_DATES),
    Case("excel_uk.csv", EXCEL, understood={"dates": "day_first"}),
    Case("dutch_dashes.csv", EXCEL, understood={"dates": "day_first"}),
    Case("japanese_slashes.csv", EXCEL),
    Case("excel_fr.csv", EXCEL, understood={"decimal": ",", "dates": "day_first"}),
    Case("excel_ru.csv", EXCEL, differs=RUSSIAN),
    Case("excel_ch.csv", EXCEL, understood={"decimal": "."}),
    Case("points_in_thousands.csv", HAND),
    Case("amount_unclear.csv", HAND, {}, [("amount_unclear", 2)], answers=BOTH_DECIMALS),
    Case("amount_unclear.csv", HAND, {"decimal": "."},
         differs=POINTS | {(1, "full_price"): "20"}),
    Case("amount_unclear.csv", HAND, {"decimal": ","}, [("bad_value", 2), ("bad_value", 4)]),
    Case("amount_decided.csv", HAND, differs=POINTS),
    Case("amounts_both_ways.csv", HAND, {}, [("amount_unclear", 2)], answers=BOTH_DECIMALS),
    Case("pipe.txt", HAND, understood={"delimiter": "|"}),
    Case("tabs.tsv", HAND, understood={"delimiter": "\t"}),
    Case("tabs.tsv", HAND, {"encoding": "cp1252"}, [("wrong_encoding", 0)]),
    Case("old_mac.csv", EXCEL, differs={(2, "comment"): "one line"}),
    Case("header_in_any_case.csv", HAND),
    Case("german_names.csv", EXCEL, {}, [("bad_header", 1)]),
    Case("german_names.csv", EXCEL, {"columns": GERMAN}, understood={"left out": "Notiz"}),
    Case("german_names.csv", EXCEL, {"column": [f"{a}:{b}" for a, b in GERMAN.items()]}),
    Case("one_unknown.csv", HAND, {}, [("bad_header", 1)]),
    Case("one_unknown.csv", HAND, {"column": "Notiz="}),
    Case("one_unknown.csv", HAND, {"column": "NOTIZ=comment"}, [("bad_header", 1)]),  # twice
    Case("empty_around.csv", EXCEL),
    Case("nameless_column.csv", EXCEL, {}, [("bad_value", 2)]),
    Case("export_resaved.csv", EXCEL),
    Case("export_cut.csv", HAND, {}, [("not_csv", 6)]),
    Case("excel_de_times.csv", EXCEL),
    Case("two_digit_years.csv", LIBREOFFICE + ", by hand", {}, [("bad_value", 2), ("bad_value", 3),
         ("bad_value", 4)]),
    Case("percent_signs.csv", EXCEL),
    Case("euro_signs.csv", EXCEL, {}, [("bad_value", 3)]),
    Case("quote_missing.csv", HAND, {}, [("bad_value", 5)]),
    Case("short_row.csv", HAND, {}, [("bad_value", 6)]),
    Case("nothing.csv", HAND, {}, [("empty", 0)]),
    Case("blank_lines.csv", EXCEL, {}, [("empty", 0)]),
    Case("packed.csv.gz", HAND),
    Case("packed_twice.csv.gz", HAND, {}, [("wrong_format", 0)]),
    Case("packed_cut.csv.gz", HAND, {}, [("damaged", 0)]),
    Case("polars.csv", POLARS, differs=WITHOUT_TIME),
    Case("polars_bom_semicolon.csv", POLARS, differs=WITHOUT_TIME),
    Case("pandas_decimal_comma.csv", PANDAS),
    Case("libreoffice.csv", LIBREOFFICE, {}, [("encoding_unclear", 2)]),
    Case("libreoffice.csv", LIBREOFFICE, {"encoding": "windows-1252"}),
    Case("libreoffice_ansi.csv", LIBREOFFICE, {"encoding": "cp1252"}),
    Case("libreoffice_de.csv", LIBREOFFICE),
    Case("libreoffice_utf16.csv", LIBREOFFICE),
    Case("libreoffice_dollars.csv", LIBREOFFICE, {}, [("bad_value", 2), ("bad_value", 4)]),
]  # fmt: skip

NO_TABLES = [
    Case(file, made_by, {}, [(code, 0)])
    for file, made_by, code in [
        ("book.pdf", HAND, "wrong_format"),
        ("page.xls", HAND, "wrong_format"),
        ("xml_2003.xls", HAND, "wrong_format"),
        ("book.json", HAND, "wrong_format"),
        ("picture.png", HAND, "wrong_format"),
        ("zeros.csv", HAND, "wrong_format"),
        ("with_password.xlsx", HAND, "encrypted"),
        ("notes.zip", HAND, "wrong_format"),
        ("letter.docx", HAND, "wrong_format"),
        ("binary.xlsb", HAND, "wrong_format"),
        ("apple.numbers", HAND, "wrong_format"),
        ("polars.parquet", POLARS, "wrong_format"),
        ("libreoffice.ods", LIBREOFFICE, "wrong_format"),
        ("libreoffice.xls", LIBREOFFICE, "wrong_format"),
        ("libreoffice.html", LIBREOFFICE, "wrong_format"),
        ("document_type.xlsx", EDITED, "unsafe"),
        ("macros.xlsm", EDITED, "macros"),
        ("links.xlsx", EDITED, "external_links"),
        ("damaged.xlsx", EDITED, "damaged"),
        ("cut.xlsx", EDITED, "damaged"),
    ]
]

WORKBOOKS = [
    Case("openpyxl.xlsx", OPENPYXL, understood={"format": "xlsx", "sheet": "Book"}),
    Case("iso_dates.xlsx", OPENPYXL),
    Case("days_from_1904.xlsx", OPENPYXL),
    Case("formula_without_result.xlsx", OPENPYXL, {}, [("not_calculated", "Book!D2")]),
    Case("merged.xlsx", OPENPYXL, {}, [("merged_cells", "Book!A2")]),
    Case("merged_beside.xlsx", OPENPYXL),
    Case("errors.xlsx", OPENPYXL, {}, [("error_in_cell", "Book!D2"), ("error_in_cell", "Book!H3")]),
    Case("truth.xlsx", OPENPYXL, {}, [("bad_cell", "Book!H2")]),
    Case("rich_text.xlsx", OPENPYXL),
    Case("numbers_as_text.xlsx", OPENPYXL, {}, [("number_as_text", "Book!D3")],
         answers=("decimal=,",)),
    Case("canonical_texts.xlsx", OPENPYXL),
    Case("two_sheets.xlsx", OPENPYXL, understood={"sheet": "Book"}),
    Case("two_sheets.xlsx", OPENPYXL, {"sheet": "Notes"}, [("bad_header", "Notes!1:1")]),
    Case("two_sheets.xlsx", OPENPYXL, {"sheet": "May"}, [("unknown_sheet", 0)]),
    Case("our_columns_twice.xlsx", OPENPYXL, {}, [("sheet_unclear", 0)],
         answers=("sheet=Book", "sheet=Book of May")),
    Case("our_columns_twice.xlsx", OPENPYXL, {"sheet": "Book of May"}),
    Case("copy_is_hidden.xlsx", OPENPYXL, {}, [("sheet_unclear", 0)]),
    Case("title_above.xlsx", OPENPYXL, {}, [("bad_header", "Book!1:1")]),
    Case("hidden_row.xlsx", OPENPYXL, understood={"hidden rows": "1, read as the others"}),
    Case("stray_cell.xlsx", OPENPYXL, {}, [("bad_cell", "Book!N3")]),
    Case("formats_alone_around.xlsx", OPENPYXL),
    Case("mail_links.xlsx", OPENPYXL),
    Case("format_hides_time.xlsx", OPENPYXL, {}, [("not_as_shown", "Book!I3")]),
    Case("format_hides_day.xlsx", OPENPYXL, {}, [("not_as_shown", "Book!I2")]),
    Case("german_dates.xlsx", OPENPYXL),
    Case("date_as_number.xlsx", OPENPYXL, {}, [("not_a_date", "Book!I2")]),
    Case("date_for_price.xlsx", OPENPYXL, {}, [("bad_cell", "Book!D2")]),
    Case("date_for_id.xlsx", OPENPYXL, {}, [("bad_cell", "Book!H2")]),
    Case("leap_day_1900.xlsx", OPENPYXL, {}, [("not_a_date", "Book!I2")]),
    Case("xlsxwriter.xlsx", XLSXWRITER),
    Case("constant_memory.xlsx", XLSXWRITER),
    Case("formula_to_be_calculated.xlsx", XLSXWRITER, {}, [("not_calculated", "Book!D2")]),
    Case("not_as_shown.xlsx", XLSXWRITER, {}, [("not_as_shown", "Book!D2")]),
    Case("no_cents_shown.xlsx", XLSXWRITER, {}, [("not_as_shown", "Book!D2")]),
    Case("too_exact.xlsx", XLSXWRITER, {}, [("bad_value", "Book!D2")]),
    Case("float_sum.xlsx", XLSXWRITER),
    Case("dollars.xlsx", XLSXWRITER),
    Case("accounting.xlsx", XLSXWRITER, differs={(1, "full_price"): "0"}),
    Case("euros.xlsx", XLSXWRITER, {}, [("other_currency", "Book!D2")]),
    Case("thousands.xlsx", XLSXWRITER, {}, [("bad_cell", "Book!D2")]),
    Case("exponent.xlsx", XLSXWRITER, {}, [("bad_cell", "Book!D2")]),
    Case("hidden_by_format.xlsx", XLSXWRITER, {}, [("bad_cell", "Book!D2")]),
    Case("ids_are_numbers.xlsx", XLSXWRITER),
    Case("id_of_16_digits.xlsx", XLSXWRITER, {}, [("number_for_text", "Book!H2")]),
    Case("percent.xlsx", XLSXWRITER),
    Case("time_alone.xlsx", XLSXWRITER, {}, [("not_as_shown", "Book!I2")]),
    Case("duration.xlsx", XLSXWRITER, {}, [("not_a_date", "Book!I2")]),
    Case("without_places.xlsx", EDITED),
    Case("with_prefix.xlsx", EDITED),
    Case("phonetic.xlsx", EDITED),
    Case("escapes.xlsx", EDITED),
    Case("packed.xlsx.gz", EDITED),
    Case("polars.xlsx", POLARS, differs=WITHOUT_TIME),
    Case("pandas.xlsx", PANDAS),
    Case("libreoffice.xlsx", LIBREOFFICE),
    Case("libreoffice_formula.xlsx", LIBREOFFICE),
    Case("libreoffice_errors.xlsx", LIBREOFFICE, {},
         [("error_in_cell", "Book!D2"), ("error_in_cell", "Book!D3")]),
]  # fmt: skip
CASES = [*TEXTS, *NO_TABLES, *WORKBOOKS]
