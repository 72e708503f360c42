"""Permissions of people with a session, and of programs with an API key.

People have Django's permissions. A key has scopes (`scopes`), which stand for permissions of the
same names. A view says in `needs` what each of its actions takes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from pricebook.kit import authors, key_use, secrets_of_keys
from pricebook.kit.addresses import address_of
from pricebook.kit.attempts import count_wrong_key
from pricebook.kit.errors import Refused
from pricebook.kit.scopes import scopes_for
from pricebook.kit.stored_keys import StoredKey, key_of

if TYPE_CHECKING:
    from rest_framework.views import APIView

# An action takes one permission of each group, and most groups have one.
Needs = Collection[Collection[str]]


@dataclass(frozen=True)
class Program:
    """A program that sent an API key, in the place of a person's user."""

    key: StoredKey
    is_authenticated = True
    is_active = True
    is_staff = False
    pk = None

    def __str__(self) -> str:
        return self.key.name

    def has_perm(self, permission: str, obj: Any = None) -> bool:
        return permission in self.key.granted


class ApiKeyAuthentication(BaseAuthentication):
    """Authentication by `Authorization: Api-Key <key>`. One query; none for a malformed key.

    It must be the first class, because that decides whether a refusal is a 401.
    """

    keyword = "Api-Key"

    def authenticate(self, request: Request) -> tuple[Program, StoredKey] | None:
        keyword, _blank, given = request.headers.get("Authorization", "").partition(" ")
        if keyword.lower() != self.keyword.lower():
            return None

        given = given.strip()
        shape = secrets_of_keys.SHAPE.fullmatch(given)
        key = key_of(shape["prefix"]) if shape else None
        now = timezone.now()
        # Only a caller that knows the whole key is told what became of it.
        if key is None:
            raise unknown(request)
        if not secrets_of_keys.verify(given, key.hashed_key):
            if not secrets_of_keys.verify(given, key.old_hashed_key):
                raise unknown(request)
            if key.old_until is None or key.old_until <= now:
                raise exceptions.AuthenticationFailed(
                    _("This API key has a new secret; the old one, which you sent, has ended."),
                    "rotated_key",
                )
        if key.revoked:
            raise exceptions.AuthenticationFailed(_("This API key was revoked."), "revoked_key")
        if key.expiry_date is not None and key.expiry_date <= now:
            raise exceptions.AuthenticationFailed(_("This API key has expired."), "expired_key")
        key_use.note(key.number, now)
        return Program(key), key

    def authenticate_header(self, request: Request) -> str:
        return self.keyword


def unknown(request: Request) -> exceptions.AuthenticationFailed:
    """The refusal of a key that there is not. Raises TooManyAttempts after many from its address;
    a right key passes, whatever others send from there, which may be a proxy."""
    count_wrong_key(request)
    return exceptions.AuthenticationFailed(_("This API key is not known."), "wrong_key")


class MayDo(BasePermission):
    """Whether the caller may do what the view's `needs` says of the action.

    With OPEN_READS everybody may read what is in the book; a view that is `never_open` shows
    something else. A person reads and writes as staff: a client's login has no business here.
    """

    message = gettext_lazy("Log in, or send an API key: Authorization: Api-Key <key>.")

    def has_permission(self, request: Request, view: APIView) -> bool:
        user = request.user
        open_to_all = settings.OPEN_READS and not getattr(view, "never_open", False)
        if open_to_all and request.method in SAFE_METHODS:
            return True
        if not user.is_authenticated:
            raise exceptions.NotAuthenticated(self.message)
        if not isinstance(user, Program) and not user.is_staff:
            raise Refused(
                "permission_denied",
                _(
                    "%(user)s is not staff, and reads and writes nothing here. A person who"
                    " looks after the users can change that."
                )
                % {"user": user},
                403,
                missing="is_staff",
            )
        for group in needs_of(request, view):
            if not any(user.has_perm(permission) for permission in group):
                raise self.refusal(user, group)
        return True

    def refusal(self, user: Any, group: Collection[str]) -> Refused:
        missing = _(" or ").join(group)
        if not isinstance(user, Program):
            fix = _("A person who looks after the users can give it.")
        elif user.key.said.intersection(group):
            fix = _("A scope of this key says it, but the person or key that made it lacks it.")
        else:
            scopes = _(" or ").join(scope for each in group for scope in scopes_for(each))
            fix = _("To a key the scope %(scopes)s gives it.") % {"scopes": scopes}
        return Refused(
            "permission_denied",
            _("%(user)s may not do this: the permission %(missing)s is missing. %(fix)s")
            % {"user": user, "missing": missing, "fix": fix},
            403,
            missing=missing,
        )


def may_read(request: Request, permission: str) -> bool:
    """Whether the caller may read something of the book that an answer shows beside its own."""
    return settings.OPEN_READS or request.user.has_perm(permission)


def needs_of(request: Request, view: APIView) -> Needs:
    """The groups of this request, besides being somebody; an unlisted action takes all."""
    method = (request.method or "").lower()
    action = getattr(view, "action", "get" if method == "head" else method)
    if action in (None, "metadata", "options"):  # None: a method that the view refuses
        return ()
    needs: dict[str, Needs] = getattr(view, "needs", {})
    return needs.get(action, (("every permission",),))


def author(user: Any) -> str:
    """The caller as the author of what it decides or writes."""
    if isinstance(user, Program):
        return authors.key(user.key.number, user.key.name)
    return authors.person(user.pk, user.get_username())


def identity(request: Request) -> str:
    """An identity of the caller that is no name: a person's number, or a key's id.

    It is stored with answers, so it stays what it was in earlier releases.
    """
    user = request.user
    return f"key {user.key.id}" if isinstance(user, Program) else f"user {user.pk}"


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
