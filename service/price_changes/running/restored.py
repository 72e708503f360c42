"""A restored book: all that it asks for, and that it was done (`manage after_restore`).

The book itself goes on by the first write (docs/decisions/0044-lives.md). Left to people are the
previews, whose snapshots mean nothing any more; the proof that what was loaded is right; and those
who follow, who may hold what the book has no longer.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from price_changes.models import PriceChange
from price_changes.running import lifecycle
from price_changes.running.drift import is_of_another_life
from services import lives
from services.audit import book_check
from services.audit.book_report import BookCheck
from services.ledger import seals
from services.ledger.place import Place
from services.ledger.seals import Report
from services.models import Life

Status = PriceChange.Status
UNDECIDED = (Status.SCHEDULED, Status.HELD)


@dataclass
class Restored:
    """The findings, and all that was done.

    `common_until`: the place of the feed up to which the history before this life is this book's;
    None if this is the first one. `previewed`: changes whose preview was made again. `undecided`:
    approved ones, whose drift since their preview is not known any more.
    """

    life: Life
    common_until: Place | None
    check: BookCheck
    ledger: Report
    previewed: list[int] = field(default_factory=list)
    undecided: list[int] = field(default_factory=list)
    acknowledged: bool = False  # by this run

    @property
    def is_sound(self) -> bool:
        return self.ledger.is_sound and not self.check.differs


def after_restore(author: str, put_back: bool = False) -> Restored:
    """Begin the life that the database is in, preview again, prove the book, and acknowledge.

    `put_back`: its disk was put back to an earlier state, which nothing in it shows. Nothing is
    acknowledged if the book or the ledger is not right. Harmless where nothing was restored, and as
    often as one likes. It takes as long as a book check and a walk along the seals.
    """
    life = lives.declare() if put_back else lives.begin()
    common = lives.before(life.number) if life.number > 1 else None
    previewed, undecided = [], []
    for change in PriceChange.objects.filter(status__in=(Status.PLANNED, *UNDECIDED)):
        if change.preview_snapshot is None or not is_of_another_life(change, life):
            continue
        if change.status == Status.PLANNED:
            lifecycle.preview(change.pk)
            previewed.append(change.pk)
        else:
            undecided.append(change.pk)
    checked = book_check.check()
    book_check.remember(checked, author)
    found = Restored(life, common, checked, seals.verify(), sorted(previewed), sorted(undecided))
    if found.is_sound:
        seals.seal()
        found.acknowledged = lives.acknowledge(life, author)
    return found
