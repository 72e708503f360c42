"""Idempotency-Key: a request that is repeated has its effect once, and the same answer.

    INSERT (identity, key) ──won──▶ effect ─▶ answer kept ─▶ COMMIT     all in one transaction
            │
            └─ there already, or waited for ─▶ the kept answer, or 422 for another request

So a process that is killed before the COMMIT leaves nothing, and one that is killed after it leaves
the effect with its answer. Only success is kept: the same key may be tried again once the reason of
a refusal is fixed. A view that raises has had no effect. If a view answers with a refusal, and does
not raise it, its writes are committed (for example the new preview of a refused approval). An
answer that `shows_only` what a request would do keeps no key either.

A kept answer stays in the language in which it was given, and says so (`Content-Language`): an
answer is not computed twice, and its words are of the moment of the effect.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from hashlib import sha256
from typing import Any, Protocol

from django.db import transaction
from django.utils import timezone
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response

from pricebook.kit import decimals, exact_json
from pricebook.kit.access import identity
from pricebook.kit.content import ExactJSONParser
from pricebook.kit.errors import Refused
from pricebook.kit.language import ENGLISH
from pricebook.kit.tables import AnsweredRequest

HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotency-Replayed"
REPLAYED = {REPLAYED_HEADER: "true"}
KEPT_FOR = timedelta(hours=48)
SHAPE = re.compile(r"[!-~]{1,100}")  # printable ASCII without blanks

PARAMETER = OpenApiParameter(
    HEADER,
    {"type": "string", "pattern": "^[!-~]{1,100}$"},
    OpenApiParameter.HEADER,
    description="Any text of your choice for this request, such as a UUID. Sent again with the"
    f" same body within {KEPT_FOR.total_seconds() / 3600:.0f} hours it gets the same answer, and"
    " has no second effect.",
)

# JSON never begins with such a word and a blank.
KEPT = re.compile(rb"(?:(?P<language>[a-z]{2,3}(?:-[a-z]+)?) )?(?P<answer>.*)", re.DOTALL)

View = Callable[..., Response]


class Hash(Protocol):
    def hexdigest(self) -> str: ...


def idempotent(view: View) -> View:
    """Run a write of a view set in one transaction, and once for each Idempotency-Key."""
    return idempotent_without()(view)


def idempotent_without(*secrets: str) -> Callable[[View], View]:
    """The same for an answer with secrets: they are null in the kept answer, which is stored."""
    return lambda view: _once(view, dict.fromkeys(secrets))


def _once(view: View, secrets: dict[str, None]) -> View:
    @wraps(view)
    def once(self: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        key = key_of(request)
        if key is None:
            with transaction.atomic():
                return view(self, request, *args, **kwargs)
        who, asked = identity(request), _hash(request)
        # The body has been hashed as it was sent, before it is parsed; a bad one is refused here.
        request.data  # noqa: B018
        with transaction.atomic():
            record = _claim(who, key, asked)
            if record.status_code is not None:
                return _kept(record, asked)
            response = view(self, request, *args, **kwargs)
            if response.status_code >= 400 or getattr(response, "shows_only", False):
                record.delete()
                return response
            record.status_code = response.status_code
            # Null for an answer without content.
            shown = {**response.data, **secrets} if secrets else response.data
            record.answer = _in_language(exact_json.encode_to_keep(shown))
            record.save(update_fields=["status_code", "answer"])
        return response

    return once


def key_of(request: Request) -> str | None:
    key = request.headers.get(HEADER)
    if key is not None and not SHAPE.fullmatch(key):
        raise Refused(
            "bad_idempotency_key",
            _("%(header)s has 1 to 100 printable characters of ASCII, and no blanks.")
            % {"header": HEADER},
            parameter=HEADER,
            value=key[:100].encode(errors="replace").decode(),
        )
    return key


@dataclass(frozen=True)
class InParts:
    """A request with a key that has its effect in several transactions, and an answer of each.

    Sent again, it goes on after the last part that has been committed.
    """

    who: str
    key: str
    asked: str

    def once(self, number: int, work: Callable[[], bytes]) -> tuple[bytes, bool]:
        """The answer of a part, and whether it was kept; in the transaction of its effect."""
        record = _claim(self.who, self._key(number), self.asked)
        if record.status_code is not None:
            _refuse_reused(record, self.asked)
            assert record.answer is not None
            return bytes(record.answer), True
        record.status_code, record.answer = 200, work()
        record.save(update_fields=["status_code", "answer"])
        return record.answer, False

    def _key(self, number: int) -> str:
        # The blank makes it one that nobody can send.
        return f"{number} {sha256(self.key.encode()).hexdigest()}" if number else self.key


@dataclass(frozen=True)
class Sent:
    """A form that a person sends, with the token of its page. `done`: what its first sending led
    to; None in that one. `differs`: whether that one had another content."""

    record: AnsweredRequest
    differs: bool

    @property
    def done(self) -> str | None:
        return None if self.record.answer is None else bytes(self.record.answer).decode()

    def has_led_to(self, address: str) -> None:
        """Keep the address that shows its effect, for a second sending. One query."""
        self.record.status_code, self.record.answer = 302, address.encode()
        self.record.save(update_fields=["status_code", "answer"])


def sent_once(who: str, token: str, content: str) -> Sent:
    """The form with this token, in the transaction of its effect. Waits for one that is being sent.

    `content`: the digest of what was sent.

    Two queries. It is forgotten with the answers of requests, after `KEPT_FOR`.
    """
    record = _claim(who, f"form {token}", content)
    return Sent(record, record.request_hash != content)


def in_parts(request: Request, body: Hash, cut: int | str) -> InParts | None:
    """The request, with the SHA-256 of its body; None if it has no key.

    `cut` says how it is cut into parts: those of another cut would be other parts of the effect.
    """
    key = key_of(request)
    if key is None:
        return None
    address = decimals.without(request.get_full_path())
    asked = f"{request.method} {address} {body.hexdigest()} {cut}"
    return InParts(identity(request), key, sha256(asked.encode()).hexdigest())


def _hash(request: Request) -> str:
    length = int(request.META.get("CONTENT_LENGTH") or 0)
    if length > ExactJSONParser.longest:
        raise ExactJSONParser.too_long()
    asked = f"{request.method} {request.path}\n".encode()
    return sha256(asked + request.body).hexdigest()


def _claim(who: str, key: str, asked: str) -> AnsweredRequest:
    """The row of this key, ours if it is new. Waits for a request that is answering it now."""
    while True:
        AnsweredRequest.objects.bulk_create(
            [AnsweredRequest(identity=who, key=key, request_hash=asked)], ignore_conflicts=True
        )
        # If it is not there, the other request was refused, or was forgotten meanwhile.
        if record := AnsweredRequest.objects.filter(identity=who, key=key).first():
            return record


def _refuse_reused(record: AnsweredRequest, asked: str) -> None:
    if record.request_hash != asked:
        raise Refused(
            "idempotency_key_reused",
            _("%(header)s %(key)s was used for another request: take a new one for each.")
            % {"header": HEADER, "key": record.key},
            422,
            parameter=HEADER,
            value=record.key,
        )


def _kept(record: AnsweredRequest, asked: str) -> Response:
    _refuse_reused(record, asked)
    assert record.answer is not None
    found = KEPT.fullmatch(bytes(record.answer))
    assert found is not None
    language = (found["language"] or b"en").decode()
    return Response(
        exact_json.decode_kept(found["answer"]),
        status=record.status_code,
        headers={**REPLAYED, "Content-Language": language},
    )


def _in_language(answer: bytes) -> bytes:
    """An answer as it is kept: before that of another language than English stands its code."""
    language = get_language() or ENGLISH
    return answer if language == ENGLISH else language.encode() + b" " + answer


def forget_old() -> int:
    """Delete answers that are older than `KEPT_FOR`; return how many."""
    old = AnsweredRequest.objects.filter(answered_at__lt=timezone.now() - KEPT_FOR)
    return old.delete()[0]
