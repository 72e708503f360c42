"""The Celery application: `celery -A celery_app.app worker`."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pricebook.settings")

app = Celery("pricebook")
# Without the namespace every CELERY_* setting is ignored, and nothing says so.
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@app.task
def debug_task() -> None:
    """Say hello, here or (`debug_task.delay()`) in a worker: is the queue alive?"""
    print("Hello form debug_task")  # sic: the tutorial's words
