"""The second person of an approval, where a limit asks for one (`limits`).

Author and approver are compared by who they are: the number of a person, or of a key together with
the person who made it. A name proves nothing; the name of a planner who is not typed counts against
an approver of that name, and never for anybody.
"""

from __future__ import annotations

from dataclasses import dataclass

from keys.models import ApiKey
from price_changes.models import PriceChange
from pricebook.kit import authors
from pricebook.kit.authors import Kind


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
    other = "somebody else has to approve it"
    planner, by = authors.parse(decided_by), authors.parse(approver)
    if (planner.kind, planner.number) == (by.kind, by.number) and by.number:
        return f"{approver} decided on price change {change.pk} before; {other}."
    second = behind(by)
    if second.person is None:
        return (
            f"Nobody knows which person {approver} is, so price change {change.pk} has no second"
            " one: approve it in the admin, or over the API with a key that a person made there."
        )
    first = behind(planner)
    if first.person == second.person:
        return f"{decided_by} and {approver} are one person; {other}."
    if first.person is None and first.names & second.names:
        return (
            f"Price change {change.pk} was decided under the name {decided_by}, which is"
            f" that of {approver} too; {other}."
        )
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
