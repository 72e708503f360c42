from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks

from pricebook.kit import (
    idle,  # noqa: F401 - a log-in is noted from the first one on
    letters,
    pooler,
    sql_log,
)
from pricebook.kit.named_statements import SOURCES
from pricebook.words import model_names

if TYPE_CHECKING:
    from pricebook.kit.named_statements import NamedStatement


class PricebookConfig(AppConfig):
    name = "pricebook"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        model_names.translate_all()  # no model is there yet

    def ready(self) -> None:
        # `shared_task` binds to the current app: without this import a web process would
        # publish to Celery's default broker instead of ours.
        import celery_app  # noqa: F401

        # A process that takes no request or task imports nothing of Prometheus.
        from pricebook.seeing import task_times  # noqa: F401

        SOURCES.append(_statements)
        checks.register(checks.Tags.database)(letters.check_letters)
        checks.register(checks.Tags.database)(pooler.check_pooler)
        if settings.LOG_SQL != "off":
            sql_log.start()


def _statements() -> list[NamedStatement]:
    # Imported on demand: web servers and workers never ask for them.
    from pricebook.seeing import statements

    return statements.named_statements()
