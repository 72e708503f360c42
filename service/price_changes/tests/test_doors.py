"""One policy at every door: what docs/limits.md says of each is what happens."""

import copy
import re
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.db import connection

from price_changes.tests.doors import DOORS, LIMITS, Book, outcome
from pricebook.tests.tiers import always

pytestmark = pytest.mark.django_db

GUIDE = Path(django_settings.BASE_DIR).parent / "docs" / "limits.md"


def said() -> dict[tuple[str, str, str], str]:
    """The table of the guide, by door, caller and limit."""
    lines = re.findall(r"^\| (.+) \|$", GUIDE.read_text(), re.M)
    rows = [line.split(" | ") for line in lines]
    start = rows.index(["door", "caller", *LIMITS])
    found: dict[tuple[str, str, str], str] = {}
    for door, who, *cells in rows[start + 2 :]:
        found |= {(door, who, limit): cell for limit, cell in zip(LIMITS, cells, strict=True)}
    return found


@pytest.fixture(scope="module")
def book_of_all(around_the_module):
    """The book as each attempt finds it: what one has done to it is rolled back before the next."""
    book = Book.made()
    connection.check_constraints()
    return book


# These say whether a door asks at all, and of what; the others, that it asks the same policy.
@pytest.mark.parametrize("limit", always(("rows", "amount", "enough"), of=LIMITS))
@pytest.mark.parametrize("door", DOORS, ids=lambda door: f"{door.name}, {door.who}")
def test_the_door_asks_the_policy(book_of_all, door, limit, settings):
    book = copy.deepcopy(book_of_all)
    assert outcome(door, limit, settings, book) == said()[door.name, door.who, limit]


def test_the_guide_has_each_door_and_no_other():
    expected = {(door.name, door.who, limit) for door in DOORS for limit in LIMITS}
    assert said().keys() == expected
    doors, cells = len(DOORS), len(expected)
    assert f"{doors} doors × {len(LIMITS)} settings = {cells} cells" in GUIDE.read_text()
