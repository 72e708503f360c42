from __future__ import annotations

from typing import TYPE_CHECKING

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _lazy

if TYPE_CHECKING:
    from pricebook.kit.named_statements import NamedStatement


class EventsConfig(AppConfig):
    name = "events"
    verbose_name = _lazy("Events")

    def ready(self) -> None:
        from events import receivers  # noqa: F401
        from pricebook.kit.named_statements import SOURCES

        SOURCES.append(_statements)


def _statements() -> list[NamedStatement]:
    # Imported on demand: web servers and workers never ask for them.
    from events import named_statements

    return named_statements.named_statements()
