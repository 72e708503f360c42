"""Amounts that people type: each notation is understood, and what is unclear is refused."""

import re
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django import forms
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from pricebook.kit.amount_field import AmountField, BadAmount, parse_amount

THOUSANDS = ["", " ", "\u00a0", "\u2009", "\u202f", "'", "\u2019", ".", ","]
NOTATIONS = [(sign, point) for sign in THOUSANDS for point in ".," if sign != point]


def written(whole: str, decimals: str, thousands: str, decimal_sign: str) -> str:
    """The number of these digits as somebody with this notation writes it."""
    from_the_end = whole[::-1]
    groups = [from_the_end[at : at + 3] for at in range(0, len(whole), 3)]
    return thousands.join(groups)[::-1] + (decimal_sign + decimals if decimals else "")


def number(whole: str, decimals: str) -> Decimal:
    return Decimal(f"{whole}.{decimals}" if decimals else whole)


wholes = st.integers(0, 10**12).map(str)
decimals = st.text("0123456789", max_size=4)
notations = st.sampled_from(NOTATIONS)
# Digits and separators that nobody has put in order.
scrambled = st.text("012345678901234567890123456789٣.,' \u202f", max_size=12)


def outcome(text: str, **options: Any) -> Decimal | str:
    try:
        return parse_amount(text, **options)
    except BadAmount as error:
        return error.code


class TestWhatPeopleWrite:
    @pytest.mark.parametrize(
        ("text", "amount"),
        [
            ("4.50", "4.50"),
            ("4,50", "4.50"),
            ("4,5", "4.5"),
            ("0", "0"),
            ("0,07", "0.07"),
            ("25", "25"),
            ("1234", "1234"),
            ("1234,5", "1234.5"),
            ("1 234,50", "1234.50"),
            ("1\u00a0234,50", "1234.50"),
            ("1\u202f234,50", "1234.50"),
            ("1\u2009234,50", "1234.50"),
            ("1.234,50", "1234.50"),
            ("1,234.50", "1234.50"),
            ("1'234.50", "1234.50"),
            ("1\u2019234.50", "1234.50"),
            ("1 234", "1234"),
            ("1'234", "1234"),
            ("1,234,567", "1234567"),
            ("1.234.567,89", "1234567.89"),
            ("9 999 999 999,99", "9999999999.99"),
            ("\u00a0 4,50\t\r\n", "4.50"),
        ],
    )
    def test_is_understood(self, text, amount):
        assert str(parse_amount(text)) == amount

    @pytest.mark.parametrize(
        ("text", "amount"),
        [
            ("-5", "-5"),
            ("\u22125", "-5"),
            ("\u22121 234,5", "-1234.5"),
            ("-0,00", "0.00"),
            (f"-{'7' * 36}", f"-{'7' * 36}"),
        ],
    )
    def test_below_zero_where_that_can_be(self, text, amount):
        assert str(parse_amount(text, negative=True)) == amount
        assert outcome(text) == "negative"

    @pytest.mark.parametrize(("text", "amount"), [("0,125", "0.125"), ("1,2345", "1.2345")])
    def test_with_more_decimals_where_they_can_be(self, text, amount):
        assert str(parse_amount(text, decimal_places=4)) == amount
        assert outcome(text) == "too_exact"

    @pytest.mark.parametrize("text", ["12", "1 200", "1.000.000"])
    def test_as_a_whole_number(self, text):
        assert parse_amount(text, decimal_places=0) == Decimal(re.sub(r"\D", "", text))

    @pytest.mark.parametrize("text", ["12,5", "12.0", "0,0"])
    def test_with_decimals_is_no_whole_number(self, text):
        assert outcome(text, decimal_places=0) == "too_exact"


class TestWhatIsUnclear:
    @pytest.mark.parametrize(
        ("text", "decimal_places", "says"),
        [
            ("1,234", 4, "can be 1234 or 1.234. Type 1234 for the first; 1.2340 for the second."),
            ("1.234", 4, "can be 1234 or 1.234. Type 1234 for the first; 1.2340 for the second."),
            ("12,300", 2, "can be 12300 or 12.300. Type 12300 for the first; 12.30 for the second"),
            ("1.000", 0, "can be 1000 or 1.000. Type 1000 for the first; 1 for the second."),
            ("999,999", 2, "Type 999999 for the first; the second has 3 decimals, and this has at"),
            ("1.234", 0, "Type 1234 for the first; the second is no whole number."),
            ("-1,234", 4, "can be -1234 or -1.234. Type -1234 for the first; -1.2340 for the sec"),
        ],
    )
    def test_is_refused_with_both_readings(self, text, decimal_places, says):
        with pytest.raises(BadAmount) as refused:
            parse_amount(text, decimal_places, negative=True)
        assert refused.value.code == "unclear"
        assert str(refused.value).startswith(f"“{text}” can be ")
        assert says in str(refused.value)

    @pytest.mark.parametrize("text", ["1234,567", "0,123", "1 234.567", "1,234.567", "123,4567"])
    def test_is_not_what_one_notation_alone_reads(self, text):
        assert isinstance(outcome(text, decimal_places=4), Decimal)


class TestWhatIsNoNumber:
    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("1e3", "has “e” in it; type the number alone, such as 4.50."),
            ("0x10", "has “x” in it"),
            ("NaN", "has “N” in it"),
            ("inf", "has “i” in it"),
            ("-Infinity", "has “I” in it"),
            ("1_000", "has “_” in it"),
            ("+5", "has “+” in it"),
            ("--5", "has “-” in it"),
            ("5-", "has “-” in it"),
            ("(5)", "has “(” in it"),
            ("½", "has “½” in it"),
            ("²", "has “²” in it"),
            ("1\n2", "has “�” in it"),
            ("1\x002", "has “�” in it"),
            ("\ud800", "has “�” in it"),
            ("\u202e12", "has “�” in it"),
            ("٣", "has the digit “٣” of another script in it; type 0 to 9."),
            ("१२", "has the digit “१” of another script in it"),
            ("1٣ 234", "has the digit “٣” of another script in it"),
            ("1,٣", "has the digit “٣” of another script in it"),
            ("１", "has the digit “１” of another script in it"),
            ("4,50 €", "has a currency sign in it; type the number alone, such as 4.50."),
            ("$4.50", "has a currency sign in it"),
            ("4,50 ₽", "has a currency sign in it"),
            ("4,50 руб", "has “р” in it"),
            ("5 %", "has a percent sign in it"),
            ("1,2,3", "where no number has it; type it without thousands separators, such as 123"),
            ("12,34.56.7", "where no number has it"),
            ("1.23,456,7", "where no number has it"),
            ("1,234,56", "where no number has it"),
            ("1,,234", "where no number has it"),
            ("1  234", "where no number has it"),
            ("1 23", "where no number has it"),
            ("1.234 567,89", "where no number has it"),
            ("1.234.567.89", "where no number has it"),
            ("1234 567", "where no number has it"),
            (".50", "does not begin and end with a digit"),
            (",5", "does not begin and end with a digit"),
            ("5.", "does not begin and end with a digit"),
            ("- 5", "does not begin and end with a digit"),
            ("007", "begins with a 0 that nothing needs"),
            ("012,345", "begins with a 0 that nothing needs"),
            ("-", "has no digits"),
            ("", "has no digits"),
        ],
    )
    def test_is_refused_with_what_to_type(self, text, says):
        with pytest.raises(BadAmount) as refused:
            parse_amount(text, decimal_places=4, negative=True)
        assert refused.value.code == "not_a_number"
        assert says in str(refused.value)
        shown = re.sub("[\n\x00\ud800\u202e]", "�", text)
        assert str(refused.value).startswith(f"“{shown}” ")

    @pytest.mark.parametrize("text", ["9" * 41, "9" * 5_000_000, "1,234" * 1000, "\0" * 50])
    def test_is_not_looked_at_when_it_is_long(self, text):
        with pytest.raises(BadAmount) as refused:
            parse_amount(text)
        assert refused.value.code == "too_long"
        assert len(str(refused.value)) < 120


def never_another(parse, whole, decimals, notation):
    """The number that was written, or a refusal."""
    with suppress(BadAmount):
        assert parse(written(whole, decimals, *notation)) == number(whole, decimals)


def takes_out(sign):
    def parse(text):
        try:
            return Decimal(text.replace(sign, ""))
        except ArithmeticError:
            raise BadAmount("not_a_number", "") from None

    return parse


class TestEveryText:
    @given(whole=wholes, decimals=decimals, notation=notations)
    @example(whole="4", decimals="50", notation=("", ","))
    def test_means_what_was_written_in_any_notation(self, whole, decimals, notation):
        never_another(parse_amount, whole, decimals, notation)

    @given(
        whole=wholes,
        decimals=decimals,
        notation=notations,
        minus=st.sampled_from(["", "-", "\u2212"]),
        around=st.sampled_from(["", " ", "\u00a0", "\t"]),
    )
    @example(whole="1", decimals="234", notation=("", "."), minus="", around="")
    @example(whole="1234", decimals="", notation=(",", "."), minus="-", around="")
    def test_that_is_clear_is_taken(self, whole, decimals, notation, minus, around):
        text = written(whole, decimals, *notation)
        unclear = re.fullmatch("[1-9][0-9]{0,2}[.,][0-9]{3}", text)
        amount = number(whole, decimals) * (-1 if minus else 1)
        found = outcome(f"{around}{minus}{text}{around}", decimal_places=4, negative=True)
        assert found == ("unclear" if unclear else amount)

    @given(text=scrambled)
    @example(text="1,234")
    @example(text="1 234,567")
    @example(text="0,125")
    def test_has_one_meaning_or_none(self, text):
        text = text.strip()
        digits = re.sub("[^0-9]", "", text)
        # The number with its point at each place, in each notation: those that give this text.
        meant = {
            number(digits[:at], digits[at:])
            for at in range(1, len(digits) + 1)
            for notation in NOTATIONS
            if written(digits[:at], digits[at:], *notation) == text
            and (at == 1 or not digits.startswith("0"))
        }
        expected = meant.pop() if len(meant) == 1 else "unclear" if meant else "not_a_number"
        assert outcome(text, decimal_places=20) == expected

    @pytest.mark.parametrize(
        "mutant",
        [
            takes_out(","),
            takes_out("."),
            lambda text: parse_amount(text.replace(",", ".")),
            lambda text: parse_amount(re.sub("[.,](?=.*[.,])", "", text) + "0", 5),
        ],
        ids=["comma goes", "point goes", "comma is a point", "the last one is the decimal sign"],
    )
    def test_would_catch_a_parser_that_guesses(self, mutant):
        @settings(max_examples=1000, database=None, phases=[Phase.generate])
        @given(whole=st.integers(0, 9999).map(str), decimals=decimals, notation=notations)
        def holds(whole, decimals, notation):
            never_another(mutant, whole, decimals, notation)

        with pytest.raises(AssertionError):
            holds()


def test_is_as_the_guide_says():
    guide = (Path(__file__).parents[3] / "docs/operating.md").read_text()
    rows = re.findall(
        r"^\| (`.*) \| (.*) \|$", guide.split("### Typing an amount")[1].split("\n## ")[0], re.M
    )
    assert len(rows) == 8
    for typed, means in rows:
        places = 0 if "discount" in typed else 2
        texts = re.findall("`([^`]+)`", typed)
        assert texts
        for text in texts:
            found = outcome(text, decimal_places=places, negative=True)
            assert isinstance(found, str) if "refused" in means else found == Decimal(means), text


class Form(forms.Form):
    price = AmountField()
    percent = AmountField(decimal_places=0, required=False)
    operand = AmountField(decimal_places=4, negative=True, required=False)


class TestTheField:
    def test_gives_decimals(self):
        form = Form({"price": " 4,50 ", "percent": "12", "operand": "−2,5"})
        assert form.is_valid()
        assert form.cleaned_data == {
            "price": Decimal("4.50"),
            "percent": Decimal(12),
            "operand": Decimal("-2.5"),
        }

    @pytest.mark.parametrize("empty", ["", " ", "\u00a0", None])
    def test_may_be_empty_where_it_is_not_required(self, empty):
        form = Form({"price": empty, "percent": empty})
        assert form.errors.keys() == {"price"}
        assert form.errors["price"] == ["This field is required."]
        assert form.cleaned_data["percent"] is None

    def test_says_what_is_wrong_and_keeps_what_was_typed(self):
        form = Form({"price": "1,234", "percent": "12,5"})
        assert "can be 1234 or 1.234" in form.errors["price"][0]
        assert "is no whole number" in form.errors["percent"][0]
        assert form["price"].value() == "1,234"
        assert 'value="1,234"' in str(form["price"])

    def test_shows_markup_as_text(self):
        form = Form({"price": "<b>4</b>"})
        assert "<b>" not in str(form.errors["price"])
        assert "<b>" not in str(form["price"])

    @pytest.mark.parametrize("number", ["4.50", "4,50", "4,5", " 4.5 ", Decimal("4.5")])
    def test_has_not_changed_in_another_notation(self, number):
        assert not AmountField().has_changed(Decimal("4.50"), number)

    @pytest.mark.parametrize("number", ["4,51", "450", "4,500", "x", "", None])
    def test_has_changed_where_the_number_is_another_or_unclear(self, number):
        assert AmountField().has_changed(Decimal("4.50"), number)

    @pytest.mark.parametrize("known", [5, Decimal("4.50"), Decimal("1.234"), Decimal("1E+3")])
    def test_takes_numbers_of_code_as_they_are(self, known):
        assert AmountField(decimal_places=4).clean(known) == known

    def test_is_a_text_box(self):
        page = str(Form(initial={"price": Decimal("4.50")}))
        assert 'type="number"' not in page
        assert "maxlength" not in page  # which would cut off what is pasted
        assert re.search('name="price"[^>]* value="4.50"|value="4.50"[^>]* name="price"', page)

    def test_opens_a_number_pad_only_where_it_has_every_sign_that_is_needed(self):
        pads = {name: field.widget.attrs.get("inputmode") for name, field in Form().fields.items()}
        assert pads == {"price": "decimal", "percent": "numeric", "operand": None}

    def test_has_no_three_decimals(self):
        with pytest.raises(ValueError, match="would be unclear"):
            AmountField(decimal_places=3)
