"""The statements of price changes: what a preview counts, a start lists, and a chunk moves.

Their changes are made up, and not saved: a statement is shown, and is explained without being run.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.db.models import BooleanField, Q
from django.db.models.expressions import RawSQL

from price_changes.kinds import members
from price_changes.kinds.rows import rows_sql
from price_changes.models import PriceChange
from price_changes.planning import counting, pending, preview
from price_changes.planning.behind import rows_behind_sets
from price_changes.running import drift, late_rows, listing, moving
from price_changes.showing import rows
from pricebook.kit.named_statements import NamedStatement
from services.audit.book_examples import Examples, examples
from services.models import Repricing, RepricingStep
from services.repricing.chunks import CHUNK

Kind, Adjustment, WhenMoved = PriceChange.Kind, PriceChange.Adjustment, PriceChange.WhenMoved

PREVIEW = "preview, approve, revert"
START = "workers: start_due"
APPROVAL = "approve (frozen), workers: start_due"
WORKERS = "workers: move_rows"


def named_statements() -> list[NamedStatement]:
    """All named statements of price changes (5 queries)."""
    example = examples()
    return [*_previews(example), *_starts(example), *_chunks(example), *_shown(example)]


def _change(example: Examples, **values: Any) -> PriceChange:
    defaults = {
        "pk": 0,
        "comment": "",
        "adjustment": "",
        "when_moved": WhenMoved.FROZEN,
        "for_new_only": False,
        "for_one": False,
        "effective_at": example.middle.started_at,
        "approval": 0,
    }
    return PriceChange(**(defaults | values))


def _list_price(example: Examples, **values: Any) -> PriceChange:
    service_id = example.middle.service_id
    given = {"kind": Kind.LIST_PRICE, "service_id": service_id, "new_value": Decimal(100)}
    return _change(example, **(given | values))


def _set(example: Examples, **values: Any) -> PriceChange:
    given = {
        "kind": Kind.SET,
        "filter": {"service": example.middle.service_id},
        "adjustment": Adjustment.PERCENT,
        "operand": Decimal(5),
    }
    return _change(example, **(given | values))


def _previews(example: Examples) -> list[NamedStatement]:
    def counted(name: str, change: PriceChange, *behind: PriceChange) -> NamedStatement:
        sql, params = rows_sql(change)
        if behind:
            sql, params = rows_behind_sets(change, at, [(each, at) for each in behind])
        purpose = "counts what the change would do, in one pass over its rows"
        statement = counting.PREVIEW.format(rows=sql, change=0, percent=counting.percent_sql())
        return NamedStatement(f"preview of {name}", purpose, PREVIEW, statement, [*params, *params])

    at = example.middle.started_at
    for_new = _list_price(example, for_new_only=True)
    plan = {"kind": Kind.DISCOUNT, "service_id": None, "plan_id": example.middle.plan_id}
    return [
        counted("a list price", _list_price(example)),
        counted("a discount", _list_price(example, **plan)),
        counted("a list price for new subscriptions", for_new),
        counted("the revert of one for new subscriptions", _list_price(example, reverts=for_new)),
        counted("a set", _set(example)),
        counted(
            "a set behind others",
            _set(example),
            _set(example, pk=1, when_moved=WhenMoved.CURRENT),
            _set(example, pk=2, when_moved=WhenMoved.FROZEN),
        ),
        counted("the revert of a set", _change(example, kind=Kind.REVERT, reverts=_set(example))),
        NamedStatement(
            "begin a preview",
            "draws its seed, so that nobody can choose rows that have its fingerprint",
            "a preview",
            preview.BEGIN,
            [0],
            writes=True,
        ),
        NamedStatement(
            "drift",
            "counts subscriptions that were written between the preview and the start",
            START,
            drift.DRIFT.format(column="service_id"),
            {"seen": "1:1:", "id": example.middle.service_id},
        ),
    ]


def _starts(example: Examples) -> list[NamedStatement]:
    sql, params = rows_sql(_set(example))
    fixing, of_comment = members.fixing(_set(example, filter={"comment": "autumn"}))
    return [
        NamedStatement(
            "fix who is in a set",
            "stores who matches a filter without a history (a comment, a name) at the approval",
            APPROVAL,
            fixing,
            of_comment,
            writes=True,
        ),
        NamedStatement(
            "width of a stretch",
            "how many ids span about a chunk of rows of the pair that has most rows",
            APPROVAL,
            listing.WIDTH,
            [CHUNK],
        ),
        NamedStatement(
            "list the rows of a set",
            "stores the rows that move, in stretches, and counts the others",
            APPROVAL,
            listing.LIST.format(rows=sql, change=0, width=CHUNK),
            params,
            writes=True,
        ),
        NamedStatement(
            "steps of a set",
            "a step for each (service, plan) of the list",
            START,
            listing.STEPS,
            {"repricing": 0, "change": 0, "effective_at": example.middle.started_at},
            writes=True,
        ),
    ]


def _chunks(example: Examples) -> list[NamedStatement]:
    service_id, plan_id = example.pair
    at = example.middle.started_at
    work = Repricing(pk=0, change_id=0, effective_at=at)
    step = RepricingStep(repricing=work, service_id=service_id, plan_id=plan_id, after_id=0)

    def moved(name: str, purpose: str, change: PriceChange, late: bool = False) -> NamedStatement:
        values = moving.values_of(change, step, 0, example.last_id)
        statement = moving.move_sql(change, late)
        return NamedStatement(name, purpose, WORKERS, statement, values, writes=True)

    lock = _set(example, adjustment=Adjustment.LOCK, operand=None, comment="Locked for 2027")
    raised = _set(example, when_moved=WhenMoved.CURRENT)
    back = _change(example, kind=Kind.REVERT, reverts=lock, when_moved=WhenMoved.CURRENT)
    of_pair = {"effective": at, "service": service_id, "plan": plan_id}
    return [
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
            moving.LATE,
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
    ]


def _shown(example: Examples) -> list[NamedStatement]:
    sql, params = rows_sql(_set(example))
    may_concern = RawSQL(pending.MAY_CONCERN, (example.middle.pk,), output_field=BooleanField())  # noqa: S611
    concerning = pending.scheduled().filter(Q(may_concern))
    return [
        NamedStatement(
            "rows that wait",
            "rows on the list that no worker has moved yet",
            "GET /api/price-changes/ID/rows/",
            rows.WAITING,
            {"change": 0, "after": 0, "limit": 100},
        ),
        NamedStatement(
            "rows that were moved",
            "their entries, and the entries before these",
            "GET /api/price-changes/ID/rows/",
            rows.MOVED,
            {"change": 0, "after": 0, "limit": 100},
        ),
        NamedStatement(
            "rows that a scheduled change moves",
            "the ids, as the filter `pending` asks for them",
            "GET /api/subscriptions/?pending=",
            pending.MOVED.format(columns="id", rows=sql),
            params,
        ),
        NamedStatement(
            "changes that may concern a subscription",
            "those that name its service, plan or client, or none",
            "GET /api/subscriptions/ID/explain/",
            *concerning.query.sql_with_params(),
        ),
    ]
