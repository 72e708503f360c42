"""A price change as text for a terminal: what it is, would do, and has done."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from django.db.models import Sum

from price_changes.models import PriceChange
from price_changes.planning import standing
from price_changes.planning.catalogue_value import value_since
from price_changes.running import outcomes
from price_changes.showing.instants import in_force_from, kept_instant, zone_rules_differ
from price_changes.showing.sentences import cancelled
from services.management.table import moment, money, table
from services.models import Plan, Service, Skip

Kind = PriceChange.Kind
REASONS = {value: str(label).lower() for value, label in Skip.Reason.choices}
PAIRS, MOVERS = 12, 5  # lines that are printed; --json has more


def lines(change: PriceChange, preview: bool) -> Iterator[str]:
    """The lines that show a change: its facts, its preview if asked for, and its outcome."""
    yield f"Price change {change.pk}: {change.title or does(change)}"
    yield from table("<<", facts(change))
    if change.preview and preview:
        yield ""
        yield from preview_lines(change, change.preview)
        yield ""
        yield f"  fingerprint {change.fingerprint}"
    if change.started_at:
        yield ""
        yield from outcome_lines(change)


def facts(change: PriceChange) -> Iterator[tuple[str, str]]:
    if change.title:
        yield "does", does(change)
    if warning := standing.warning(change):
        yield "has moved", warning
    elif change.finds is None and (now := value_since(change)) is not None:
        yield "the catalogue says", f"{money(now)}: the figures of the preview are no longer true"
    if change.reason:
        yield "reason", change.reason
    if change.comment:
        yield "stamps", change.comment
    yield "state", f"{change.status}{f': {change.remark}' if change.remark else ''}"
    if change.effective_at:
        said = in_force_from(change) if change.effective_zone else moment(change.effective_at)
        yield "in force from", said
        if about_zone := zone_rules_differ(change) or kept_instant(change):
            yield "time zone", about_zone
    elif change.status == PriceChange.Status.PLANNED:
        yield "in force from", "its approval"
    if change.approved_by and change.kind in (Kind.SET, Kind.REVERT):
        yield "if rows have moved", change.when_moved
    elif change.approved_by and change.when_moved == PriceChange.WhenMoved.HOLD:
        yield "if another value is there", change.when_moved
    yield "planned by", f"{change.planned_by or 'nobody known'}, {moment(change.planned_at)}"
    if change.approved_by:
        yield "approved by", f"{change.approved_by}, {moment(change.approved_at)}"
    if change.paused_at:
        yield "paused by", f"{change.paused_by}, {moment(change.paused_at)}"
    if change.resumed_at:
        yield "resumed by", f"{change.resumed_by}, {moment(change.resumed_at)}"
    if change.cancelled_by:
        yield "cancelled by", change.cancelled_by
    if change.reverts_id:
        yield "takes back", f"price change {change.reverts_id}"
    for back in change.reverted_by.order_by("pk").values_list("pk", "status"):
        yield "taken back by", f"price change {back[0]} ({back[1]})"


def does(change: PriceChange) -> str:
    """The effect of a change in half a line: "list price of Phone 20.00 → 22.00"."""
    if change.kind == Kind.REVERT:
        return f"what price change {change.reverts_id} moved goes back"
    if change.kind == Kind.SET:
        return f"{_set(change.filter or {})}: {_adjustment(change)}"
    old_value = change.old_value if change.finds is None else change.finds
    if change.kind == Kind.LIST_PRICE:
        thing, old, new = "list price", money(old_value), money(change.new_value)
        name = change.service.name if change.service else f"service {change.service_id}, deleted"
    else:
        thing, old, new = "discount", _percent(old_value), _percent(change.new_value)
        name = f"plan {change.plan or change.plan_id}:"
    whom = " for new subscriptions only" if change.for_new_only else ""
    if change.locked_until:
        whom += f", the others locked until {moment(change.locked_until)}"
    return f"{thing} of {name} {old} → {new}{whom}"


def _set(kept: dict[str, Any]) -> str:
    """A filter as it may be typed, with services and plans by name."""
    said = []
    for name, value in kept.items():
        if name == "service":
            value = Service.objects.filter(pk=value).first() or value
        elif name == "plan":
            value = Plan.objects.filter(pk=value).first() or value
        said.append(f"{name} {value}")
    return ", ".join(said) or "all subscriptions"


def _adjustment(change: PriceChange) -> str:
    operand, limits = change.operand, ""
    if change.rounding_step is not None:
        limits += f", to multiples of {change.rounding_step}"
    if change.floor is not None:
        limits += f", {money(change.floor)} at least"
    if change.ceiling is not None:
        limits += f", {money(change.ceiling)} at most"
    match change.adjustment:
        case "amount":
            return f"price {money(operand)}{limits}"
        case "add":
            return f"price {operand:+,.2f}{limits}"
        case "percent":
            assert operand is not None
            return f"price {operand.normalize():+f} %{limits}"
        case "lock" if change.locked_until:
            return f"lock until {moment(change.locked_until)}"
    return str(change.get_adjustment_display())


def _percent(value: Decimal | None) -> str:
    return "" if value is None else f"{value.normalize():f} %"


# --- The preview ------------------------------------------------------------------------------


def preview_lines(change: PriceChange, seen: dict[str, Any]) -> Iterator[str]:
    before, after = Decimal(seen["total_before"]), Decimal(seen["total_after"])
    locks = change.for_new_only or change.adjustment == PriceChange.Adjustment.LOCK
    counts = [("would be locked" if locks else "would move", f"{seen['moves']:,}")]
    counts += [(f"stays: {REASONS.get(why, why)}", f"{n:,}") for why, n in seen["stays"].items()]
    counts.append(("rows", f"{seen['rows']:,}"))
    if seen["stop_following"]:
        counts.append(("would stop following the catalogue", f"{seen['stop_following']:,}"))
    yield from table("<>", counts)
    yield f"  total {money(before)} → {money(after)}  ({_difference(before, after)})"
    yield from _pairs([pair for pair in seen["by_service_and_plan"] if pair["moves"]])
    yield from _movers(seen["largest_movers"])
    if not locks:
        yield from _distribution(seen["distribution"])
    around = standing.around(change)
    if around["scheduled_before"]:
        numbers = ", ".join(map(str, around["scheduled_before"]))
        yield ""
        yield f"  Scheduled before it, and not in these figures: price change {numbers}."
    if around["scheduled_after"]:
        numbers = ", ".join(map(str, around["scheduled_after"]))
        yield ""
        yield f"  Scheduled after it, and will overrule it: price change {numbers}."


def _pairs(pairs: list[dict[str, Any]]) -> Iterator[str]:
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


def _movers(movers: list[dict[str, Any]]) -> Iterator[str]:
    if not movers:
        return
    rows = [("largest movers", "rows", "before", "after", "difference")]
    for mover in movers[:MOVERS]:
        name = mover["client_name"] or f"client {mover['client']}"
        rows.append((name, f"{mover['rows']:,}", *_amounts(mover)))
    yield ""
    yield from table("<>>>>", rows)


def _distribution(buckets: list[dict[str, Any]]) -> Iterator[str]:
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


def _amounts(group: dict[str, Any]) -> tuple[str, str, str]:
    before, after = Decimal(group["before"]), Decimal(group["after"])
    return money(before), money(after), f"{after - before:+,.2f}"


def _difference(before: Decimal, after: Decimal) -> str:
    if not before:
        return f"{after - before:+,.2f}"
    return f"{after - before:+,.2f}, {(after - before) / before * 100:+.2f} %"


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
