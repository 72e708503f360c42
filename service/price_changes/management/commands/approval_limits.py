from typing import Any

from django.core.management.base import BaseCommand
from django.utils.translation import gettext as _

from price_changes.running.limits import Limits


class Command(BaseCommand):
    help = "Print how much one person may move alone (docs/limits.md); `doctor` shows it."

    def handle(self, **options: Any) -> None:
        self.stdout.write(_("what one person moves alone: %(limits)s") % {"limits": Limits.now()})
