"""`manage export_history [FILE]`: what subscriptions have paid; see docs/data.md."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from pricebook.kit.figures import grouped
from pricebook.kit.snapshot import one_snapshot
from services.management.commands.export_book import opened
from services.past.exporting import export_history


class Command(BaseCommand):
    help = (
        "Write what each subscription has paid, from when on, as CSV (docs/data.md): with the file"
        " of export_book it makes an empty book that tells the same of the past."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "file", nargs="?", default="-", help="compressed if it ends in .gz (default: stdout)"
        )
        parser.add_argument("--consistent", action="store_true", help="one snapshot for all of it")

    def handle(self, *, file: str, consistent: bool, **options: Any) -> None:
        try:
            with opened(file) as sink:
                if consistent:
                    with one_snapshot():
                        lines = export_history(sink)
                else:
                    lines = export_history(sink)
        except OSError as error:
            raise CommandError(
                _("%(file)s can't be written: %(value)s.")
                % {"file": file, "value": error.strerror or error}
            ) from None
        self.stderr.write(_("%(lines)s prices written.") % {"lines": grouped(lines)})
