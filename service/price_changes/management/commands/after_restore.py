"""`manage after_restore`: what a book asks for that was restored, put back or recovered."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.utils.translation import gettext as _

from price_changes.running.restored import Restored, after_restore
from pricebook.kit.exact_json import encode
from pricebook.kit.figures import grouped, instant
from services import lives
from services.management import arguments
from services.management.progress import ProgressLine

MIGRATION = ("services", "0066_lives")


class Command(BaseCommand):
    help = (
        "Run it once after a restore, a recovery to a point in time, or a disk that was put back:"
        " says which life of the database this is and up to where those who follow agree with it,"
        " previews again, checks the book, verifies the ledger, and notes that all of this is done."
        " Harmless elsewhere. Exits 1 if the book or the ledger is not right."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--put-back",
            action="store_true",
            help="the files of the server are those of an earlier moment (a snapshot of the disk),"
            " which nothing in the database shows",
        )
        parser.add_argument(
            "--check",
            action="store_true",
            help="do nothing; exit 1 if the book was restored and this was not run since",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        arguments.add_author(parser)

    def handle(
        self, *, put_back: bool, check: bool, json: bool, author: str | None, **options: Any
    ) -> None:
        if check and put_back:
            raise CommandError(_("--check does nothing, so it takes no --put-back."))
        if check:
            self._check()
            return
        line, verifying = ProgressLine(self.stderr), _("verifying")
        done = after_restore(
            arguments.author_of(author), put_back, lambda rows, all: line(verifying, rows, all)
        )
        line.end()
        if json:
            self.stdout.write(encode(as_json(done)).decode())
        else:
            self._tell(done)
        if not done.is_sound:
            sys.exit(1)

    def _check(self) -> None:
        if MIGRATION not in MigrationRecorder(connection).applied_migrations():
            raise CommandError(_("lives of the database: not known before the pending migrations"))
        found = lives.standing()
        if found.waits:
            raise CommandError(
                _("The book was restored, and `manage after_restore` has not been run since.")
            )
        self.stdout.write(_("life %(number)s of the database") % {"number": found.number})

    def _tell(self, done: Restored) -> None:
        life = done.life
        began = _("Life %(number)s of the database (%(why)s), which began %(at)s.")
        at = instant(life.began_at)
        self.stdout.write(began % {"number": life.number, "why": life.why, "at": at})
        if done.common_until is not None:
            self.stdout.write(
                _(
                    "Those who follow the feed agree with the book up to the place %(place)s: if"
                    " they hold more, they are told so (410 place_of_another_life)."
                )
                % {"place": done.common_until}
            )
        if done.previewed:
            self.stdout.write(
                _("Previewed again: price changes %(ids)s.") % {"ids": _ids(done.previewed)}
            )
        if done.not_previewed:
            self.stdout.write(
                _("Can't be previewed: price changes %(ids)s.")
                % {"ids": ", ".join(f"{pk} ({code})" for pk, code in done.not_previewed.items())}
            )
        if done.undecided:
            self.stdout.write(
                _(
                    "Approved before: price changes %(ids)s. It is not known how much has moved"
                    " since their preview: look at them."
                )
                % {"ids": _ids(done.undecided)}
            )
        self.stdout.write(f"{'✗' if done.check.differs else '✓'} {done.check}")
        if done.check.differs:
            self.stdout.write(_("  Fix it: check_book --repair"))
        ledger = done.ledger
        if ledger.is_sound:
            sealed = _("the ledger is as it was sealed: %(blocks)s blocks, %(rows)s rows")
            said = sealed % {"blocks": grouped(ledger.blocks), "rows": grouped(ledger.rows)}
            self.stdout.write(f"✓ {said}")
        else:
            self.stdout.write("✗ " + _("the ledger is not as it was sealed: see verify_ledger"))
        if done.acknowledged:
            self.stdout.write(_("Noted: this restore needs nobody any more."))
        else:
            self.stdout.write(_("Nothing is noted: run this again when that is fixed."))


def _ids(ids: list[int]) -> str:
    return ", ".join(map(str, ids))


def as_json(done: Restored) -> dict[str, Any]:
    """The report for programs."""
    return {
        "life": {"number": done.life.number, "why": done.life.why, "began_at": done.life.began_at},
        "common_until": None if done.common_until is None else str(done.common_until),
        "previewed": done.previewed,
        "not_previewed": [{"id": pk, "code": code} for pk, code in done.not_previewed.items()],
        "undecided": done.undecided,
        "book_differs": done.check.differs,
        "ledger_is_sound": done.ledger.is_sound,
        "acknowledged": done.acknowledged,
    }
