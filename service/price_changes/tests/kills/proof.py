"""Checks of all that must hold after a drain, whatever was killed: a line for each finding."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.db import connection

from price_changes.kinds.adjustments import ADJUSTMENTS
from price_changes.models import ListedRows, PriceChange
from price_changes.running import outcomes
from services.audit import book_check
from services.models import LockEnd, Repricing, RepricingStep, WholeLedger

Kind, Status = PriceChange.Kind, PriceChange.Status
FINISHED = [Status.APPLIED, Status.REVERTED, Status.CANCELLED]


@dataclass
class Proof:
    """The counts of errors, and a line for each kind."""

    wrong_rows: int = 0
    double_entries: int = 0
    not_accounted: int = 0
    lost_actions: int = 0
    wrong_answers: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not self.findings


Findings = Iterable[tuple[int, str]]


def prove(acknowledged: list[tuple[str, dict[str, Any]]], wrong_answers: Findings) -> Proof:
    """Judge the book as it is. All due work must be done."""
    proof = Proof()
    found: dict[str, Findings] = {
        "wrong_rows": wrong_rows(),
        "double_entries": double_entries(),
        "not_accounted": not_accounted(),
        "lost_actions": lost(acknowledged),
        "wrong_answers": wrong_answers,
    }
    for kind, findings in found.items():
        for count, finding in findings:
            if count:
                setattr(proof, kind, getattr(proof, kind) + count)
                proof.findings.append(f"{count} {finding}")
    return proof


def one(sql: str, *parameters: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters or None)
        return cursor.fetchone()[0]


# --- Rows ---------------------------------------------------------------------------------------


def wrong_rows() -> Iterator[tuple[int, str]]:
    book = book_check.check()
    examples = [(row.id, str(row.price), str(row.rule_price)) for row in book.mispriced[:3]]
    yield book.differing + book.waiting, f"prices are not the rule's: {examples}"
    yield len(book.wrong_subtotals), f"totals are not those of the rows: {book.wrong_subtotals[:2]}"
    yield book.differing_from_ledger, f"rows are not the ledger's: {book.unrecorded[:2]}"
    yield one(OUT_OF_ORDER), "rows have another last entry by the instants than by the writing"
    yield from wrong_catalogue()
    for change in PriceChange.objects.filter(kind=Kind.SET).exclude(adjustment=""):
        yield from wrong_rows_of_set(change)


def wrong_catalogue() -> Iterator[tuple[int, str]]:
    """Stored values that are not of the greatest (instant, approval) in force."""
    for kind, table, column, role in (
        (Kind.LIST_PRICE, "services_service", "full_price", "service_id"),
        (Kind.DISCOUNT, "services_plan", "discount_percent", "plan_id"),
    ):
        yield (
            one(
                f"""
                SELECT count(*) FROM {table} thing
                  JOIN LATERAL (
                       SELECT new_value FROM price_changes_pricechange change
                        WHERE change.{role} = thing.id AND kind = %s AND status = 'applied'
                          AND reverts_id IS NULL
                        ORDER BY effective_at DESC, approval DESC LIMIT 1) newest ON true
                 WHERE {column} <> new_value""",
                kind.value,
            ),
            f"values of {table} are not those of the last change in force",
        )


# Rows where a worker has replaced a later decision, which was right by the instants. A row that
# follows, or whose lock has ended, has the price of the rule.
OUT_OF_ORDER = """
WITH told AS (
    SELECT id, subscription_id, effective_at,
           CASE WHEN price_state = 'locked' AND locked_until <= clock_timestamp() THEN 'follows'
                WHEN price_state = 'follows' THEN 'follows'
                ELSE ROW(price, price_state, locked_until)::text END AS says
      FROM services_wholeledger WHERE NOT period_only
)
SELECT count(*)
  FROM (SELECT DISTINCT ON (subscription_id) * FROM told
         ORDER BY subscription_id, effective_at DESC, id DESC) by_instant
  JOIN (SELECT DISTINCT ON (subscription_id) * FROM told
         ORDER BY subscription_id, id DESC) by_writing USING (subscription_id)
 WHERE by_instant.says <> by_writing.says
"""

# Each entry of a change beside the standing of its subscription before. A follower had the
# catalogue's price just before it, which a late worker may not have entered.
# Without entries repeated after one of an earlier instant; in the order of instants.
ENTRIES = """
SELECT entry.*, before.state AS state_before, before.locked_until AS until_before,
       CASE WHEN before.state = 'follows'
            THEN price_rule_at(before.service_id, before.plan_id,
                               entry.effective_at - interval '1 microsecond')
            ELSE before.price END AS price_before
  FROM services_wholeledger entry
  JOIN LATERAL (
       SELECT service_id, plan_id, price, locked_until,
              CASE WHEN price_state = 'locked' AND locked_until <= entry.effective_at
                   THEN 'follows' ELSE price_state END AS state
         FROM services_wholeledger
        WHERE subscription_id = entry.subscription_id AND NOT period_only
          AND (effective_at, id) < (entry.effective_at, entry.id)
        ORDER BY effective_at DESC, id DESC LIMIT 1) before ON true
 WHERE entry.change_id = %s AND NOT EXISTS (
       SELECT FROM services_wholeledger once
        WHERE once.subscription_id = entry.subscription_id AND once.change_id = entry.change_id
          AND once.effective_at = entry.effective_at AND once.id < entry.id)
"""


def wrong_rows_of_set(change: PriceChange) -> Iterator[tuple[int, str]]:
    """Moved rows that do not have the price that the definition gives, from the price before."""
    if change.adjustment not in (
        PriceChange.Adjustment.AMOUNT,
        PriceChange.Adjustment.ADD,
        PriceChange.Adjustment.PERCENT,
    ):
        return
    yield (
        one(
            f"SELECT count(*) FROM ({ENTRIES}) entry"
            f" WHERE price <> (SELECT {ADJUSTMENTS[change.adjustment].target(change)}"
            "                   FROM (SELECT price_before AS price) known)"
            "    OR price_state <> 'negotiated'",
            change.pk,
        ),
        f"rows have not what change {change.pk} ({change.adjustment} {change.operand}) gives",
    )
    yield (
        one(f"SELECT count(*) FROM ({ENTRIES}) entry WHERE state_before = 'locked'", change.pk),
        f"locked rows were moved by change {change.pk}",
    )


# --- History ------------------------------------------------------------------------------------

SAME = (
    "subscription_id, client_id, service_id, plan_id, price, price_state, locked_until, started_at,"
    " ended_at, period_only"
)
SAME_OF_CHANGE = "subscription_id, effective_at, price, price_state"


def double_entries() -> Iterator[tuple[int, str]]:
    # A change that was late puts its entry behind those of later instants, and these again.
    yield (
        one(
            f"""
            SELECT count(*) FROM services_wholeledger again
              JOIN services_wholeledger once USING ({SAME_OF_CHANGE})
             WHERE once.id < again.id AND NOT once.period_only AND NOT again.period_only
               AND once.change_id IS NOT DISTINCT FROM again.change_id AND NOT EXISTS (
                   SELECT FROM services_wholeledger late
                    WHERE late.subscription_id = once.subscription_id
                      AND late.id > once.id AND late.id < again.id
                      AND late.effective_at < again.effective_at)"""
        ),
        "entries say the same of one (subscription, change, instant)",
    )
    # A person may release a lock whose end has passed: its end is entered first, by nobody.
    yield (
        one(
            f"""
            SELECT count(*) FROM (
                SELECT ROW({SAME}, change_id, author)::text AS says,
                       lag(ROW({SAME}, change_id, author)::text)
                       OVER (PARTITION BY subscription_id ORDER BY id) AS said
                  FROM services_wholeledger) entry
             WHERE says = said"""
        ),
        "entries repeat the one before them",
    )


# --- Accounts -----------------------------------------------------------------------------------


def not_accounted() -> Iterator[tuple[int, str]]:
    yield RepricingStep.objects.count(), "steps are left"
    yield Repricing.objects.due().count(), "repricings are not finished"
    yield (
        PriceChange.objects.filter(
            status__in=[Status.SCHEDULED, Status.APPLYING, Status.PAUSED]
        ).count(),
        "changes are not finished",
    )
    finished = PriceChange.objects.filter(status__in=[*FINISHED, Status.HELD])
    yield (
        ListedRows.objects.filter(change_id__in=finished.values("pk")).count(),
        "rows are left of finished changes",
    )
    yield LockEnd.objects.filter(until__lte=one("SELECT clock_timestamp()")).count(), "locks ended"
    for change in finished:
        yield from accounts_of(change)


def kept_as(change: PriceChange) -> str:
    """A change for new subscriptions only locks existing ones; taken back twice, it locks again."""
    return "locked" if change.first.for_new_only else "follows"


def accounts_of(change: PriceChange) -> Iterator[tuple[int, str]]:
    outcome = outcomes.outcome(change)
    told = f"of change {change.pk} ({change.kind} {change.adjustment}, {change.status}): {outcome}"
    parts = outcome["applied"] + sum(outcome["skipped"].values()) + outcome["failed"]
    yield abs(outcome["rows"] - parts), f"rows are neither applied, skipped nor failed {told}"
    yield outcome["failed"], f"rows failed {told}"
    of_catalogue = Repricing.objects.filter(change_id=change.pk).exclude(kind=Repricing.Mode.ROWS)
    if of_catalogue.exists():
        # The entry of a row that a late set has taken is repeated, as the set has made the row.
        last = WholeLedger.objects.filter(change_id=change.pk).order_by("subscription_id", "-id")
        states = last.distinct("subscription_id").values_list("price_state", flat=True)
        entered = [state for state in states if state in ("follows", kept_as(change))]
        differ = abs(outcome["applied"] - len(entered))
        yield differ, f"rows are told to be moved, and not entered, or the other way round {told}"
    for work in of_catalogue:
        came, left = come_and_gone(work)
        # A writer of a kept row before the work began has entered the change for it.
        entered_before = WholeLedger.objects.filter(change_id=change.pk, id__lt=work.position)
        came += entered_before.values("subscription_id").distinct().count()
        missed, surplus = work.subscriptions - work.checked - left, work.checked - came
        yield max(0, missed), f"rows were forgotten by repricing {work.pk} {told}"
        yield max(0, surplus - work.subscriptions), f"rows were met twice by {work.pk} {told}"
    of_rows = Repricing.objects.filter(change_id=change.pk, kind=Repricing.Mode.ROWS).first()
    if of_rows is None:
        return
    yield (
        abs(of_rows.subscriptions - of_rows.checked),
        f"rows of {of_rows.subscriptions} in the list were forgotten or met twice {told}",
    )
    entries = WholeLedger.objects.filter(change_id=change.pk).count()
    missing = of_rows.repriced - entries
    yield max(0, -missing), f"entries are of no moved row {told}"
    yield max(0, missing - back_already(change)), f"moved rows have no entry {told}"
    if change.status == Status.CANCELLED and change.kind == Kind.SET:
        yield from still_there(change)


def back_already(change: PriceChange) -> int:
    """The most rows that are as a revert must restore them already, but for their comment.

    The undone change ended a lock early, which would have ended by now anyway.
    """
    if change.reverts_id is None:
        return 0
    released = f"SELECT count(*) FROM ({ENTRIES}) entry WHERE price_state = 'follows'"
    return int(one(f"{released} AND until_before <= clock_timestamp()", change.reverts_id))


# A row that comes or leaves after the catalogue's lock has an entry after the repricing's
# position.
COME_AND_GONE = """
WITH entry AS (
    SELECT id, recorded_at, service_id, plan_id,
           lag(service_id) OVER written AS service_before, lag(plan_id) OVER written AS plan_before
      FROM services_wholeledger WINDOW written AS (PARTITION BY subscription_id ORDER BY id)
), moved AS (
    SELECT * FROM entry, (SELECT %s::bigint AS service, %s::bigint AS plan) concerned
     WHERE id > %s AND recorded_at < %s
       AND (service_id, plan_id) IS DISTINCT FROM (service_before, plan_before)
)
SELECT count(*) FILTER (WHERE service_id = coalesce(service, service_id)
                          AND plan_id = coalesce(plan, plan_id)),
       count(*) FILTER (WHERE service_before = coalesce(service, service_before)
                          AND plan_before = coalesce(plan, plan_before))
  FROM moved
"""


def come_and_gone(work: Repricing) -> tuple[int, int]:
    """The number of rows that came to the repricing's pairs while it ran, or left one of them.

    A row that comes may be met or not, and twice if it was met before; a row that leaves was priced
    by that write. All others are met once.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            COME_AND_GONE, [work.service_id, work.plan_id, work.position, work.finished_at]
        )
        came, left = cursor.fetchone()
    return came, left


def still_there(change: PriceChange) -> Iterator[tuple[int, str]]:
    """Rows that still have the price of a change that was cancelled during the apply.

    Rows to which somebody has given a reason since may keep it.
    """
    if change.reverted_by.filter(status__in=[Status.APPLIED]).count() != 1:
        yield 1, f"change {change.pk} was cancelled and not taken back"
    yield (
        one(
            """
            SELECT count(*) FROM (
                SELECT DISTINCT ON (subscription_id) subscription_id, change_id
                  FROM services_wholeledger ORDER BY subscription_id, id DESC) last
              JOIN services_subscription subscription ON subscription.id = subscription_id
             WHERE change_id = %s AND ended_at IS NULL
               AND (price_reason = %s OR subscription.price_state = 'follows')""",
            change.pk,
            change.why,
        ),
        f"rows still have the price of change {change.pk}, which was cancelled",
    )


# --- Answers ------------------------------------------------------------------------------------


def lost(acknowledged: list[tuple[str, dict[str, Any]]]) -> Iterator[tuple[int, str]]:
    """Confirmed actions that are not done."""
    for what, about in acknowledged:
        found = one(STANDS[what], *about.values())
        yield int(not found), f"{what} was acknowledged and is not there: {about}"


ENTRY = "SELECT EXISTS (SELECT FROM services_wholeledger WHERE subscription_id = %s AND {})"
CHANGE = "SELECT EXISTS (SELECT FROM price_changes_pricechange WHERE id = %s AND {})"
STANDS = {
    "create": ENTRY.format("true"),
    "move": ENTRY.format("plan_id = %s"),
    "negotiate": ENTRY.format("price_state = 'negotiated' AND price = %s"),
    "lock": ENTRY.format("price_state = 'locked'"),
    "follow": ENTRY.format("price_state = 'follows'"),
    "end": "SELECT EXISTS (SELECT FROM services_subscription"
    " WHERE id = %s AND ended_at IS NOT NULL)",
    "edit": "SELECT EXISTS (SELECT FROM services_repricing WHERE service_id = %s"
    " AND new_value = %s)",
    "approve": CHANGE.format("approval IS NOT NULL AND status <> 'planned'"),
    "cancel": CHANGE.format("status = 'cancelled'"),
    "revert": "SELECT EXISTS (SELECT FROM price_changes_pricechange WHERE reverts_id = %s"
    " AND approval IS NOT NULL)",
    "pause": CHANGE.format("true"),
    "resume": CHANGE.format("status <> 'paused'"),
}
