"""`manage price_change plan|list|show|preview|rows|approve|watch|pause|resume|cancel|revert`."""

import getpass
import sys
import time
from argparse import ArgumentParser
from decimal import Decimal
from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandError

from price_changes import definition, lifecycle, preview
from price_changes.errors import ChangeError
from price_changes.models import PriceChange
from services import repricing
from services.filters import FILTERS
from services.management.progress import Progress
from services.models import Plan, Repricing, Service

VERBS = ("approve", "pause", "resume", "cancel", "revert", "preview", "show", "rows", "watch")
# Options of `plan` that are the plan's own fields.
FIELDS = ("title", "reason", "comment", "floor", "ceiling")


class Command(BaseCommand):
    help = (
        "Plan a price change, look at what it would do, approve it, watch it being applied, take "
        "it back. Each verb prints what to type next."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        plan = verbs.add_parser("plan", help="plan a change, and preview it")
        plan.add_argument("--service", help="its list price moves (name or id)")
        plan.add_argument("--plan", help='its discount moves (id, or as "student 10")')
        plan.add_argument("--to", help="the new list price or discount")
        plan.add_argument("--new-only", action="store_true", help="followers keep their price")
        plan.add_argument("--until", help="until when they keep it, or a lock holds")
        plan.add_argument(
            "--filter",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help=f"a set of subscriptions; NAME: {', '.join(FILTERS)}",
        )
        plan.add_argument("--all", action="store_true", help="the set of all subscriptions")
        how = plan.add_mutually_exclusive_group()
        how.add_argument("--amount", help="a new amount for the set")
        how.add_argument("--add", help="plus or minus an amount")
        how.add_argument("--percent", help="plus or minus a percentage")
        for word in ("lock", "release", "follow"):
            how.add_argument(f"--{word}", action="store_true", help=f"{word} the prices of the set")
        plan.add_argument("--step", help="round to multiples of it")
        plan.add_argument("--at", help="effective instant with time zone (else: the approval's)")
        for name in FIELDS:
            plan.add_argument(f"--{name}")
        listed = verbs.add_parser("list", help="the newest changes")
        listed.add_argument("--status", choices=PriceChange.Status.values)
        listed.add_argument("--limit", type=int, default=20)
        for verb in VERBS:
            one = verbs.add_parser(verb)
            one.add_argument("number", type=int)
            if verb == "approve":
                one.add_argument("fingerprint", help="as the preview printed it")
                one.add_argument("--when-moved", choices=PriceChange.WhenMoved.values)
                one.add_argument("--at", help="another instant, for one that was held")
            if verb == "rows":
                one.add_argument("--after", type=int, default=0, metavar="ID")
                one.add_argument("--limit", type=int, default=50)
                one.add_argument("--only", help="moves, or a reason")
            if verb == "revert":
                one.add_argument("--yes", action="store_true", help="approve the revert too")
            if verb in ("approve", "revert", "resume", "cancel"):
                one.add_argument("--wait", action="store_true", help="apply it here, and watch")
        for verb_parser in verbs.choices.values():
            verb_parser.add_argument("--author", default=None, help="default: the login name")
            verb_parser.add_argument("--json", action="store_true", help="for programs")

    def handle(self, *, verb: str, **options: Any) -> None:
        options["author"] = options["author"] or getpass.getuser()
        try:
            getattr(self, verb)(**options)
        except ChangeError as error:
            raise CommandError(f"{error.detail} ({error.code})") from error

    # --- Verbs ----------------------------------------------------------------------------

    def plan(self, *, author: str, json: bool, **options: Any) -> None:
        change = definition.plan(_values(options), author)
        try:
            change = preview.preview(change.pk)
        except ChangeError:
            change.delete()  # nobody could do anything with it
            raise
        self.tell(change, json)

    def preview(self, *, number: int, json: bool, **options: Any) -> None:
        self.tell(preview.preview(number), json)

    def show(self, *, number: int, json: bool, **options: Any) -> None:
        self.tell(_get(number), json)

    def list(self, *, status: str | None, limit: int, json: bool, **options: Any) -> None:
        changes = PriceChange.objects.all()
        if status:
            changes = changes.filter(status=status)
        for change in changes[: max(0, limit)]:
            if json:
                self.write_json(change)
            else:
                at = (
                    change.effective_at.isoformat(timespec="seconds") if change.effective_at else ""
                )
                self.stdout.write(
                    f"{change.pk:>8}  {change.status:<10} {at:<26} {change.planned_by:<12}"
                    f" {_words(change)}"
                )

    def rows(
        self, *, number: int, after: int, limit: int, only: str | None, json: bool, **options: Any
    ) -> None:
        found = preview.listed(_get(number), after, max(1, limit), only)
        for row in found:
            if json:
                self.stdout.write(_encoder.encode(row).decode())
            else:
                self.stdout.write(
                    f"{row['subscription']:>10} {row['old_price']:>14,.2f} →"
                    f" {row['new_price']:>14,.2f}  {row['reason'] or ''}"
                )
        if len(found) == limit and not json:
            last = found[-1]["subscription"]
            self.next(f"rows {number} --after {last}")

    def approve(
        self,
        *,
        number: int,
        fingerprint: str,
        author: str,
        when_moved: str | None,
        at: str | None,
        wait: bool,
        json: bool,
        **options: Any,
    ) -> None:
        change = lifecycle.approve(number, fingerprint, author, when_moved, at)
        self.after_moving(change, wait, json)

    def pause(self, *, number: int, author: str, json: bool, **options: Any) -> None:
        self.tell(lifecycle.pause(number, author), json)

    def resume(self, *, number: int, author: str, wait: bool, json: bool, **options: Any) -> None:
        self.after_moving(lifecycle.resume(number, author), wait, json)

    def cancel(self, *, number: int, author: str, wait: bool, json: bool, **options: Any) -> None:
        self.after_moving(lifecycle.cancel(number, author), wait, json)

    def revert(
        self, *, number: int, author: str, yes: bool, wait: bool, json: bool, **options: Any
    ) -> None:
        self.after_moving(lifecycle.revert(number, author, approve_too=yes), wait and yes, json)

    def watch(self, *, number: int, json: bool, **options: Any) -> None:
        change = _get(number)
        show = Progress(self.stderr)
        while change.status in ("scheduled", "applying"):
            self.progress(change, show)
            time.sleep(0.2)
            change.refresh_from_db()
        show.end()
        self.tell(change, json)

    # --- What is printed ------------------------------------------------------------------

    def after_moving(self, change: PriceChange, wait: bool, json: bool) -> None:
        if wait:
            show = Progress(self.stderr)
            busy = ("scheduled", "applying")
            # Short turns, so that the progress is seen. The workers may take part.
            while _due(change) or repricing.reprice(0.3) or repricing.stamp(0.3):
                repricing.reprice(0.3)
                self.progress(change, show)
                change.refresh_from_db()
                if change.status not in busy and not _due(change):
                    break
            repricing.stamp()
            show.end()
            change.refresh_from_db()
        self.tell(change, json)

    def progress(self, change: PriceChange, show: Progress) -> None:
        works = list(Repricing.objects.filter(change_id=change.pk))
        show(
            f"{change.status}:", sum(w.checked for w in works), sum(w.subscriptions for w in works)
        )

    def tell(self, change: PriceChange, json: bool) -> None:
        if json:
            self.write_json(change)
            return
        write = self.stdout.write
        write(f"Price change {change.pk}: {_words(change)}")
        write(
            f"  {change.status}, planned by {change.planned_by}"
            + (f", approved by {change.approved_by}" if change.approved_by else "")
            + (f", in force from {change.effective_at.isoformat()}" if change.effective_at else "")
        )
        if change.note:
            write(f"  {change.note}")
        if change.status in ("planned", "held") and change.preview:
            self.tell_preview(change)
        if change.started_at:
            done = lifecycle.outcome(change)
            skipped = "".join(f", {rows:,} {reason}" for reason, rows in done["skipped"].items())
            write(
                f"  {done['rows']:,} rows: {done['applied']:,} moved{skipped},"
                f" {done['failed']:,} failed"
            )
            if done["superseded"]:
                write(f"  {done['superseded']:,} rows of earlier changes are held by this one")
        verbs = lifecycle.allowed(change)
        if "approve" in verbs and change.fingerprint:
            self.next(f"approve {change.pk} {change.fingerprint} --wait")
        elif verbs:
            self.next(f"{verbs[0]} {change.pk}")

    def tell_preview(self, change: PriceChange) -> None:
        seen, write = change.preview or {}, self.stdout.write
        stays = "".join(f", {rows:,} {reason}" for reason, rows in seen["stays"].items())
        write(
            f"  {seen['rows']:,} rows: {seen['moves']:,} would move{stays};"
            f" {seen['stop_following']:,} would stop following the catalogue"
        )
        write(f"  total {_money(seen['total_before'])} → {_money(seen['total_after'])}")
        for pair in [pair for pair in seen["by_service_and_plan"] if pair["moves"]][:10]:
            name = f"{pair['service_name']}, {pair['plan_name']}"
            write(
                f"    {name:<40} {pair['moves']:>9,} rows {_money(pair['before']):>16} →"
                f" {_money(pair['after']):>16}"
            )
        if seen["scheduled_before"]:
            numbers = ", ".join(map(str, seen["scheduled_before"]))
            write(f"  scheduled before it, and not in these figures: {numbers}")

    def next(self, words: str) -> None:
        if self.stdout.isatty() or not sys.stdin.isatty():
            self.stdout.write(f"  next: ./pricebook manage price_change {words}")

    def write_json(self, change: PriceChange) -> None:
        fields = {
            field.attname: getattr(change, field.attname) for field in change._meta.concrete_fields
        }
        outcome = lifecycle.outcome(change) if change.started_at else None
        record = fields | {"allowed": lifecycle.allowed(change), "outcome": outcome}
        self.stdout.write(_encoder.encode(record).decode())


_encoder = msgspec.json.Encoder(decimal_format="number")


def _get(number: int) -> PriceChange:
    change = PriceChange.objects.select_related("service", "plan").filter(pk=number).first()
    if change is None:
        raise ChangeError("not_found", f"There is no price change {number}.", 404)
    return change


def _due(change: PriceChange) -> bool:
    """Whether something of it, or of the change that takes it back, is left to do now."""
    numbers = [change.pk, *change.reverted_by.values_list("pk", flat=True)]
    changes = PriceChange.objects.filter(pk__in=numbers)
    return (
        changes.filter(status="scheduled", effective_at__lte=definition.timezone.now()).exists()
        or Repricing.objects.due().filter(change_id__in=numbers, paused_at=None).exists()
    )


def _money(text: str) -> str:
    return f"{Decimal(text):,.2f}"


def _words(change: PriceChange) -> str:
    if change.kind == PriceChange.Kind.SET:
        amount = f" {change.operand.normalize():f}" if change.operand is not None else ""
        where = ", ".join(f"{name} {value}" for name, value in (change.filter or {}).items())
        does = f"{where or 'all subscriptions'}: {change.get_adjustment_display()}{amount}"
    elif change.kind == PriceChange.Kind.REVERT:
        does = f"what change {change.reverts_id} moved goes back"
    else:
        thing = (Service if change.service_id else Plan).objects.filter(
            pk=change.service_id or change.plan_id
        )
        does = f"{thing.first() or 'deleted'}: {change.get_kind_display()} → {change.new_value}"
        if change.for_new_only:
            does += " for new subscriptions"
    return f"{change.title} ({does})" if change.title else does


def _values(options: dict[str, Any]) -> dict[str, Any]:
    values = {name: options[name] for name in FIELDS if options[name] is not None}
    if options["at"]:
        values["effective_at"] = options["at"]
    if options["until"]:
        values["locked_until"] = options["until"]
    adjustments = {
        name: options[name]
        for name in ("amount", "add", "percent", "lock", "release", "follow")
        if options[name]
    }
    if adjustments:
        [(adjustment, operand)] = adjustments.items()
        kept = dict(_pair(text) for text in options["filter"])
        if options["service"]:
            kept["service"] = _service(options["service"]).pk
        if options["plan"]:
            kept["plan"] = _plan(options["plan"]).pk
        if not kept and not options["all"]:
            raise CommandError("Which subscriptions? Give --filter NAME=VALUE, or --all.")
        values |= {"kind": "set", "adjustment": adjustment, "filter": kept}
        if operand is not True:
            values["operand"] = operand
        if options["step"]:
            values["rounding_step"] = options["step"]
        return values
    if bool(options["service"]) == bool(options["plan"]) or not options["to"]:
        raise CommandError(
            "Give --service or --plan with --to, or a set: --filter with --amount, --add, --percent,"
            " --lock, --release or --follow."
        )
    if options["service"]:
        values |= {"kind": "list_price", "service": _service(options["service"]).pk}
    else:
        values |= {"kind": "discount", "plan": _plan(options["plan"]).pk}
    values["new_value"] = options["to"]
    if options["new_only"]:
        values["for_new_only"] = True
    return values


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise CommandError(f"--filter {text!r} is not NAME=VALUE.")
    return name, value


def _service(text: str) -> Service:
    found = Service.objects.filter(name=text).first()
    if found is None and text.isascii() and text.isdigit() and len(text) < 19:
        found = Service.objects.filter(pk=int(text)).first()
    if found is None:
        names = ", ".join(Service.objects.values_list("name", flat=True)[:20])
        raise CommandError(f"There is no service {text!r}; there are {names}.")
    return found


def _plan(text: str) -> Plan:
    plan_type, _, percent = text.partition(" ")
    plans = Plan.objects.none()
    if percent.isascii() and percent.isdigit() and len(percent) <= 3:
        plans = Plan.objects.filter(plan_type=plan_type, discount_percent=int(percent))
    elif text.isascii() and text.isdigit() and len(text) < 19:
        plans = Plan.objects.filter(pk=int(text))
    found = plans.first()
    if found is None:
        names = ", ".join(f"{p.plan_type} {p.discount_percent}" for p in Plan.objects.all()[:20])
        raise CommandError(f"There is no plan {text!r}; there are {names}.")
    return found
