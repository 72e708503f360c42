"""The tasks of beat that are not about the book."""

from typing import Any

from celery import shared_task
from django.contrib.sessions.backends.db import SessionStore

from pricebook.kit import idempotency
from services import jobs
from services.tasks import DatabaseTask


@shared_task(base=DatabaseTask)
def forget_answers(**kwargs: Any) -> None:
    """Forget answers that nobody will ask for any more, results of jobs that ended long ago, and
    sessions of people that are over.
    """
    idempotency.forget_old()
    jobs.forget_old()
    SessionStore.clear_expired()
