"""The named statements of a set's rows, from the list to the last copy."""

from __future__ import annotations

from price_changes.models import PriceChange
from price_changes.named_examples import a_change, a_set
from price_changes.running import entering, judging, late_rows, moving
from pricebook.kit.named_statements import NamedStatement
from services.audit.book_examples import Examples
from services.models import Repricing, RepricingStep
from services.repricing.chunks import CHUNK

Kind, Adjustment, WhenMoved = PriceChange.Kind, PriceChange.Adjustment, PriceChange.WhenMoved

START = "workers: start_due"
WORKERS = "workers: move_rows"


def of_chunks(example: Examples) -> list[NamedStatement]:
    """The statements that enter, copy and move the rows of a set."""
    service_id, plan_id = example.pair
    at = example.middle.started_at
    work = Repricing(pk=0, change_id=0, effective_at=at)
    step = RepricingStep(repricing=work, service_id=service_id, plan_id=plan_id, after_id=0)

    def moved(name: str, purpose: str, change: PriceChange, late: bool = False) -> NamedStatement:
        values = judging.values_of(change, step, 0, example.last_id)
        statement = moving.move_sql(change, late)
        return NamedStatement(name, purpose, WORKERS, statement, values, writes=True)

    lock = a_set(example, adjustment=Adjustment.LOCK, operand=None, comment="Locked for 2027")
    raised = a_set(example, when_moved=WhenMoved.CURRENT)
    back = a_change(example, kind=Kind.REVERT, reverts=lock, when_moved=WhenMoved.CURRENT)
    of_pair = {"effective": at, "service": service_id, "plan": plan_id}
    listed = judging.values_of(raised, step, 0, example.last_id)
    return [
        NamedStatement(
            "enter rows of a set",
            "enters those of a stretch that move, in the commit that lists them; locks none",
            START,
            entering.ENTER.format(
                **judging.judged_with(raised, late=False), **judging.stamp_of(raised)[1]
            ),
            listed,
            writes=True,
        ),
        NamedStatement(
            "rows written while they were entered",
            "those that somebody has written upon the set since its instant",
            START,
            entering.WRITTEN_UPON,
            {"change": 0, "effective": at, "oldest": 0, "after": 0},
        ),
        NamedStatement(
            "put a set in force",
            "notes from which entries its rows are to be copied, and counts them",
            START,
            entering.IN_FORCE,
            {"change": 0, "after": 0, "reason": "", "works": [0]},
            writes=True,
        ),
        NamedStatement(
            "next chunk of a list",
            "the stretch of the next chunk, and where it ends",
            WORKERS,
            moving.NEXT,
            {"change": 0, "service": service_id, "plan": plan_id, "after": 0, "size": CHUNK},
        ),
        NamedStatement(
            "forget what is done of a list",
            "its stretches that end where the chunk ends, or before",
            WORKERS,
            moving.FORGET,
            [0, service_id, plan_id, example.last_id],
            writes=True,
        ),
        NamedStatement(
            "catalogue since the instant",
            "the last instant at which the catalogue moved a pair since then",
            WORKERS,
            judging.LATE,
            of_pair,
        ),
        moved(
            "move rows of a set",
            "moves the rows of a chunk, or skips them with the reason: a frozen lock, stamped",
            lock,
        ),
        moved(
            "move rows of a set, late",
            "the same for a rise of current rows, with an entry for each later list price",
            raised,
            late=True,
        ),
        NamedStatement(
            "entries of late rows",
            "those of rows that were written between the instant and the worker",
            WORKERS,
            late_rows.TOLD,
            [[example.middle.pk]],
        ),
        moved("move rows back", "the same for a revert, with the stamped comments", back),
        NamedStatement(
            "lock rows written meanwhile",
            "so that they stay as they are judged; and returns those whose lock has ended",
            WORKERS,
            moving.LOCK,
            {"ids": [example.middle.pk]} | of_pair,
            writes=True,
        ),
        NamedStatement(
            "rows of a list",
            "as they were listed: some that somebody has written since",
            WORKERS,
            late_rows.LISTED,
            {"change": 0, "ids": [example.middle.pk]},
        ),
        NamedStatement(
            "rows that were entered",
            "those among some that a set has entered",
            WORKERS,
            late_rows.ENTERED,
            {"change": 0, "ids": [example.middle.pk]},
        ),
        NamedStatement(
            "enter a row as it stays",
            "if the database refuses to copy it",
            WORKERS,
            moving.STAYS,
            [at, 0, example.middle.pk],
            writes=True,
        ),
        NamedStatement(
            "enter it below corrections",
            "that were made since it was listed",
            WORKERS,
            moving.BELOW_CORRECTIONS,
            [at, example.middle.pk, at],
            writes=True,
        ),
    ]
