"""How every endpoint of the API writes its answers and its errors.

REST_FRAMEWORK in the settings names what is here, so `rest_framework.views` imports this module:
nothing here may import that before it is called.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import msgspec
from django.core.exceptions import PermissionDenied, SuspiciousOperation, TooManyFieldsSent
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.views import defaults
from rest_framework import exceptions, serializers, status
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.response import Response

logger = logging.getLogger(__name__)

# --- Errors -----------------------------------------------------------------------------------


class ErrorSerializer(serializers.Serializer):
    """The body of every error."""

    code = serializers.CharField(help_text="What is wrong, for programs.")
    detail = serializers.CharField(help_text="What is wrong and how to mend it, for people.")
    parameter = serializers.CharField(required=False, help_text="The query parameter it is about.")
    value = serializers.CharField(required=False, help_text="Its value, up to 100 characters.")
    allowed = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="What it may be instead."
    )


class BadParameter(exceptions.APIException):
    """400: a query parameter can't be used. `detail` says how to mend it."""

    status_code = status.HTTP_400_BAD_REQUEST

    def __init__(
        self,
        parameter: str,
        value: str,
        detail: str,
        code: str = "bad_parameter",
        allowed: list[str] | None = None,
    ) -> None:
        super().__init__(detail, code)
        self.about: dict[str, str | list[str]] = {
            "parameter": parameter[:100],
            "value": value[:100],
        }
        if allowed is not None:
            self.about["allowed"] = allowed


class BadRequest(exceptions.APIException):
    status_code = status.HTTP_400_BAD_REQUEST
    default_code = "bad_request"
    default_detail = "The request can't be understood."


class DatabaseUnavailable(exceptions.APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "database_unavailable"
    default_detail = "The database does not answer; try again in a few seconds."
    wait = 5  # becomes Retry-After


def error_response(error: Exception, context: dict[str, Any]) -> Response | None:
    """The answer to an exception in a view: `code`, `detail`, and what it is about.

    None, and so Django's 500 (`server_error`), for what nobody expected.
    """
    from rest_framework.views import exception_handler

    if isinstance(error, Http404):
        error = exceptions.NotFound(*error.args)
    elif isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied(*error.args)
    elif isinstance(error, TooManyFieldsSent):
        error = BadRequest("There are too many parameters.", "too_many_parameters")
    elif isinstance(error, SuspiciousOperation):
        error = BadRequest()
    elif isinstance(error, OperationalError | InterfaceError):
        logger.error("The database does not answer.", exc_info=error)
        error = DatabaseUnavailable()

    response = exception_handler(error, context)
    if response is not None and isinstance(error, exceptions.APIException):
        codes = error.get_codes()
        response.data = {
            "code": codes if isinstance(codes, str) else error.default_code,
            "detail": error.detail,
            **getattr(error, "about", {}),
        }
    return response


def plain_error(status_code: int, code: str, detail: str) -> HttpResponse:
    return HttpResponse(
        JSONRenderer.encoder.encode({"code": code, "detail": detail}),
        content_type=JSONRenderer.media_type,
        status=status_code,
    )


def is_api(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """`handler400`: what is refused before a view is found, such as an unknown host."""
    if is_api(request):
        return plain_error(400, BadRequest.default_code, BadRequest.default_detail)
    return defaults.bad_request(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """`handler500`."""
    if is_api(request):
        return plain_error(
            500, "server_error", "This is a defect of Pricebook; it has been logged."
        )
    return defaults.server_error(request)


# --- Content ----------------------------------------------------------------------------------


class JSONRenderer(BaseRenderer):
    """JSON with exact numbers: a price is written digit by digit, never through a float."""

    media_type = "application/json"
    format = "json"
    charset = None
    # The hook is for Django's lazy translations, the one thing in an answer that is no plain type.
    encoder = msgspec.json.Encoder(decimal_format="number", enc_hook=str)

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Any = None,
    ) -> bytes:
        if data is None:
            return b""
        answer = self.encoder.encode(data)
        # The browsable page asks for it: people read that one.
        indent = (renderer_context or {}).get("indent")
        return msgspec.json.format(answer, indent=indent) if indent else answer


class ContentNegotiation(DefaultContentNegotiation):
    def filter_renderers(
        self, renderers: Iterable[BaseRenderer], format: str
    ) -> list[BaseRenderer]:
        """Those of `?format=`; an unknown one is the caller's mistake (DRF answers 404)."""
        renderers = list(renderers)
        known = [renderer.format for renderer in renderers]
        if format not in known:
            raise BadParameter(
                "format", format, f"format may be {' or '.join(known)}.", allowed=known
            )
        return [renderer for renderer in renderers if renderer.format == format]
