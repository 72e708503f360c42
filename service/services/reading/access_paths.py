"""Which combinations of filters and ordering the list serves at size, and how.

A page is served in one of three ways:

- **walked**: an index has the rows in the order of the page. It costs what the page costs.
- **found**: an index leads to the few that match, or the planner chooses between that and walking.
- **passed over**: neither. What service, plan and plan type leave, or a filter with an index of
  its own, is read and put in order: up to `PASS_ROWS` rows. The subtotals know the number, or it
  is counted along the index as far as the limit, in the same snapshot, before anything is read.

So the answer depends on the book and never on the clock. docs/reads.md has the same for readers,
and a test compares it; docs/decisions/0010-served-combinations.md has the reasons.
"""

from enum import StrEnum

from services.reading.filters import BookFilter
from services.reading.ordering import Ordering

# Of these the subtotals know how many subscriptions they leave.
CATALOGUE = {"service", "plan", "plan_type"}
# An index leads to the few that they leave, whatever else is asked for.
FEW = {"subscription", "external_id"}
# An index leads to what they leave, which may be much: one client may have half of the book.
INDEXED = {
    "client",
    "email",
    "source",
    "comment",
    "comment_prefix",
    "started_from",
    "started_to",
    "ended_from",
    "ended_to",
}
# An index each for clients and services leads to what they leave; the planner can't tell how much.
SEARCHED = {"q"}
# Each row is judged by each scheduled change, for which no index helps.
JUDGED = {"pending"}

# What one pass may read, by ordering: less than 250 ms on an idle machine, the sum of the total
# included (`./pricebook bench served`).
PASS_ROWS = {
    "id": 1_000_000,
    "price": 200_000,
    "started_at": 200_000,
    "client_name": 50_000,
}


class Way(StrEnum):
    WALKED = "walked"
    FOUND = "found"
    PASSED = "passed over"


def way(book_filter: BookFilter, ordering: Ordering) -> Way:
    """How a page of this combination is served."""
    names = book_filter.given.keys()
    if names & FEW:
        return Way.FOUND
    if ordering.by_id and names <= CATALOGUE:
        return Way.WALKED
    if ordering.name == "started_at" and names <= {"started_from", "started_to"}:
        return Way.WALKED
    if ordering.name == "client_name" and not names:
        return Way.WALKED
    if names & INDEXED and ordering.by_id and not names & (SEARCHED | JUDGED):
        return Way.FOUND
    return Way.PASSED


# What a search may lead to: each name is compared letter by letter, each row fetched by an index of
# its own.
SEARCH_NAMES = 1_000
SEARCH_ROWS = 100_000
# What may be judged: rows times scheduled changes.
JUDGED_ROWS = 100_000


def limit(book_filter: BookFilter, ordering: Ordering) -> int:
    """How many rows a pass of this combination may read."""
    rows = PASS_ROWS[ordering.name]
    if book_filter.given.keys() & SEARCHED:
        rows = min(rows, SEARCH_ROWS)
    if book_filter.pending is not None:
        rows = min(rows, JUDGED_ROWS // max(1, len(book_filter.pending.moved)))
    return rows


class NotServed(Exception):
    """A pass would read more rows, or a search compare more names, than its limit allows."""

    def __init__(self, book_filter: BookFilter, ordering: Ordering) -> None:
        self.ordering = ordering
        reads = f"{limit(book_filter, ordering):,} subscriptions one by one"
        if book_filter.given.keys() & SEARCHED:
            reads = f"{SEARCH_NAMES:,} names like {book_filter.q!r}, or {reads}"
        order = "This" if ordering.by_id else f"In the order of {ordering.name} this"
        super().__init__(f"{order} would have to read more than {reads}. {served()}")


def served() -> str:
    """The combinations that are served whatever the size of the book, in words."""
    catalogue, few, indexed, searched, judged = (
        ", ".join(sorted(names)) for names in (CATALOGUE, FEW, INDEXED, SEARCHED, JUDGED)
    )
    limits = ", ".join(f"{rows:,} with ordering={name}" for name, rows in PASS_ROWS.items())
    return (
        f"Served at any size: ordering=id without a filter, with any of {catalogue}, or with any"
        f" of {indexed}, whatever but {searched} and {judged} is given too; ordering=started_at"
        " without a filter or with started_from and started_to; ordering=client_name without a"
        f" filter; every ordering with any of {few}, whatever else is given. Anything else is"
        f" served where {catalogue}, {indexed} or {searched} leave few enough: {limits}, at most"
        f" {SEARCH_ROWS:,} with {searched}, of at most {SEARCH_NAMES:,} clients and services, and"
        f" at most {JUDGED_ROWS:,} with {judged}, divided by the number of scheduled changes."
    )
