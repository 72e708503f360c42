"""Typed authors: no name looks like another person, key or claim."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricebook.kit import authors
from pricebook.kit.authors import LONGEST, Author, Kind, claimed, key, parse, person

NAMES = st.one_of(
    st.text(max_size=160),
    st.sampled_from(
        ["ann (person 3)", "ann (key 3)", "x (claimed)", ") (person 1", "(", "a\u202eb"]
    ),
)
NUMBERS = st.integers(1, 2**63 - 1)


@given(NAMES, NUMBERS)
def test_each_is_what_it_was_made_as(name, number):
    assert (parse(person(number, name)).kind, parse(person(number, name)).number) == (
        Kind.PERSON,
        number,
    )
    assert (parse(key(number, name)).kind, parse(key(number, name)).number) == (Kind.KEY, number)
    assert (parse(claimed(name)).kind, parse(claimed(name)).number) == (Kind.CLAIMED, 0)
    for made in (person(number, name), key(number, name), claimed(name)):
        assert len(made) <= LONGEST
        assert made.isprintable()


@given(NAMES, NAMES, NUMBERS, NUMBERS)
def test_two_are_alike_only_if_they_are_one(name, other, number, other_number):
    made = [person(number, name), key(number, name), claimed(name)]
    others = [person(other_number, other), key(other_number, other), claimed(other)]
    for kind, one in enumerate(made):
        for of_kind, another in enumerate(others):
            if kind != of_kind or (kind < 2 and number != other_number):
                assert one != another


@pytest.mark.parametrize("text", ["", "ann", "Ann B.", "import", "ann (person x)", "(person 3)"])
def test_others_are_untyped(text):
    assert parse(text) == Author(Kind.UNTYPED, text)


def test_a_short_name_stays_as_it_is():
    assert person(3, "ann@example.com") == "ann@example.com (person 3)"
    assert key(3, "ERP, München") == "ERP, München (key 3)"
    assert claimed("Анна") == "Анна (claimed)"
    assert authors.key(7, "ann (person 3)") == "ann [person 3] (key 7)"
    assert parse(person(7, "a" * 200)).number == 7
