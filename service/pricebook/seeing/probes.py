"""The answers of /livez, /readyz and /metrics, to any Host, without a session.

path      answers                                   to
/livez    200 while the process takes requests      everybody; no database
/readyz   200, or 503 and what fails, within 1 s    everybody; no figure of the book
/metrics  figures of the book and of this host      the token's bearer, or METRICS_NETWORKS
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from ipaddress import ip_address

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from pricebook.kit.addresses import whole_address_of
from pricebook.kit.error_response import plain_error
from pricebook.seeing import PATHS, readiness


@never_cache
@require_safe
def livez(request: HttpRequest) -> HttpResponse:
    """The process takes requests: nothing is asked of the database, the cache or the broker."""
    return HttpResponse("ok", content_type="text/plain")


@never_cache
@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """Whether requests can be answered, and how the work behind them stands (`readiness`)."""
    found = readiness.now()
    return JsonResponse(found.body(), status=200 if found.is_ready else 503)


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """The metrics, in Prometheus's text format."""
    if (refused := refusal(request)) is not None:
        return refused
    from pricebook.seeing.collector import BookCollector
    from pricebook.seeing.measured import TEXT, exposed

    return HttpResponse(exposed(BookCollector()), content_type=TEXT)


def refusal(request: HttpRequest) -> HttpResponse | None:
    """The refusal of somebody who may not read the metrics; None: this one may."""
    if comes_from(request) or has_token(request):
        return None
    if settings.METRICS_TOKEN:
        response = plain_error(
            401,
            "metrics_closed",
            "Send the token of METRICS_TOKEN, Authorization: Bearer <token>, or ask from a network"
            " of METRICS_NETWORKS.",
            request,
        )
        response["WWW-Authenticate"] = "Bearer"
        return response
    return plain_error(
        403,
        "metrics_closed",
        "Metrics are closed: set METRICS_TOKEN, or name the networks of Prometheus in"
        " METRICS_NETWORKS.",
        request,
    )


def has_token(request: HttpRequest) -> bool:
    keyword, _, given = request.headers.get("Authorization", "").partition(" ")
    token = settings.METRICS_TOKEN
    return bool(token) and keyword.lower() == "bearer" and _same(given.strip(), token)


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


def comes_from(request: HttpRequest) -> bool:
    """Whether it comes from one of METRICS_NETWORKS, as the nearest proxy saw it (PROXIES)."""
    try:
        address = ip_address(whole_address_of(request))
    except ValueError:
        return False
    return any(address in network for network in settings.METRICS_NETWORKS)


PROBES: dict[str, Callable[[HttpRequest], HttpResponse]] = dict(
    zip(PATHS, (livez, readyz, metrics), strict=True)
)


class ProbesMiddleware:
    """Answers the probes before anything asks for the name of the host, a session or a language."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        probe = PROBES.get(request.path_info)
        if probe is None:
            return self.get_response(request)
        request.is_probe = True  # type: ignore[attr-defined]  # for the log
        return probe(request)
