"""`manage import_history FILE`: what subscriptions have paid before; see docs/data.md."""

import io
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from pricebook.kit.figures import grouped
from pricebook.kit.refusal import Refusal
from services.jobs.imports import WholeFile, history_recorded
from services.management import arguments, reading_options
from services.management.progress import ProgressLine
from services.past.importing import COLUMNS
from services.transfer.csv_file import BadBook


class Command(BaseCommand):
    help = (
        "Read what subscriptions of the book have paid in the past, from a CSV file, plain or .gz"
        " (docs/data.md): effective then, recorded now. All of it, or nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help="the file, or - for standard input")
        parser.add_argument(
            "--dry-run", action="store_true", help="only show what it would do; nothing is written"
        )
        arguments.add_author(parser)
        reading_options.add_to(parser)

    def handle(self, *, file: str, dry_run: bool, author: str | None, **options: Any) -> None:
        reading = reading_options.reading_of(options, COLUMNS)
        try:
            whole = WholeFile.at(file)
            with io.BufferedReader(whole) as raw:
                progress = ProgressLine(self.stderr, raw)
                try:
                    brought, earlier = history_recorded(
                        raw,
                        whole,
                        reading=reading,
                        dry_run=dry_run,
                        author=arguments.author_of(author),
                        progress=progress,
                    )
                finally:
                    progress.end()
        except BadBook as bad:
            raise CommandError(
                _("%(file)s is wrong, nothing was written.\n%(bad)s") % {"file": file, "bad": bad}
            ) from None
        except Refusal as refusal:
            raise CommandError(
                _("Nothing was written. %(detail)s (%(code)s)")
                % {"detail": refusal.detail, "code": refusal.code}
            ) from None
        except OSError as error:
            raise CommandError(
                _("%(file)s can't be read: %(value)s.")
                % {"file": file, "value": error.strerror or error}
            ) from None
        if earlier is not None:
            self.stdout.write(
                _("This file was imported before, as job %(pk)s.") % {"pk": earlier.pk}
            )
        move = brought.moved
        self.stdout.write(
            _(
                "%(lines)s lines, of which %(corrected)s say another price than the book"
                " told: of %(rows)s subscriptions, at their first line %(before)s before and"
                " %(after)s after, %(currency)s."
            )
            % {
                "lines": grouped(brought.lines),
                "corrected": grouped(brought.corrected),
                "rows": grouped(move.rows),
                "before": format(move.before, ",.2f"),
                "after": format(move.after, ",.2f"),
                "currency": settings.CURRENCY,
            }
        )
        if not dry_run and (kept := reading_options.keep(reading, options)):
            self.stdout.write(kept)
        if dry_run:
            self.stdout.write(_("A dry run: nothing was written."))
