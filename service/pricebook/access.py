"""Who may read: people with a session, programs with an API key."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework_api_key.models import APIKey

if TYPE_CHECKING:
    from rest_framework.views import APIView


@dataclass(frozen=True)
class Program:
    """Who reads with an API key; stands where a person's user stands."""

    username: str
    is_authenticated = True
    is_active = True
    is_staff = False
    pk = None

    def __str__(self) -> str:
        return self.username


class ApiKeyAuthentication(BaseAuthentication):
    """`Authorization: Api-Key <key>`. One query; none for a key that can't be one.

    It is to stand first: the first class decides whether a refusal is a 401.
    """

    keyword = "Api-Key"
    shape = re.compile(r"(?P<prefix>[A-Za-z0-9]{8})\.[A-Za-z0-9]{32}", re.ASCII)

    def authenticate(self, request: Request) -> tuple[Program, APIKey] | None:
        keyword, _, key = request.headers.get("Authorization", "").partition(" ")
        if keyword.lower() != self.keyword.lower():
            return None

        shape = self.shape.fullmatch(key.strip())
        api_key = APIKey.objects.filter(prefix=shape["prefix"]).first() if shape else None
        # Only who knows the whole key is told what became of it.
        if api_key is None or not api_key.is_valid(key.strip()):
            raise exceptions.AuthenticationFailed("This API key is not known.", "wrong_key")
        if api_key.revoked:
            raise exceptions.AuthenticationFailed("This API key was revoked.", "revoked_key")
        if api_key.expiry_date and api_key.expiry_date <= timezone.now():
            raise exceptions.AuthenticationFailed("This API key has expired.", "expired_key")
        return Program(api_key.name), api_key

    def authenticate_header(self, request: Request) -> str:
        return self.keyword


class MayRead(BasePermission):
    """People with a session and programs with a key, or everybody where OPEN_READS says so."""

    message = "Log in, or send an API key: Authorization: Api-Key <key>."

    def has_permission(self, request: Request, view: APIView) -> bool:
        if settings.OPEN_READS or request.user.is_authenticated:
            return True
        raise exceptions.NotAuthenticated(self.message)


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
