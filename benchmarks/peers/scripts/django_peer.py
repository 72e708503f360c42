"""A plain Django book: what the peers that are packages for Django have in common.

`set_up` comes before the imports of models, as in any script that uses Django.
"""

import os
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from worker import Peer

CENT = Decimal("0.01")
COLUMNS = {
    "client": "id, company_name, email",
    "service": "id, name, full_price",
    "plan": "id, plan_type, discount_percent",
    "subscription": "id, client_id, service_id, plan_id, price, external_id, started_at",
}


def set_up(*apps: str, **more: Any) -> None:
    """Set up Django with these apps and settings, on the database that the environment names."""
    settings.configure(
        SECRET_KEY="peer",
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", *apps, "book"],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "HOST": os.environ["DB_HOST"],
                "NAME": os.environ["DB_NAME"],
                "USER": os.environ["DB_USER"],
                "PASSWORD": os.environ["DB_PASS"],
                "PORT": os.environ["PGPORT"],
                "CONN_MAX_AGE": None,
                # As Pricebook's session. The CPU of parallel workers would not be counted.
                "OPTIONS": {"options": "-c jit=off -c max_parallel_workers_per_gather=0"},
            }
        },
        **more,
    )
    django.setup()


def rule(service: Any, plan: Any) -> Decimal:
    """The price of the catalogue."""
    price = Decimal(service.full_price) * (100 - plan.discount_percent) / 100
    return price.quantize(CENT, ROUND_HALF_UP)


class DjangoPeer(Peer):
    """A peer whose subscriptions are the model `subscription`."""

    subscription: Any

    def fill(self, folder: Path) -> None:
        from django.core.management import call_command
        from django.db import connection

        call_command("migrate", verbosity=0)
        call_command("migrate", run_syncdb=True, verbosity=0)  # the book, which may refer to users
        self.install()
        with connection.cursor() as cursor:
            for table, columns in COLUMNS.items():
                copied = f"COPY book_{table} ({columns}) FROM STDIN (FORMAT csv)"
                with cursor.copy(copied) as copy:
                    copy.write((folder / f"{table}.csv").read_bytes())
        self.begin_history()
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")

    def install(self) -> None:
        """Prepare the package, after its tables are there and before the first row."""

    def begin_history(self) -> None:
        """The first record of the rows that are there; not where a trigger has written it."""

    def new_list_price(self, price: Decimal) -> Any:
        """Save the list price; the service."""
        from book.models import Service

        service = Service.objects.get()
        service.full_price = price
        service.save()
        return service

    def followers(self, service: Any) -> list[Any]:
        """The service's subscriptions with the rule's price, not yet saved."""
        found = list(self.subscription.objects.filter(service=service).select_related("plan"))
        for each in found:
            each.price = rule(service, each.plan)
        return found

    def total(self) -> Decimal:
        from django.db.models import Sum

        return Decimal(self.subscription.objects.aggregate(total=Sum("price"))["total"])

    def rest(self) -> None:
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute("VACUUM")

    def sessions(self) -> Iterable[int]:
        from django.db import connection

        connection.ensure_connection()
        return [connection.connection.info.backend_pid]
