"""Traces for OpenTelemetry: a request, its statements, and the tasks that it wakes, as one.

Off unless OTEL_EXPORTER_OTLP_ENDPOINT names a collector; then the packages of
requirements/traces.txt are needed (`./pricebook` installs them by itself). All else is said by the
SDK's own variables: OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS…

No span has what a person typed: the query of an address, the parameters of a statement, the
arguments of a task. A line of the log (LOG_FORMAT=json) names its trace as `trace_id`, and a trace
has the `request_id` of its log.
"""

from __future__ import annotations

import os
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from pricebook.kit import log_context

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
# A collector that is gone holds nobody up: spans wait in a thread, and are let go.
PATIENCE = "2"
PROBES = "livez,readyz,healthz,metrics,static"
# The attributes in which an address comes with its query, by the conventions of old and of now.
WITH_QUERY = ("http.url", "http.target", "url.full", "url.query")


def wanted() -> bool:
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return not disabled and any(os.environ.get(name) for name in ENDPOINTS)


def begin(part: str) -> None:
    """Trace this process, and those that it forks, as `pricebook-<part>`; nothing if no collector
    is named. Before Django has read its middleware.

    Raises ImproperlyConfigured if the packages are not there.
    """
    if not wanted():
        return
    os.environ.setdefault("OTEL_EXPORTER_OTLP_TIMEOUT", PATIENCE)
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.instrumentation.celery import CeleryInstrumentor
        from opentelemetry.instrumentation.django import DjangoInstrumentor
        from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ImproperlyConfigured(
            f"{ENDPOINTS[0]} is set, and there is no {error.name}:"
            " pip install --require-hashes -r requirements/traces.txt, or unset it."
        ) from error
    name = os.environ.get("OTEL_SERVICE_NAME") or f"pricebook-{part}"
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    DjangoInstrumentor().instrument(
        excluded_urls=PROBES, request_hook=_of_request, response_hook=_of_answer
    )
    CeleryInstrumentor().instrument()
    PsycopgInstrumentor().instrument()
    log_context.asked.append(_named)


def _named() -> dict[str, Any]:
    """The trace that this thread works in, for its lines of the log."""
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    return {"trace_id": f"{context.trace_id:032x}"} if context.is_valid else {}


def _of_request(span: Any, request: Any) -> None:
    if span.is_recording():
        for name in WITH_QUERY:
            if name in span.attributes:
                span.set_attribute(name, "" if name == "url.query" else request.path)


def _of_answer(span: Any, request: Any, response: Any) -> None:
    if span.is_recording() and (id := getattr(request, "request_id", "")):
        span.set_attribute("pricebook.request_id", id)
