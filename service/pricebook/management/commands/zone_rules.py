from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from price_changes.models import PriceChange
from price_changes.showing.instants import zone_rules_differ
from pricebook.kit.zone_rules import VERSION, first_difference

MIGRATION = ("price_changes", "0011_local_time")
OPEN = [PriceChange.Status.PLANNED, PriceChange.Status.SCHEDULED, PriceChange.Status.HELD]


class Command(BaseCommand):
    help = (
        "Print which rules of time zones are used (the package tzdata's), and whether PostgreSQL"
        " has the same ones for TIME_ZONE. Names the price changes whose local time is another"
        " instant by these rules than when it was given. Exits with 1 if anything differs."
    )
    requires_migrations_checks = False

    def handle(self, **options: Any) -> None:
        zone = settings.TIME_ZONE
        wrong = [*_database(zone), *_changes()]
        if wrong:
            raise CommandError(f"time zones: {' '.join(wrong)}")
        self.stdout.write(f"time zones by tzdata {VERSION}; PostgreSQL has the same {zone}")


def _database(zone: str) -> Iterator[str]:
    difference = first_difference(zone)
    if difference is None:
        return
    if difference.database is None:
        found = "PostgreSQL does not know it"
    else:
        found = (
            f"at {difference.at.isoformat()} its offset is {difference.ours}, and"
            f" {difference.database} in PostgreSQL"
        )
    yield (
        f"PostgreSQL has other rules for {zone} than tzdata {VERSION}: {found}. Prices follow"
        " tzdata; what psql shows as local time does not. Update the older one of the two."
    )


def _changes() -> Iterator[str]:
    if MIGRATION not in MigrationRecorder(connection).applied_migrations():
        return  # `doctor` says that migrations are pending
    open_ones = PriceChange.objects.filter(status__in=OPEN).exclude(effective_zone="")
    for change in open_ones.order_by("effective_at", "pk"):
        if differ := zone_rules_differ(change):
            yield f"Price change {change.pk} ({change.status}): {differ}"
