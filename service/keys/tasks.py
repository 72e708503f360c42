"""The task of beat that is about API keys."""

from typing import Any

from celery import shared_task

from keys import last_use
from services.tasks import DatabaseTask


@shared_task(base=DatabaseTask)
def write_last_used(**kwargs: Any) -> None:
    """Write when keys were used; a message that is lost leaves it to the next one."""
    last_use.write()
