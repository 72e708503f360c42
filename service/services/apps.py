from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import AppConfig
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _lazy

if TYPE_CHECKING:
    from pricebook.kit.named_statements import NamedStatement


class ServicesConfig(AppConfig):
    name = "services"
    verbose_name = _lazy("Book")

    def ready(self) -> None:
        from pricebook.kit.named_statements import SOURCES
        from services import receivers  # noqa: F401

        SOURCES.append(_statements)
        post_migrate.connect(_settle_currency, sender=self)


def _settle_currency(**kwargs: Any) -> None:
    from services import book_currency

    try:
        book_currency.settle()
    except ImproperlyConfigured as error:
        raise CommandError(str(error)) from None


def _statements() -> list[NamedStatement]:
    # Imported on demand: web servers and workers never ask for them.
    from services.audit import (
        named_bulk,
        named_corrections,
        named_files,
        named_imports,
        named_pages,
        named_queries,
        named_reads,
        named_seals,
        named_searches,
        named_writes,
    )

    return [
        *named_queries.named_queries(),
        *named_reads.named_reads(),
        *named_searches.named_searches(),
        *named_writes.named_writes(),
        *named_imports.named_imports(),
        *named_bulk.named_bulk(),
        *named_corrections.named_corrections(),
        *named_files.named_files(),
        *named_pages.named_pages(),
        *named_seals.named_seals(),
    ]
