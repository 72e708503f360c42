"""The statements of price changes: what a preview counts, a start lists, and a chunk moves.

Their changes are made up, and not saved: a statement is shown, and is explained without being run.
"""

from __future__ import annotations

from django.db.models import BooleanField, Q
from django.db.models.expressions import RawSQL

from price_changes.kinds import members
from price_changes.kinds.rows import rows_sql
from price_changes.models import PriceChange
from price_changes.named_chunks import START, of_chunks
from price_changes.named_examples import a_change, a_list_price, a_set
from price_changes.notices import lists, telling
from price_changes.planning import counting, pending, preview
from price_changes.planning.behind import rows_behind_sets
from price_changes.running import drift, listing
from price_changes.showing import rows
from pricebook.kit.named_statements import NamedStatement
from services.audit.book_examples import Examples, examples
from services.repricing.chunks import CHUNK

Kind, Adjustment, WhenMoved = PriceChange.Kind, PriceChange.Adjustment, PriceChange.WhenMoved

PREVIEW = "preview, approve, revert"
APPROVAL = "approve (frozen), workers: start_due"


def named_statements() -> list[NamedStatement]:
    """All named statements of price changes (5 queries)."""
    example = examples()
    return [
        *_previews(example),
        *_starts(example),
        *of_chunks(example),
        *_notices(example),
        *_shown(example),
    ]


def _previews(example: Examples) -> list[NamedStatement]:
    def counted(name: str, change: PriceChange, *behind: PriceChange) -> NamedStatement:
        sql, params = rows_sql(change)
        if behind:
            sql, params = rows_behind_sets(change, at, [(each, at) for each in behind])
        purpose = "counts what the change would do, in one pass over its rows"
        statement = counting.PREVIEW.format(
            rows=sql,
            change=0,
            percent=counting.percent_sql(),
            percents=counting.BUCKET_OF_PERCENT,
        )
        return NamedStatement(f"preview of {name}", purpose, PREVIEW, statement, [*params, *params])

    at = example.middle.started_at
    for_new = a_list_price(example, for_new_only=True)
    plan = {"kind": Kind.DISCOUNT, "service_id": None, "plan_id": example.middle.plan_id}
    return [
        counted("a list price", a_list_price(example)),
        counted("a discount", a_list_price(example, **plan)),
        counted("a list price for new subscriptions", for_new),
        counted("the revert of one for new subscriptions", a_list_price(example, reverts=for_new)),
        counted("a set", a_set(example)),
        counted(
            "a set behind others",
            a_set(example),
            a_set(example, pk=1, when_moved=WhenMoved.CURRENT),
            a_set(example, pk=2, when_moved=WhenMoved.FROZEN),
        ),
        counted("the revert of a set", a_change(example, kind=Kind.REVERT, reverts=a_set(example))),
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
            {"seen": "1:1:", "offset": 0, "id": example.middle.service_id},
        ),
    ]


def _starts(example: Examples) -> list[NamedStatement]:
    sql, params = rows_sql(a_set(example))
    fixing, of_comment = members.fixing(a_set(example, filter={"comment": "autumn"}))
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


def _notices(example: Examples) -> list[NamedStatement]:
    sql, params = rows_sql(a_list_price(example))
    return [
        NamedStatement(
            "list the clients to be told",
            "stores whose price the change moves, with what each pays before and after",
            "approve (notice_days); GET /api/price-changes/ID/notices/, once",
            lists.MAKE_LIST.format(rows=sql, change=0),
            params,
            writes=True,
        ),
        NamedStatement(
            "record who was told",
            "writes a fact for each client that did not stand so yet, and copies it to the list",
            "POST /api/price-changes/ID/notices/, price_change notices --told",
            telling.TELL,
            {
                "change": 0,
                "approval": 0,
                "clients": [example.middle.client_id],
                "days": [None],
                "notes": [""],
                "way": "hand",
                "author": "",
                "now": example.middle.started_at,
                "by": None,
                "counts": True,
            },
            writes=True,
        ),
    ]


def _shown(example: Examples) -> list[NamedStatement]:
    sql, params = rows_sql(a_set(example))
    may_concern = RawSQL(pending.MAY_CONCERN, ([example.middle.pk],), output_field=BooleanField())  # noqa: S611
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
            "rows of some clients that were moved",
            "the same of a few subscriptions, by all chunks of the change",
            "the rows of a change in the desk, by client",
            rows.MOVED_OF_SOME,
            {"change": 0, "after": 0, "limit": 50, "some": [example.middle.pk]},
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
