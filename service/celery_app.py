"""The Celery application: `celery -A celery_app.app worker`."""

import os
from typing import Any

from celery import Celery
from celery.signals import celeryd_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pricebook.settings")

app = Celery("pricebook")
# Without the namespace every CELERY_* setting is ignored, and nothing says so.
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@celeryd_init.connect
def be_patient(conf: Any, **kwargs: Any) -> None:
    """Nobody waits for a worker: it keeps to a slow broker, and returns to a lost one."""
    timeout = conf.broker_transport_options["visibility_timeout"]
    conf.broker_transport_options = {"visibility_timeout": timeout}


@app.task
def debug_task() -> None:
    """Say hello, here or (`debug_task.delay()`) in a worker: is the queue alive?"""
    print("Hello form debug_task")  # sic: the tutorial's words
