from django.apps import AppConfig
from django.conf import settings
from django.core import checks

from pricebook.kit import letters, sql_log


class PricebookConfig(AppConfig):
    name = "pricebook"

    def ready(self) -> None:
        # `shared_task` binds to the current app: without this import a web process would
        # publish to Celery's default broker instead of ours.
        import celery_app  # noqa: F401

        checks.register(checks.Tags.database)(letters.check_letters)
        if settings.LOG_SQL != "off":
            sql_log.start()
