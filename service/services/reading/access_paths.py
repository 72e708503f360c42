"""How a page is read: decided once, for a filter and an ordering, by `access_path()`.

A page is served in one of three ways:

- **walked**: an index has the rows in the order of the page. It costs what the page costs.
- **found**: an index leads to the few that match, or the planner chooses between that and walking.
- **scanned**: no index gives the order. The rows that service, plan and plan type leave, or a
  filter with an index of its own, are read and sorted: up to `SCAN_ROWS` rows. The subtotals know
  their number, or it is counted along the index as far as the limit, in the same snapshot, before
  any row is read.

So it depends on the book, and never on the clock, whether a page is served. docs/reads.md has the
same for readers, and a test compares it; docs/decisions/0010-served-combinations.md has the
reasons.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from enum import Enum, StrEnum, auto

from django.utils.translation import gettext as _

from pricebook.kit.figures import grouped
from services.reading.filter_kinds import Access
from services.reading.filters import BookFilter, named
from services.reading.ordering import BY_ID, Ordering

CATALOGUE = named(Access.COUNTED)
FEW = named(Access.FEW)
INDEXED = named(Access.INDEXED)
SEARCHED = named(Access.SEARCHED)
JUDGED = named(Access.JUDGED)

OF_ONE_CLIENT = {"client", "email"}
RARE_STATES = ("ended", "upcoming")

# The most rows that one scan may read, by ordering: this takes less than 250 ms on an idle machine,
# the sum of the total included (`./pricebook bench served`).
SCAN_ROWS = {
    "id": 1_000_000,
    "price": 200_000,
    "started_at": 200_000,
    "client_name": 50_000,
}
# The most names and rows that a search may lead to: each name is compared letter by letter, each
# row is fetched by an index lookup of its own.
SEARCH_NAMES = 1_000
SEARCH_ROWS = 100_000
# The most rows, times scheduled changes, that `pending` may compare.
JUDGED_ROWS = 100_000


class Way(StrEnum):
    """The way in which a page is served; see above."""

    WALKED = "walked"
    FOUND = "found"
    SCANNED = "scanned"


class Walk(Enum):
    """The index or order along which rows are read (`walks.py` has the statement of each)."""

    KEY = auto()  # the primary key, or the index of a service, of a plan, of both
    PLANS_MERGED = auto()  # the indexes of all plans of a type
    FILTER = auto()  # a filter's index or the primary key: the planner's statistics choose
    START = auto()
    CLIENT_NAME = auto()
    SORTED = auto()  # all that match, by whatever index leads there, and then sorted


@dataclass(frozen=True)
class AccessPath:
    """How the subscriptions that match a filter are read in an order."""

    book_filter: BookFilter
    ordering: Ordering
    way: Way
    walk: Walk

    @property
    def limit(self) -> int:
        """How many rows a scan may read. One query where `pending` is asked for."""
        rows = SCAN_ROWS[self.ordering.name]
        if self.book_filter.given.keys() & SEARCHED:
            rows = min(rows, SEARCH_ROWS)
        if self.book_filter.pending is not None:
            rows = min(rows, JUDGED_ROWS // max(1, len(self.book_filter.pending.moved)))
        return rows

    @property
    def planned_once(self) -> bool:
        """Whether one plan is the best for all values: the whole book along an index.

        (Without values the planner assumes that a service or a plan is a third of the book.)
        """
        return self.way == Way.WALKED and not self.book_filter.given


def access_path(book_filter: BookFilter, ordering: Ordering = BY_ID) -> AccessPath:
    """How a page of this combination is read. No query."""
    given = book_filter.given
    way, walk = _decided(given.keys(), ordering)
    if walk is Walk.FILTER and given.keys() & OF_ONE_CLIENT and given.get("state") in RARE_STATES:
        # The planner expects a client with many rows to have many in any state, and would walk the
        # ids of the book to meet a page of them. There may be none: the client's rows are all read.
        walk = Walk.SORTED
    return AccessPath(book_filter, ordering, way, walk)


def _decided(names: Set[str], ordering: Ordering) -> tuple[Way, Walk]:
    by_key = Walk.PLANS_MERGED if "plan_type" in names else Walk.KEY
    if names & FEW:
        return Way.FOUND, Walk.SORTED
    if ordering.by_id:
        if names <= CATALOGUE:
            return Way.WALKED, by_key
        if names & SEARCHED or (names & JUDGED and names & INDEXED):
            return Way.SCANNED, Walk.SORTED
        if names & INDEXED:
            return Way.FOUND, Walk.FILTER
        return Way.SCANNED, by_key
    if ordering.name == "started_at" and names <= {"started_from", "started_to"}:
        return Way.WALKED, Walk.START
    if ordering.name == "client_name" and not names:
        return Way.WALKED, Walk.CLIENT_NAME
    return Way.SCANNED, Walk.SORTED


class NotServed(Exception):
    """A scan would read more rows, or a search compare more names, than its limit allows."""

    def __init__(self, path: AccessPath) -> None:
        self.ordering = path.ordering
        rows = {"rows": grouped(path.limit)}
        reads = _("%(rows)s subscriptions one by one") % rows
        if path.book_filter.given.keys() & SEARCHED:
            reads = _("%(names)s names like %(q)s, or %(rows)s subscriptions one by one") % {
                "names": grouped(SEARCH_NAMES),
                "q": repr(path.book_filter.q),
                **rows,
            }
        text = (
            _("This would have to read more than %(reads)s. %(served)s")
            if path.ordering.by_id
            else _(
                "In the order of %(ordering)s this would have to read more than %(reads)s."
                " %(served)s"
            )
        )
        super().__init__(
            text % {"ordering": path.ordering.name, "reads": reads, "served": served()}
        )


def served() -> str:
    """The combinations that are served whatever the size of the book, in words."""
    catalogue, few, indexed, searched, judged = (
        ", ".join(sorted(names)) for names in (CATALOGUE, FEW, INDEXED, SEARCHED, JUDGED)
    )
    with_ordering = _("%(rows)s with ordering=%(name)s")
    limits = ", ".join(
        with_ordering % {"rows": grouped(rows), "name": name} for name, rows in SCAN_ROWS.items()
    )
    return _(
        "Served at any size: ordering=id without a filter, with any of %(catalogue)s, or with any"
        " of %(indexed)s and any other filter but %(searched)s and %(judged)s; ordering=started_at"
        " without a filter or with started_from and started_to; ordering=client_name without a"
        " filter; every ordering with any of %(few)s, whatever else is given. Anything else is"
        " served where %(catalogue)s, %(indexed)s or %(searched)s leave few enough: %(limits)s, at"
        " most %(search_rows)s with %(searched)s, of at most %(search_names)s clients and services,"
        " and at most %(judged_rows)s with %(judged)s, divided by the number of scheduled changes."
    ) % {
        "catalogue": catalogue,
        "few": few,
        "indexed": indexed,
        "searched": searched,
        "judged": judged,
        "limits": limits,
        "search_rows": grouped(SEARCH_ROWS),
        "search_names": grouped(SEARCH_NAMES),
        "judged_rows": grouped(JUDGED_ROWS),
    }
