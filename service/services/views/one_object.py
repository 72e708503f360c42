"""The ETag of one object, and requests that hold only for the object that their caller has seen.

The ETag is a digest of the answer, so it is another one exactly when the answer is. Lists have the
version of the book instead (`etags`): their answers would have to be read to be compared.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import Any

from django.db import models
from django.utils.http import parse_etags
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter
from rest_framework.exceptions import NotFound
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response

from pricebook.kit import decimals
from pricebook.kit.content import JSONRenderer
from pricebook.kit.errors import Refused
from services.views.openapi import errors

HEADER = "If-Match"
ETAG = re.compile(r'(?:W/)?("[0-9a-f]{32}")')
LONGEST = 2_000  # characters of a header
IF_MATCH = OpenApiParameter(
    HEADER,
    {"type": "string"},
    OpenApiParameter.HEADER,
    description="The ETag of the answer that you have seen: if the object has another one by now,"
    " nothing is written (412). `*`: it has to be there.",
)
CHANGED = errors({412: "Somebody has changed the object since you saw it."})


def etag_of(shown: Mapping[str, Any], as_text: bool = False) -> str:
    """The strong ETag of an answer; one whose decimals are texts has another."""
    return f'"{sha256(JSONRenderer.encoder.encode(shown, as_text)).hexdigest()[:32]}"'


def tags_in(header: str) -> set[str]:
    """The ETags in a header, as they were given out.

    Compression makes them weak on the way, as it changes the bytes and not what they say.
    """
    found = (ETAG.fullmatch(tag) for tag in parse_etags(header[:LONGEST]))
    return {tag[1] for tag in found if tag}


class OneObject(ABC):
    """A mixin for views of records: `ETag` on each answer about one, and `If-Match`."""

    model: type[models.Model]
    kind: str
    answers_one: Collection[str]  # the actions whose answer is one object

    @abstractmethod
    def shown(self, id: int) -> Mapping[str, Any] | None:
        """The object as it is shown, or None."""

    def found(self, id: int) -> Mapping[str, Any]:
        shown = self.shown(id)
        if shown is None:
            raise NotFound(_("There is no %(kind)s %(id)s.") % {"kind": _(self.kind), "id": id})
        return shown

    def hold(self, id: int) -> bool:
        """Lock the row until the end of the transaction; False if there is none. One query."""
        rows = self.model._base_manager.select_for_update(no_key=True)
        return bool(rows.filter(pk=id).values_list("pk"))

    def refuse_changed(self, request: Request, id: int) -> None:
        """Refuse the request if its `If-Match` names another object than the one that is there.

        The row is locked before, so nobody changes it between this look and the write. Without the
        header it does nothing, else it takes a query and those of the answer.
        """
        given = request.headers.get(HEADER)
        if given is None:
            return
        if not self.hold(id):
            raise NotFound(_("There is no %(kind)s %(id)s.") % {"kind": _(self.kind), "id": id})
        shown, tags = self.found(id), tags_in(given)
        if given.strip() != "*" and tags.isdisjoint((etag_of(shown), etag_of(shown, as_text=True))):
            raise Refused(
                "changed_since",
                _(
                    "This %(kind)s is not as you have seen it: somebody has changed it since."
                    " Read it again, and decide anew."
                )
                % {"kind": self.kind},
                412,
            )

    def finalize_response(
        self, request: Request, response: Response, *args: Any, **kwargs: Any
    ) -> Response:
        if self._shows_one(request, response):
            etag = etag_of(response.data, decimals.as_text(request))
            headers = {
                "ETag": etag,
                "Cache-Control": "private, no-cache",
                "Vary": "Accept, Authorization, Cookie",
            }
            seen = request.headers.get("If-None-Match", "")
            if request.method in SAFE_METHODS and etag in tags_in(seen):
                response = Response(status=304)
            for name, value in headers.items():
                response[name] = value
        return super().finalize_response(request, response, *args, **kwargs)  # type: ignore[misc,no-any-return]

    def _shows_one(self, request: Request, response: Response) -> bool:
        renderer = getattr(request, "accepted_renderer", None)  # none, if that was refused
        return (
            getattr(self, "action", None) in self.answers_one
            and response.status_code in (200, 201)
            and not getattr(response, "shows_only", False)  # a look at what a request would do
            and not response.has_header("Cache-Control")  # as of an instant: a version of the book
            and renderer is not None
            and renderer.format == "json"  # the page of a browser says who is logged in
        )
