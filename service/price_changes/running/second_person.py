"""The second person of an approval, where a limit asks for one (`limits`).

Author and approver are compared by who they are: the number of a person, or of a key together with
the person who made it. A name proves nothing; the name of a planner who is not typed counts against
an approver of that name, and never for anybody.
"""

from __future__ import annotations

from dataclasses import dataclass

from keys.models import ApiKey
from price_changes import notes
from price_changes.models import PriceChange
from pricebook.kit import authors
from pricebook.kit.authors import Kind
from pricebook.words.stored import Said


@dataclass(frozen=True)
class Behind:
    """The person behind an author, as far as that is known."""

    person: int | None
    names: frozenset[str]


def why_not(change: PriceChange, approver: str) -> str | None:
    """The reason why this author is no second person for the change; None: it is one.

    Up to two queries.
    """
    return why_not_after(change.planned_by, approver, change)


def why_not_after(decided_by: str, approver: str, change: PriceChange) -> str | None:
    """The same for the author who has decided about the change before. Up to two queries."""
    planner, by = authors.parse(decided_by), authors.parse(approver)
    named = {"planner": decided_by, "approver": approver, "number": change.pk}
    if (planner.kind, planner.number) == (by.kind, by.number) and by.number:
        return Said.of(notes.DECIDED_BEFORE % named)
    second = behind(by)
    if second.person is None:
        return Said.of(notes.NOBODY_KNOWN % named)
    first = behind(planner)
    if first.person == second.person:
        return Said.of(notes.ONE_PERSON % named)
    if first.person is None and first.names & second.names:
        return Said.of(notes.OF_ONE_NAME % named)
    return None


def behind(author: authors.Author) -> Behind:
    """The person behind an author. One query for a key."""
    names = frozenset([author.name.casefold()])
    if author.kind == Kind.PERSON:
        return Behind(author.number, names)
    if author.kind != Kind.KEY:
        return Behind(None, names)
    key = ApiKey.objects.select_related("maker").filter(number=author.number).first()
    if key is None or key.maker is None:
        return Behind(None, names)
    names |= {key.maker.get_username().casefold()}
    # The operator of the machine has had its secret.
    in_other_hands = authors.parse(key.rotated_by).kind == Kind.CLAIMED
    return Behind(None if in_other_hands else key.maker.pk, names)
