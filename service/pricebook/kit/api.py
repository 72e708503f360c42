"""How every endpoint of the API writes its answers and its errors.

REST_FRAMEWORK in the settings names what is here, so `rest_framework.views` imports this module:
nothing here may import that before it is called.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from django.core.exceptions import PermissionDenied, SuspiciousOperation, TooManyFieldsSent
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.views import defaults
from rest_framework import exceptions, serializers, status
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.response import Response

from pricebook.kit.read_timeout import SAFE, timed_out
from pricebook.kit.refusal import Refusal

logger = logging.getLogger(__name__)

# --- Errors -----------------------------------------------------------------------------------


class ErrorSerializer(serializers.Serializer):
    """The body of every error."""

    code = serializers.CharField(help_text="What is wrong, for programs.")
    detail = serializers.CharField(help_text="What is wrong and how to mend it, for people.")
    parameter = serializers.CharField(
        required=False, help_text="The parameter or field it is about."
    )
    value = serializers.CharField(required=False, help_text="Its value, up to 100 characters.")
    allowed = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="What it may be instead."
    )
    state = serializers.CharField(required=False, help_text="The state that does not allow it.")
    missing = serializers.CharField(required=False, help_text="The right that is missing.")


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


class Refused(exceptions.APIException):
    """A refusal as an answer: its code, its detail, its status, and what it is about."""

    def __init__(
        self, code: str, detail: str, status_code: int = status.HTTP_400_BAD_REQUEST, **about: Any
    ) -> None:
        super().__init__(detail, code)
        self.status_code = status_code
        self.about = about


class DatabaseUnavailable(exceptions.APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "database_unavailable"
    default_detail = "The database does not answer; try again in a few seconds."
    wait = 5  # becomes Retry-After


class ReadTimedOut(exceptions.APIException):
    """It has no Retry-After: asked at once again, the same takes as long."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "read_timed_out"
    default_detail = (
        "This took too long to read, and was ended. Ask for less: one service or plan, a shorter"
        " range of dates, a filter that is served at any size (/api/docs/ names them), or a"
        " stream (format=ndjson). If it is fast as a rule, the server is busy: try again in a"
        " minute."
    )


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
    elif isinstance(error, Refusal):
        error = Refused(error.code, error.detail, error.status_code, **error.about)
    elif timed_out(error) and context["request"].method in SAFE:
        logger.warning("%s took too long to read.", context["request"].path)
        error = ReadTimedOut()
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


class ExactJSONParser(BaseParser):
    """JSON with exact numbers: 0.1 is a tenth, not a float.

    What no endpoint has a use for is refused here, so that none of them meets it: NaN, a name
    given twice (which of the two is meant?), text that can't be encoded, hundreds of levels.
    """

    media_type = "application/json"
    longest = 1_000_000  # bytes
    deepest = 20  # levels
    digits = 40  # of a number

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        content = stream.read(self.longest + 1)
        if len(content) > self.longest:
            raise self.too_long()
        try:
            parsed = json.loads(
                content.decode(),
                parse_int=self._integer,
                parse_float=self._decimal,
                parse_constant=self._constant,
                object_pairs_hook=self._object,
            )
        except RecursionError:
            raise self._too_deep() from None
        except ValueError as error:  # of the encoding, too
            raise Refused("bad_json", f"The body is not JSON in UTF-8: {error}.") from None
        self._check(parsed)
        return parsed

    @classmethod
    def too_long(cls) -> Refused:
        return Refused("body_too_long", f"A body has up to {cls.longest:,} bytes; send less.", 413)

    def _integer(self, digits: str) -> int:
        if len(digits) > self.digits:
            raise self._too_many_digits(digits)
        return int(digits)

    def _decimal(self, digits: str) -> Decimal:
        if len(digits) > self.digits:
            raise self._too_many_digits(digits)
        try:
            return Decimal(digits)
        except InvalidOperation:
            raise self._too_many_digits(digits) from None

    def _constant(self, word: str) -> None:
        raise Refused("bad_json", f"{word} is no number in JSON.", value=word)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                shown = _shown(name)
                raise Refused(
                    "repeated_field", f"{shown!r} is given twice; give it once.", parameter=shown
                )
            found[name] = value
        return found

    def _check(self, value: Any, level: int = 1) -> None:
        if level > self.deepest:
            raise self._too_deep()
        if isinstance(value, dict):
            for name, each in value.items():
                self._check(name, level)
                self._check(each, level + 1)
        elif isinstance(value, list):
            for each in value:
                self._check(each, level + 1)
        elif isinstance(value, str) and ("\0" in value or value != _shown(value, len(value))):
            raise Refused(
                "bad_text",
                "A text has a NUL or half of a surrogate pair in it; leave it out.",
                value=_shown(value),
            )

    def _too_deep(self) -> Refused:
        return Refused("too_deep", f"The body nests deeper than {self.deepest} levels.")

    def _too_many_digits(self, digits: str) -> Refused:
        return Refused(
            "bad_number", f"A number has up to {self.digits} digits.", value=digits[:100]
        )


def _shown(text: str, length: int = 100) -> str:
    """As much of it as can be encoded."""
    return text[:length].encode(errors="replace").decode()


def object_of(body: Any, known: Iterable[str] | None = None) -> dict[str, Any]:
    """The body of a request, which is a JSON object with known names; raises Refused."""
    if not isinstance(body, dict):
        raise Refused("not_an_object", 'The body is a JSON object: {"name": value}.')
    if known is not None:
        known = list(known)
        for name in body:
            if name not in known:
                has = ", ".join(known) or "none"
                raise Refused(
                    "unknown_field",
                    f"There is no field {name[:100]!r} here; there are: {has}.",
                    parameter=name[:100],
                    allowed=known,
                )
    return body


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
