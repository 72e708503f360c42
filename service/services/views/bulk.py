"""Many records in one request: `POST …/bulk/`, of JSON or NDJSON, which the answer is too."""

from __future__ import annotations

import re
import threading
import weakref
from collections.abc import Iterator
from typing import IO, Any

import msgspec
from django.conf import settings
from django.db import transaction
from django.http import QueryDict, StreamingHttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import APIException, UnsupportedMediaType
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from pricebook.kit import decimals, idempotency
from pricebook.kit.access import author
from pricebook.kit.content import JSONRenderer
from pricebook.kit.errors import BadParameter
from pricebook.kit.spooled_body import PIECE, spooled
from services import jobs
from services.bulk import running
from services.bulk.bodies import JSON, NDJSON, lines_of
from services.bulk.lines import CHUNK, check
from services.bulk.running import Results, Wanted
from services.bulk.steps import Steps
from services.jobs.results import shown
from services.reading import parameters
from services.transfer import streaming
from services.views.jobs import answer_of_asked, wake_after_commit
from services.views.openapi import ERRORS, REFUSALS, errors
from services.views.shapes_of_bulk import BulkErrorSerializer, BulkResultsSerializer
from services.views.shapes_of_jobs import JobSerializer

ON_ERROR = ("stop", "skip")
TRUE_OR_FALSE = ("false", "true")
OUTCOMES = ("created", "changed", "unchanged", "refused")
PARAMETERS = [
    OpenApiParameter(
        "on_error",
        {"type": "string", "enum": list(ON_ERROR), "default": ON_ERROR[0]},
        description="`stop`: one refused line refuses all, and nothing is written. `skip`: it is"
        " left out and named in the answer, and the others are written.",
    ),
    OpenApiParameter(
        "dry_run",
        {"type": "boolean", "default": False},
        description="`true`: nothing is written; the answer says what would be.",
    ),
    OpenApiParameter(
        "Prefer",
        {"type": "string"},
        OpenApiParameter.HEADER,
        description="`respond-async`: the lines become a job, which workers write; 202 with its"
        " address in `Location`.",
    ),
    idempotency.PARAMETER,
]
DESCRIPTION = (
    "Each line names its record by `source` and `external_id`: one that is not there is created,"
    " fields that differ are changed, and fields that are not given stay. NDJSON"
    ' (`application/x-ndjson`) has an object a line; JSON is `{"lines": [{…}, {…}]}`. Up to'
    f" {settings.LONGEST_BULK:,} bytes."
)
ASYNC = "respond-async"  # of RFC 7240
begun = threading.BoundedSemaphore(settings.BULKS_AT_ONCE)


class TooManyBulks(APIException):
    status_code = 503
    default_code = "too_many_bulks"
    default_detail = gettext_lazy(
        "As many bulks as are allowed at once are being written; try again."
    )
    wait = 10  # becomes Retry-After


class BulkWrites:
    """A mixin for views of records: `POST …/bulk/`."""

    bulk_steps: type[Steps]

    def get_renderers(self) -> list[BaseRenderer]:
        if getattr(self, "action", None) == "bulk":
            return [JSONRenderer(), streaming.NDJSONRenderer()]
        return super().get_renderers()  # type: ignore[misc,no-any-return]

    def handle_exception(self, exc: Exception) -> Response:
        streaming.errors_are_json(self.request)  # type: ignore[attr-defined]
        return super().handle_exception(exc)  # type: ignore[misc,no-any-return]

    @action(detail=False, methods=["post"])
    def bulk(self, request: Request) -> Response | StreamingHttpResponse:
        wanted = wanted_of(request)
        media_type = media_type_of(request)
        if not begun.acquire(blocking=False):
            raise TooManyBulks
        try:
            file, digest = spooled(request, settings.LONGEST_BULK)
            with file:
                if is_job(request):
                    return self.job(request, file, digest, media_type, wanted)
                parts = idempotency.in_parts(request, digest, CHUNK)
                lines = check(lines_of(file, media_type), self.bulk_steps.record)
            with lines.file:
                results = running.write(
                    lines, self.bulk_steps, wanted, None if wanted.dry_run else parts
                )
        finally:
            begun.release()
        return StreamingHttpResponse(
            Answer(results, media_type, wanted, decimals.as_text(request)),
            content_type=media_type,
            headers={
                "Cache-Control": "no-store",
                **(idempotency.REPLAYED if results.replayed else {}),
            },
        )

    def job(
        self, request: Request, file: IO[bytes], digest: Any, media_type: str, wanted: Wanted
    ) -> Response:
        """Leave the lines to the workers: 202, once for each Idempotency-Key."""

        def ask() -> bytes:
            job = jobs.ask(f"{self.bulk_steps.record.kind}s", file, media_type, wanted)
            wake_after_commit()
            return JSONRenderer.encoder.encode(shown(job))

        parts = idempotency.in_parts(request, digest, "job")
        with transaction.atomic():
            text, replayed = (ask(), False) if parts is None else parts.once(0, ask)
        # Whatever the type of the lines is.
        request.accepted_renderer, request.accepted_media_type = JSONRenderer(), JSON
        answer = answer_of_asked(msgspec.json.decode(text), replayed)
        answer["Preference-Applied"] = ASYNC
        return answer


def bulk_described(kind: str, line: Any) -> Any:
    """The schema of `bulk/` of a view with `BulkWrites`."""
    return extend_schema(
        operation_id=f"{kind}s_bulk",
        summary=f"Create and change many {kind}s.",
        description=DESCRIPTION,
        parameters=PARAMETERS,
        request={JSON: line, NDJSON: OpenApiTypes.STR},
        responses={
            (200, JSON): BulkResultsSerializer,
            (200, NDJSON): OpenApiTypes.STR,
            202: JobSerializer,
            **ERRORS,
            **REFUSALS,
            **errors({400: "Refused; `lines` names the lines."}, BulkErrorSerializer),
        },
    )


def is_job(request: Request) -> bool:
    """Whether the caller prefers not to wait."""
    preferences = re.split("[,;]", request.headers.get("Prefer", ""))
    return ASYNC in (each.strip().lower() for each in preferences)


def wanted_of(request: Request) -> Wanted:
    query = request.query_params
    parameters.refuse_unknown(query, ["on_error", "dry_run"])
    return Wanted(
        author(request.user),
        skip=one_of(query, "on_error", ON_ERROR) == "skip",
        dry_run=one_of(query, "dry_run", TRUE_OR_FALSE) == "true",
    )


def one_of(query: QueryDict, name: str, allowed: tuple[str, ...]) -> str:
    """The value of a parameter; the first one that is allowed, if it is not given."""
    value = parameters.value_of(query, name)
    if value is None:
        return allowed[0]
    if value not in allowed:
        raise BadParameter(
            name,
            value,
            _("%(name)s is %(allowed)s.") % {"name": name, "allowed": " or ".join(allowed)},
            allowed=list(allowed),
        )
    return value


def media_type_of(request: Request) -> str:
    """JSON or NDJSON, in UTF-8; raises UnsupportedMediaType for anything else."""
    media_type, _sign, rest = request.content_type.partition(";")
    media_type = media_type.strip().lower()
    charset = rest.strip().lower().replace('"', "").replace(" ", "")
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding != "identity":
        raise UnsupportedMediaType(encoding, _("A bulk is not compressed: send it as it is."))
    if media_type not in (JSON, NDJSON) or charset not in ("", "charset=utf-8"):
        raise UnsupportedMediaType(
            request.content_type,
            _("A bulk is %(json)s or %(ndjson)s, in UTF-8, and this is %(content_type)s.")
            % {"json": JSON, "ndjson": NDJSON, "content_type": repr(request.content_type[:100])},
        )
    return media_type


class Answer:
    """The results as the request was sent, in pieces."""

    def __init__(
        self, results: Results, media_type: str, wanted: Wanted, as_text: bool = False
    ) -> None:
        self.results = results
        self.media_type = media_type
        # At the latest when nothing refers to it any more.
        self.close = weakref.finalize(self, results.file.close)
        named = {name: results.counts[name] for name in OUTCOMES}
        end: dict[str, Any] = {"lines": results.counts.total(), **named, "dry_run": wanted.dry_run}
        if wanted.dry_run:
            look = results.look
            end |= {"moves": look.move.rows, "total_before": look.move.before}
            end |= {"total_after": look.move.after, "currency": settings.CURRENCY}
            end |= {"needs_another": look.needs_another}
        self.end = JSONRenderer.encoder.encode({"end": end}, as_text)

    def __iter__(self) -> Iterator[bytes]:
        return self._ndjson() if self.media_type == NDJSON else self._json()

    def _ndjson(self) -> Iterator[bytes]:
        while piece := self.results.file.read(PIECE):
            yield piece
        yield self.end + b"\n"

    def _json(self) -> Iterator[bytes]:
        yield self.end[:-1] + b',"lines":['
        separator = b""
        while lines := self.results.file.readlines(PIECE):
            yield separator + b",".join(line.rstrip(b"\n") for line in lines)
            separator = b","
        yield b"]}\n"
