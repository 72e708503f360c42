"""The question of a command before it moves prices: asked on a terminal, and skipped by `--yes`."""

import sys
from argparse import ArgumentParser
from collections.abc import Callable

from django.core.management.base import CommandError
from django.utils.translation import gettext as _

from services.moves import WaitingPlan


def add_to(parser: ArgumentParser, yes: bool = True) -> None:
    """Add `--dry-run`, and `--yes` unless the command has one with another meaning."""
    parser.add_argument(
        "--dry-run", action="store_true", help="only show what it would do; nothing is written"
    )
    if yes:
        parser.add_argument(
            "--yes", action="store_true", help="don't ask first, as a terminal is asked otherwise"
        )


def goes_on(show: Callable[[], None], *, dry_run: bool, quiet: bool) -> bool:
    """Show what would move, for a dry run or before the question; whether to do it then.

    `quiet`: don't ask. Raises CommandError (status 1) if the answer is not yes.
    """
    asks = not dry_run and not quiet and may_be_asked()
    if dry_run or asks:
        show()
    if asks:
        ask()
    return not dry_run


def may_be_asked() -> bool:
    """Whether somebody sits at a terminal, who can answer."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask() -> None:
    """Ask; raises CommandError (status 1) if the answer is not yes."""
    sys.stderr.write(_("Do it? [y/N] "))
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes", *_("y yes").split()):
        raise CommandError(_("Nothing was done."))


def waits(plan: WaitingPlan) -> CommandError:
    """The error (status 3) that says that nothing has moved, and that a plan waits."""
    command = f"./pricebook manage price_change show {plan.id}"
    return CommandError(
        _("%(detail)s (needs_another_person)\n  next: %(command)s")
        % {"detail": plan.detail, "command": command},
        returncode=3,
    )
