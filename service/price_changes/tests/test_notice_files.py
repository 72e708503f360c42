"""The list of clients to be told as a file, and files that say who was told."""

from __future__ import annotations

import io
from datetime import date

import pytest
from django.core.management import CommandError, call_command
from openpyxl import load_workbook

from price_changes.models import Told
from price_changes.notices import tell, to_tell
from price_changes.notices.files import marks_of, reading_of, table_of
from price_changes.tests.test_notices import Book
from services.transfer.csv_file import BadBook
from services.transfer.sheets import workbook
from services.transfer.sheets.excel_csv import ExcelCSV
from services.transfer.sheets.table import over_http

pytestmark = pytest.mark.django_db


@pytest.fixture
def book() -> Book:
    return Book()


def read(change, text, **reading):
    file = io.BytesIO(text if isinstance(text, bytes) else text.encode())
    return marks_of(change, file, reading_of(reading))


@pytest.mark.parametrize("form", ["xlsx", "csv"])
def test_the_list_goes_out_and_comes_back_filled_in(book, form):
    change = book.rises()
    tell(change, [(book.ann.pk, book.today, "by post")], Told.Way.HAND, "carl")
    file = io.BytesIO()
    table = table_of(change, why="Spring")
    if form == "xlsx":
        workbook.write(table, file, over_http())
        filled = load_workbook(file)
        sheet = filled.worksheets[0]
        names = [cell.value for cell in sheet[1]]
        (row,) = (row for row in sheet.iter_rows(min_row=2) if row[1].value == "Bob")
        assert [row[n].value for n in (3, 4, 5, 6)] == [1, 20, 24, "USD"]
        row[names.index("told_on")].value = date(2026, 1, 31)
        row[names.index("note")].value = "by phone"
        file = io.BytesIO()
        filled.save(file)
        text = file.getvalue()
    else:
        ExcelCSV.of("ru").write(table, file, over_http())
        lines = file.getvalue().decode("utf-8-sig").splitlines()
        (n,) = (n for n, line in enumerate(lines) if "Bob" in line)
        cells = lines[n].split(";")
        names = lines[0].split(";")
        cells[names.index("told_on")], cells[names.index("note")] = "31.01.2026", "by phone"
        lines[n] = ";".join(cells)
        text = "\r\n".join(lines)
    assert sorted(read(change, text)) == [
        (book.ann.pk, book.today, "by post"),
        (book.bob.pk, date(2026, 1, 31), "by phone"),
    ]


def test_a_list_of_another_instant_marks_nobody(book):
    change = book.rises()
    ann, at = book.ann.pk, change.effective_at
    text = "client,from_when,told_on\n{},{},2026-01-05\n"
    assert read(change, text.format(ann, at.isoformat())) == [(ann, date(2026, 1, 5), "")]
    with pytest.raises(BadBook, match=r"line 2, from_when: .* of another list"):
        read(change, text.format(ann, "2027-01-09"))
    assert read(change, text.format(ann, "2027-01-09").replace("2026-01-05", " ")) == []


def test_a_day_is_that_day_where_clocks_skip_its_midnight(book, settings):
    settings.TIME_ZONE = "Africa/Cairo"
    change = book.rises()
    day = date(2026, 4, 24)
    tell(change, [(book.ann.pk, day, "")], Told.Way.HAND, "carl")
    file = io.BytesIO()
    workbook.write(table_of(change), file, over_http())
    assert read(change, file.getvalue()) == [(book.ann.pk, day, "")]


def test_clients_may_be_named_by_their_e_mail_in_any_case(book):
    change = book.rises()
    text = f"email,told_on\n{book.bob.user.email.upper()},2026-01-05\n"
    assert read(change, text) == [(book.bob.pk, date(2026, 1, 5), "")]


def test_all_wrong_lines_are_named_at_once_and_nothing_is_marked(book):
    change = book.rises()
    ann, cat = book.ann.pk, book.cat.pk
    lines = [
        "client,email,told_on,note",
        f"{ann},,2026-01-05,",
        f"{ann},,2026-01-06,",
        f"{cat},,2026-01-05,",
        ",nobody@example.com,2026-01-05,",
        f"{book.bob.pk},,2999-01-05,",
        ",,2026-01-05,",
        f"{cat},,,a line without a day says nothing",
    ]
    with pytest.raises(BadBook) as refused:
        read(change, "\n".join(lines))
    assert [(each.line, each.column) for each in refused.value.problems] == [
        (3, "client"),
        (4, "client"),
        (5, "email"),
        (6, "told_on"),
        (7, "client"),
    ]
    assert not Told.objects.exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("told_on\n2026-01-05\n", "no column of clients"),
        ("client\n1\n", "told_on"),
        ("client,told_on\none,2026-01-05\n", "no id of a client"),
        ("client,told_on\n1,2026-01-05T09:30\n", "not a day"),
        ("client,told_on\n1,2026-02-30\n", "no such day"),
        ("client,told_on,note\n1,2026-01-05," + "x" * 201 + "\n", "longer than 200"),
        ("", "empty"),
    ],
)
def test_a_file_that_can_not_be_read_says_why(book, text, says):
    with pytest.raises(BadBook, match=says):
        read(book.rises(), text)


def test_reads_a_long_list_with_few_queries(book, django_assert_max_num_queries):
    change = book.rises()
    to_tell(change)
    text = "client,told_on\n" + f"{book.ann.pk},2026-01-05\n{book.bob.pk},2026-01-05\n"
    with django_assert_max_num_queries(6):
        assert len(read(change, text)) == 2


def test_the_command_writes_the_list_and_reads_it_back(book, tmp_path):
    change = book.rises()
    out, told = tmp_path / "list.xlsx", tmp_path / "told.csv"
    say = "price_change", "notices", str(change.pk)
    call_command(*say, "--out", str(out), stdout=io.StringIO())
    assert load_workbook(out).worksheets[0].max_row == 3
    with pytest.raises(CommandError, match="File exists"):
        call_command(*say, "--out", str(out), stdout=io.StringIO())
    told.write_text(f"client,told_on\n{book.ann.pk},2026-01-05\n{book.cat.pk},2026-01-05\n")
    with pytest.raises(CommandError, match="nobody was marked"):
        call_command(*say, "--told", str(told), stdout=io.StringIO())
    assert not Told.objects.exists()
    told.write_text(f"client,told_on\n{book.ann.pk},2026-01-05\n")
    said = io.StringIO()
    call_command(*say, "--told", str(told), stdout=said)
    assert "told: 1 of 2" in said.getvalue()
    for wrong in (
        ["--told", str(told), "--client", "1"],
        ["--told", str(told), "--on", "2026-01-05"],
        ["--out", str(tmp_path / "new.csv"), "--client", str(book.ann.pk), "--not-told"],
        ["--told", str(tmp_path / "none")],
    ):
        with pytest.raises(CommandError):
            call_command(*say, *wrong, stdout=io.StringIO())
