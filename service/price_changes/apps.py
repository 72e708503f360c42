from __future__ import annotations

from typing import TYPE_CHECKING

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _lazy

if TYPE_CHECKING:
    from pricebook.kit.named_statements import NamedStatement


class PriceChangesConfig(AppConfig):
    name = "price_changes"
    verbose_name = _lazy("Price changes")

    def ready(self) -> None:
        from price_changes.hooks import Answers
        from pricebook.kit.named_statements import SOURCES
        from services import hooks

        hooks.install(Answers())
        SOURCES.append(_statements)


def _statements() -> list[NamedStatement]:
    # Imported on demand: web servers and workers never ask for them.
    from price_changes import named_statements

    return named_statements.named_statements()
