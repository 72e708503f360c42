"""django-import-export: rows of a file into a model, by a resource as its documentation has it.

Clients, services and plans are in its tables before; Pricebook makes them of the same file. It
writes no history: in bulk no signal is sent, so packages that wait for signals write none either.
"""

import time
from pathlib import Path
from typing import Any

from django_peer import DjangoPeer, set_up
from worker import serve

set_up("import_export")

import tablib
from book.models import Client, Plan, Service, SubscriptionFields
from django.db import connection
from import_export.fields import Field
from import_export.instance_loaders import CachedInstanceLoader
from import_export.resources import ModelResource
from import_export.widgets import CachedForeignKeyWidget, DateTimeWidget, ForeignKeyWidget


class Subscription(SubscriptionFields):
    class Meta:
        app_label = "book"


class Documented(ModelResource):
    client = Field("client", "email", ForeignKeyWidget(Client, "email"))
    service = Field("service", "service", ForeignKeyWidget(Service, "name"))
    plan = Field("plan", "discount_percent", ForeignKeyWidget(Plan, "discount_percent"))
    # Its own widget reads the formats of Django's forms, and not those of ISO 8601 with a zone.
    started_at = Field("started_at", "started_at", DateTimeWidget("%Y-%m-%dT%H:%M:%S%z"))

    class Meta:
        model = Subscription
        import_id_fields = ["external_id"]
        fields = ["client", "service", "plan", "price", "external_id", "started_at"]
        use_transactions = True


class InBulk(Documented):
    class Meta(Documented.Meta):
        use_bulk = True
        skip_diff = True
        instance_loader_class = CachedInstanceLoader


class Cached(InBulk):
    """Each client, service and plan is read once, and not once a row."""

    client = Field("client", "email", CachedForeignKeyWidget(Client, "email"))
    service = Field("service", "service", CachedForeignKeyWidget(Service, "name"))
    plan = Field("plan", "discount_percent", CachedForeignKeyWidget(Plan, "discount_percent"))

    class Meta(InBulk.Meta):
        pass


RESOURCES = {
    "as documented": Documented,
    "use_bulk, no diff": InBulk,
    "use_bulk, no diff, cached keys": Cached,
}


class ImportExport(DjangoPeer):
    subscription = Subscription

    def ask_ways(self) -> list[str]:
        return list(RESOURCES)

    def ask_import(self, way: str, file: str) -> dict[str, Any]:
        """Import into empty subscriptions: seconds of CPU and of the clock, rows, their total."""
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE book_subscription")
        cpu, clock = self.cpu(), time.perf_counter()
        data = tablib.Dataset().load(Path(file).read_text(), format="csv")
        RESOURCES[way]().import_data(data, raise_errors=True)
        cpu, clock = self.cpu() - cpu, time.perf_counter() - clock
        return {
            "cpu": cpu,
            "seconds": clock,
            "rows": Subscription.objects.count(),
            "total": str(self.total()),
        }


serve(ImportExport())
