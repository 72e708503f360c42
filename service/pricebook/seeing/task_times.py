"""The time of each task, and the worker's own answer to Prometheus.

A worker on a host without a web server says its times itself, where METRICS_LISTEN says
(`0.0.0.0:9540`): figures of the database are the web server's to tell.
"""

from __future__ import annotations

import socket
import time
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from celery import signals
from django.conf import settings

from pricebook.kit import log_context

# The name is the task's, so that two tasks of one thread, one within the other, don't mix.
_began: dict[str, float] = {}


@signals.task_prerun.connect
def begin(task_id: str, task: Any, **kwargs: Any) -> None:
    _began[task_id] = time.perf_counter()
    log_context.set(task_id=task_id, task=task.name)


@signals.task_postrun.connect
def end(task_id: str, task: Any, state: str | None = None, **kwargs: Any) -> None:
    began = _began.pop(task_id, None)
    log_context.clear()
    if began is not None:
        from pricebook.seeing.measured import TASKS, count

        outcome = (state or "unknown").lower()
        count(TASKS, (task.name, outcome), time.perf_counter() - began)


class Quiet(WSGIRequestHandler):
    """A request handler that logs nothing."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server6(WSGIServer):
    address_family = socket.AF_INET6


@signals.worker_ready.connect
def listen(**kwargs: Any) -> WSGIServer | None:
    """Answer any request at METRICS_LISTEN with the times of this host's tasks."""
    if not settings.METRICS_LISTEN:
        return None
    import threading

    from pricebook.seeing.measured import TEXT, exposed

    def answer(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", TEXT)])
        return [exposed()]

    host, port = settings.METRICS_LISTEN
    kind = Server6 if ":" in host else WSGIServer
    server = make_server(host, port, answer, server_class=kind, handler_class=Quiet)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
