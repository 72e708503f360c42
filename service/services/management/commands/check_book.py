import sys
from argparse import ArgumentParser
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.utils.translation import gettext as _

from pricebook.kit.currency import shown
from pricebook.kit.exact_json import encode
from pricebook.kit.figures import grouped, instant
from services.audit import book_check
from services.audit.book_report import BookCheck
from services.audit.look_alikes import look_alikes
from services.management import arguments
from services.management.table import words_of

MIGRATION = ("services", "0064_kept_book_checks")


class Command(BaseCommand):
    help = (
        "Prove price = rule for every active subscription that follows the catalogue, "
        "total = rows, and that the ledger's last entries are the rows, in one snapshot. "
        "Prints what differs; exits 1 if anything does."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--limit", type=int, default=20, help="wrong prices to print (default: 20)"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument("--repair", action="store_true", help="fix what differs, check again")
        parser.add_argument(
            "--last", action="store_true", help="check nothing: print what the last check has found"
        )
        arguments.add_author(parser)

    def handle(
        self,
        *,
        limit: int,
        json: bool,
        repair: bool,
        last: bool,
        author: str | None,
        **options: Any,
    ) -> None:
        if last:
            self._print_last()
            return
        author = arguments.author_of(author)
        self._note(_("Checking the book…"))
        book = book_check.check(limit=max(0, limit))
        repaired = None
        if repair and book.differs:
            if not json:
                self._print(book)
            self._note(_("Fixing %(differing)s prices…") % {"differing": grouped(book.differing)})
            repaired = book_check.repair()
            book = book_check.check(limit=max(0, limit))
        book_check.remember(book, author)
        self._note("")

        if json:
            report = asdict(book) | {"differs": book.differs, "mended": repaired}
            report["look_alikes"] = [{"of": kind, "names": names} for kind, names in look_alikes()]
            self.stdout.write(encode(report).decode())
        else:
            if repaired:
                self.stdout.write(
                    _(
                        "Fixed %(prices)s prices and %(subtotals)s subtotals, and appended"
                        " %(entries)s entries to the ledger."
                    )
                    % {
                        "prices": grouped(repaired.prices),
                        "subtotals": grouped(repaired.subtotals),
                        "entries": grouped(repaired.entries),
                    }
                )
            self._print(book)
            for kind, names in look_alikes():
                named = ", ".join(map(repr, names))
                self.stdout.write(
                    _("  %(kind)s that look alike: %(named)s") % {"kind": _(kind), "named": named}
                )
        if book.differs:
            sys.exit(1)

    def _print_last(self) -> None:
        """One line; exits with 1 if it differed."""
        if MIGRATION not in MigrationRecorder(connection).applied_migrations():
            raise CommandError(_("the last book check: not known before the pending migrations"))
        kept = book_check.last_book_check()
        if kept is None:
            self.stdout.write(_("No book check is kept: workers make one every hour."))
            return
        said = {"at": instant(kept.at), "says": kept, "author": kept.author}
        if kept.author:
            line = _("book check of %(at)s by %(author)s: %(says)s") % said
        else:
            line = _("book check of %(at)s: %(says)s") % said
        self.stdout.write(line)
        if kept.differences:
            sys.exit(1)

    def _print(self, book: BookCheck) -> None:
        if book.mispriced:
            client, service, plan = _("client"), _("service"), _("plan")
            price, rule_price, difference = _("price"), _("rule price"), _("difference")
            self.stdout.write(
                f"{'id':>10}  {client:<24}  {service:<24}  {plan:<14}"
                f"{price:>14}{rule_price:>14}{difference:>14}"
            )
            for row in book.mispriced:
                self.stdout.write(
                    f"{row.id:>10}  {row.client[:24]:<24}  {row.service[:24]:<24}  {row.plan:<14}"
                    f"{shown(row.price):>14}{shown(row.rule_price):>14}"
                    f"{shown(row.difference, '+'):>14}"
                )
            if book.differing > len(book.mispriced):
                self.stdout.write(
                    _("… and %(value)s more")
                    % {"value": grouped(book.differing - len(book.mispriced))}
                )
        for pair in book.wrong_subtotals:
            self.stdout.write(
                _(
                    "service %(service_id)s, plan %(plan_id)s: %(subscriptions)s rows of"
                    " %(amount)s, but the total counts %(counted_subscriptions)s of"
                    " %(counted_amount)s; %(paid_subscriptions)s pay %(paid_amount)s, counted"
                    " as %(counted_paid_subscriptions)s and %(counted_paid_amount)s;"
                    " %(boundaries)s starts and ends to come are counted wrongly"
                )
                % {
                    "service_id": pair.service_id,
                    "plan_id": pair.plan_id,
                    "subscriptions": grouped(pair.subscriptions),
                    "amount": shown(pair.amount),
                    "counted_subscriptions": grouped(pair.counted_subscriptions),
                    "counted_amount": shown(pair.counted_amount),
                    "paid_subscriptions": grouped(pair.paid_subscriptions),
                    "paid_amount": shown(pair.paid_amount),
                    "counted_paid_subscriptions": grouped(pair.counted_paid_subscriptions),
                    "counted_paid_amount": shown(pair.counted_paid_amount),
                    "boundaries": grouped(pair.boundaries),
                }
            )
        for unknown in book.unrecorded:
            now = _words(unknown.price, unknown.price_state)
            entry = _words(unknown.recorded_price, unknown.recorded_price_state)
            self.stdout.write(
                _("subscription %(id)s: %(now)s; the ledger's last entry says: %(entry)s")
                % {"id": unknown.id, "now": now, "entry": entry}
            )
        if book.differing_from_ledger > len(book.unrecorded):
            self.stdout.write(
                _("… and %(value)s more")
                % {"value": grouped(book.differing_from_ledger - len(book.unrecorded))}
            )
        self.stdout.write(f"{'✗' if book.differs else '✓'} {book}")
        if book.differs:
            self.stdout.write(_("  Fix it: check_book --repair"))

    def _note(self, text: str) -> None:
        """Show what takes time, on a terminal only; the next note replaces it."""
        if self.stderr.isatty():
            self.stderr.write(f"\r\x1b[K{text}", ending="")
            self.stderr.flush()


def _words(price: Decimal | None, price_state: str | None) -> str:
    if price is None:
        return _("nothing") if price_state is None else _("deleted")
    return f"{shown(price)}, {words_of(price_state)}"
