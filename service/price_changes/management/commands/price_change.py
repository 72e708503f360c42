"""`manage price_change plan|list|show|preview|rows|skips|approve|keep_instant|watch|pause|…`.

docs/price-changes.md is its guide.
"""

import time
from argparse import ArgumentParser
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

from price_changes import verbs
from price_changes.errors import ChangeError
from price_changes.kinds.words import Names
from price_changes.management import plan_options, telling
from price_changes.management.following import Following, change_of
from price_changes.management.record import record
from price_changes.management.telling import Telling
from price_changes.models import PriceChange
from price_changes.planning import preview, status_now
from price_changes.planning.braked import brake_on
from price_changes.planning.local_instant import other_instant
from price_changes.planning.pending import pending_of
from price_changes.running.brake import said
from price_changes.running.dry_runs import DryRun
from price_changes.showing import terminal
from price_changes.showing.rows import moved_rows
from price_changes.showing.sentences import sentence
from price_changes.showing.states import reason_of, state_of, why
from pricebook.kit import exact_json
from pricebook.kit.figures import grouped
from services.management import arguments, question
from services.management.table import shown_amount, shown_instant, table, words_of
from services.models import Skip, book_clock
from services.moves import WaitingPlan

Status = PriceChange.Status
VERBS = {
    "show": "show what it is, and what it would do or has done",
    "preview": "count anew what it would do",
    "rows": "list its subscriptions one by one, old → new",
    "skips": "list the subscriptions that it did not move, and why",
    "approve": "approve what the preview showed",
    "reject": "end one that is planned or held, with a reason",
    "notices": "list whom to tell of it, or record who was told",
    "accept": "approve what an edit by SQL has moved beyond a limit",
    "keep_instant": "keep its instant, though the rules of its time zone have changed",
    "watch": "follow the workers until it is applied",
    "pause": "leave its remaining rows alone",
    "resume": "go on with one that was paused",
    "cancel": "cancel it; what it has moved is taken back",
    "revert": "plan the change that takes it back",
}
# The verbs that record who did it.
DECIDED_BY = (
    "plan",
    "approve",
    "reject",
    "notices",
    "accept",
    "keep_instant",
    "pause",
    "resume",
    "cancel",
    "revert",
)


class Command(Following, Telling, BaseCommand):
    help = (
        "Plan a price change, look at what it would do, approve it, watch it being applied, take "
        "it back. Each verb prints what to type next. The guide: docs/price-changes.md"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        plan_options.add_to(verbs.add_parser("plan", help="plan a change, and preview it"))
        listed = verbs.add_parser("list", help="changes, the newest first")
        listed.add_argument("--status", choices=Status.values)
        listed.add_argument(
            "--subscription",
            type=arguments.number,
            metavar="ID",
            help="the scheduled ones that would move it, the next one first",
        )
        listed.add_argument("--limit", type=arguments.count, default=20)
        one = {verb: verbs.add_parser(verb, help=help) for verb, help in VERBS.items()}
        for verb_parser in one.values():
            verb_parser.add_argument(
                "number", type=arguments.number, help="that of the price change"
            )
        approve = one["approve"]
        approve.add_argument("fingerprint", help="as the preview printed it")
        approve.add_argument(
            "--when-moved",
            choices=PriceChange.WhenMoved.values,
            help="if rows of the set have moved by its instant, or the catalogue has another value"
            " by then: hold it (default), move the approved rows that nobody moved (frozen; sets"
            " only), or take what is there then (current)",
        )
        approve.add_argument(
            "--at",
            dest="effective_at",
            metavar="INSTANT",
            help="in the future; for a change that was planned without, or that was held",
        )
        plan_options.add_zone(approve)
        one["reject"].add_argument("--reason", required=True, help="its planner reads it")
        telling.add_to(one["notices"])
        for verb in ("rows", "skips"):
            one[verb].add_argument("--after", type=int, default=0, metavar="ID")
            one[verb].add_argument("--limit", type=arguments.count, default=50)
        one["rows"].add_argument(
            "--only", choices=["moves", *Skip.Reason.values], help="rows that move, or of a reason"
        )
        question.add_to(approve)
        for verb in ("revert", "cancel"):
            question.add_to(one[verb], yes=False)
        one["revert"].add_argument("--yes", action="store_true", help="approve it at once")
        for verb in ("approve", "resume", "cancel", "revert"):
            one[verb].add_argument(
                "--wait", action="store_true", help="apply it in this process, beside the workers"
            )
        for verb, verb_parser in verbs.choices.items():
            if verb in DECIDED_BY:
                arguments.add_author(verb_parser)
            verb_parser.add_argument("--json", action="store_true", help="for programs")

    def handle(self, *, verb: str, **options: Any) -> None:
        if "author" in options:
            options["author"] = arguments.author_of(options["author"])
        if (on := brake_on()) is not None:
            self.note(said(on))
        try:
            getattr(self, verb)(**options)
        except ChangeError as error:
            raise CommandError(f"{plan_options.in_options(error)} ({error.code})") from error

    # --- Verbs ----------------------------------------------------------------------------

    def plan(self, *, author: str, json: bool, **options: Any) -> None:
        values = plan_options.values(options)
        with transaction.atomic():  # if the preview is refused, no plan is left
            change = verbs.plan(values, author)
            change = verbs.preview(change.pk)
        self.tell(change, json, preview=True)

    def preview(self, *, number: int, json: bool, **options: Any) -> None:
        self.tell(verbs.preview(number), json, preview=True)

    def show(self, *, number: int, json: bool, **options: Any) -> None:
        change = change_of(number)
        # The preview of a held change is of what was there before.
        self.tell(change, json, preview=change.status in (Status.PLANNED, Status.SCHEDULED))

    def list(
        self,
        *,
        status: str | None,
        subscription: int | None,
        limit: int,
        json: bool,
        **options: Any,
    ) -> None:
        if subscription is not None:
            changes = [change for change, _ in pending_of(subscription)[:limit]]
        else:
            found = PriceChange.objects.all()
            changes = [*(found.filter(status=status) if status else found)[:limit]]
        status_now.refresh(changes)
        if json:
            return self.write_json(map(record, changes))
        names = Names.of_changes(changes)
        rows = [
            (str(change.pk), state_of(change.status), _from(change), change.planned_by,
             change.title or sentence(change, names))
            for change in changes
        ]  # fmt: skip
        self.write(table("><<<<", [("", _("state"), _("from"), _("by"), _("what")), *rows]))

    def rows(
        self, *, number: int, after: int, limit: int, only: str | None, json: bool, **options: Any
    ) -> None:
        change = change_of(number)
        if change.started_at is None:
            found = preview.listed(change, after, limit, only)
        elif only in (None, "moves"):
            found = moved_rows(change, after, limit)
        else:
            raise CommandError(
                _("It has been applied: price_change skips %(number)s has the others.")
                % {"number": number}
            )
        if json:
            return self.write_json(map(asdict, found))
        lines = [
            (str(row.subscription), shown_amount(row.old_price), "→", shown_amount(row.new_price),
             words_of(row.new_state), reason_of(row.reason or ""))
            for row in found
        ]  # fmt: skip
        head = (
            _("subscription"),
            pgettext("price", "old"),
            "",
            pgettext("price", "new"),
            _("state"),
            _("stays because"),
        )
        self.write(table(">>>><<", [head, *lines]))
        if len(found) == limit:
            more = f" --only {only}" if only else ""
            self.next(f"rows {number} --after {found[-1].subscription}{more}")

    def skips(self, *, number: int, after: int, limit: int, json: bool, **options: Any) -> None:
        names = ("id", "reason", "rows", "subscription_id", "by_change_id", "detail")
        skips = Skip.objects.filter(repricing__change_id=change_of(number).pk, id__gt=after)
        found = [*skips.order_by("id").values(*names)[:limit]]
        if json:
            return self.write_json(found)
        lines = [
            (str(skip["id"]), str(skip["subscription_id"] or _rows(skip["rows"])),
             why(skip["reason"], skip["by_change_id"]), skip["detail"])
            for skip in found
        ]  # fmt: skip
        self.write(table(">><<", [("", _("subscription"), _("why"), ""), *lines]))
        if len(found) == limit:
            self.next(f"skips {number} --after {found[-1]['id']}")

    def approve(
        self,
        *,
        number: int,
        fingerprint: str,
        author: str,
        when_moved: str | None,
        effective_at: str | None,
        time_zone: str | None,
        wait: bool,
        json: bool,
        **options: Any,
    ) -> None:
        asked = (number, fingerprint, author, when_moved)
        if not question.goes_on(
            lambda: self.show_first(verbs.dry_run_of_approval(*asked), json),
            dry_run=options["dry_run"],
            quiet=options["yes"] or json,
        ):
            return
        change = verbs.approve(number, fingerprint, author, when_moved, effective_at, time_zone)
        self.go_on(change, wait, json)

    def reject(self, *, number: int, reason: str, author: str, json: bool, **options: Any) -> None:
        self.tell(verbs.reject(number, author, reason), json)

    def accept(self, *, number: int, author: str, json: bool, **options: Any) -> None:
        self.tell(verbs.accept(number, author), json)

    def keep_instant(self, *, number: int, author: str, json: bool, **options: Any) -> None:
        self.tell(verbs.keep_instant(number, author), json)

    def watch(self, *, number: int, json: bool, **options: Any) -> None:
        self.follow(change_of(number), lambda: time.sleep(0.2), json)

    def pause(self, *, number: int, author: str, json: bool, **options: Any) -> None:
        self.tell(verbs.pause(number, author), json)

    def resume(self, *, number: int, author: str, wait: bool, json: bool, **options: Any) -> None:
        self.go_on(verbs.resume(number, author), wait, json)

    def cancel(
        self, *, number: int, author: str, wait: bool, json: bool, dry_run: bool, **options: Any
    ) -> None:
        if dry_run:
            return self.show_first(verbs.dry_run_of_cancel(number, author), json)
        change = verbs.cancel(number, author)
        back = change.reverted_by.filter(status=Status.SCHEDULED).first()
        if back is None:
            return self.tell(change, json)
        if not json:
            self.stdout.write(
                _("Price change %(number)s is cancelled; what it moved goes back.")
                % {"number": number}
            )
        self.go_on(back, wait, json)

    def revert(
        self, *, number: int, author: str, yes: bool, wait: bool, json: bool, **options: Any
    ) -> None:
        if wait and not yes:
            raise CommandError(
                _("--wait needs --yes: look at it first, or apply it."), returncode=2
            )
        if options["dry_run"]:
            return self.show_first(verbs.dry_run_of_revert(number, author), json)
        back = verbs.revert(number, author, approve_too=yes)
        if back.needs_another:
            raise question.waits(WaitingPlan(back.pk, back.needs_another))
        if yes:
            self.go_on(back, wait, json)
        else:
            self.tell(back, json, preview=True)

    def show_first(self, dry_run: DryRun, json: bool) -> None:
        """Print what a verb would move."""
        if json:
            return self.write_json([asdict(dry_run)])
        self.write(terminal.dry_run_lines(dry_run))

    # --- The output -----------------------------------------------------------------------

    def tell(self, change: PriceChange, json: bool, preview: bool = False) -> None:
        if json:
            return self.write_json([record(change)])
        change = change_of(change.pk)
        self.write(terminal.lines(change, preview))
        self.next(_next(change, preview))

    def next(self, words: str) -> None:
        if words:
            self.stdout.write(
                _("\n  next: %(command)s") % {"command": f"./pricebook manage price_change {words}"}
            )

    def write(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.stdout.write(line)

    def write_json(self, records: Iterable[dict[str, Any]]) -> None:
        for each in records:
            self.stdout.write(exact_json.encode(each).decode())


def _from(change: PriceChange) -> str:
    return shown_instant(change.effective_at) + (
        _(" (zone rules moved)") if other_instant(change) else ""
    )


def _rows(number: int) -> str:
    return ngettext("%(rows)s row", "%(rows)s rows", number) % {"rows": grouped(number)}


def _next(change: PriceChange, previewed: bool) -> str:
    wait = "" if change.effective_at and change.effective_at > book_clock() else " --wait"
    match change.status:
        case Status.PLANNED if change.has_approvable_preview:
            return f"approve {change.pk} {change.fingerprint}{wait}"
        case Status.PLANNED:
            return f"preview {change.pk}"
        case Status.HELD if previewed:
            return f"approve {change.pk} {change.fingerprint}{wait}"
        case Status.HELD:
            return f"preview {change.pk}"
        case Status.SCHEDULED if not wait:
            return f"cancel {change.pk}"
        case Status.SCHEDULED | Status.APPLYING:
            return f"watch {change.pk}"
        case Status.PAUSED:
            return f"resume {change.pk}"
        case Status.APPLIED if change.reverts_id is None:
            return f"revert {change.pk}"
    return ""
