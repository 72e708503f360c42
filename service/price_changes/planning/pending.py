"""The scheduled changes, and the subscriptions that they would move.

A change is pending for a subscription while it is scheduled and the subscription is among its rows
that move, judged as of its instant: the rows of `rows_sql`, which preview and start read too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import BooleanField, Exists, ExpressionWrapper, OuterRef, Q, QuerySet
from django.db.models.expressions import RawSQL

from price_changes.kinds import OF_CATALOGUE, OF_ROWS, is_of_catalogue
from price_changes.kinds.relations import fetch
from price_changes.models import PriceChange
from price_changes.planning.around import NAMED
from price_changes.planning.behind import few_rows_behind
from price_changes.planning.noticed import is_stopped
from services.hooks import WaitingChange
from services.models import BookNow, Repricing

MOVED = "SELECT {columns} FROM ({rows}) change_row WHERE reason IS NULL"

# The earliest instant of the changes that have come and are not started: none of their rows is
# written yet. A change that is held is among them until a worker has stored that.
WAITING_SINCE = """
SELECT min(effective_at) FROM price_changes_pricechange
 WHERE status = 'scheduled' AND effective_at <= (SELECT book_now())
"""

# It reads the indexes of scheduled changes and of unfinished repricings, which are nearly always
# empty.
A_SET_WAITS = f"""(
    EXISTS (SELECT FROM price_changes_pricechange
             WHERE status = 'scheduled' AND kind IN ({", ".join(f"'{kind}'" for kind in OF_ROWS)})
               AND effective_at <= (SELECT book_now())
               AND NOT brake_holds(approved_at, effective_at)
               AND (notice_days IS NULL OR NOT notice_holds(id, approval)))
)
"""

SOMETHING_SCHEDULED = "EXISTS (SELECT FROM price_changes_pricechange WHERE status = 'scheduled')"

Status = PriceChange.Status
MOST_OF_PAGE = 50


def waiting_for(instant: datetime | None, known_at: datetime | None = None) -> list[WaitingChange]:
    """Changes of a set, and their reverts, due by an instant (now) and not in force. One query.

    With `known_at`, those that were not in force at that instant: approved by then, and neither
    listed nor cancelled. A change that was held then counts as waiting, unless the brake or its
    notice held it.
    """
    waits = Q(status=Status.SCHEDULED)
    if known_at is not None:
        listed = Repricing.objects.filter(
            change_id=OuterRef("pk"), listed_up_to__isnull=False, planned_at__lte=known_at
        )
        unfinished = Q(finished_at=None) | Q(finished_at__gt=known_at)
        waits = Q(~Exists(listed), unfinished, approved_at__lte=known_at)
    due = PriceChange.objects.filter(
        waits, ~is_stopped(known_at), kind__in=OF_ROWS, effective_at__lte=instant or BookNow()
    )
    return [
        WaitingChange(change.pk, change.title, change.effective_at)
        for change in due.only("title", "effective_at").order_by("effective_at", "approval")
        if change.effective_at is not None  # as an approved one has
    ]


# Most scheduled changes name another service, plan or client, and their rows are not even read.
MAY_CONCERN = f"""
EXISTS (SELECT FROM services_subscription one
          JOIN price_changes_pricechange change ON change.id = price_changes_pricechange.id
         WHERE one.id = ANY (%s)
           AND jsonb_build_object('service', one.service_id, 'plan', one.plan_id,
                                  'client', one.client_id, 'subscription', one.id) @> {NAMED})
"""


def scheduled() -> QuerySet[PriceChange]:
    """The approved changes that have not begun, in the order in which they come.

    A change of the catalogue whose instant has come is left out: it is in force, though no worker
    has begun it. So is one that the brake or its notice held at its instant. One that they
    will hold, by what is known now, is among them.
    """
    changes = PriceChange.objects.filter(status=PriceChange.Status.SCHEDULED)
    changes = changes.exclude(kind__in=OF_CATALOGUE, effective_at__lte=BookNow())
    changes = changes.exclude(is_stopped(), effective_at__lte=BookNow())
    return changes.select_related("reverts").order_by("effective_at", "approval")


def moves_of_scheduled(change_id: int | None = None) -> list[tuple[str, tuple[object, ...]]]:
    """Statements of the ids that scheduled changes would move, one for each change; or of one
    change.

    No statement for a change that is not scheduled. Two queries.
    """
    changes = list(scheduled() if change_id is None else scheduled().filter(pk=change_id))
    return [
        (MOVED.format(columns="id", rows=rows), tuple(params))
        for rows, params in few_rows_behind(changes, _sets(changes) if change_id is None else None)
    ]


def pending_of(subscription_id: int) -> list[tuple[PriceChange, Decimal]]:
    """`pending_of_each` for one subscription. Three queries, however much is scheduled."""
    return [(change, price) for change, _, price in pending_of_each([subscription_id])]


def pending_of_each(
    subscriptions: Collection[int], most: int | None = None
) -> list[tuple[PriceChange, int, Decimal]]:
    """The scheduled changes that would move these subscriptions, and each of those with the new
    price that it gives; `will_be_held` is set on a change that the brake will hold, unless it is
    released before, or its notice, unless all are told before.

    Three queries, however much is scheduled; one if nothing is. TooManyScheduled if more than
    `most` changes may concern one of them.
    """
    ids = list(subscriptions)
    may_concern = RawSQL(MAY_CONCERN, (ids,), output_field=BooleanField())  # noqa: S611 - ours
    stopped = ExpressionWrapper(is_stopped(), output_field=BooleanField())
    found: QuerySet[Any] = scheduled().filter(Q(may_concern)).annotate(is_stopped=stopped)
    changes = {change.pk: change for change in (found if most is None else found[: most + 1])}
    if most is not None and len(changes) > most:
        raise TooManyScheduled
    for change in changes.values():
        change.will_be_held = change.is_stopped
    statements, params = [], []
    for change, (rows, given) in zip(
        changes.values(),
        few_rows_behind(list(changes.values()), _sets(changes.values())) if changes else [],
        strict=True,
    ):
        moved = MOVED.format(columns=f"{change.pk} AS change, id, new_price", rows=rows)
        statements.append(f"{moved} AND id = ANY (%s)")
        params += [*given, ids]
    if not statements:
        return []
    moves = fetch(" UNION ALL ".join(statements), params)
    order = {pk: number for number, pk in enumerate(changes)}
    moves.sort(key=lambda move: (order[move[0]], move[1]))
    return [(changes[pk], id, price) for pk, id, price in moves]


class TooManyScheduled(Exception):
    """More changes are scheduled than are compared with each row of a page."""


def pending_of_page(ids: Collection[int]) -> dict[int, list[tuple[PriceChange, Decimal]]]:
    """`pending_of_each` by the subscription's id. TooManyScheduled with more than
    `MOST_OF_PAGE` changes."""
    found: dict[int, list[tuple[PriceChange, Decimal]]] = {}
    for change, id, price in pending_of_each(ids, MOST_OF_PAGE):
        found.setdefault(id, []).append((change, price))
    return found


def _sets(changes: Iterable[PriceChange]) -> list[PriceChange]:
    return [change for change in changes if not is_of_catalogue(change)]
