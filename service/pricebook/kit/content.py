"""JSON of the API: numbers are exact, and content that no endpoint can use is refused.

REST_FRAMEWORK in the settings names classes of this module, so `rest_framework.views` imports it:
nothing here may import that before it is called.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from django.utils.translation import gettext as _
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer

from pricebook.kit import decimals, exact_json
from pricebook.kit.errors import BadParameter, Refused
from pricebook.kit.figures import grouped
from pricebook.kit.problem import MEDIA_TYPE, problem


class JSONRenderer(BaseRenderer):
    """JSON with exact numbers: a price is written digit by digit, never through a float."""

    media_type = "application/json"
    format = "json"
    charset = None
    encoder = exact_json

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Any = None,
    ) -> bytes:
        if data is None:
            return b""
        context = renderer_context or {}
        response, request = context.get("response"), context.get("request")
        if response is not None and response.status_code >= 400 and "code" in data:
            data = problem(response.status_code, data, request.path if request else None)
            if response.accepted_renderer is self:  # and not the browsable page, which shows it
                response["Content-Type"] = MEDIA_TYPE
        answer = self.encoder.encode(data, request is not None and decimals.as_text(request))
        # The browsable page asks for it, because people read that.
        indent = context.get("indent")
        return msgspec.json.format(answer, indent=indent) if indent else answer


class ExactJSONParser(BaseParser):
    """The parser of bodies, each of them in memory."""

    media_type = "application/json"
    longest = 1_000_000  # bytes

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        content = stream.read(self.longest + 1)
        if len(content) > self.longest:
            raise self.too_long()
        return ExactJSON("body").value_of(content)

    @classmethod
    def too_long(cls) -> Refused:
        return body_too_long(cls.longest)


def body_too_long(longest: int) -> Refused:
    return Refused(
        "body_too_long",
        _("A body has up to %(longest)s bytes; send less.") % {"longest": grouped(longest)},
        413,
    )


class ExactJSON:
    """JSON with exact numbers: 0.1 is a tenth, not a float. Refusals name it as it is `called`.

    Content that no endpoint can use is refused here, before any of them meets it: NaN, a name given
    twice (which of the two is meant?), text that can't be encoded, too many levels.
    """

    deepest = 20  # levels
    digits = 40  # of a number

    def __init__(self, called: str) -> None:
        self.called = called
        self._decoder = json.JSONDecoder(
            parse_int=self._integer,
            parse_float=self._decimal,
            parse_constant=self._constant,
            object_pairs_hook=self._object,
        )

    def value_of(self, content: bytes) -> Any:
        try:
            parsed = self._decoder.decode(content.decode())
        except RecursionError:
            raise self._too_deep() from None
        except ValueError as error:  # of the encoding, too
            raise self.bad_json(error) from None
        self._check(parsed)
        return parsed

    def bad_json(self, error: object) -> Refused:
        return Refused(
            "bad_json",
            _("The %(called)s is not JSON in UTF-8: %(error)s.")
            % {"called": self.called, "error": error},
        )

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
        raise Refused("bad_json", _("%(word)s is no number in JSON.") % {"word": word}, value=word)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                shown = _shown(name)
                raise Refused(
                    "repeated_field",
                    _("%(shown)s is given twice; give it once.") % {"shown": repr(shown)},
                    parameter=shown,
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
                _("A text has a NUL or half of a surrogate pair in it; leave it out."),
                value=_shown(value),
            )

    def _too_deep(self) -> Refused:
        return Refused(
            "too_deep",
            _("The %(called)s nests deeper than %(deepest)s levels.")
            % {"called": self.called, "deepest": self.deepest},
        )

    def _too_many_digits(self, digits: str) -> Refused:
        return Refused(
            "bad_number",
            _("A number has up to %(digits)s digits.") % {"digits": self.digits},
            value=digits[:100],
        )


def _shown(text: str, length: int = 100) -> str:
    """The beginning of a text, as far as it can be encoded."""
    return text[:length].encode(errors="replace").decode()


def object_of(
    body: Any, known: Iterable[str] | None = None, called: str = "body"
) -> dict[str, Any]:
    """The body of a request; Refused if it is not a JSON object with known names."""
    if not isinstance(body, dict):
        raise Refused(
            "not_an_object",
            _('The %(called)s is a JSON object: {"name": value}.') % {"called": called},
        )
    if known is not None:
        known = list(known)
        for name in body:
            if name not in known:
                has = ", ".join(known) or "none"
                raise Refused(
                    "unknown_field",
                    _("There is no field %(name)s here; there are: %(has)s.")
                    % {"name": repr(name[:100]), "has": has},
                    parameter=name[:100],
                    allowed=known,
                )
    return body


class ContentNegotiation(DefaultContentNegotiation):
    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:
        """The renderer of the answer; BadParameter for decimals that it can't write."""
        decimals.refuse_others(request)
        return super().select_renderer(request, renderers, format_suffix)

    def filter_renderers(
        self, renderers: Iterable[BaseRenderer], format: str
    ) -> list[BaseRenderer]:
        """The renderers of `?format=`; an unknown one is a bad parameter (DRF would answer 404)."""
        renderers = list(renderers)
        known = [renderer.format for renderer in renderers]
        if format not in known:
            raise BadParameter(
                "format",
                format,
                _("format may be %(known)s.") % {"known": " or ".join(known)},
                allowed=known,
            )
        return [renderer for renderer in renderers if renderer.format == format]
