"""The Celery application: `celery -A celery_app.app worker`."""

import os
from typing import Any

from celery import Celery
from celery.signals import beat_init, celeryd_init, task_prerun

from pricebook import brokers
from pricebook.kit import amqp

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pricebook.settings")

amqp.use()
app = Celery("pricebook", amqp="pricebook.queues:AMQP")
# Without the namespace every CELERY_* setting is ignored, and nothing says so.
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@celeryd_init.connect
def be_patient(conf: Any = None, **kwargs: Any) -> None:
    """Nobody waits for a worker or beat: it keeps to a slow broker, and returns to a lost one."""
    from django.conf import settings

    conf = conf or app.conf
    conf.broker_connection_timeout = brokers.PATIENCE
    conf.broker_transport_options = settings.BROKER.options(brokers.PATIENCE)
    if not settings.BROKER.is_amqp:
        # The connection that waits for messages is polled this often, so that no timeout ends it.
        conf.broker_transport_options["health_check_interval"] = brokers.PATIENCE


beat_init.connect(be_patient)


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
