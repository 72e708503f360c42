"""Spreadsheets: what is written is what is read back, to the cent; texts stay texts."""

import csv
import io
import re
import tracemalloc
from datetime import UTC, datetime
from decimal import Decimal
from tempfile import TemporaryFile
from zipfile import ZipFile

import pytest
from django.utils.translation import override
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import load_workbook

from services.models.catalogue import stored_name_shown
from services.transfer.sheets import workbook
from services.transfer.sheets.excel_csv import ExcelCSV, UnknownLocale
from services.transfer.sheets.headings import OF_BOOK, code_meant, column_meant
from services.transfer.sheets.table import Column, Limits, Moment, Table, TooManyRows, Type
from services.transfer.text_formulas import text_of

pytestmark = pytest.mark.django_db

LIKE_FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '="x"', "'=1", "=cmd|'/c x'!A1"]
LIKE_NUMBERS = ["00123", "1E5", "1-2", "12:30", "12 May", "TRUE", "50%", "12,50", " 7", "ИСТИНА"]
LIKE_XML = ["<r>", "<r>&</r>", "<r><t>x</t></r>", "&amp;", "_x000D_", "]]>", "\ufffe", "\x01"]
LIKE_LINKS = ["https://example.com", "mailto:a@b.c", "internal:About!A1"]
NAMES = ["Müller & Söhne GmbH", "ann@example.com", "Romashka", "a\nb", " padded ", "7" * 600]
TEXTS = [*LIKE_FORMULAS, *LIKE_NUMBERS, *LIKE_XML, *LIKE_LINKS, *NAMES]
AMOUNTS = ["0", "0.01", "19.90", "9999999999.99", "1234567890123.45"]
INEXACT = ["90071992547409.93", "12345678901234567.89"]  # of more than 15 digits
DAY = datetime(2026, 10, 25, tzinfo=UTC)


def at(*values):
    return datetime(*values, tzinfo=UTC)


def a_table(type, values, **about):
    columns = (Column("number", Type.INTEGER), Column("value", type))
    return Table("Things", columns, enumerate(values), lambda: Moment("7.1", False), **about)


def written(table, write=workbook.write, rows=1_000):
    file = io.BytesIO()
    return write(table, file, Limits(rows)), file.getvalue()


def sheets_of(content):
    book = load_workbook(io.BytesIO(content))
    data, about = book.worksheets
    return data, dict(about.iter_rows(values_only=True))


def values_of(content):
    """The second column of a workbook; openpyxl does not undo the escapes of control characters."""
    data, _ = sheets_of(content)
    assert not {cell.data_type for row in data.iter_rows() for cell in row} - set("snbd")
    return [
        re.sub("_x([0-9A-F]{4})_", lambda match: chr(int(match[1], 16)), value)
        if isinstance(value, str)
        else value
        for _, value in data.iter_rows(min_row=2, values_only=True)
    ]


def as_excel_reads(cell):
    """The value of a formula that joins texts; there may be no other one."""
    if not cell.startswith("="):
        assert not re.match(r"[+\-@\t\r]", cell) or re.fullmatch(r"-?[0-9]+([.,][0-9]+)?", cell)
        return cell
    pieces = re.findall(r'"((?:[^"]|"")*)"', cell)
    assert "=" + "&".join(f'"{piece}"' for piece in pieces) == cell
    texts = [piece.replace('""', '"') for piece in pieces]
    assert max(map(len, texts)) <= 255  # Excel refuses a longer one in a formula
    return "".join(texts)


def read_csv(content, locale):
    """The rows of a CSV, by the rules of the Excel of a locale; the first has the names."""
    assert content.startswith(b"\xef\xbb\xbf")
    assert content.endswith(b"\r\n")
    text = content.decode("utf-8-sig")
    delimiter = {"ru": ";", "de": ";", "en_US": ",", "de_CH": ","}[locale]
    return [
        [as_excel_reads(cell) for cell in row]
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    ]


class TestWorkbooks:
    def test_have_texts_as_they_are(self):
        _, content = written(a_table(Type.TEXT, TEXTS))
        assert values_of(content) == TEXTS
        assert not [
            name
            for name in ZipFile(io.BytesIO(content)).namelist()
            if "rels" in name[-12:] and "sheet" in name
        ]  # no links

    def test_have_amounts_as_numbers_and_exactly(self):
        amounts = [Decimal(amount) for amount in AMOUNTS]
        said, content = written(a_table(Type.AMOUNT, amounts))
        data, about = sheets_of(content)
        assert [Decimal(str(value)) for value in values_of(content)] == amounts
        assert {cell.number_format for cell in data["B"][1:]} == {"0.00"}
        assert said.sums == {"value": sum(amounts)}
        assert (about["Rows"], about["Sum of value"]) == (5, "1244567890143.35")

    def test_have_what_no_number_holds_as_text_and_say_so(self):
        said, content = written(a_table(Type.AMOUNT, [Decimal(amount) for amount in INEXACT]))
        _, about = sheets_of(content)
        assert values_of(content) == INEXACT
        assert said.as_text == 2
        assert about["Cells that are text"].startswith("2: ")

    def test_have_dates_where_they_are_exact(self):
        dates = [at(2026, 10, 1), at(2026, 10, 1, 9, 30, 15), at(9998, 12, 31, 23, 59, 59)]
        texts = {
            at(2026, 1, 1, 0, 0, 0, 1): "2026-01-01T00:00:00.000001Z",
            at(1900, 2, 28): "1900-02-28T00:00:00Z",
        }
        said, content = written(a_table(Type.INSTANT, [*dates, *texts]))
        assert values_of(content) == [
            *[date.replace(tzinfo=None) for date in dates],
            *texts.values(),
        ]
        assert said.as_text == 2

    def test_have_dates_in_the_time_zone_and_text_where_clocks_show_two(self, settings):
        settings.TIME_ZONE = "Europe/Berlin"
        twice = [at(2026, 10, 25, 0, 30), at(2026, 10, 25, 1, 30)]
        _, content = written(a_table(Type.INSTANT, [at(2026, 9, 30, 22), *twice]))
        _, about = sheets_of(content)
        assert values_of(content) == [
            datetime(2026, 10, 1),
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:30:00Z",
        ]
        assert about["Time zone of dates"] == "Europe/Berlin"

    def test_have_recorded_instants_as_text_that_sorts(self):
        _, content = written(a_table(Type.RECORDED, [DAY, DAY.replace(microsecond=1)]))
        assert values_of(content) == sorted(values_of(content))
        assert values_of(content)[0] == "2026-10-25T00:00:00.000000Z"

    def test_say_what_they_are_of(self):
        said = a_table(Type.TEXT, [None, "x"], filters={"q": "=x"}, more=lambda: {"Place": "p"})
        data, about = sheets_of(written(said)[1])
        assert (about["Of"], about["Filters"], about["Place"]) == ("Things", "q==x", "p")
        assert (about["Version of the book"], about["Changed meanwhile"]) == ("7.1", "no")
        assert (about["Currency"], about["Rows"]) == ("USD", 2)
        assert (data.freeze_panes, data.auto_filter.ref, data.max_row) == ("A2", "A1:B3", 3)
        assert data["B2"].value is None

    def test_take_memory_that_does_not_grow(self):
        peaks = []
        for rows in (500, 500, 3_000):
            tracemalloc.start()
            with TemporaryFile() as file:
                table = a_table(Type.TEXT, (f"row {n}" for n in range(rows)))
                workbook.write(table, file, Limits(rows))
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert peaks[2] < 1.2 * peaks[1] + 50_000

    @pytest.mark.parametrize("locale", [None, "ru"])
    def test_of_too_many_rows_are_refused_and_leave_nothing(self, locale, tmp_path, monkeypatch):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        write = ExcelCSV.of(locale).write if locale else workbook.write
        with pytest.raises(TooManyRows, match="more than 3 rows"):
            written(a_table(Type.TEXT, "abcd"), write, rows=3)
        with pytest.raises(TooManyRows, match="These are 4 rows") as refused:
            written(a_table(Type.TEXT, "abcd", expected=4), write, rows=3)
        assert (refused.value.code, refused.value.about) == (
            "too_many_rows",
            {"most": 3, "rows": 4},
        )
        assert written(a_table(Type.TEXT, "abc"), write, rows=3)[0].rows == 3
        assert not list(tmp_path.iterdir())


class TestCSVForExcel:
    @pytest.mark.parametrize("locale", ["ru", "de", "en_US", "de_CH"])
    def test_is_read_as_it_is_meant(self, locale):
        form = ExcelCSV.of(locale)
        amounts = [*AMOUNTS, *INEXACT]
        _, content = written(a_table(Type.AMOUNT, [Decimal(each) for each in amounts]), form.write)
        _, *rows = read_csv(content, locale)
        read = [value.replace(form.decimal, ".") for _, value in rows]
        assert [Decimal(value) for value in read] == [Decimal(each) for each in amounts]
        assert sum(map(Decimal, read)) == sum(map(Decimal, amounts))
        assert b"9999999999" + form.decimal.encode() + b"99\r\n" in content

        _, content = written(a_table(Type.TEXT, TEXTS), form.write)
        assert [value for _, value in read_csv(content, locale)[1:]] == TEXTS

        instants = [at(2026, 10, 1, 9, 30), at(2026, 10, 1, 9, 30, 0, 120_000)]
        _, content = written(a_table(Type.INSTANT, instants), form.write)
        assert read_csv(content, locale)[1:] == [
            ["0", "2026-10-01 09:30:00"],
            ["1", "2026-10-01T09:30:00.120000Z"],
        ]

    def test_has_the_decimals_of_the_currency_beside_equal_whole_numbers(self):
        amounts = [Decimal("0.00"), Decimal("1.00")]
        _, content = written(a_table(Type.AMOUNT, amounts), ExcelCSV.of("ru").write)
        assert content.endswith(b"\r\n0;0,00\r\n1;1,00\r\n")

    def test_has_no_line_that_is_no_row(self):
        _, content = written(a_table(Type.TEXT, ["x"]), ExcelCSV.of("ru").write)
        assert content.decode("utf-8-sig") == "number;value\r\n0;x\r\n"

    @given(st.text(st.characters(exclude_categories=["Cs"])))
    def test_takes_any_text(self, text):
        cell = ExcelCSV.of("ru").shown(text)
        assert as_excel_reads(cell) == text
        assert text_of(cell) == text

    @pytest.mark.parametrize(
        ("text", "is_marked"),
        [
            *[(text, False) for text in ("Company 12", "ann.1@example.com", "Müller & Co. KG")],
            *[(text, False) for text in ("discount", "2026-01-01T00:00:00.000001Z")],
            *[(text, True) for text in ("May 12", "Сентябрь 5", "понедельник 5", "row 12", "x1")],
            *[(text, True) for text in (*LIKE_FORMULAS, *LIKE_NUMBERS, "7 Eleven", "a\n1")],
        ],
    )
    def test_marks_what_excel_would_take_for_something_else(self, text, is_marked):
        assert ExcelCSV.of("ru").shown(text).startswith('="') == is_marked

    @pytest.mark.parametrize(
        ("given", "name"),
        [("ru", "ru"), ("de-DE", "de_DE"), ("EN_us", "en_US"), ("zh-Hans-CN", "zh_Hans_CN")],
    )
    def test_knows_the_locales_of_babel(self, given, name):
        assert ExcelCSV.of(given).locale == name

    @pytest.mark.parametrize("given", [None, "", "xx", "ru_XX", "root", "../ru", "ru\0", "bgn"])
    def test_refuses_others_and_names_those(self, given):
        with pytest.raises(UnknownLocale) as refused:
            ExcelCSV.of(given)
        assert {"ru", "de", "en"} <= set(refused.value.about["allowed"])
        assert given not in refused.value.about["allowed"]


def test_of_a_currency_without_decimals_are_whole(settings):
    settings.CURRENCY = "JPY"
    _, content = written(a_table(Type.AMOUNT, [Decimal("1148.00")]))
    data, about = sheets_of(content)
    assert (data["B2"].value, data["B2"].number_format, about["Sum of value"]) == (
        1148,
        "0",
        "1148",
    )
    _, content = written(a_table(Type.AMOUNT, [Decimal("1148.00")]), ExcelCSV.of("ru").write)
    assert content.endswith(b"0;1148\r\n")


def test_each_heading_of_a_file_leads_back_to_its_column():
    with override("ru"):
        found = {name: column_meant(str(text)) for name, text in OF_BOOK.items()}
        assert stored_name_shown("student -15 %") == "студенческий -15 %"
    assert found == {name: name for name in OF_BOOK}
    assert column_meant("Chart") is None
    assert code_meant("plan_type", " Студенческий") == "student"
