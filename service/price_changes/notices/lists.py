"""The list of the clients who are to be told of a price change, and its numbers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from typing import Literal

from django.db import connection, transaction
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.utils.translation import gettext as _

from clients.models import Client
from price_changes.errors import ChangeError
from price_changes.models import PriceChange, ToTell
from price_changes.planning import status_now
from price_changes.planning.behind import rows_behind
from services.models import book_clock

Status = PriceChange.Status

# The rows that move without another price (a lock) are no news of a price.
MAKE_LIST = """
INSERT INTO price_changes_totell (change_id, client_id, rows, old_total, new_total)
SELECT {change}, client_id, count(*), sum(price), sum(new_price)
  FROM ({rows}) change_row WHERE reason IS NULL AND new_price <> price
 GROUP BY client_id ORDER BY client_id
"""

# The lists of `to_tell`.
Which = Literal["", "told", "not_told", "early", "late"]
ANY: Which = ""
TOLD: Which = "told"
NOT_TOLD: Which = "not_told"
EARLY: Which = "early"  # in time
LATE: Which = "late"
WHICH: dict[str, Q] = {
    ANY: Q(),
    TOLD: Q(told_on__isnull=False),
    NOT_TOLD: Q(told_on__isnull=True),
    EARLY: Q(in_time=True, told_on__isnull=False),
    LATE: Q(in_time=False, told_on__isnull=False),
}


@dataclass(frozen=True)
class Standing:
    """The numbers of the clients of a change: `total` = `told_in_time` + `told_late` + `not_told`.

    `by`: the day by which all have to be told; None if the change asks for no notice. Then all who
    were told were so in time.
    """

    total: int
    told_in_time: int
    told_late: int
    not_told: int
    by: date | None = None

    @property
    def all_told(self) -> bool:
        """Whether nobody is left who was not told, or was told too late."""
        return self.told_in_time == self.total


def to_tell(change: PriceChange, which: Which = ANY) -> QuerySet[ToTell]:
    """The clients whose price a change moves, by their ids, each with its `client_name` and `email`
    of now; only those who were told, or were not, if asked for.

    A scheduled change without a list gets it: up to ten queries, one of them over its rows. Else
    one query is made here. ChangeError (`wrong_state`) for a change that has none and gets none.
    """
    if not ToTell.objects.filter(change_id=change.pk).exists():
        _make_list_if_scheduled(change.pk)
    client = Client.objects.filter(pk=OuterRef("client_id"))
    listed = ToTell.objects.filter(WHICH[which], change_id=change.pk).order_by("client_id")
    return listed.annotate(
        client_name=Subquery(client.values("company_name")),
        email=Subquery(client.values("user__email")),
    )


def has_notices(change: PriceChange) -> bool:
    """Whether `to_tell` has a list of its clients: it is to come, or somebody has asked before.

    `status_now.refresh` must have been called for the change. One query, none if it is to come or
    was never approved.
    """
    if change.approved_at is None:
        return False
    is_to_come = change.status == Status.SCHEDULED and not change.has_come
    return is_to_come or ToTell.objects.filter(change_id=change.pk).exists()


def _make_list_if_scheduled(change_id: int) -> None:
    with transaction.atomic():
        change = PriceChange.objects.select_for_update().get(pk=change_id)
        if change.approved_at is not None and change.notice_days is not None:
            return  # it was made at the approval, and is empty
        if ToTell.objects.filter(change_id=change_id).exists():
            return  # somebody else has made it meanwhile
        status_now.refresh([change])
        at = change.effective_at
        if change.status != Status.SCHEDULED or at is None or at <= book_clock():
            raise ChangeError(
                "wrong_state",
                _(
                    "Nobody has asked whom to tell of price change %(pk)s between its approval and"
                    " its instant, so there is no list of them. Its rows say whose price it moves."
                )
                % {"pk": change.pk},
                409,
                state=change.status,
                allowed=[Status.SCHEDULED.value],
            )
        make_list(change)


def forget_list(change: PriceChange) -> None:
    """Leave a change that is approved anew without the list of its earlier instant. One query."""
    ToTell.objects.filter(change_id=change.pk).delete()


def make_list(change: PriceChange) -> int:
    """List the clients of a change as it would move their prices at its instant, in place of an
    earlier list; returns their number.

    As `rows_behind`, and two queries more. The change must be locked by the transaction.
    """
    assert change.effective_at is not None
    forget_list(change)
    rows, params = rows_behind(change, change.effective_at)
    with connection.cursor() as cursor:
        cursor.execute(MAKE_LIST.format(change=int(change.pk), rows=rows), params or None)
        return int(cursor.rowcount)


def standing(change: PriceChange) -> Standing:
    """The numbers of the clients of a change. One query; it makes no list."""
    return standings([change])[change.pk]


def standings(changes: Collection[PriceChange]) -> dict[int, Standing]:
    """The numbers of the clients of changes, by the ids of these. One query, if any is given."""
    late = WHICH[LATE]
    counted = ToTell.objects.filter(change_id__in=[change.pk for change in changes])
    found = {
        change_id: numbers
        for change_id, *numbers in counted.order_by()
        .values_list("change_id")
        .annotate(
            all=Count("client_id"),
            early=Count("client_id", filter=WHICH[EARLY]),
            late=Count("client_id", filter=late),
        )
    }
    standings = {}
    for change in changes:
        total, early, too_late = found.get(change.pk, (0, 0, 0))
        if change.notice_days is None:
            early, too_late = too_late, 0
        left = total - early - too_late
        standings[change.pk] = Standing(total, early, too_late, left, change.notice_by)
    return standings
