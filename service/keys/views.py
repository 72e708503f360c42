"""API keys over the API: make, look, rotate, revoke."""

from __future__ import annotations

from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from keys import verbs
from keys.models import ApiKey
from keys.serializers import (
    KeyPageSerializer,
    KeySerializer,
    KeyWithSecretSerializer,
    NewKeySerializer,
    RotationSerializer,
    shown,
)
from keys.verbs import OVERLAP_HOURS, KeyRefused, Maker
from pricebook.kit import idempotency
from pricebook.kit.content import object_of
from pricebook.kit.idempotency import idempotent, idempotent_without
from pricebook.kit.scopes import CHANGE_KEY, MAKE_KEY, VIEW_KEY
from services import parsing
from services.reading import parameters
from services.reading.newest_first import newest_first
from services.reading.ordering import list_key
from services.views.openapi import CURSOR, ERRORS, LINK, PAGE_SIZE, PATH_ID, REFUSALS, errors
from services.views.paging import cursor_of, known_id, link, links

UNKNOWN = errors({404: "There is no such key."})
LIST_KEY = list_key("keys")


class KeyView(ViewSet):
    """API keys of programs. Their secrets are shown once, and never stored."""

    lookup_value_regex = "[0-9]+"
    never_open = True  # OPEN_READS is about the book
    needs = {
        "list": ((VIEW_KEY,),),
        "retrieve": ((VIEW_KEY,),),
        "create": ((MAKE_KEY,),),
        # The verbs ask for CHANGE_KEY, unless it is the key that asks.
        "rotate": (),
        "revoke": (),
    }
    asked_by_verbs = dict.fromkeys(("rotate", "revoke"), ((CHANGE_KEY,),))

    @extend_schema(
        operation_id="keys_list",
        parameters=[CURSOR, PAGE_SIZE, LINK],
        responses={200: KeyPageSerializer, **ERRORS},
    )
    def list(self, request: Request) -> Response:
        """Keys, newest first, with who made them and when they were last used."""
        query = request.query_params
        parameters.refuse_unknown(query, parameters.PAGING)
        cursor, size = cursor_of(query, LIST_KEY), parameters.page_size(query)
        keys = ApiKey.objects.select_related("made_with")
        page, next, previous = newest_first(keys, cursor, size, LIST_KEY, "number")
        found_links = {"next": link(request, next), "previous": link(request, previous)}
        return Response(
            {"result": KeySerializer(page, many=True).data, **found_links},
            headers=links(**found_links),
        )

    @extend_schema(
        operation_id="keys_retrieve",
        parameters=[PATH_ID],
        responses={200: KeySerializer, **ERRORS, **UNKNOWN},
    )
    def retrieve(self, request: Request, pk: str) -> Response:
        """One key, without its secret."""
        parameters.refuse_unknown(request.query_params, [])
        number = known_id(pk, "key")
        key = ApiKey.objects.select_related("made_with").filter(number=number).first()
        if key is None:
            raise NotFound(_("There is no key %(pk)s.") % {"pk": pk})
        return Response(shown(key))

    @extend_schema(
        operation_id="keys_create",
        parameters=[idempotency.PARAMETER],
        request=NewKeySerializer,
        responses={201: KeyWithSecretSerializer, **ERRORS, **REFUSALS},
    )
    @idempotent_without("key")
    def create(self, request: Request) -> Response:
        """Make a key. It grants at most what the caller may do, and is shown this once."""
        given = object_of(request.data, ["name", "scopes", "expires_at"])
        scopes, ends = given.get("scopes"), given.get("expires_at")
        if not isinstance(scopes, list) or not all(isinstance(each, str) for each in scopes):
            raise KeyRefused(
                "bad_scopes", _("Give the scopes as a list of words."), parameter="scopes"
            )
        made, text = verbs.make(
            given.get("name"),
            scopes,
            Maker.of(request.user),
            None if ends is None else parsing.instant("expires_at", ends),
        )
        return Response({**shown(made), "key": text}, status=201)

    @extend_schema(
        operation_id="keys_rotate",
        parameters=[PATH_ID, idempotency.PARAMETER],
        request=RotationSerializer,
        responses={200: KeyWithSecretSerializer, **ERRORS, **UNKNOWN, **REFUSALS},
    )
    @action(detail=True, methods=["post"])
    @idempotent_without("key")
    def rotate(self, request: Request, pk: str) -> Response:
        """Give a key a new secret; the old one stays good for some hours beside it."""
        given = object_of(request.data, ["overlap_hours"])
        key, text = verbs.rotate(
            known_id(pk, "key"),
            Maker.of(request.user),
            given.get("overlap_hours", OVERLAP_HOURS),
        )
        return Response({**shown(key), "key": text})

    @extend_schema(
        operation_id="keys_revoke",
        parameters=[PATH_ID, idempotency.PARAMETER],
        request=None,
        responses={200: KeySerializer, **ERRORS, **UNKNOWN, **REFUSALS},
    )
    @action(detail=True, methods=["post"])
    @idempotent
    def revoke(self, request: Request, pk: str) -> Response:
        """End a key for ever, at once, and with it those that it has made."""
        object_of(request.data, [])
        return Response(shown(verbs.revoke(known_id(pk, "key"), Maker.of(request.user))))
