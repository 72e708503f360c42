"""The scene after a wait that ran out of time: workers, broker, database."""

import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from django.db import connection
from kombu import Connection

from celery_app import app

Part = tuple[str, Callable[[], str]]

QUERIES = {
    "sessions": (
        "SELECT pid, pg_blocking_pids(pid) AS blocked_by, state, wait_event_type, wait_event,"
        "       clock_timestamp() - state_change AS since, left(query, 100) AS query"
        "  FROM pg_stat_activity"
        " WHERE datname = current_database() AND backend_type = 'client backend'"
    ),
    "repricings due": "SELECT * FROM services_repricing WHERE finished_at IS NULL LIMIT 20",
    "steps due": "SELECT * FROM services_repricingstep LIMIT 20",
}


def scene(parts: Iterable[Part]) -> str:
    """The parts that a test knows of, the broker's queue and clients, sessions, and what is due.

    A part that doesn't answer is there with its error.
    """
    queries = [(title, partial(_rows, query)) for title, query in QUERIES.items()]
    known: list[Part] = [*parts, ("broker", _broker), *queries]
    return "\n\n".join(f"-- {title}\n{_answer(part)}" for title, part in known)


def _answer(part: Callable[[], str]) -> str:
    try:
        return part()
    except Exception as error:
        return repr(error)


def _broker() -> str:
    url, queue = os.environ["CELERY_BROKER_URL"], app.conf.task_default_queue
    options = {"socket_timeout": 5, "max_retries": 0}
    with Connection(url, transport_options=options) as broker, broker.channel() as channel:
        client: Any = channel.client  # type: ignore[attr-defined]  # Redis's
        lines = [f"{client.llen(queue)} messages in {queue}"]
        clients = client.execute_command("CLIENT LIST")
    for each in clients:
        lines.append(_line((key, each[key]) for key in ("id", "age", "idle", "flags", "cmd")))
    return "\n".join(lines)


def _rows(query: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(query)
        names = [column.name for column in cursor.description or ()]
        return "\n".join(_line(zip(names, row, strict=True)) for row in cursor.fetchall())


def _line(values: Iterable[tuple[str, object]]) -> str:
    return " ".join(f"{name}={value}" for name, value in values)
