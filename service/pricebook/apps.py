from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks

from pricebook.kit import (
    idle,  # noqa: F401 - a log-in is noted from the first one on
    letters,
    sql_log,
)
from pricebook.words import model_names


class PricebookConfig(AppConfig):
    name = "pricebook"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        model_names.translate_all()  # no model is there yet

    def ready(self) -> None:
        # `shared_task` binds to the current app: without this import a web process would
        # publish to Celery's default broker instead of ours.
        import celery_app  # noqa: F401

        checks.register(checks.Tags.database)(letters.check_letters)
        if settings.LOG_SQL != "off":
            sql_log.start()
