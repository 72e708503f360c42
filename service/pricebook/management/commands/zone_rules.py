from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from pricebook.kit.zone_rules import VERSION, first_difference


class Command(BaseCommand):
    help = (
        "Say which rules of time zones are used (the package tzdata's), and whether PostgreSQL has"
        " the same ones for TIME_ZONE. Exits with 1 if it has not."
    )
    requires_migrations_checks = False

    def handle(self, **options: Any) -> None:
        zone = settings.TIME_ZONE
        difference = first_difference(zone)
        if difference is None:
            self.stdout.write(f"time zones by tzdata {VERSION}; PostgreSQL has the same {zone}")
            return
        if difference.database is None:
            found = "PostgreSQL does not know it"
        else:
            found = (
                f"at {difference.at.isoformat()} its offset is {difference.ours}, and"
                f" {difference.database} in PostgreSQL"
            )
        raise CommandError(
            f"time zones: PostgreSQL has other rules for {zone} than tzdata {VERSION}: {found}."
            " Prices follow tzdata; what psql shows as local time does not. Update the older one"
            " of the two."
        )
