"""The Celery application: `celery -A celery_app.app worker`."""

import os
from typing import Any

from celery import Celery
from celery.signals import celeryd_init, task_prerun

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pricebook.settings")

app = Celery("pricebook")
# Without the namespace every CELERY_* setting is ignored, and nothing says so.
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


# Seconds that a worker waits for an answer of its broker. Without a limit it would wait for ever
# where none is to come and nobody says so: the host is gone, or the server hung and was replaced.
PATIENCE = 5


@celeryd_init.connect
def be_patient(conf: Any, **kwargs: Any) -> None:
    """Nobody waits for a worker: it keeps to a slow broker, and returns to a lost one."""
    conf.broker_transport_options = {
        "visibility_timeout": conf.broker_transport_options["visibility_timeout"],
        "socket_timeout": PATIENCE,
        "socket_connect_timeout": PATIENCE,
        # The connection that waits for messages is polled this often, so that no timeout ends it.
        "health_check_interval": PATIENCE,
    }


@celeryd_init.connect
def look_around(**kwargs: Any) -> None:
    from django.conf import settings

    from pricebook import surroundings  # Django has to be ready
    from pricebook.kit.session_limits import bound_transactions
    from pricebook.seeing import traces
    from services import book_currency

    traces.begin("worker")
    bound_transactions(settings.DATABASES["default"])
    surroundings.log()
    book_currency.end_with_another()


@task_prerun.connect
def work_in_english(**kwargs: Any) -> None:
    """Workers store what they say, for readers of every language, whatever LANGUAGE_CODE is."""
    from django.utils import translation  # Django has to be ready

    translation.activate("en")


@app.task
def debug_task() -> None:
    """Say hello, here or (`debug_task.delay()`) in a worker: is the queue alive?"""
    print("Hello form debug_task")  # sic: the tutorial's words
