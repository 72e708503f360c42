"""The members of a set whose filter asks for something without a history, fixed at the approval.

Comments, names and e-mails have no history: what they were at the instant of a change is unknown.
So only subscriptions that match these filters at the approval are in the set; filters with a
history (a price, a state, a service) are judged as of the instant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import connection

from price_changes.kinds.relations import SQL
from price_changes.kinds.values import refusing
from price_changes.models import PriceChange, SetMember
from services.models import Subscription
from services.reading.filters import FILTERS, BookFilter

WITHOUT_HISTORY = [name for name, each in FILTERS.items() if not each.has_history]

FIX = """
INSERT INTO price_changes_setmember (change_id, subscription_id)
SELECT {change}, id FROM ({matching}) matching ORDER BY id
"""
FIXED = """subscription.id IN (
       SELECT subscription_id FROM price_changes_setmember WHERE change_id = {change})"""


def fix(change: PriceChange) -> None:
    """Store the members as of now, in place of earlier ones; `change` is not saved.

    One query for a set with a filter that has no history, one more if it had members.
    """
    forget(change)
    if not _without_history(change):
        return
    with connection.cursor() as cursor:
        cursor.execute(*fixing(change))
    change.has_members = True


def fixing(change: PriceChange) -> SQL:
    """The statement that stores the subscriptions that match the filters without a history."""
    matching, params = _matching(_without_history(change))
    return FIX.format(change=int(change.pk or 0), matching=matching), params


def forget(change: PriceChange) -> None:
    """Delete the members of a change that is listed, held or cancelled; `change` is not saved."""
    if not change.has_members:
        return
    SetMember.objects.filter(change_id=change.pk).delete()
    change.has_members = False


def matching(change: PriceChange, asked_elsewhere: Mapping[str, str]) -> SQL:
    """The filter of a set as a condition on `subscription`, without the names in `asked_elsewhere`.

    "true" if nothing is left.
    """
    given = refusing(BookFilter.of)(change.filter or {}).given
    conditions: list[str] = []
    params: list[Any] = []
    if change.has_members:
        conditions.append(FIXED.format(change=int(change.pk)))
        given = {name: value for name, value in given.items() if name not in WITHOUT_HISTORY}
    given = {name: value for name, value in given.items() if name not in asked_elsewhere}
    if given:
        ids, params = _matching(given)
        conditions.append(f"subscription.id IN ({ids})")
    return " AND ".join(conditions) or "true", params


def _without_history(change: PriceChange) -> dict[str, Any]:
    given = refusing(BookFilter.of)(change.filter or {}).given
    return {name: value for name, value in given.items() if name in WITHOUT_HISTORY}


def _matching(given: Mapping[str, Any]) -> SQL:
    query = Subscription.objects.filter(BookFilter(**given).condition()).order_by()
    ids, params = query.values("id").query.sql_with_params()
    return ids, list(params)
