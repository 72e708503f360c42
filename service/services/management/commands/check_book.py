import sys
from argparse import ArgumentParser
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from django.core.management.base import BaseCommand

from pricebook.kit.currency import shown
from pricebook.kit.exact_json import encode
from services.audit import book_check
from services.audit.book_report import BookCheck
from services.audit.look_alikes import look_alikes


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

    def handle(self, *, limit: int, json: bool, repair: bool, **options: Any) -> None:
        self._note("Checking the book…")
        book = book_check.check(limit=max(0, limit))
        repaired = None
        if repair and book.differs:
            if not json:
                self._print(book)
            self._note(f"Fixing {book.differing:,} prices…")
            repaired = book_check.repair()
            book = book_check.check(limit=max(0, limit))
        book_check.remember(book)
        self._note("")

        if json:
            report = asdict(book) | {"differs": book.differs, "mended": repaired}
            report["look_alikes"] = [{"of": kind, "names": names} for kind, names in look_alikes()]
            self.stdout.write(encode(report).decode())
        else:
            if repaired:
                self.stdout.write(
                    f"Fixed {repaired.prices:,} prices and {repaired.subtotals:,} subtotals, "
                    f"and appended {repaired.entries:,} entries to the ledger."
                )
            self._print(book)
            for kind, names in look_alikes():
                named = ", ".join(map(repr, names))
                self.stdout.write(f"  {kind} that look alike: {named}")
        if book.differs:
            sys.exit(1)

    def _print(self, book: BookCheck) -> None:
        if book.mispriced:
            self.stdout.write(
                f"{'id':>10}  {'client':<24}  {'service':<24}  {'plan':<14}"
                f"{'price':>14}{'rule price':>14}{'difference':>14}"
            )
            for row in book.mispriced:
                self.stdout.write(
                    f"{row.id:>10}  {row.client[:24]:<24}  {row.service[:24]:<24}  {row.plan:<14}"
                    f"{shown(row.price):>14}{shown(row.rule_price):>14}"
                    f"{shown(row.difference, '+'):>14}"
                )
            if book.differing > len(book.mispriced):
                self.stdout.write(f"… and {book.differing - len(book.mispriced):,} more")
        for pair in book.wrong_subtotals:
            self.stdout.write(
                f"service {pair.service_id}, plan {pair.plan_id}: "
                f"{pair.subscriptions:,} rows of {shown(pair.amount)}, but the total counts "
                f"{pair.counted_subscriptions:,} of {shown(pair.counted_amount)}; "
                f"{pair.paid_subscriptions:,} pay {shown(pair.paid_amount)}, counted as "
                f"{pair.counted_paid_subscriptions:,} and {shown(pair.counted_paid_amount)}; "
                f"{pair.boundaries:,} starts and ends to come are counted wrongly"
            )
        for unknown in book.unrecorded:
            now = _words(unknown.price, unknown.price_state)
            entry = _words(unknown.recorded_price, unknown.recorded_price_state)
            self.stdout.write(
                f"subscription {unknown.id}: {now}; the ledger's last entry says: {entry}"
            )
        if book.differing_from_ledger > len(book.unrecorded):
            self.stdout.write(f"… and {book.differing_from_ledger - len(book.unrecorded):,} more")
        self.stdout.write(f"{'✗' if book.differs else '✓'} {book}")
        if book.differs:
            self.stdout.write("  Fix it: check_book --repair")

    def _note(self, text: str) -> None:
        """Show what takes time, on a terminal only; the next note replaces it."""
        if self.stderr.isatty():
            self.stderr.write(f"\r\x1b[K{text}", ending="")
            self.stderr.flush()


def _words(price: Decimal | None, price_state: str | None) -> str:
    if price is None:
        return "nothing" if price_state is None else "deleted"
    return f"{shown(price)}, {price_state}"
