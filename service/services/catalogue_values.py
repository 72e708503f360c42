"""The facts of the catalogue: written by approvals, cancellations and reverts; and their readers.

Every writer holds the exclusive lock of the service or plan, so ids have the order of writing;
triggers write plain edits, under the same lock.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from django.db import connection

from services.catalogue_subject import CatalogueSubject
from services.models import CatalogueValue, book_clock


class ValueInForce(NamedTuple):
    """The value that is in force at an instant, who decided it, and the value `before` it."""

    value: Decimal
    effective_at: datetime
    change_id: int | None
    author: str
    before: Decimal | None  # None: it is the first


def value_at(subject: CatalogueSubject, at: datetime | None = None) -> Decimal | None:
    """The list price of a service, the discount of a plan, in force at an instant (now).

    None where there is no such service or plan. One query.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {subject.value_at}(id, coalesce(%s, book_clock()))"  # noqa: S608 - ours
            f" FROM services_{subject.role} WHERE id = %s",
            [at, subject.id],
        )
        row = cursor.fetchone()
    return None if row is None else Decimal(row[0])


IN_FORCE = """
SELECT value, effective_at, change_id, author,
       (SELECT value FROM services_cataloguevalue earlier
         WHERE earlier.{column} = in_force.{column} AND earlier.value IS NOT NULL
           AND (earlier.effective_at, earlier.id) < (in_force.effective_at, in_force.id)
           AND {counted_before}
         ORDER BY earlier.effective_at DESC, earlier.id DESC LIMIT 1) AS before
  FROM services_cataloguevalue in_force
 WHERE {column} = %(id)s AND effective_at <= %(at)s AND value IS NOT NULL AND {counts}
 ORDER BY effective_at DESC, id DESC LIMIT 1
"""
BY_ALL = {
    "counted_before": """NOT earlier.undone @> in_force.effective_at
           AND NOT coalesce(earlier.held, value_is_held(earlier.id))""",
    "counts": "NOT undone @> %(at)s AND NOT coalesce(held, value_is_held(id))",
}
BY_KNOWN = {
    "counted_before": "value_counts(earlier, in_force.effective_at, %(known)s)",
    "counts": "value_counts(in_force, %(at)s, %(known)s)",
}


def in_force(
    subject: CatalogueSubject, at: datetime, known_at: datetime | None = None
) -> ValueInForce | None:
    """The value in force at an instant, who decided it, and the value before it. One query.

    By all that is recorded, or by what was recorded by `known_at`.
    """
    parts = BY_ALL if known_at is None else BY_KNOWN
    with connection.cursor() as cursor:
        cursor.execute(
            IN_FORCE.format(column=subject.column, **parts),
            {"id": subject.id, "at": at, "known": known_at},
        )
        row = cursor.fetchone()
    return None if row is None else ValueInForce(*row)


def value_if(
    subject: CatalogueSubject, change_id: int, counts: bool, at: datetime
) -> Decimal | None:
    """The value in force at an instant if that of a change counted, or did not. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            IF.format(column=subject.column),
            {"id": subject.id, "change": change_id, "counts": counts, "at": at},
        )
        row = cursor.fetchone()
    return None if row is None else Decimal(row[0])


IF = """
SELECT value FROM services_cataloguevalue
 WHERE {column} = %(id)s AND value IS NOT NULL AND effective_at <= %(at)s
   AND CASE WHEN change_id = %(change)s THEN %(counts)s ELSE NOT undone @> %(at)s END
   AND NOT coalesce(held, value_is_held(id))
 ORDER BY effective_at DESC, id DESC LIMIT 1
"""


BEFORE = """
SELECT value_before(service_id, plan_id, effective_at, id) FROM services_cataloguevalue
 WHERE change_id = %s AND value IS NOT NULL ORDER BY id DESC LIMIT 1
"""


def value_before(change_id: int) -> Decimal | None:
    """The value in force just before the one that a change has decided. One query."""
    with connection.cursor() as cursor:
        cursor.execute(BEFORE, [change_id])
        row = cursor.fetchone()
    return None if row is None else row[0]


# The greatest id stands after all that is decided for the instant, as the next decision would.
BEFORE_ALL = "SELECT value_before(%s, %s, %s, 9223372036854775807)"


def value_before_instant(subject: CatalogueSubject, at: datetime) -> Decimal | None:
    """The value that a decision made now for an instant would find in force there. One query."""
    with connection.cursor() as cursor:
        cursor.execute(BEFORE_ALL, [*_both_columns(subject).values(), at])
        found: Decimal | None = cursor.fetchone()[0]
    return found


PRICE_BEFORE = """
SELECT price_before(%s, %s, effective_at, id) FROM services_cataloguevalue
 WHERE change_id = %s AND effective_at = %s AND value IS NOT NULL AND NOT undone @> effective_at
"""


def price_before(
    service_id: int, plan_id: int, change_id: int | None, at: datetime
) -> Decimal | None:
    """The rule's price for a pair just before the value that a change has decided. One query.

    None where the value was undone at its own instant: it was never in force.
    """
    with connection.cursor() as cursor:
        cursor.execute(PRICE_BEFORE, [service_id, plan_id, change_id, at])
        row = cursor.fetchone()
    return None if row is None else row[0]


def price_at(service_id: int, plan_id: int, at: datetime) -> Decimal:
    """The rule's price for a pair at an instant. One query."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT price_rule_at(%s, %s, %s)", [service_id, plan_id, at])
        ((price,),) = cursor.fetchall()
    return Decimal(price)


AFTER = """
SELECT later.change_id
  FROM services_cataloguevalue later
 WHERE later.{column} = %(id)s AND later.value IS NOT NULL
   AND later.effective_at <= %(now)s AND NOT later.undone @> %(now)s
   AND NOT coalesce(later.held, value_is_held(later.id))
   AND (later.effective_at, later.id) > (%(at)s, coalesce(
       (SELECT max(id) FROM services_cataloguevalue
         WHERE change_id = %(change)s AND effective_at = %(at)s), 0))
 ORDER BY later.effective_at, later.id LIMIT 1
"""


def superseded_by(
    subject: CatalogueSubject, change_id: int, effective_at: datetime
) -> tuple[int | None] | None:
    """The next change after this one whose value has come into force and counts. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            AFTER.format(column=subject.column),
            {"id": subject.id, "change": change_id, "at": effective_at, "now": book_clock()},
        )
        found: tuple[int | None] | None = cursor.fetchone()
    return found


def _both_columns(subject: CatalogueSubject) -> dict[str, int | None]:
    return {"service_id": None, "plan_id": None} | {subject.column: subject.id}


def decide(
    subject: CatalogueSubject,
    value: Decimal,
    effective_at: datetime,
    change_id: int,
    author: str,
    *,
    for_new_only: bool = False,
    locked_until: datetime | None = None,
    hold: bool = False,
) -> None:
    """Record a value that is in force from an instant on. With `hold` it counts only if it finds
    there the value that it would find by what is known now. One query, with `hold` two.
    """
    CatalogueValue.objects.create(
        **_both_columns(subject),
        value=value,
        effective_at=effective_at,
        change_id=change_id,
        author=author,
        for_new_only=for_new_only,
        locked_until=locked_until,
        seen=value_before_instant(subject, effective_at) if hold else None,
        held=None if hold else False,
    )


def undo(
    change_id: int, effective_at: datetime, author: str, by_change_id: int, again: bool = False
) -> None:
    """Record that the values of a change don't count from an instant on, or count `again`.

    `by_change_id` is the change that takes back. Two queries.
    """
    undone = CatalogueValue.objects.filter(change_id=change_id, undoes_id=None)
    CatalogueValue.objects.bulk_create(
        CatalogueValue(
            service_id=value.service_id,
            plan_id=value.plan_id,
            undoes_id=value.pk,
            again=again,
            effective_at=effective_at,
            change_id=by_change_id,
            author=author,
            for_new_only=value.for_new_only,
        )
        for value in undone
    )


def withdraw(change_id: int, author: str) -> None:
    """Make all that a change has decided never count. Three queries for one value."""
    decided = CatalogueValue.objects.filter(change_id=change_id)
    for each in decided:
        CatalogueValue.objects.create(
            service_id=each.service_id,
            plan_id=each.plan_id,
            undoes_id=each.undoes_id or each.pk,
            again=each.undoes_id is not None and not each.again,
            effective_at=each.effective_at,
            author=author,
            started=True,
        )
    decided.update(started=True)


HOLD_BACK = """
INSERT INTO services_cataloguevalue
       (service_id, plan_id, undoes_id, again, effective_at, author, started)
SELECT DISTINCT service_id, plan_id, coalesce(undoes_id, id), undoes_id IS NOT NULL AND NOT again,
       effective_at, %(author)s, true
  FROM services_cataloguevalue WHERE change_id = ANY (%(changes)s) AND effective_at > %(after)s
"""
# An undoing is recorded anew, as the change's: readers of what a change has undone skip those that
# were withdrawn since.
LET_COME = """
INSERT INTO services_cataloguevalue
       (service_id, plan_id, undoes_id, again, effective_at, change_id, author, for_new_only,
        started)
SELECT DISTINCT service_id, plan_id, coalesce(undoes_id, id), undoes_id IS NULL OR again,
       effective_at, CASE WHEN undoes_id IS NOT NULL THEN change_id END,
       CASE WHEN undoes_id IS NULL THEN %(author)s ELSE author END,
       undoes_id IS NOT NULL AND for_new_only, undoes_id IS NULL
  FROM services_cataloguevalue WHERE change_id = ANY (%(changes)s) AND effective_at > %(after)s
"""


def hold_back(change_ids: list[int], after: datetime, author: str) -> None:
    """Record that what changes have decided for instants after `after` does not count. One query.

    `withdraw` is for good; `let_come` takes this back.
    """
    with connection.cursor() as cursor:
        cursor.execute(HOLD_BACK, {"changes": change_ids, "after": after, "author": author})


def let_come(change_ids: list[int], after: datetime, author: str) -> None:
    """Record that what was held back, and is for instants after `after`, counts again. One query.

    IntegrityError if another plan has a discount by now that one would have again.
    """
    with connection.cursor() as cursor:
        cursor.execute(LET_COME, {"changes": change_ids, "after": after, "author": author})


def started(change_id: int) -> None:
    """Note that the work that follows from a change's values is recorded. One query."""
    CatalogueValue.objects.filter(change_id=change_id, started=False).update(started=True)
