"""The answers to exceptions: `code`, `detail`, and what they are about.

REST_FRAMEWORK in the settings names a function of this module, so `rest_framework.views` imports
it: nothing here may import that before it is called.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from django.core.exceptions import PermissionDenied, SuspiciousOperation, TooManyFieldsSent
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.views import defaults
from rest_framework import exceptions
from rest_framework.response import Response

from pricebook.kit import api_version, away, request_id
from pricebook.kit.content import JSONRenderer
from pricebook.kit.errors import (
    BadRequest,
    CrossedWrites,
    ReadTimedOut,
    Refused,
)
from pricebook.kit.problem import MEDIA_TYPE, problem
from pricebook.kit.read_timeout import SAFE, timed_out
from pricebook.kit.refusal import Refusal

# PostgreSQL's codes of a deadlock, of a lock that did not come in time, and of a snapshot that is
# too old to write.
GAVE_WAY = ("40P01", "55P03", "40001")
logger = logging.getLogger(__name__)


def error_response(error: Exception, context: dict[str, Any]) -> Response | None:
    """The answer to an exception in a view: `code`, `detail`, and what it is about.

    None for an unexpected exception, which gives Django's 500 (`server_error`).
    """
    from rest_framework.views import exception_handler

    if isinstance(error, Http404):
        error = exceptions.NotFound(*error.args)
    elif isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied(*error.args)
    elif isinstance(error, TooManyFieldsSent):
        error = BadRequest(_("There are too many parameters."), "too_many_parameters")
    elif isinstance(error, SuspiciousOperation):
        error = BadRequest()
    elif isinstance(error, Refusal):
        wait = getattr(error, "wait", None)
        error = Refused(error.code, error.detail, error.status_code, **error.about)
        if wait is not None:
            error.wait = wait  # becomes Retry-After
    elif timed_out(error) and context["request"].method in SAFE:
        logger.warning("%s took too long to read.", context["request"].path)
        error = ReadTimedOut()
    elif gave_way(error):
        logger.warning("%s gave way to others: %s", context["request"].path, error.__cause__)
        error = CrossedWrites()
    else:
        error = away.told(error) or error

    response = exception_handler(error, context)
    if response is not None and isinstance(error, exceptions.APIException):
        codes = error.get_codes()
        response.data = {
            "code": codes if isinstance(codes, str) else error.default_code,
            "detail": error.detail,
            **getattr(error, "about", {}),
        }
    return response


def gave_way(error: BaseException | None) -> bool:
    """Whether PostgreSQL ended a statement so that others could go on."""
    return getattr(getattr(error, "__cause__", None), "sqlstate", None) in GAVE_WAY


def plain_error(
    status_code: int, code: str, detail: str, request: HttpRequest | None = None
) -> HttpResponse:
    """An error that no view has answered, or that comes before there is a request."""
    body = problem(status_code, {"code": code, "detail": detail}, request.path if request else None)
    response = HttpResponse(
        JSONRenderer.encoder.encode(body),
        content_type=MEDIA_TYPE,
        status=status_code,
        headers={
            request_id.HEADER: body["request_id"],
            api_version.HEADER: api_version.VERSION,
        },
    )
    response.code = code  # type: ignore[attr-defined]  # for the line in the log
    return response


def is_api(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """`handler400`: answers what is refused before a view is found, such as an unknown host."""
    if is_api(request):
        detail = str(BadRequest.default_detail)
        return plain_error(400, BadRequest.default_code, detail, request)
    return defaults.bad_request(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """`handler500`, for errors that come before a view of the API, or after it."""
    if is_api(request):
        if error := away.told(sys.exc_info()[1]):
            response = plain_error(503, error.default_code, str(error.detail), request)
            response["Retry-After"] = str(error.wait)
            return response
        detail = _("This is a defect of Pricebook; it has been logged.")
        return plain_error(500, "server_error", detail, request)
    return defaults.server_error(request)
