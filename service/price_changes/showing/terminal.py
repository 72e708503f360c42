"""A price change as text for a terminal: what it is, would do, and has done."""

from collections.abc import Iterator
from decimal import Decimal

from django.db.models import Sum
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from price_changes.kinds import is_of_catalogue, kind_of
from price_changes.kinds.words import Names
from price_changes.models import PriceChange
from price_changes.planning import status_now
from price_changes.planning.catalogue_value import value_since
from price_changes.planning.counting import Bucket, Mover, Pair, Preview
from price_changes.running import outcomes
from price_changes.running.dry_runs import DryRun
from price_changes.showing.instants import in_force_from, kept_instant, notice_of, zone_rules_differ
from price_changes.showing.sentences import cancelled, sentence
from price_changes.showing.states import reason_of, state_of, why
from pricebook.kit.currency import shown
from pricebook.kit.figures import grouped
from services.management.table import shown_amount, shown_instant, table, words_of
from services.models import Skip
from services.models.catalogue import stored_name_shown

LOOK = 20  # rows of a look before a verb
PAIRS, MOVERS = 12, 5  # lines that are printed; --json has more


def lines(change: PriceChange, preview: bool) -> Iterator[str]:
    """The lines that show a change: its facts, its preview if asked for, and its outcome."""
    says = sentence(change, Names.of_changes([change]))
    title = change.title or says
    yield _("Price change %(number)s: %(title)s") % {"number": change.pk, "title": title}
    yield from table("<<", facts(change, says))
    if change.preview and preview:
        yield ""
        yield from preview_lines(change, change.preview)
        yield ""
        yield _("  fingerprint %(fingerprint)s") % {"fingerprint": change.fingerprint}
    if change.started_at:
        yield ""
        yield from outcome_lines(change)


def facts(change: PriceChange, says: str) -> Iterator[tuple[str, str]]:
    if change.title:
        yield _("does"), says
    if warning := status_now.warning(change):
        yield _about(change), warning
    elif change.finds is None and (now := value_since(change)) is not None:
        yield (
            _("the catalogue says"),
            _("%(amount)s: the figures of the preview are no longer true")
            % {"amount": shown_amount(now)},
        )
    if change.reason:
        yield _("reason"), change.reason
    if change.comment:
        yield _("stamps"), change.comment
    yield _("state"), f"{state_of(change.status)}{f': {change.remark}' if change.remark else ''}"
    if change.effective_at:
        said = (
            in_force_from(change) if change.effective_zone else shown_instant(change.effective_at)
        )
        yield _("in force from"), said
        if about_zone := zone_rules_differ(change) or kept_instant(change):
            yield _("time zone"), about_zone
    elif change.status == PriceChange.Status.PLANNED:
        yield _("in force from"), _("its approval")
    if change.notice_days is not None and not change.effective_zone:
        yield _("notice"), notice_of(change)
    if change.approved_by and not is_of_catalogue(change):
        yield _("if rows have moved"), change.when_moved
    elif change.approved_by and change.when_moved == PriceChange.WhenMoved.HOLD:
        yield _("if another value is there"), change.when_moved
    if change.needs_another:
        yield _("not approved") if change.not_approved else _("waits"), change.why_another
    planner = change.planned_by or _("nobody known")
    yield _("planned by"), f"{planner}, {shown_instant(change.planned_at)}"
    if change.approved_by:
        yield _("approved by"), f"{change.approved_by}, {shown_instant(change.approved_at)}"
    if change.accepted_at:
        yield _("accepted by"), f"{change.accepted_by}, {shown_instant(change.accepted_at)}"
    if change.paused_at:
        yield _("paused by"), f"{change.paused_by}, {shown_instant(change.paused_at)}"
    if change.resumed_at:
        yield _("resumed by"), f"{change.resumed_by}, {shown_instant(change.resumed_at)}"
    if change.cancelled_by:
        yield _("cancelled by"), change.cancelled_by
    if change.rejected_because:
        yield _("rejected"), change.rejected_because
    if change.reverts_id:
        yield _("takes back"), _("price change %(number)s") % {"number": change.reverts_id}
    for back in change.reverted_by.order_by("pk").values_list("pk", "status"):
        yield (
            _("taken back by"),
            _("price change %(number)s (%(state)s)")
            % {
                "number": back[0],
                "state": state_of(back[1]),
            },
        )


def _about(change: PriceChange) -> str:
    """The subject of a warning."""
    if change.brake is not None:
        return _("the brake")
    return _("has moved") if change.untold is None else _("notice")


def dry_run_lines(dry_run: DryRun) -> Iterator[str]:
    """The lines of a look before a verb: totals, the first rows, and who has to approve it."""
    before, after = shown_amount(dry_run.before), shown_amount(dry_run.after)
    yield _("  moves %(rows)s, total %(before)s → %(after)s  (%(difference)s)") % {
        "rows": grouped(dry_run.moves),
        "before": before,
        "after": after,
        "difference": _difference(dry_run.before, dry_run.after),
    }
    rows = [
        (str(row["subscription"]), shown_amount(row["old_price"]), "→",
         shown_amount(row["new_price"]), words_of(row["new_state"]))
        for row in dry_run.rows[:LOOK]
    ]  # fmt: skip
    yield from table(
        ">>>><",
        [
            (_("subscription"), pgettext("price", "old"), "", pgettext("price", "new"), _("state")),
            *rows,
        ],
    )
    if dry_run.moves > len(rows):
        yield _("  … and %(rows)s more") % {"rows": grouped(dry_run.moves - len(rows))}
    if dry_run.needs_another:
        yield f"  {dry_run.needs_another}"


# --- The preview ------------------------------------------------------------------------------


def preview_lines(change: PriceChange, seen: Preview) -> Iterator[str]:
    before, after = Decimal(seen["total_before"]), Decimal(seen["total_after"])
    locks = change.for_new_only or change.adjustment == PriceChange.Adjustment.LOCK
    counts = [(_("would be locked") if locks else _("would move"), grouped(seen["moves"]))]
    for reason, rows in seen["stays"].items():
        counts.append((_("stays: %(reason)s") % {"reason": reason_of(reason)}, grouped(rows)))
    counts.append((_("rows"), grouped(seen["rows"])))
    if seen["stop_following"]:
        counts.append((_("would stop following the catalogue"), grouped(seen["stop_following"])))
    yield from table("<>", counts)
    said = {"before": shown_amount(before), "after": shown_amount(after)}
    said["difference"] = _difference(before, after)
    yield _("  total %(before)s → %(after)s  (%(difference)s)") % said
    yield from _pairs([pair for pair in seen["by_service_and_plan"] if pair["moves"]])
    yield from _movers(seen["largest_movers"])
    if not locks:
        yield from _distribution(seen["distribution"])
    around = status_now.around(change)
    if around["scheduled_before"]:
        numbers = ", ".join(map(str, around["scheduled_before"]))
        yield ""
        text = (
            _("  Scheduled before it, and in these figures: price change %(numbers)s.")
            if kind_of(change).is_judged_ahead
            else _("  Scheduled before it, and not in these figures: price change %(numbers)s.")
        )
        yield text % {"numbers": numbers}
    if around["scheduled_after"]:
        numbers = ", ".join(map(str, around["scheduled_after"]))
        yield ""
        yield _("  Scheduled after it, and will overrule it: price change %(numbers)s.") % {
            "numbers": numbers
        }


def _pairs(pairs: list[Pair]) -> Iterator[str]:
    if not pairs:
        return
    head = (_("service"), _("plan"), _("move"), _("before"), _("after"), _("difference"))
    rows = [head]
    for pair in pairs[:PAIRS]:
        plan = stored_name_shown(pair["plan_name"])
        names = (pair["service_name"] or _("deleted"), plan or _("deleted"))
        rows.append((*names, grouped(pair["moves"]), *_amounts(pair)))
    yield ""
    yield from table("<<>>>>", rows)
    if len(pairs) > PAIRS:
        yield _("  … and %(pairs)s more pairs of service and plan (--json has all)") % {
            "pairs": grouped(len(pairs) - PAIRS)
        }


def _movers(movers: list[Mover]) -> Iterator[str]:
    if not movers:
        return
    rows = [(_("largest movers"), _("rows"), _("before"), _("after"), _("difference"))]
    for mover in movers[:MOVERS]:
        name = mover["client_name"] or _("client %(number)s") % {"number": mover["client"]}
        rows.append((name, grouped(mover["rows"]), *_amounts(mover)))
    yield ""
    yield from table("<>>>>", rows)


def _distribution(buckets: list[Bucket]) -> Iterator[str]:
    if not buckets:
        return
    rows = [(_("prices move by"), _("to below"), _("rows"))]
    rows += [(_edge(each["from"]), _edge(each["to"]), grouped(each["rows"])) for each in buckets]
    yield ""
    yield from table(">>>", rows)


def _edge(value: int | None) -> str:
    return "…" if value is None else f"{value:+,}" if value else "0"


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
    counts = [(_("moved"), grouped(done["applied"]))]
    for reason, rows in _skipped(change):
        counts.append((_("skipped: %(reason)s") % {"reason": reason}, grouped(rows)))
    counts += [(_("failed"), grouped(done["failed"])), (_("rows"), grouped(done["rows"]))]
    if done["stamped"]:
        counts.append((_("comments stamped"), grouped(done["stamped"])))
    if done["superseded"]:
        counts.append((_("rows of earlier changes held by this one"), grouped(done["superseded"])))
    yield from table("<>", counts)
    if any(count for count in done["skipped"].values()) or done["failed"]:
        yield _("  Which, and why: price_change skips %(number)s") % {"number": change.pk}


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
