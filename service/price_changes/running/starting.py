"""Starting a change when it is due.

Who calls it: every drain of the workers (`services.repricing`), by way of `services.hooks`.

    start_due()   in the order of (effective instant, approval), one at a time
      a change of the catalogue: the value is written; its trigger leaves the repricing
      a change of a set: its rows are listed, judged as of the instant; a repricing with steps,
        which `moving` does

A change that comes late never overwrites a later instant: the catalogue keeps the later value.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from django.db.models import QuerySet, Sum

from price_changes.models import ListedRows, PriceChange
from price_changes.planning import standing
from price_changes.planning.catalogue_value import CATALOGUE, subject, value_now
from price_changes.planning.preview import HASH, drift, fingerprint
from price_changes.planning.rows_sql import rows_sql
from price_changes.running import cancelling
from pricebook.kit.points import at_point
from services import catalogue_values, held_values, repricing
from services.bounds import HIGHEST_PRICE
from services.models import (
    Clock,
    Plan,
    Repricing,
    RepricingQuerySet,
    Service,
    Skip,
    book_clock,
)
from services.repricing import chunks
from services.repricing.locks import LockHeld, giving_way

Kind, Status, WhenMoved = PriceChange.Kind, PriceChange.Status, PriceChange.WhenMoved


def start_due() -> bool:
    """Start all changes whose instant has come; False if somebody's lock was in the way.

    One query when none has.
    """
    while True:
        due = PriceChange.objects.filter(status=Status.SCHEDULED, effective_at__lte=Clock())
        if not due.exists():
            return True
        try:
            _report_drift(due)
            with giving_way(), connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_try_advisory_xact_lock('price_changes_pricechange'::regclass::oid"
                    "::int, 0)"
                )
                if cursor.fetchone() == (False,):
                    return False  # another worker starts them, in their order
                change = due.order_by("effective_at", "approval").select_for_update().first()
                if change is not None:
                    _start_or_hold(change)
                at_point("change started")
        except LockHeld:
            return False


def _report_drift(due: QuerySet[PriceChange]) -> None:
    """Not in the start's transaction: that holds the catalogue's lock, and others wait for it."""
    change = due.filter(kind__in=CATALOGUE).order_by("effective_at", "approval").first()
    if change is not None and change.drift is None:
        PriceChange.objects.filter(pk=change.pk, status=Status.SCHEDULED).update(
            drift=drift(change)
        )


def _start_or_hold(change: PriceChange) -> None:
    """One that the database refuses to start is held, with the reason: others wait behind it."""
    try:
        with transaction.atomic():
            start(change)
    except (OperationalError, InterfaceError):
        raise
    except DatabaseError as error:
        reason = _reason(change, error)
        if change.kind in CATALOGUE and change.effective_at is not None:
            catalogue_values.withdraw(change.pk, change.approved_by)
        PriceChange.objects.filter(pk=change.pk).update(
            status=Status.HELD, note=f"It could not be started: {reason}"[:500]
        )


def _reason(change: PriceChange, error: DatabaseError) -> str:
    """Why the database refuses its start, in our words where they are known."""
    refused_by = getattr(getattr(error.__cause__, "diag", None), "constraint_name", None)
    if refused_by == "plan_unique_type_and_percent" and change.plan is not None:
        to = f"{change.plan.plan_type} {change.new_value:.0f} %"
        return (
            f"there is a plan {to} already, and there can't be two. Cancel it, and move the"
            " subscriptions of one to the other; or give the other plan another discount, preview"
            " this one again and approve it."
        )
    return str(error).partition("\n")[0]


def start(change: PriceChange) -> None:
    """Start one whose instant has come; in a transaction that holds its row."""
    change.started_at = book_clock()
    change.status = Status.APPLYING
    if change.kind in CATALOGUE:
        _go_on_with(change.reverts)
        _start_catalogue(change)
    else:
        _start_rows(change)
    if change.status == Status.APPLYING and change.reverts is not None:
        _take_turns(change.reverts)
        at_point("revert started")
    change.save(
        update_fields=["started_at", "status", "note", "old_value", "new_value", "finished_at"]
    )
    if change.status == Status.APPLYING and not _repricings(change).due().exists():
        change.status, change.finished_at = Status.APPLIED, book_clock()
        change.save(update_fields=["status", "finished_at"])


def _go_on_with(undone: PriceChange | None) -> None:
    """What is taken back before it is applied is written to its end, and stamps nothing any more.

    It is reverted by then: a trigger says so.
    """
    if undone is not None and undone.status in (Status.APPLYING, Status.PAUSED):
        cancelling.go_on(undone)
        undone.status = Status.APPLYING
        undone.save(update_fields=["status"])


def _take_turns(undone: PriceChange | None) -> None:
    """What is taken back is reverted; what that one had taken back is in force again; and so on."""
    status = Status.REVERTED
    while undone is not None:
        if undone.status in (Status.APPLIED, Status.REVERTED):
            undone.status = status
            undone.save(update_fields=["status"])
        status = Status.APPLIED if status == Status.REVERTED else Status.REVERTED
        undone = undone.reverts


def _repricings(change: PriceChange) -> RepricingQuerySet:
    return Repricing.objects.filter(change_id=change.pk)


# --- The catalogue ----------------------------------------------------------------------------


def _start_catalogue(change: PriceChange) -> None:
    """Record the work that copies a value which is in force already, by its instant."""
    role, pk = subject(change)
    model: type[Service] | type[Plan] = Service if role == "service" else Plan
    with connection.cursor() as cursor:
        # Exclusive, before anything is read: who wrote before is seen, who comes after sees this.
        cursor.execute(f"SELECT lock_{role}(%s, true)", [pk])
    now = value_now(change)
    if now is None:
        change.status, change.note = Status.CANCELLED, f"The {role} was deleted."
        return
    assert change.effective_at is not None
    found = standing.found_by(change)
    held_values.judge(change.pk)
    if found is not None and found.is_held:
        standing.hold(change, found)
        return
    notes = []
    if change.drift:
        notes.append(
            f"{change.drift} of its subscriptions were written between the preview and the start."
        )
    if change.reverts is not None:
        expected, at = change.new_value, change.effective_at
        change.new_value = catalogue_values.value_at(role, pk, at)
        if change.new_value != expected:
            notes.append(f"The value in force without it is {change.new_value}, not {expected}.")
        before = catalogue_values.value_if(
            role, pk, change.first.pk, counts=not change.counts_again, at=at
        )
    else:
        before = catalogue_values.value_before(change.pk)
        if before != change.old_value:
            notes.append(f"The value before it was {before}, not {change.old_value}.")
    change.old_value = before
    later = catalogue_values.superseded_by(role, pk, change.pk, change.effective_at)
    edit: dict[str, Any] = {
        role + "_id": pk,
        "change_id": change.pk,
        "effective_at": change.effective_at,
        "comment": change.comment,
        "author": change.approved_by,
        "old_value": before,
        "new_value": change.new_value,
    }
    if later is not None:
        notes.append(f"Superseded from the start by price change {later[0]}.")
    if before != change.new_value or change.for_new_only:
        kind = Repricing.Kind.KEEP if change.for_new_only else Repricing.Kind.CATALOGUE
        locked_until = change.locked_until if change.for_new_only else None
        Repricing.objects.create(**edit, kind=kind, locked_until=locked_until)
    else:
        notes.append(f"The value in force was {before} already.")
        if change.comment:
            Repricing.objects.create(**edit)
    field = "full_price" if role == "service" else "discount_percent"
    model._default_manager.filter(pk=pk).exclude(**{field: now}).update(**{field: now})
    catalogue_values.started(change.pk)
    change.note = " ".join(notes)[:500]
    if change.reverts is not None:
        _put_back_beside_the_value(change, change.reverts, edit)


def _put_back_beside_the_value(
    change: PriceChange, undone: PriceChange, edit: dict[str, Any]
) -> None:
    """The comments that the undone change has stamped, and the price states that it has written."""
    unstamps = undone.pk if undone.comment else None
    unkeeps = undone.pk if undone.first.for_new_only else None
    if unstamps is None and unkeeps is None:
        return
    if not _repricings(change).exists():
        Repricing.objects.create(**edit)
    _repricings(change).update(unstamps_change_id=unstamps, unkeeps_change_id=unkeeps)


# --- Sets -------------------------------------------------------------------------------------

# In one pass, aggregated by hashes: the rows of a pair are cut where their ids pass a multiple of
# `width`, which needs no order. A price that does not fit counts as it is in the fingerprint, and
# as failed when it is moved.
LIST = f"""
WITH part AS MATERIALIZED (
    SELECT service_id, plan_id, reason, count(*) AS rows, sum(price) AS before,
           sum(new_price) AS after, {HASH} AS hash,
           min(id) AS first_id, max(id) AS last_id,
           array_agg(id) FILTER (WHERE reason IS NULL) AS ids,
           array_agg(price) FILTER (WHERE reason IS NULL) AS prices,
           array_agg(price_state) FILTER (WHERE reason IS NULL) AS price_states,
           array_agg(locked_until) FILTER (WHERE reason IS NULL) AS untils,
           array_agg(CASE WHEN new_price BETWEEN 0 AND {HIGHEST_PRICE} THEN new_price
                          ELSE price END) FILTER (WHERE reason IS NULL) AS new_prices,
           array_agg(new_state) FILTER (WHERE reason IS NULL) AS new_states,
           array_agg(new_until) FILTER (WHERE reason IS NULL) AS new_untils
      FROM ({{rows}}) change_row
     GROUP BY service_id, plan_id, id / {{width}}, reason
), listed AS (
    INSERT INTO price_changes_listedrows
           (change_id, service_id, plan_id, first_id, last_id, rows, ids, prices, price_states,
            untils, new_prices, new_states, new_untils)
    SELECT {{change}}, service_id, plan_id, first_id, last_id, rows, ids, prices, price_states,
           untils, new_prices, new_states, new_untils
      FROM part WHERE reason IS NULL ORDER BY service_id, plan_id, first_id
)
SELECT reason, sum(rows)::bigint, bit_xor(hash), sum(before), sum(after) FROM part GROUP BY reason
"""  # noqa: S608 - constants

# So many ids hold about a chunk's rows of the pair that has most of them.
WIDTH = """
SELECT greatest(1, %s * max(last.id) / greatest(1, max(pair.subscriptions)))::bigint
  FROM (SELECT sum(subscriptions) AS subscriptions
          FROM services_subtotal GROUP BY service_id, plan_id) pair,
       (SELECT max(id) AS id FROM services_subscription) last
"""

STEPS = """
INSERT INTO services_repricingstep
       (repricing_id, kind, service_id, plan_id, subscriptions, last_id, effective_at)
SELECT %(repricing)s, 'price', service_id, plan_id, sum(rows), max(last_id), %(effective_at)s
  FROM price_changes_listedrows
 WHERE change_id = %(change)s
 GROUP BY service_id, plan_id
 ORDER BY service_id, plan_id
"""


def list_rows(change: PriceChange, rows: tuple[str, list[Any]]) -> tuple[dict[str, int], str]:
    """Keep the rows that move; how many don't, by reason, and the fingerprint. One statement."""
    sql, params = rows
    with connection.cursor() as cursor:
        cursor.execute(WIDTH, [chunks.CHUNK])
        width = cursor.fetchone()[0] or 1
        cursor.execute(LIST.format(rows=sql, change=int(change.pk), width=width), params or None)
        counts = cursor.fetchall()
    at_point("rows listed")
    stays: dict[str, int] = {}
    moves = digest = 0
    before = after = Decimal(0)
    for reason, rows_of_reason, hash, was, becomes in counts:
        digest, before, after = digest ^ hash, before + was, after + becomes
        if reason is None:
            moves = rows_of_reason
        else:
            stays[reason] = rows_of_reason
    total = moves + sum(stays.values())
    return stays, fingerprint(change, digest, total, moves, before, after)


def _start_rows(change: PriceChange) -> None:
    # Steps of one instant are done in the order of their making, and this makes its own at once.
    if not repricing.plan_due():
        raise LockHeld("Another worker plans what was started before.")
    if change.when_moved == WhenMoved.FROZEN:
        assert change.preview is not None
        _make_steps(change, change.preview["stays"])
        return
    # An immediate change was previewed without an instant.
    stays, found = list_rows(change, rows_sql(change))
    if change.when_moved == WhenMoved.HOLD and (why := _moved(change, found)):
        ListedRows.objects.filter(change_id=change.pk).delete()
        change.status, change.started_at = Status.HELD, None
        change.note = f"{why}: preview it again, and approve or cancel."
        return
    _make_steps(change, stays)


def _moved(change: PriceChange, found: str) -> str:
    """Why its rows are not, or are about not to be, as they were approved; empty if they are."""
    if found != change.fingerprint:
        return "Rows have moved since the approval"
    with connection.cursor() as cursor:
        cursor.execute(ABOUT_TO_MOVE, {"change": change.pk})
        (about_to_move,) = cursor.fetchone()
    return "Changes that came before it have yet to move rows of it" if about_to_move else ""


# What is started is not all done: followers wait to be repriced, rows stand on another list. What
# is paused stays as it is.
ABOUT_TO_MOVE = """
WITH step AS MATERIALIZED (
    SELECT work.kind, change_id, step.service_id, step.plan_id, after_id, last_id
      FROM services_repricingstep step JOIN services_repricing work ON work.id = repricing_id
     WHERE step.kind = 'price' AND paused_at IS NULL
), item AS MATERIALIZED (
    SELECT service_id, plan_id, item.*
      FROM price_changes_listedrows, unnest(ids, prices, price_states) AS item (id, price, state)
     WHERE change_id = %(change)s
       AND (service_id, plan_id) IN (SELECT service_id, plan_id FROM step)
)
SELECT EXISTS (
       SELECT FROM item JOIN step USING (service_id, plan_id)
         JOIN services_service service ON service.id = service_id
         JOIN services_plan plan ON plan.id = plan_id
        WHERE kind <> 'rows' AND state = 'follows' AND item.id > after_id AND item.id <= last_id
          AND (kind = 'keep' OR price <> price_rule(full_price, discount_percent)))
    OR EXISTS (
       SELECT FROM step JOIN price_changes_listedrows other USING (change_id, service_id, plan_id)
        CROSS JOIN unnest(other.ids) moving (id) JOIN item ON item.id = moving.id
        WHERE kind = 'rows' AND moving.id > after_id)
"""


def _make_steps(change: PriceChange, stays: dict[str, int]) -> None:
    skipped = sum(stays.values())
    assert change.effective_at is not None
    work = Repricing.objects.create(
        kind=Repricing.Kind.ROWS,
        change_id=change.pk,
        effective_at=change.effective_at,
        author=change.approved_by,
        checked=skipped,
        planned_at=book_clock(),
    )
    Skip.objects.bulk_create(
        Skip(repricing=work, reason=reason, rows=rows) for reason, rows in stays.items() if rows
    )
    with connection.cursor() as cursor:
        cursor.execute(
            STEPS,
            {
                "repricing": work.pk,
                "change": change.pk,
                "effective_at": change.effective_at,
            },
        )
    of_change = ListedRows.objects.filter(change_id=change.pk)
    listed = of_change.aggregate(rows=Sum("rows", default=0))["rows"]
    if not listed:
        why = "the outcome says why" if skipped else "its filter finds none"
        change.note = f"It has moved no subscription: {why}."
    Repricing.objects.filter(pk=work.pk).update(
        subscriptions=listed + skipped, finished_at=None if listed else Clock()
    )
