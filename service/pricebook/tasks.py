"""The tasks of beat that are not about the book."""

from typing import Any

from celery import shared_task

from pricebook.kit import idempotency
from services.tasks import DatabaseTask


@shared_task(base=DatabaseTask)
def forget_answers(**kwargs: Any) -> None:
    """Forget the answers to requests that nobody will repeat any more."""
    idempotency.forget_old()
