"""Clients, services and plans over the API: create, change, delete."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, cast

from django.conf import settings
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer

from pricebook.kit import idempotency
from pricebook.kit.access import author
from pricebook.kit.content import object_of
from pricebook.kit.idempotency import idempotent
from services.reading import breakdown
from services.views.moves import WaitingPlanSerializer, answer_of_effect, or_shown, waits
from services.views.one_object import CHANGED, IF_MATCH, OneObject
from services.views.openapi import ERRORS, PATH_ID, REFUSALS, UNKNOWN
from services.views.paging import known_id
from services.writing import catalogue, clients
from services.writing.bodies import Field, values_of
from services.writing.catalogue import Kind

KEY = idempotency.PARAMETER


class RecordWrites(OneObject):
    """A mixin: `POST` of the list and `DELETE` of one; `PATCH` is in the classes below."""

    fields: Mapping[str, Field]
    answers_one = ("retrieve", "create", "partial_update")

    def shown(self, id: int) -> Mapping[str, Any] | None:
        row, _ = breakdown.one(self.kind, id)
        return None if row is None else row | {"currency": settings.CURRENCY}

    @idempotent
    def create(self, request: Request) -> Response:
        values = values_of(self.fields, request.data)
        return Response(self.found(self.insert(values, author(request.user))), status=201)

    @idempotent
    def destroy(self, request: Request, pk: str) -> Response:
        object_of(request.data, [])
        id = known_id(pk, self.kind)
        self.refuse_changed(request, id)
        self.remove(id, author(request.user))
        return Response(status=204)

    @abstractmethod
    def insert(self, values: Mapping[str, Any], author: str) -> int: ...

    @abstractmethod
    def remove(self, id: int, author: str) -> None: ...


class ClientWrites(RecordWrites):
    """The writes of clients, who have log-ins."""

    fields = clients.FIELDS

    @idempotent
    def partial_update(self, request: Request, pk: str) -> Response:
        id, values = known_id(pk, self.kind), values_of(self.fields, request.data, changing=True)
        clients.lock_email(values.get("email", ""))  # before the row
        self.refuse_changed(request, id)
        clients.change(id, values)
        return Response(self.found(id))

    def insert(self, values: Mapping[str, Any], author: str) -> int:
        return clients.create(values)

    def remove(self, id: int, author: str) -> None:
        clients.delete(id)


class CatalogueWrites(RecordWrites):
    """The writes of services and plans, whose values move the prices of many."""

    @idempotent
    def partial_update(self, request: Request, pk: str) -> Response:
        """Done; beyond a limit a plan that waits (202); or only shown (`dry_run`)."""
        kind = cast(Kind, self.kind)
        table, any_of = catalogue.CHANGES[kind], list(self.fields)
        values = values_of(table, request.data, changing=True, any_of=any_of)
        dry_run = values.pop("dry_run", False)
        id = known_id(pk, self.kind)
        self.refuse_changed(request, id)
        change = (kind, id, values, author(request.user))
        if dry_run:
            return answer_of_effect(catalogue.show_change(*change))
        plan = catalogue.change(*change)
        return Response(self.found(id)) if plan is None else waits(plan)

    def insert(self, values: Mapping[str, Any], author: str) -> int:
        return catalogue.create(cast(Kind, self.kind), values, author)

    def remove(self, id: int, author: str) -> None:
        catalogue.delete(cast(Kind, self.kind), id, author)


def writes_described(
    kind: str, shown: type[Serializer], new: type[Serializer], changes: type[Serializer]
) -> Callable[[type], type]:
    """The schema of a view with `RecordWrites`."""
    refused = {**ERRORS, **REFUSALS}
    of_one = {**refused, **UNKNOWN, **CHANGED}
    changed: dict[int, Any] = {200: shown}
    if kind != "client":
        changed = {200: or_shown(f"{kind.title()}OrShown", shown), 202: WaitingPlanSerializer}
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
            responses={**changed, **of_one},
        ),
        destroy=extend_schema(
            summary=f"Delete a {kind} that was never used.",
            parameters=[PATH_ID, KEY, IF_MATCH],
            request=None,
            responses={204: OpenApiResponse(description="It is gone."), **of_one},
        ),
    )
