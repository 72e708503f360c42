"""Whom a set is about by what has no history: fixed at the approval.

A comment, a name or an e-mail is what it is now, and nobody knows what it was at the instant of a
change. So who matches these at the approval is in the set, and nobody else comes into it; what has
a history (a price, a state, a service) is asked as of the instant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import connection

from price_changes.models import PriceChange, SetMember
from price_changes.planning.relations import SQL
from price_changes.planning.values import refusing
from services.models import Subscription
from services.reading.filters import FILTERS, LASTING, BookFilter

WITHOUT_HISTORY = [name for name in LASTING if not FILTERS[name].has_history]

FIX = """
INSERT INTO price_changes_setmember (change_id, subscription_id)
SELECT {change}, id FROM ({matching}) matching ORDER BY id
"""
FIXED = """subscription.id IN (
       SELECT subscription_id FROM price_changes_setmember WHERE change_id = {change})"""


def fix(change: PriceChange) -> None:
    """Remember who is a member, as of now, in place of whoever was; `change` is not saved.

    One query for a set whose filter asks for what has no history, two if it had members.
    """
    forget(change)
    if change.kind != PriceChange.Kind.SET or not _without_history(change):
        return
    with connection.cursor() as cursor:
        cursor.execute(*fixing(change))
    change.has_members = True


def fixing(change: PriceChange) -> SQL:
    """The statement that remembers who matches what has no history."""
    matching, params = _matching(_without_history(change))
    return FIX.format(change=int(change.pk or 0), matching=matching), params


def forget(change: PriceChange) -> None:
    """It is listed, held or cancelled, and has no members any more; `change` is not saved."""
    if not change.has_members:
        return
    SetMember.objects.filter(change_id=change.pk).delete()
    change.has_members = False


def matching(change: PriceChange, asked_elsewhere: Mapping[str, str]) -> SQL:
    """The condition on `subscription` that the filter of a set is, but for what is asked elsewhere.

    "true" where nothing is left.
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
