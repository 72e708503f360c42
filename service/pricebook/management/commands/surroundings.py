"""`surroundings`: whether servers answer, limits of sessions are in force, and clocks agree."""

from typing import Any

import psycopg
from django.conf import settings
from django.core.management import BaseCommand, CommandError
from django.db import DatabaseError

from pricebook import surroundings
from pricebook.kit.session_limits import bound_transactions


class Command(BaseCommand):
    help = "Say what is not as it should be: cache, broker, limits of sessions, clocks, TLS."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        bound_transactions(settings.DATABASES["default"])  # as a worker has it
        try:
            found = surroundings.wrong()
        except (DatabaseError, psycopg.Error) as error:
            found = [f"The database can't be used: {str(error).strip()}"]
            found += surroundings.unverified() + surroundings.silent()
        if found:
            raise CommandError(" ".join(found))
        self.stdout.write(
            "cache and broker answer, sessions have their limits, and this host's clock is the"
            " database's"
        )
