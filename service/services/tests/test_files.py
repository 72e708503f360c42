"""How files are understood: a corpus of what programs write, questions, bounds, and mappings."""

import csv
import io
import re
import zipfile
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from services.models import ImportMapping, Service
from services.tests.files.cases import CASES, COLUMNS, GERMAN, ROWS, Case
from services.transfer.csv_file import COLUMNS as ALL_COLUMNS
from services.transfer.csv_file import BadBook, Problem
from services.transfer.files import BadReading, Reading, limits, open_table

FILES = Path(__file__).parent / "files"


def read(content: bytes, **said):
    """The rows of a file by column, and how it was understood; or BadBook."""
    table = open_table(io.BytesIO(content), Reading.of(said))
    pieces = table.pieces()
    rows = [dict(zip(table.columns, row[1:], strict=True)) for piece in pieces for row in piece]
    table.problems.raise_if_any()
    return rows, table.understood


def refused(content: bytes, **said) -> list[Problem]:
    with pytest.raises(BadBook) as bad:
        read(content, **said)
    assert bad.value.count == len(bad.value.problems)
    return bad.value.problems


def comparable(column: str, value: str):
    if column == "started_at":
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    return Decimal(value) if column == "full_price" else value


@pytest.mark.parametrize(
    "case", CASES, ids=[f"{case.file}-{'-'.join(case.said)}".rstrip("-") for case in CASES]
)
def test_each_file_of_the_corpus_is_right_or_refused(case: Case):
    content = (FILES / case.file).read_bytes()
    if case.refused:
        problems = refused(content, **case.said)
        assert [(each.code, each.cell or each.line) for each in problems] == case.refused
        assert not case.answers or problems[0].answers == case.answers
        return
    rows, understood = read(content, **case.said)
    expected = [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]
    for (row, column), value in case.differs.items():
        expected[row][column] = value
    assert [{column: comparable(column, row[column]) for column in COLUMNS} for row in rows] == [
        {column: comparable(column, row[column]) for column in COLUMNS} for row in expected
    ]
    assert case.understood.items() <= understood.items()


def test_the_corpus_has_no_file_without_a_case():
    there = {path.name for path in FILES.iterdir() if path.suffix != ".py" and path.is_file()}
    assert there == {case.file for case in CASES}


class TestQuestions:
    """Two readings are asked about, with both and the options that answer."""

    def test_shows_both_readings_of_an_amount(self):
        (problem,) = refused((FILES / "amount_unclear.csv").read_bytes())
        assert (problem.column, problem.value) == ("full_price", "1,234")
        assert "1234 (decimal=.) or as 1.234 (decimal=,)" in problem.reason
        assert "--decimal . or --decimal ," in problem.reason

    def test_shows_both_readings_of_a_date(self):
        (problem,) = refused((FILES / "dates_unclear.csv").read_bytes())
        assert "2026-04-03 (dates=day_first) or as 2026-03-04 (dates=month_first)" in str(problem)

    def test_shows_the_cell_in_both_encodings(self):
        (problem,) = refused((FILES / "excel_ru_cp1251.csv").read_bytes())
        assert "'ООО Ромашка' in cp1251" in problem.reason
        assert "'ÎÎÎ Ðîìàøêà' in cp1252" in problem.reason

    def test_names_no_encoding_that_the_whole_file_is_not_in(self):
        content = (FILES / "excel_ru_cp1251.csv").read_bytes().replace(b"K-7", b"K-\x98")
        assert refused(content)[0].answers == ("encoding=cp1252",)

    @pytest.mark.parametrize(
        ("delimiter", "before", "read_as"),
        [
            (",", "", '="00""7"'),  # ours for programs, where such a text is one
            (",", "\ufeff", '00"7'),
            (",", "sep=,\r\n", '00"7'),
            (";", "", '00"7'),
        ],
    )
    def test_a_formula_that_is_a_text_is_read_where_spreadsheets_are_meant(
        self, delimiter, before, read_as
    ):
        rows = csv.reader((FILES / "ours.csv").read_text().splitlines())
        lines = io.StringIO(newline="")
        for number, row in enumerate(rows):
            csv.writer(lines, delimiter=delimiter).writerow(
                [*row, '="00""7"' if number else "full_address"]
            )
        rows, understood = read((before + lines.getvalue()).encode())
        assert {row["full_address"] for row in rows} == {read_as}
        assert ("formulas" in understood) == (read_as == '00"7')

    def test_a_value_far_down_decides(self):
        """Constant memory: the rest goes into a temporary file, and is read twice."""
        head, first, *_ = (FILES / "excel_us.csv").read_text().splitlines(keepends=True)
        undecided = [first.replace("00042", str(n)) for n in range(2_000)]
        assert refused("".join([head, *undecided]).encode())[0].code == "date_unclear"
        decided = "".join([head, *undecided, first.replace("3/4/2026", "12/31/2026")])
        rows, understood = read(decided.encode())
        assert (len(rows), understood["dates"]) == (2_001, "month_first")
        assert {row["started_at"][:10] for row in rows[:-1]} == {"2026-03-04"}

    def test_one_column_decides_nothing_for_another(self):
        lines = (FILES / "excel_us.csv").read_text().splitlines()[:2]
        lines = [f"{lines[0]},price,ended_at", f'{lines[1]},"1,234",12/31/2026']
        problems = refused("\n".join(lines).encode())
        assert [(each.column, each.code) for each in problems] == [
            ("started_at", "date_unclear"),
            ("price", "amount_unclear"),
        ]


class TestBounds:
    """No file fills memory or disk: harmless ones show it, with small limits."""

    @pytest.mark.parametrize(
        ("limit", "value"),
        [
            ("WORKBOOK", 3_000),
            ("WORKBOOK_UNPACKED", 3_000),
            ("MEMBERS", 3),
            ("DIRECTORY", 100),
            ("SMALL_PART", 200),
            ("STRINGS", 5),
            ("STRINGS_TEXT", 50),
            ("CELL", 10),
            ("ROWS", 2),
            ("UNPACKED", 3_000),
        ],
    )
    def test_of_a_workbook(self, limit, value, monkeypatch):
        monkeypatch.setattr(limits, limit, value)
        name = "constant_memory.xlsx" if limit in ("CELL", "ROWS") else "xlsxwriter.xlsx"
        (problem,) = refused((FILES / name).read_bytes())
        assert (problem.code, problem.line) == ("too_large", 0)

    def test_of_a_packed_text(self, monkeypatch):
        monkeypatch.setattr(limits, "UNPACKED", 300)
        (problem,) = refused((FILES / "packed.csv.gz").read_bytes())
        assert problem.code == "too_large"

    def test_what_unpacks_to_many_times_its_size(self, monkeypatch):
        monkeypatch.setattr(limits, "ANY_RATIO", 100_000)
        blanks = {"xl/worksheets/sheet1.xml": "<worksheet>" + " " * 400_000}
        (problem,) = refused(with_members("xlsxwriter.xlsx", blanks))
        assert "times its size" in problem.reason

    def test_an_element_without_an_end(self, monkeypatch):
        monkeypatch.setattr(limits, "WITHOUT_ELEMENT", 100_000)
        endless = {"xl/worksheets/sheet1.xml": '<worksheet x="' + "y" * 300_000}
        (problem,) = refused(with_members("xlsxwriter.xlsx", endless))
        assert "endless" in problem.reason

    @pytest.mark.parametrize(
        ("part", "was", "becomes"),
        [
            ("xl/worksheets/sheet1.xml", 't="s"><v>0<', 't="s"><v>-1<'),
            ("xl/worksheets/sheet1.xml", 't="s"><v>0<', 't="s"><v>99<'),
            ("xl/worksheets/sheet1.xml", '<row r="3"', '<row r="2"'),
            ("xl/worksheets/sheet1.xml", '<c r="B2"', '<c r="A2"'),
            ("xl/worksheets/sheet1.xml", '<c r="B2"', '<c r="2"'),
            ("xl/worksheets/sheet1.xml", '<c r="B2"', '<c r="ZZZZ2"'),
            ("xl/worksheets/sheet1.xml", 'encoding="UTF-8"', 'encoding="UTF-9"'),
            ("xl/styles.xml", 'numFmtId="', 'numFmtId="x'),
            ("xl/styles.xml", "formatCode=", "code="),
            ("xl/workbook.xml", "sheetId=", "sheet="),
            ("xl/_rels/workbook.xml.rels", "Target=", "target="),
            ("xl/_rels/workbook.xml.rels", "worksheets/", "nothing/"),
        ],
    )
    def test_a_damaged_workbook_is_refused_or_read(self, part, was, becomes):
        with zipfile.ZipFile(FILES / "xlsxwriter.xlsx") as archive:
            content = archive.read(part).decode()
        assert was in content
        damaged = with_members("xlsxwriter.xlsx", {part: content.replace(was, becomes)})
        if was == "sheetId=":  # nothing is known by it
            assert len(read(damaged)[0]) == 3
        else:
            assert [each.code for each in refused(damaged)] == ["damaged"]

    @pytest.mark.parametrize("number", ["1E+999", "1E-999", "9" * 400, "NaN", "-1", "1e5000", ""])
    def test_no_number_is_too_much(self, number):
        for value in ("1234.5", "46085"):  # a price, and a date
            content = with_cell("dollars.xlsx", value, number)
            assert [each.line for each in refused(content)] == [2]

    def test_15_digits_of_a_number_count(self):
        rows, _ = read(with_cell("dollars.xlsx", "1234.5", "1234.4999999999999"))
        assert Decimal(rows[0]["full_price"]) == Decimal("1234.5")

    def test_half_a_character_stays_escaped(self):
        with zipfile.ZipFile(FILES / "xlsxwriter.xlsx") as archive:
            strings = archive.read("xl/sharedStrings.xml").decode()
        changed = {"xl/sharedStrings.xml": strings.replace("Zoë", "Zo_xD800_")}
        rows, _ = read(with_members("xlsxwriter.xlsx", changed))
        assert rows[2]["company_name"] == "Zo_xD800_"

    def test_an_entity_is_never_expanded(self):
        entities = '<!DOCTYPE x [<!ENTITY a "bb"><!ENTITY c "&a;&a;">]><sst><si><t>&c;</t></si>'
        (problem,) = refused(with_members("xlsxwriter.xlsx", {"xl/sharedStrings.xml": entities}))
        assert problem.code == "unsafe"


def with_members(name: str, members: dict[str, str]) -> bytes:
    """A workbook with some of its members replaced."""
    out = io.BytesIO()
    with zipfile.ZipFile(FILES / name) as old, zipfile.ZipFile(out, "w", 8) as new:
        for info in old.infolist():
            new.writestr(info.filename, members.get(info.filename, old.read(info)))
    return out.getvalue()


def with_cell(name: str, value: str, becomes: str) -> bytes:
    """A workbook whose first cell of a value has another one."""
    part = "xl/worksheets/sheet1.xml"
    with zipfile.ZipFile(FILES / name) as archive:
        sheet = archive.read(part).decode()
    changed = re.sub(rf"<v>{re.escape(value)}0?</v>", f"<v>{becomes}</v>", sheet, count=1)
    assert changed != sheet
    return with_members(name, {part: changed})


AMOUNTS = st.decimals(0, "9999999999.99", places=2)
DAYS = st.datetimes(datetime(1900, 1, 2), datetime(9999, 12, 30)).map(
    lambda at: at.replace(microsecond=0)
)
DIALECTS = st.fixed_dictionaries(
    {
        "thousands": st.sampled_from(["", " ", "\u00a0", "\u202f", "'", "’"]),
        "decimal": st.sampled_from(".,"),
        "delimiter": st.sampled_from([",", ";", "\t", "|"]),
        "encoding": st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
        "date": st.sampled_from(["%d.%m.%Y", "%Y-%m-%d", "%Y/%m/%d", "%d/%m/%Y", "%m/%d/%Y"]),
    }
)


@hypothesis_settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(AMOUNTS, DAYS), min_size=1, max_size=4), DIALECTS)
def test_reads_back_what_any_dialect_writes(values, dialect):
    """The sender has said what its dialect leaves open."""
    shown = {",": dialect["thousands"], ".": dialect["decimal"]}
    head = [name for name, column in ALL_COLUMNS.items() if column.required]
    out = [dialect["delimiter"].join(head)]
    for amount, at in values:
        cells = {
            "company_name": "A", "email": "a@example.com", "service": "S", "plan_type": "full",
            "discount_percent": "0",
            "full_price": "".join(shown.get(sign, sign) for sign in f"{amount:,}"),
            "started_at": at.strftime(f"{dialect['date']} %H:%M:%S").zfill(19),
        }  # fmt: skip
        out.append(dialect["delimiter"].join(f'"{cells[name]}"' for name in head))
    said = {"%d/%m/%Y": {"dates": "day_first"}, "%m/%d/%Y": {"dates": "month_first"}}
    content = "\r\n".join(out).encode(dialect["encoding"])
    rows, _ = read(content, **said.get(dialect["date"], {}))
    assert [
        (Decimal(row["full_price"]), comparable("started_at", row["started_at"])) for row in rows
    ] == [(amount, at.replace(tzinfo=UTC)) for amount, at in values]


class TestReading:
    @pytest.mark.parametrize(
        ("given", "reading"),
        [
            ({}, Reading()),
            ({"encoding": None, "delimiter": "", "update": True}, Reading()),
            ({"encoding": "UTF8", "delimiter": "tab"}, Reading("utf-8", "\t")),
            ({"encoding": "Windows-1251"}, Reading("cp1251")),
            ({"dates": "day-first"}, Reading(dates="day_first")),
            ({"column": ["A: b=comment", "C:"]}, Reading(columns={"A: b": "comment", "C": ""})),
        ],
    )
    def test_is_what_was_said(self, given, reading):
        assert Reading.of(given) == reading

    @pytest.mark.parametrize(
        ("given", "parameter"),
        [
            ({"encoding": "koi8-r"}, "encoding"),
            ({"delimiter": "::"}, "delimiter"),
            ({"decimal": ";"}, "decimal"),
            ({"dates": "us"}, "dates"),
            ({"column": "Kunde"}, "column"),
            ({"column": "Kunde=name"}, "column"),
            ({"columns": ["x"]}, "columns"),
        ],
    )
    def test_refuses_what_it_does_not_know(self, given, parameter):
        with pytest.raises(BadReading) as refusal:
            Reading.of(given)
        assert (refusal.value.code, refusal.value.about["parameter"]) == ("bad_reading", parameter)

    @pytest.mark.django_db
    def test_is_kept_by_name_and_what_is_said_goes_over_it(self):
        Reading.of({"decimal": ",", "column": ["Kunde=company_name", "Ort="]}).keep("acme")
        Reading.of({"decimal": ",", "column": ["Kunde=company_name", "Notiz="]}).keep("acme")
        assert ImportMapping.objects.get().name == "acme"
        again = Reading.of({"mapping": "acme", "decimal": ".", "column": "Notiz=comment"})
        assert again == Reading(decimal=".", columns={"Kunde": "company_name", "Notiz": "comment"})
        for name in ("other", "a\0b"):
            with pytest.raises(BadReading, match="kept are: acme"):
                Reading.of({"mapping": name})
        for name in ("", "x" * 51, "a\0b"):
            with pytest.raises(BadReading, match="1 to 50 characters"):
                Reading().keep(name)


@pytest.mark.django_db
class TestImport:
    """The command takes all of it, says how it understood the file, and keeps a mapping by name."""

    def test_reads_a_file_of_others_and_keeps_how(self, capsys):
        columns = [f"--column={theirs}={ours}" for theirs, ours in GERMAN.items()]
        file = str(FILES / "german_names.csv")
        call_command("import_book", file, *columns, "--save-mapping", "reseller")
        out = capsys.readouterr().out
        assert "Read as csv: encoding utf-8, delimiter semicolon, columns Kunde=company_name" in out
        assert "decimal comma, dates dotted." in out
        assert "--mapping reseller" in out
        call_command("import_book", file, "--mapping", "reseller")
        assert re.search(r"subscriptions +0 +0 +3", capsys.readouterr().out)

    def test_a_workbook_makes_the_book_that_the_text_makes(self, capsys):
        call_command("import_book", str(FILES / "excel_de.csv"))
        call_command("import_book", str(FILES / "libreoffice.xlsx"))
        out = capsys.readouterr().out
        assert re.search(r"subscriptions +0 +0 +3", out)
        assert "Read as xlsx: sheet Book." in out

    def test_names_the_cell_of_what_the_book_refuses(self):
        call_command("import_book", str(FILES / "xlsxwriter.xlsx"))
        service = Service.objects.get(name="DSL")
        service.full_price = 30
        service.save()
        with pytest.raises(CommandError, match=r"Book!D3, full_price: '19.90' differs"):
            call_command("import_book", str(FILES / "xlsxwriter.xlsx"))

    @pytest.mark.parametrize(
        ("options", "why"),
        [
            (["--dates", "us"], "dates is one of iso day_first month_first"),
            (["--mapping", "nobodys"], "none is kept yet"),
            (["--save-mapping", "mine"], "give some"),
            (["--delimiter", "|"], "names none of our columns"),
            ([], r"(?s)say decimal=\. or decimal=,.*Read as csv: encoding utf-8"),
        ],
    )
    def test_says_what_is_wrong_with_an_option(self, options, why):
        with pytest.raises(CommandError, match=why):
            call_command("import_book", str(FILES / "amount_unclear.csv"), *options)
