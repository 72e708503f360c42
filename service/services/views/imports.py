"""Files that are read into the book by workers: `POST /api/imports/`, whose body is the file."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import IO, Any

import msgspec
from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.db import transaction
from django.http import QueryDict, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from pricebook.kit import idempotency
from pricebook.kit.access import author
from pricebook.kit.content import JSONRenderer, body_too_long
from pricebook.kit.errors import Refused
from pricebook.kit.spooled_body import PIECE, spooled
from services import jobs
from services.bulk.running import Wanted
from services.jobs.results import shown
from services.models import Job
from services.past.importing import COLUMNS as HISTORY
from services.reading import parameters
from services.transfer.csv_file import COLUMNS
from services.transfer.files import Reading
from services.views.bulk import TRUE_OR_FALSE, TooManyBulks, begun, one_of
from services.views.jobs import TO_WRITE, answer_of_asked, may, wake_after_commit
from services.views.openapi import ERRORS, REFUSALS
from services.views.shapes_of_jobs import JobSerializer

# The types that a body may have, and how a job remembers them. A file is read by its content.
FILES = {
    "text/csv": "text/csv",
    "text/tab-separated-values": "text/tab-separated-values",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/gzip": "application/gzip",
}
FORM = "multipart/form-data"
# The parameters that say how the file is to be read.
OF_READING = ("encoding", "delimiter", "decimal", "dates", "sheet", "mapping")
KINDS = ("book", "history")
KNOWN = ["kind", "dry_run", "update", "add", *OF_READING, "column"]
SAID_OF_READING = {
    "encoding": "As `utf-8`, `utf-16`, `cp1251`, `cp1252`.",
    "delimiter": "The sign between two values.",
    "decimal": "`.` or `,`.",
    "dates": "`iso`, `day_first` or `month_first`.",
    "sheet": "The name of a worksheet.",
    "mapping": "The name of a reading that was kept.",
}
PARAMETERS = [
    OpenApiParameter(
        "kind",
        {"type": "string", "enum": list(KINDS), "default": KINDS[0]},
        description="`history`: prices that subscriptions of the book have paid in the past.",
    ),
    OpenApiParameter(
        "dry_run",
        {"type": "boolean", "default": False},
        description="`true`: nothing is written; the lines of the job say what would be.",
    ),
    OpenApiParameter(
        "update",
        {"type": "boolean", "default": False},
        description="`true`: what differs from the book is written. Else it refuses the file.",
    ),
    OpenApiParameter(
        "add",
        {"type": "boolean", "default": False},
        description="`true`: lines are new that may be subscriptions which somebody has edited"
        " since. Else they refuse the file.",
    ),
    *(OpenApiParameter(name, str, description=said) for name, said in SAID_OF_READING.items()),
    OpenApiParameter(
        "column",
        {"type": "array", "items": {"type": "string"}},
        description="`Kunde:company_name`, where the file names a column in another way; several"
        " times for several columns. `Notiz:` leaves a column out.",
    ),
    idempotency.PARAMETER,
]


@dataclass(frozen=True)
class Sent:
    """A file as it was sent, with its parameters; `digest` is of all of it."""

    file: IO[bytes]
    media_type: str
    given: QueryDict
    digest: Any


class ImportView(ViewSet):
    """Files of a book, which workers read."""

    never_open = True
    needs = {"create": tuple((each,) for each in TO_WRITE["import"])}

    @extend_schema(
        operation_id="imports_create",
        parameters=PARAMETERS,
        request={
            **dict.fromkeys(FILES, OpenApiTypes.BINARY),
            FORM: {
                "type": "object",
                "properties": {"file": {"type": "string", "format": "binary"}},
                "required": ["file"],
            },
        },
        responses={202: JobSerializer, **ERRORS, **REFUSALS},
    )
    def create(self, request: Request) -> Response:
        """Read a file into the book, all of it or nothing: a job, which workers do."""
        if not begun.acquire(blocking=False):
            raise TooManyBulks
        try:
            sent = sent_by(request)
            with sent.file:
                return ask(request, sent)
        finally:
            begun.release()


def ask(request: Request, sent: Sent) -> Response:
    """The job of a file: one for each Idempotency-Key."""
    wanted = Wanted(
        author(request.user), dry_run=one_of(sent.given, "dry_run", TRUE_OR_FALSE) == "true"
    )
    kind = Job.Kind.IMPORT
    if one_of(sent.given, "kind", KINDS) == "history":
        kind = Job.Kind.HISTORY
        for permission in TO_WRITE[kind]:
            may(request, permission)
    flags = {name: one_of(sent.given, name, TRUE_OR_FALSE) == "true" for name in ("update", "add")}
    options = {**flags, "reading": reading_of(sent.given, kind).said}

    def made() -> bytes:
        job = jobs.ask(kind, sent.file, sent.media_type, wanted, options)
        wake_after_commit()
        return JSONRenderer.encoder.encode(shown(job))

    parts = idempotency.in_parts(request, sent.digest, "import")
    with transaction.atomic():
        text, replayed = (made(), False) if parts is None else parts.once(0, made)
    return answer_of_asked(msgspec.json.decode(text), replayed)


def reading_of(given: QueryDict, kind: Job.Kind) -> Reading:
    """How the file is to be read, as its sender says it; raises BadReading, and BadParameter."""
    said = {name: parameters.value_of(given, name) for name in OF_READING}
    known = HISTORY if kind == Job.Kind.HISTORY else COLUMNS
    return Reading.of(said | {"column": given.getlist("column")}, known)


def sent_by(request: Request) -> Sent:
    """The file of a request, which is its body or a part of it, and its parameters."""
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding != "identity":
        raise UnsupportedMediaType(encoding, _("Send a compressed file as application/gzip."))
    media_type = request.content_type.partition(";")[0].strip().lower()
    parameters.refuse_unknown(request.query_params, KNOWN)
    if media_type == FORM:
        return in_form(request)
    if media_type not in FILES:
        raise UnsupportedMediaType(
            request.content_type,
            _("A file is %(files)s, or a part of %(form)s; this is %(content_type)s.")
            % {
                "files": ", ".join(FILES),
                "form": FORM,
                "content_type": repr(request.content_type[:100]),
            },
        )
    file, digest = spooled(request, settings.LONGEST_BULK)
    return Sent(file, FILES[media_type], request.query_params, digest)


def in_form(request: Request) -> Sent:
    """The part `file` of a form, and its other parts, which are parameters.

    An Idempotency-Key is for the parts, and not for the bytes: programs put another boundary
    between them each time.
    """
    if int(request.META.get("CONTENT_LENGTH") or 0) > settings.LONGEST_BULK:
        raise body_too_long(settings.LONGEST_BULK)
    form: Any = request._request
    try:
        fields, files = form.POST, form.FILES
    except (MultiPartParserError, SuspiciousOperation, UnreadablePostError) as error:
        raise Refused(
            "bad_form", _("The form can't be read: %(error)s.") % {"error": error}
        ) from None
    if [*files] != ["file"] or len(files.getlist("file")) != 1:
        raise Refused(
            "missing", _("A form has one file, as its part `file`: curl -F file=@book.csv."),
            parameter="file",
        )  # fmt: skip
    given = request.query_params.copy()
    for name, values in fields.lists():
        if name != "csrfmiddlewaretoken":  # of a page
            given.setlistdefault(name).extend(values)
    parameters.refuse_unknown(given, KNOWN)
    file, digest = files["file"], sha256()
    for name, values in sorted(given.lists()):
        digest.update(f"{name}={values}\n".encode())
    while piece := file.read(PIECE):
        digest.update(piece)
    file.seek(0)
    return Sent(file, FILES.get((file.content_type or "").lower(), ""), given, digest)
