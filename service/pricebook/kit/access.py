"""Permissions of people with a session, and of programs with an API key.

People have Django's permissions. A key reads, and has the rights that were given to it
(`ApiKeyRights`); a right stands for the permission of the same verb.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework_api_key.models import APIKey

from pricebook.kit.addresses import address_of
from pricebook.kit.attempts import count_wrong_key, refuse_guesser
from pricebook.kit.errors import Refused
from pricebook.kit.prepared import prepared_cursor
from pricebook.kit.tables import ApiKeyRights

if TYPE_CHECKING:
    from rest_framework.views import APIView


@dataclass(frozen=True)
class Program:
    """A program that sent an API key, in the place of a person's user."""

    username: str
    key_id: str | None = None
    is_authenticated = True
    is_active = True
    is_staff = False
    pk = None

    def __str__(self) -> str:
        return self.username

    @cached_property
    def rights(self) -> frozenset[str]:
        """The permissions that the key's rights stand for. One query, the first time."""
        rights = ApiKeyRights.objects.filter(api_key=self.key_id).first()
        return rights.permissions() if rights else frozenset()

    def has_perm(self, permission: str, obj: Any = None) -> bool:
        return permission in self.rights


class ApiKeyAuthentication(BaseAuthentication):
    """Authentication by `Authorization: Api-Key <key>`. One query; none for a malformed key.

    It must be the first class, because that decides whether a refusal is a 401.
    """

    keyword = "Api-Key"
    shape = re.compile(r"(?P<prefix>[A-Za-z0-9]{8})\.[A-Za-z0-9]{32}", re.ASCII)

    def authenticate(self, request: Request) -> tuple[Program, APIKey] | None:
        keyword, _, key = request.headers.get("Authorization", "").partition(" ")
        if keyword.lower() != self.keyword.lower():
            return None

        refuse_guesser(request)
        shape = self.shape.fullmatch(key.strip())
        api_key = key_of(shape["prefix"]) if shape else None
        # Only a caller that knows the whole key is told what became of it.
        if api_key is None or not api_key.is_valid(key.strip()):
            count_wrong_key(request)
            raise exceptions.AuthenticationFailed("This API key is not known.", "wrong_key")
        if api_key.revoked:
            raise exceptions.AuthenticationFailed("This API key was revoked.", "revoked_key")
        if api_key.expiry_date and api_key.expiry_date <= timezone.now():
            raise exceptions.AuthenticationFailed("This API key has expired.", "expired_key")
        return Program(api_key.name, api_key.pk), api_key

    def authenticate_header(self, request: Request) -> str:
        return self.keyword


KEY_COLUMNS = ("id", "prefix", "hashed_key", "created", "name", "revoked", "expiry_date")
KEY = f"SELECT {', '.join(KEY_COLUMNS)} FROM {APIKey._meta.db_table} WHERE prefix = %s"  # noqa: S608


def key_of(prefix: str) -> APIKey | None:
    """The key with this prefix. One query at every request, so it does not use the ORM."""
    with prepared_cursor() as cursor:
        cursor.execute(KEY, [prefix])
        row = cursor.fetchone()
    return APIKey.from_db(None, KEY_COLUMNS, row) if row else None


class MayRead(BasePermission):
    """Lets people with a session and programs with a key read, or everybody with OPEN_READS."""

    message = "Log in, or send an API key: Authorization: Api-Key <key>."

    def has_permission(self, request: Request, view: APIView) -> bool:
        if settings.OPEN_READS or request.user.is_authenticated:
            return True
        raise exceptions.NotAuthenticated(self.message)


class MayWrite(MayRead):
    """Like `MayRead`, but an action in the view's `needs` requires one of the permissions there."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        needed = getattr(view, "needs", {}).get(getattr(view, "action", None))
        if needed is None:
            return super().has_permission(request, view)
        if not request.user.is_authenticated:
            raise exceptions.NotAuthenticated(self.message)
        if not any(request.user.has_perm(permission) for permission in needed):
            missing = " or ".join(needed)
            raise Refused(
                "permission_denied",
                f"{request.user} may not do this: the permission {missing} is missing. Whoever"
                " looks after the users and the API keys can give it.",
                403,
                missing=missing,
            )
        return True


def identity(request: Request) -> str:
    """An identity of the caller that is no name: a person's number, or a key's."""
    user = request.user
    return f"key {user.key_id}" if isinstance(user, Program) else f"user {user.pk}"


def caller(request: Request) -> str:
    """The identity of the caller, or the address where somebody without one asks from."""
    known = request.user.is_authenticated
    return identity(request) if known else f"address {address_of(request)}"


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the schema describes `ApiKeyAuthentication`."""

    target_class = ApiKeyAuthentication
    name = "ApiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "The word Api-Key, a space, and the key.",
        }
