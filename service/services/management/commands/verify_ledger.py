import sys
from argparse import ArgumentParser, ArgumentTypeError
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from pricebook.kit.exact_json import encode
from pricebook.kit.figures import grouped
from services.ledger import seals
from services.ledger.seals import Broken, Head, Report, Unsealed
from services.ledger.seals.blocks import COUNTED
from services.management.progress import ProgressLine

LATE = 60 * 60  # seconds after which it is a fault that something is not sealed


def positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 2**63:
        raise ArgumentTypeError(_("%(text)s is no number of a block, from 1.") % {"text": text})
    return int(text)


def a_head(text: str) -> str:
    number, _colon, hash = text.strip().lower().rpartition(":")
    if number:
        positive(number)
    if len(hash) != 64 or set(hash) - set("0123456789abcdef"):
        raise ArgumentTypeError(
            _("%(text)s is no head: give BLOCK:HASH or HASH, 64 hexadecimal digits.")
            % {"text": text}
        )
    return f"{number}:{hash}" if number else hash


class Command(BaseCommand):
    help = (
        "Prove that the ledger is as it was sealed: walk the chain of blocks, and compare the rows"
        " of each. Names the first block that does not fit; exits 1 then."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument(
            "--from",
            type=positive,
            default=1,
            dest="first",
            metavar="BLOCK",
            help="begin at this block, and believe what it says of the one before it",
        )
        parser.add_argument(
            "--head",
            type=a_head,
            action="append",
            default=[],
            dest="heads",
            metavar="HEAD",
            help="BLOCK:HASH or HASH that was kept elsewhere: a block must have it (repeatable)",
        )
        parser.add_argument(
            "--check",
            action="store_true",
            help="only say what was sealed last, and whether something waits too long",
        )

    def handle(
        self, *, json: bool, first: int, heads: list[str], check: bool, **options: Any
    ) -> None:
        if check:
            self._say_head()
            return
        line = ProgressLine(self.stderr)
        verifying = _("verifying")
        report = seals.verify(first, heads, lambda done, rows: line(verifying, done, rows))
        line.end()
        if json:
            self.stdout.write(encode(as_json(report)).decode())
        else:
            self._print(report, first)
        if not report.is_sound:
            sys.exit(1)

    def _say_head(self) -> None:
        newest, waiting = seals.head(), seals.unsealed()
        if waiting.is_ahead:
            assert newest is not None
            raise CommandError(
                _(
                    "Nothing is sealed: block %(block)s is of a transaction that this server has"
                    " not reached. The book was restored into another server."
                )
                % {"block": newest.block}
            )
        if waiting.seconds > LATE:
            raise CommandError(
                _(
                    "The ledger is not sealed since %(at)s: no worker does it, or a transaction is"
                    " open in a database of the server."
                )
                % {"at": waiting.oldest}
            )
        self.stdout.write(head_said(newest) + waits(waiting))

    def _print(self, report: Report, first: int) -> None:
        if report.broken:
            self._print_broken(report.broken)
        for head in report.unknown_heads:
            self.stdout.write(
                _(
                    "✗ No block that fits has the head %(head)s: the chain was sealed anew since,"
                    " or this is another book, or one that was restored to a time before it."
                )
                % {"head": head}
            )
        if report.wrong_values:
            self.stdout.write(
                _(
                    "✗ Values of the catalogue that don't say of themselves what the sealed facts"
                    " say: %(ids)s."
                )
                % {"ids": ", ".join(map(str, report.wrong_values[:20]))}
            )
        mark = "✓" if report.is_sound else " "
        fitting = {"blocks": grouped(report.blocks), "rows": grouped(report.rows)}
        self.stdout.write(
            f"{mark} "
            + _("%(blocks)s blocks with %(rows)s rows are as they were sealed") % fitting
            + (_(", from block %(first)s on") % {"first": first} if first > 1 else "")
            + (f": {report.head_block}:{report.head}" if report.head else "")
            + (waits(report.unsealed) if report.unsealed else "")
        )

    def _print_broken(self, broken: Broken) -> None:
        named = {"block": broken.block, "at": broken.sealed_at, "count": grouped(broken.count)}
        self.stdout.write("✗ " + SAYS[broken.why] % named)
        for row in broken.rows:
            self.stdout.write(f"    {row}")
        if broken.count > len(broken.rows):
            more = grouped(broken.count - len(broken.rows))
            self.stdout.write(_("… and %(value)s more") % {"value": more})


SAYS = {
    "missing": _lazy("Block %(block)s is missing."),
    "chain": _lazy(
        "Block %(block)s, sealed at %(at)s, names another block before it than there is."
    ),
    "hash": _lazy("Block %(block)s, sealed at %(at)s, does not have its own hash: it was changed."),
    "rows": _lazy(
        "Block %(block)s, sealed at %(at)s, has other rows than were sealed. Differences that can"
        " be named: %(count)s."
    ),
}


def head_said(newest: Head | None) -> str:
    if newest is None:
        return _("nothing of the ledger is sealed yet")
    return _("the ledger is sealed up to block %(head)s, at %(at)s") % {
        "head": newest,
        "at": newest.sealed_at,
    }


def waits(waiting: Unsealed) -> str:
    if not waiting.rows:
        return ""
    rows = grouped(waiting.rows) if waiting.rows < COUNTED else f"≥ {grouped(COUNTED)}"
    return _("; %(rows)s rows wait to be sealed") % {"rows": rows}


def as_json(report: Report) -> dict[str, Any]:
    return asdict(report) | {"is_sound": report.is_sound}
