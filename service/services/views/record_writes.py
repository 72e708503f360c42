"""Clients, services and plans over the API: create, change, delete."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer

from pricebook.kit import idempotency
from pricebook.kit.access import author
from pricebook.kit.content import object_of
from pricebook.kit.idempotency import idempotent
from services.reading import breakdown
from services.views.one_object import CHANGED, IF_MATCH, OneObject
from services.views.openapi import ERRORS, PATH_ID, REFUSALS, UNKNOWN
from services.views.paging import known_id
from services.writing import catalogue, clients
from services.writing.bodies import Field, values_of
from services.writing.catalogue import Kind

KEY = idempotency.PARAMETER


class RecordWrites(OneObject):
    """A mixin: `POST` of the list, `PATCH` and `DELETE` of one."""

    fields: Mapping[str, Field]
    answers_one = ("retrieve", "create", "partial_update")

    def shown(self, id: int) -> Mapping[str, Any] | None:
        row, _ = breakdown.one(self.kind, id)
        return row

    @idempotent
    def create(self, request: Request) -> Response:
        values = values_of(self.fields, request.data)
        return Response(self.found(self.insert(values, author(request.user))), status=201)

    @idempotent
    def partial_update(self, request: Request, pk: str) -> Response:
        id, values = known_id(pk, self.kind), values_of(self.fields, request.data, changing=True)
        self.before_the_row(values)
        self.refuse_changed(request, id)
        self.write(id, values, author(request.user))
        return Response(self.found(id))

    @idempotent
    def destroy(self, request: Request, pk: str) -> Response:
        object_of(request.data, [])
        id = known_id(pk, self.kind)
        self.refuse_changed(request, id)
        self.remove(id, author(request.user))
        return Response(status=204)

    def before_the_row(self, values: Mapping[str, Any]) -> None:
        """Take the locks that have to be taken before that of the row."""

    def insert(self, values: Mapping[str, Any], author: str) -> int:
        return catalogue.create(cast(Kind, self.kind), values, author)

    def write(self, id: int, values: Mapping[str, Any], author: str) -> None:
        catalogue.change(cast(Kind, self.kind), id, values, author)

    def remove(self, id: int, author: str) -> None:
        catalogue.delete(cast(Kind, self.kind), id, author)


class ClientWrites(RecordWrites):
    """The same of clients, who have log-ins."""

    fields = clients.FIELDS

    def before_the_row(self, values: Mapping[str, Any]) -> None:
        clients.lock_email(values.get("email", ""))

    def insert(self, values: Mapping[str, Any], author: str) -> int:
        return clients.create(values)

    def write(self, id: int, values: Mapping[str, Any], author: str) -> None:
        clients.change(id, values)

    def remove(self, id: int, author: str) -> None:
        clients.delete(id)


def writes_described(
    kind: str, shown: type[Serializer], new: type[Serializer], changes: type[Serializer]
) -> Callable[[type], type]:
    """The schema of a view with `RecordWrites`."""
    refused = {**ERRORS, **REFUSALS}
    of_one = {**refused, **UNKNOWN, **CHANGED}
    return extend_schema_view(
        create=extend_schema(
            summary=f"Create a {kind}.",
            parameters=[KEY],
            request=new,
            responses={201: shown, **refused},
        ),
        partial_update=extend_schema(
            summary=f"Change a {kind}: the fields that are given.",
            parameters=[PATH_ID, KEY, IF_MATCH],
            request=changes,
            responses={200: shown, **of_one},
        ),
        destroy=extend_schema(
            summary=f"Delete a {kind} that was never used.",
            parameters=[PATH_ID, KEY, IF_MATCH],
            request=None,
            responses={204: OpenApiResponse(description="It is gone."), **of_one},
        ),
    )
