"""A restored book: all that it asks for, and that it was done (`manage after_restore`).

The book itself goes on by the first write (docs/decisions/0044-lives.md). Left to people are the
previews, whose snapshots mean nothing any more; the proof that what was loaded is right; and those
who follow, who may hold what the book has no longer.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from price_changes.errors import ChangeError
from price_changes.models import PriceChange
from price_changes.running import lifecycle
from price_changes.running.drift import is_of_another_life
from services import lives
from services.audit import book_check
from services.audit.book_report import BookCheck
from services.ledger import seals
from services.ledger.place import Place
from services.ledger.seals import Report
from services.ledger.seals.verifying import ShowProgress
from services.models import Life

Status = PriceChange.Status
UNDECIDED = (Status.SCHEDULED, Status.HELD)


@dataclass
class Restored:
    """The findings, and all that was done.

    `common_until`: the place of the feed up to which the history before this life is this book's;
    None if this is the first one. `previewed`: changes whose preview was made again; those of
    `not_previewed` have none now, each with the code that says why. `undecided`: approved ones,
    whose drift since their preview is not known any more. `acknowledged`: the life needs nobody.
    """

    life: Life
    common_until: Place | None
    check: BookCheck
    ledger: Report
    previewed: list[int] = field(default_factory=list)
    not_previewed: dict[int, str] = field(default_factory=dict)
    undecided: list[int] = field(default_factory=list)
    acknowledged: bool = False

    @property
    def is_sound(self) -> bool:
        return self.ledger.is_sound and not self.check.differs


def after_restore(
    author: str, put_back: bool = False, progress: ShowProgress = lambda done, rows: None
) -> Restored:
    """Begin the life that the database is in, preview again, prove the book, and acknowledge.

    `put_back`: its disk was put back to an earlier state, which nothing in it shows. Nothing is
    acknowledged if the book or the ledger is not right. Harmless where nothing was restored, and as
    often as one likes. It takes as long as a book check and a walk along the seals, whose rows
    `progress` is told.
    """
    life = lives.declare() if put_back else lives.begin()
    previewed, not_previewed, undecided = [], {}, []
    changes = PriceChange.objects.filter(status__in=(Status.PLANNED, *UNDECIDED)).order_by("pk")
    for change in changes:
        if change.preview_snapshot is None or not is_of_another_life(change, life):
            continue
        if change.status != Status.PLANNED:
            undecided.append(change.pk)
            continue
        try:
            lifecycle.preview(change.pk)
            previewed.append(change.pk)
        except ChangeError as error:  # its rows are not here, or somebody has decided meanwhile
            not_previewed[change.pk] = error.code
    checked = book_check.check()
    book_check.remember(checked, author)
    found = Restored(
        life=life,
        common_until=lives.before(life.number) if life.number > 1 else None,
        check=checked,
        ledger=seals.verify(progress=progress),
        previewed=previewed,
        not_previewed=not_previewed,
        undecided=undecided,
    )
    if found.is_sound:
        seals.seal()
        lives.acknowledge(life, author)
        found.acknowledged = True
    return found
