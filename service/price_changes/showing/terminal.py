"""A price change as text for a terminal: what it is, would do, and has done."""

from collections.abc import Iterator
from decimal import Decimal

from django.db.models import Sum

from price_changes.kinds import is_of_catalogue, kind_of
from price_changes.kinds.words import Names
from price_changes.models import PriceChange
from price_changes.planning import status_now
from price_changes.planning.catalogue_value import value_since
from price_changes.planning.counting import Bucket, Mover, Pair, Preview
from price_changes.running import outcomes
from price_changes.running.dry_runs import DryRun
from price_changes.showing.instants import in_force_from, kept_instant, zone_rules_differ
from price_changes.showing.sentences import cancelled, sentence
from pricebook.kit.currency import shown
from services.management.table import shown_amount, shown_instant, table
from services.models import Skip

REASONS = {value: str(label).lower() for value, label in Skip.Reason.choices}
LOOK = 20  # rows of a look before a verb
PAIRS, MOVERS = 12, 5  # lines that are printed; --json has more


def lines(change: PriceChange, preview: bool) -> Iterator[str]:
    """The lines that show a change: its facts, its preview if asked for, and its outcome."""
    says = sentence(change, Names.of_changes([change]))
    yield f"Price change {change.pk}: {change.title or says}"
    yield from table("<<", facts(change, says))
    if change.preview and preview:
        yield ""
        yield from preview_lines(change, change.preview)
        yield ""
        yield f"  fingerprint {change.fingerprint}"
    if change.started_at:
        yield ""
        yield from outcome_lines(change)


def facts(change: PriceChange, says: str) -> Iterator[tuple[str, str]]:
    if change.title:
        yield "does", says
    if warning := status_now.warning(change):
        yield "has moved" if change.brake is None else "the brake", warning
    elif change.finds is None and (now := value_since(change)) is not None:
        yield (
            "the catalogue says",
            f"{shown_amount(now)}: the figures of the preview are no longer true",
        )
    if change.reason:
        yield "reason", change.reason
    if change.comment:
        yield "stamps", change.comment
    yield "state", f"{change.status}{f': {change.remark}' if change.remark else ''}"
    if change.effective_at:
        said = (
            in_force_from(change) if change.effective_zone else shown_instant(change.effective_at)
        )
        yield "in force from", said
        if about_zone := zone_rules_differ(change) or kept_instant(change):
            yield "time zone", about_zone
    elif change.status == PriceChange.Status.PLANNED:
        yield "in force from", "its approval"
    if change.approved_by and not is_of_catalogue(change):
        yield "if rows have moved", change.when_moved
    elif change.approved_by and change.when_moved == PriceChange.WhenMoved.HOLD:
        yield "if another value is there", change.when_moved
    if change.needs_another:
        yield "not approved" if change.not_approved else "waits", change.needs_another
    yield "planned by", f"{change.planned_by or 'nobody known'}, {shown_instant(change.planned_at)}"
    if change.approved_by:
        yield "approved by", f"{change.approved_by}, {shown_instant(change.approved_at)}"
    if change.accepted_at:
        yield "accepted by", f"{change.accepted_by}, {shown_instant(change.accepted_at)}"
    if change.paused_at:
        yield "paused by", f"{change.paused_by}, {shown_instant(change.paused_at)}"
    if change.resumed_at:
        yield "resumed by", f"{change.resumed_by}, {shown_instant(change.resumed_at)}"
    if change.cancelled_by:
        yield "cancelled by", change.cancelled_by
    if change.rejected_because:
        yield "rejected", change.rejected_because
    if change.reverts_id:
        yield "takes back", f"price change {change.reverts_id}"
    for back in change.reverted_by.order_by("pk").values_list("pk", "status"):
        yield "taken back by", f"price change {back[0]} ({back[1]})"


def dry_run_lines(dry_run: DryRun) -> Iterator[str]:
    """The lines of a look before a verb: totals, the first rows, and who has to approve it."""
    before, after = shown_amount(dry_run.before), shown_amount(dry_run.after)
    yield (
        f"  moves {dry_run.moves:,}, total {before} → {after}"
        f"  ({_difference(dry_run.before, dry_run.after)})"
    )
    rows = [
        (str(row["subscription"]), shown_amount(row["old_price"]), "→",
         shown_amount(row["new_price"]), row["new_state"])
        for row in dry_run.rows[:LOOK]
    ]  # fmt: skip
    yield from table(">>>><", [("subscription", "old", "", "new", "state"), *rows])
    if dry_run.moves > len(rows):
        yield f"  … and {dry_run.moves - len(rows):,} more"
    if dry_run.needs_another:
        yield f"  {dry_run.needs_another}"


# --- The preview ------------------------------------------------------------------------------


def preview_lines(change: PriceChange, seen: Preview) -> Iterator[str]:
    before, after = Decimal(seen["total_before"]), Decimal(seen["total_after"])
    locks = change.for_new_only or change.adjustment == PriceChange.Adjustment.LOCK
    counts = [("would be locked" if locks else "would move", f"{seen['moves']:,}")]
    counts += [(f"stays: {REASONS.get(why, why)}", f"{n:,}") for why, n in seen["stays"].items()]
    counts.append(("rows", f"{seen['rows']:,}"))
    if seen["stop_following"]:
        counts.append(("would stop following the catalogue", f"{seen['stop_following']:,}"))
    yield from table("<>", counts)
    yield f"  total {shown_amount(before)} → {shown_amount(after)}  ({_difference(before, after)})"
    yield from _pairs([pair for pair in seen["by_service_and_plan"] if pair["moves"]])
    yield from _movers(seen["largest_movers"])
    if not locks:
        yield from _distribution(seen["distribution"])
    around = status_now.around(change)
    if around["scheduled_before"]:
        numbers = ", ".join(map(str, around["scheduled_before"]))
        yield ""
        are_in = "in" if kind_of(change).is_judged_ahead else "not in"
        yield f"  Scheduled before it, and {are_in} these figures: price change {numbers}."
    if around["scheduled_after"]:
        numbers = ", ".join(map(str, around["scheduled_after"]))
        yield ""
        yield f"  Scheduled after it, and will overrule it: price change {numbers}."


def _pairs(pairs: list[Pair]) -> Iterator[str]:
    if not pairs:
        return
    rows = [("service", "plan", "move", "before", "after", "difference")]
    for pair in pairs[:PAIRS]:
        names = (pair["service_name"] or "deleted", pair["plan_name"] or "deleted")
        rows.append((*names, f"{pair['moves']:,}", *_amounts(pair)))
    yield ""
    yield from table("<<>>>>", rows)
    if len(pairs) > PAIRS:
        yield f"  … and {len(pairs) - PAIRS:,} more pairs of service and plan (--json has all)"


def _movers(movers: list[Mover]) -> Iterator[str]:
    if not movers:
        return
    rows = [("largest movers", "rows", "before", "after", "difference")]
    for mover in movers[:MOVERS]:
        name = mover["client_name"] or f"client {mover['client']}"
        rows.append((name, f"{mover['rows']:,}", *_amounts(mover)))
    yield ""
    yield from table("<>>>>", rows)


def _distribution(buckets: list[Bucket]) -> Iterator[str]:
    if not buckets:
        return
    rows = [("prices move by", "to below", "rows")]
    rows += [(_edge(each["from"]), _edge(each["to"]), f"{each['rows']:,}") for each in buckets]
    yield ""
    yield from table(">>>", rows)


def _edge(value: int | None) -> str:
    if value is None:
        return "…"
    return f"{value:+,}" if value else "0"


def _amounts(group: Pair | Mover) -> tuple[str, str, str]:
    before, after = Decimal(group["before"]), Decimal(group["after"])
    return shown_amount(before), shown_amount(after), shown(after - before, "+")


def _difference(before: Decimal, after: Decimal) -> str:
    if not before:
        return shown(after - before, "+")
    return f"{shown(after - before, '+')}, {(after - before) / before * 100:+.2f} %"


# --- The outcome ------------------------------------------------------------------------------


def outcome_lines(change: PriceChange) -> Iterator[str]:
    done = outcomes.outcome(change)
    if change.status == PriceChange.Status.CANCELLED:
        yield f"  {cancelled(done)}"
    counts = [("moved", f"{done['applied']:,}")]
    counts += [(f"skipped: {why}", f"{rows:,}") for why, rows in _skipped(change)]
    counts += [("failed", f"{done['failed']:,}"), ("rows", f"{done['rows']:,}")]
    if done["stamped"]:
        counts.append(("comments stamped", f"{done['stamped']:,}"))
    if done["superseded"]:
        counts.append(("rows of earlier changes held by this one", f"{done['superseded']:,}"))
    yield from table("<>", counts)
    if any(count for count in done["skipped"].values()) or done["failed"]:
        yield f"  Which, and why: price_change skips {change.pk}"


def _skipped(change: PriceChange) -> Iterator[tuple[str, int]]:
    groups = (
        Skip.objects.filter(repricing__change_id=change.pk)
        .exclude(reason=Skip.Reason.FAILED)
        .order_by("reason", "by_change_id")
        .values_list("reason", "by_change_id")
        .annotate(rows=Sum("rows"))
    )
    for reason, by_change, rows in groups:
        yield why(reason, by_change), rows


def why(reason: str, by_change: int | None) -> str:
    if by_change is None:
        return REASONS.get(reason, reason)
    if reason == Skip.Reason.SUPERSEDED:
        return f"superseded by {by_change}"
    return f"{REASONS[reason]} (price change {by_change})"
