"""The filter by scheduled price changes: the subscriptions that they would move."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.db.models import BooleanField, Q
from django.db.models.expressions import RawSQL
from django.utils.translation import gettext as _

from services import parsing
from services.hooks import price_changes
from services.parsing import BadValue
from services.sql import SQL

MOST_SCHEDULED = 50
MOVED = "EXISTS (SELECT FROM ({sql}) moved (id) WHERE moved.id = services_subscription.id)"
# OFFSET 0: otherwise the planner may hash all rows that a change moves, to find a few of them.
MOVED_ONE = MOVED.removesuffix(")") + " OFFSET 0)"


@dataclass(frozen=True)
class Pending:
    """The value of `pending`: "true", "false", or the id of a scheduled price change.

    The scheduled changes are looked up once, when they are needed: so they are the same for
    the rows of a page and their total, and for all chunks of a stream.
    """

    word: str

    def __str__(self) -> str:
        return self.word

    @cached_property
    def moved(self) -> list[SQL]:
        """Statements of the ids of subscriptions that would be moved. One query, the first time."""
        change_id = int(self.word) if self.word.isdigit() else None
        found = price_changes().moved_by_scheduled(change_id)
        if len(found) > MOST_SCHEDULED:
            raise BadValue(
                "too_many_scheduled",
                _(
                    "%(found)s price changes are scheduled, more than can be asked for at"
                    " once: name one by its id (/api/price-changes/?status=scheduled has"
                    " them)."
                )
                % {"found": len(found)},
                "pending",
                self.word,
            )
        return found

    def condition(self) -> Q:
        """A condition on rows of the table: each is looked up by itself, by its primary key."""
        return self._condition(MOVED_ONE)

    def condition_in_stretch(self) -> Q:
        """A condition on rows of a span with the table's name: all at once, without an index."""
        return self._condition(MOVED)

    def _condition(self, moved: str) -> Q:
        exists = [moved.format(sql=sql) for sql, _ in self.moved]
        sql = f"({' OR '.join([*exists, 'false'])})"
        params = tuple(value for _, given in self.moved for value in given)
        if self.word == "false":
            sql = f"NOT {sql}"
        return Q(RawSQL(sql, params, output_field=BooleanField()))  # noqa: S611 - ours


def parse_pending(name: str, value: Any) -> Pending:
    if isinstance(value, bool):
        value = str(value).lower()
    if value in ("true", "false"):
        return Pending(value)
    try:
        return Pending(str(parsing.identifier(name, value)))
    except BadValue:
        raise BadValue(
            "unknown_value",
            _("%(name)s is true, false, or the id of a price change that is scheduled.")
            % {"name": name},
            name,
            value,
        ) from None
