"""The policy: how much one person may move alone, at every door, and who that person is.

A move is beyond a limit if its rows, its largest per cent or its rises and falls together are, with
all that the same person has moved alone in the last 24 hours. Then it takes another person
(`second_person`): a direct edit becomes a plan that waits, and an approval is refused.

Each door asks twice: `beyond` to say what would happen, and `moved_alone` when all is written. That
one takes a lock by person, the last lock of its transaction, so two moves of one person can't both
slip under a limit, and nobody waits for another lock while holding it. Where no limit is set,
neither asks the database anything. docs/decisions/0018 says what counts, and why.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from django.conf import settings
from django.db import connection
from django.db.models import Q, QuerySet, Sum
from django.utils.translation import gettext as _
from django.utils.translation import override

from price_changes import notes
from price_changes.errors import NeedsAnother
from price_changes.kinds import is_of_catalogue
from price_changes.models import MovedAlone, PriceChange
from price_changes.planning import preview as previews
from price_changes.planning.around import named
from price_changes.running import second_person
from pricebook.kit import authors, figures
from pricebook.words.stored import Said, in_english
from services.models import book_clock
from services.moves import Move, NeedsAnotherPerson, largest_percent

WINDOW = timedelta(hours=24)
UNKNOWN = (
    "unknown"  # claims, texts, keys of nobody known: one person, since each may be any of them
)
OF_PERSON = """
SELECT pg_advisory_xact_lock('price_changes_movedalone'::regclass::oid::int, hashtext(%s))
"""

Own = QuerySet[MovedAlone]


@dataclass(frozen=True)
class Limits:
    """The limits that are set; None: no limit of this kind."""

    rows: Decimal | None
    percent: Decimal | None
    amount: Decimal | None
    any: bool  # nobody moves anything alone

    @classmethod
    def now(cls) -> Limits:
        return cls(
            settings.APPROVAL_LIMIT_ROWS,
            settings.APPROVAL_LIMIT_PERCENT,
            settings.APPROVAL_LIMIT_AMOUNT,
            settings.APPROVAL_BY_ANOTHER,
        )

    def __bool__(self) -> bool:
        return self.any or not (self.rows is None and self.percent is None and self.amount is None)

    def __str__(self) -> str:
        if self.any:
            return _("none: every move of prices takes another person (APPROVAL_BY_ANOTHER)")
        said = [
            f"{limit:,f} {unit}"
            for limit, unit in (
                (self.rows, _("rows")),
                (self.percent, _("per cent of a price")),
                (
                    self.amount,
                    _("%(currency)s of rises and falls") % {"currency": settings.CURRENCY},
                ),
            )
            if limit is not None
        ]
        return (
            _("up to %(said)s in 24 hours") % {"said": ", ".join(said)} if said else _("no limit")
        )


def who(author: str) -> str:
    """The person to whose sum a move of this author adds. One query for a key."""
    person = second_person.behind(authors.parse(author)).person
    return UNKNOWN if person is None else f"person {person}"


def move_of(change: PriceChange) -> Move:
    """The move of a change, by its preview; without one, nothing is known but its value."""
    preview = change.preview or {}
    moves = preview.get("moves", 0)
    counted = preview.get("largest_percent")
    percents = [Decimal(0) if not moves else None if counted is None else Decimal(counted)]
    if is_of_catalogue(change) and change.old_value is not None and change.new_value is not None:
        # A change for new subscriptions only moves no price that is there.
        old, new = change.old_value, change.new_value
        off = Decimal(100) if change.kind == PriceChange.Kind.DISCOUNT else None
        percents.append(
            largest_percent(old, new) if off is None else largest_percent(off - old, off - new)
        )
    return Move(
        moves,
        Decimal(preview.get("total_before", 0)),
        Decimal(preview.get("total_after", 0)),
        Decimal(preview.get("movement", 0)),
        _largest(percents),
        named(change),
    )


def _largest(percents: Iterable[Decimal | None]) -> Decimal | None:
    found = list(percents)
    if any(each is None or not each.is_finite() for each in found):
        return None
    return max(each for each in found if each is not None)


def beyond(author: str, move: Move) -> NeedsAnotherPerson | None:
    """The refusal of a move that this author would make alone; None: it may. Nothing is recorded.

    None of a move that moves nothing. Up to four queries; none where no limit is set.
    """
    limits = Limits.now()
    return _beyond(limits, who(author), move) if limits else None


def moved_alone(author: str, move: Move, *change_ids: int) -> None:
    """Count a move that this author has just made alone, by these changes; raises
    NeedsAnotherPerson if it is beyond a limit, and the caller has to undo it.

    Within the transaction of the move, after all its other locks. Up to six queries; none where no
    limit is set.
    """
    limits = Limits.now()
    if not limits:
        return
    whose = who(author)
    with connection.cursor() as cursor:
        cursor.execute(OF_PERSON, [whose])
    refusal = _beyond(limits, whose, move)
    if refusal is not None:
        raise refusal
    MovedAlone.objects.create(
        who=whose,
        author=author,
        rows=move.rows,
        movement=move.movement,
        percent=None if move.percent is None else round(move.percent, 10),
        names=dict(move.names),
        change_ids=list(change_ids),
    )
    PriceChange.objects.filter(pk__in=change_ids, judged=False).update(judged=True)


def _beyond(limits: Limits, whose: str, move: Move) -> NeedsAnotherPerson | None:
    if limits.any:
        alone = Said.of(notes.NOBODY_ALONE)
        return NeedsAnotherPerson(alone, move, limit="any", allowed=["0"])
    own = MovedAlone.objects.filter(who=whose, at__gt=book_clock() - WINDOW)
    return _beyond_sums(limits, own, move) or _beyond_percent(limits, own, move)


def _beyond_sums(limits: Limits, own: Own, move: Move) -> NeedsAnotherPerson | None:
    if limits.rows is None and limits.amount is None:
        return None
    before = own.aggregate(rows=Sum("rows", default=0), amount=Sum("movement", default=0))
    rows, amount = before["rows"], Decimal(before["amount"])
    if limits.rows is not None and rows + move.rows > limits.rows:
        one = move.rows == 1
        on_top = notes.ONE_ROW_ON_TOP if one else notes.ROWS_ON_TOP
        text = on_top if rows else notes.ONE_ROW if one else notes.ROWS
        figures_of = {
            "rows": f"{move.rows:,}",
            "moved": f"{rows:,}",
            "allowed": f"{limits.rows:,f}",
        }
        return _refusal(move, "rows", text % figures_of, limits.rows, rows + move.rows)
    if limits.amount is not None and amount + move.movement > limits.amount:
        text = notes.AMOUNT_ON_TOP if amount else notes.AMOUNT
        with override("en"):
            figures_of = {
                "amount": figures.money(move.movement),
                "moved": figures.money(amount),
                "allowed": figures.money(limits.amount),
            }
        return _refusal(move, "amount", text % figures_of, limits.amount, amount + move.movement)
    return None


def _beyond_percent(limits: Limits, own: Own, move: Move) -> NeedsAnotherPerson | None:
    if limits.percent is None:
        return None
    together = _percents(own, move)
    if together is not None and together <= limits.percent:
        return None
    says_more = move.percent is not None and together != move.percent
    said = (notes.PERCENT_TOGETHER if says_more else notes.PERCENT) % {
        "percent": _per_cent(move.percent),
        "together": _per_cent(together),
        "allowed": notes.PER_CENT % {"value": f"{limits.percent:f}"},
    }
    return _refusal(move, "percent", said, limits.percent, together)


def _percents(own: Own, move: Move) -> Decimal | None:
    """The per cent of a move, on top of those of moves that may share a row with it."""
    if move.percent is None or not move.percent.is_finite():
        return None
    if move.percent == 0:
        return Decimal(0)
    shares = Q()
    for name, pk in move.names.items():
        shares &= Q(**{f"names__{name}__isnull": True}) | Q(**{f"names__{name}": pk})
    together = move.percent
    for percent in own.filter(shares).values_list("percent", flat=True):
        if percent is None:
            return None
        together += percent + together * percent / 100
    return together


def _refusal(
    move: Move, limit: str, english: str, most: Decimal, value: Decimal | int | None
) -> NeedsAnotherPerson:
    return NeedsAnotherPerson(
        Said.of(english),
        move,
        limit=limit,
        allowed=[f"{most:f}"],
        **({} if value is None else {"value": f"{Decimal(value):f}"[:100]}),
    )


def _per_cent(value: Decimal | None) -> str:
    """In English."""
    return notes.BEYOND_PER_CENT if value is None else notes.PER_CENT % {"value": f"{value:,.2f}"}


# --- Approvals ----------------------------------------------------------------------------------


def why_not(change: PriceChange, approver: str) -> NeedsAnother | None:
    """The refusal of an approval; None: this author may approve the change now, as a second person
    or within the limits. Nothing is recorded. Up to six queries; none where no limit is set."""
    if not Limits.now():
        return None
    alone = second_person.why_not(change, approver)
    if alone is None:
        return None
    refusal = beyond(approver, move_of(change))
    return None if refusal is None else NeedsAnother(refusal, alone)


def approved(change: PriceChange, approver: str) -> None:
    """Count an approval that no second person is part of; raises NeedsAnother beyond a limit.

    The last of an approval, for its locks. Queries as `moved_alone`, and two.
    """
    if Limits.now() and (alone := second_person.why_not(change, approver)) is not None:
        _count(change, approver, alone)


def previewed(back: PriceChange) -> PriceChange:
    """The change that a cancel is about to approve, counted for `taken_back` where a limit is."""
    return previews.preview(back) if Limits.now() else back


def taken_back(change: PriceChange, back: PriceChange, author: str) -> None:
    """Count a change that takes another one back, approved by a cancel, unless somebody else has
    approved that one; raises NeedsAnother beyond a limit. As `approved`."""
    alone = _alone_after(change, author)
    if Limits.now() and alone is not None:
        _count(back, author, alone)


def why_not_taken_back(change: PriceChange, back: PriceChange, author: str) -> NeedsAnother | None:
    """The refusal of such a cancel; None: this author may do it now. Nothing is recorded."""
    alone = _alone_after(change, author)
    refusal = None if alone is None else beyond(author, move_of(back))
    return None if refusal is None else NeedsAnother(refusal, alone or "")


def _alone_after(change: PriceChange, author: str) -> str | None:
    alone = second_person.why_not_after(change.approved_by, author, change)
    return alone and Said.of(f"{in_english(alone)} {notes.CANCELLED_BY_ANOTHER}")


def _count(change: PriceChange, author: str, alone: str) -> None:
    try:
        moved_alone(author, move_of(change), change.pk)
    except NeedsAnotherPerson as refusal:
        raise NeedsAnother(refusal, alone) from None
