"""Files are read in pieces and column by column; each row is what it would be by itself."""

import csv
import io

import pytest
from django.core.validators import validate_email
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from services import fields
from services.transfer.copying import as_csv
from services.transfer.csv_file import COLUMNS, BadBook
from services.transfer.files import open_table, records

TEXTS = {name: column.parse for name, column in COLUMNS.items() if column.type == "text"}
# Parts of texts that a rule takes out, composes or refuses.
ODD = (
    "",
    " ",
    "|",
    "a",
    "É",
    "e\u0301",
    "\u0301",
    "\xa0",
    "\u200b",
    "\0",
    "\u200f",
    "\u202e",
    "\u2069",
    "\udc80",
    "\t",
    "b" * 99,
)
HEADER = "company_name,email,service,full_price,plan_type,discount_percent,started_at,comment"
GOOD = "A,a@example.com,S,20,discount,10,2026-10-01,x"


@hypothesis_settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.sampled_from(ODD), max_size=3).map("".join), min_size=1, max_size=4))
def test_a_column_that_is_plain_is_taken_as_it_stands(values):
    for name, rule in TEXTS.items():
        if fields.are_plain(rule)(values):
            assert [rule(value) for value in values] == values, name


def test_common_columns_are_plain():
    for name in ("company_name", "service", "source", "external_id", "comment", "price_reason"):
        assert fields.are_plain(TEXTS[name])(["Ärzte & Söhne, 12", "x"]), name


@pytest.mark.parametrize(
    "email", ["a@b.co", "A.b-c_d+e@x--y.0z.Example", f"-@{'a' * 63}.{'b' * 63}", "1.2@3.travel"]
)
def test_a_plain_email_is_one(email):
    assert fields.PLAIN_EMAIL.fullmatch(email)
    validate_email(email)


@pytest.mark.parametrize(
    "email", ["a.@b.co", "a@b", "a@-b.co", "a@b-.co", "a@b.c", "a@b.co\n", "é@b.co"]
)
def test_another_is_left_to_django(email):
    assert not fields.PLAIN_EMAIL.fullmatch(email)


def test_problems_are_the_same_whatever_is_read_at_once(monkeypatch):
    lines = [
        f"{HEADER},,",
        f"{GOOD},,",
        GOOD.replace(",20,", ",twenty,") + ",,",
        GOOD,
        f"{GOOD},stray,",
        f'{GOOD.replace(",x", "")},"one\ntwo",,',
        GOOD.replace("discount", "discont") + ",,",
        f"{GOOD},,,beyond",
        f"{GOOD},,",
        f'{GOOD},",',  # a quote that is not closed
    ]
    told = []
    for rows in (1, 2, 3, 2_000):
        monkeypatch.setattr(records, "ROWS", rows)
        table = open_table(io.BytesIO("\n".join(lines).encode()))
        with pytest.raises(BadBook) as bad:
            list(table.pieces())
        told.append([(each.line, each.column, each.reason) for each in bad.value.problems])
    assert [line for line, *_ in told[0]] == [3, 5, 8, 9, 11]
    assert told[1:] == told[:-1]


def test_an_encoding_is_tried_on_what_was_read_already_too():
    lines = [HEADER.encode(), GOOD.encode() + b"\xe9", GOOD.encode() + b"\x98"]
    with pytest.raises(BadBook) as bad:
        list(open_table(io.BytesIO(b"\n".join(lines))).pieces())
    assert bad.value.problems[0].answers == ("encoding=cp1252",)  # 98 is nothing in the other one


def test_long_lines_are_few_at_once():
    """A piece is bounded in bytes: lines that no rule takes must not fill the memory."""
    line = GOOD + "x" * 60_000
    table = open_table(io.BytesIO("\n".join([HEADER, *[line] * 300]).encode()))
    pieces = [len(piece) for piece in table._records.pieces()]
    assert (sum(pieces), max(pieces) <= 50) == (300, True)


@pytest.mark.parametrize("odd", ['"', "\t", "\n", "\r", "\r\n", "\\.", "'", "\\N", "", "a\tb\nc"])
def test_what_goes_to_the_database_is_what_was_read(odd):
    rows = [("2", "plain", "x"), ("3", odd, "x")]
    text = as_csv(rows, 2)
    assert list(csv.reader(io.StringIO(text, newline=""), delimiter="\t")) == [*map(list, rows)]
    assert ('"' in text) == bool({*odd} & {*'"\t\n\r'})
