"""`surroundings`: whether limits of sessions are in force, and clocks agree; for `doctor`."""

from typing import Any

from django.conf import settings
from django.core.management import BaseCommand, CommandError

from pricebook import surroundings
from pricebook.kit.session_limits import bound_transactions


class Command(BaseCommand):
    help = "Say what works and is not as it should be: limits of sessions, clocks, TLS."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        bound_transactions(settings.DATABASES["default"])  # as a worker has it
        if found := surroundings.wrong():
            raise CommandError(" ".join(found))
        self.stdout.write("sessions have their limits, and this host's clock is the database's")
