"""A name or an e-mail is one login, whatever the case of its letters, at every door."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import BaseBackend
from django.contrib.auth.models import User
from django.contrib.postgres.aggregates import ArrayAgg
from django.core.exceptions import ValidationError
from django.db.models import Count, Q
from django.db.models.functions import Upper
from django.http import HttpRequest
from django.utils.translation import gettext as _


def another_of_name(username: str, but: User) -> User | None:
    """Another user with this name in any case. One query, along `auth_user_username_upper`."""
    return User.objects.filter(username__iexact=username).exclude(pk=but.pk).first()


def another_of_email(email: str, but: User) -> User | None:
    """Another user with this e-mail, or named so, in any case; None for no e-mail. One query."""
    if not email:
        return None
    same = Q(email__iexact=email) | Q(username__iexact=email, email="")
    return User.objects.filter(same).exclude(pk=but.pk).first()


def same_but_for_case(most: int = 10) -> list[list[str]]:
    """The names of users that differ in the case of their letters alone, up to `most` of them.

    SQL, a rename or an earlier release has made them. One query, over all users.
    """
    upper = User.objects.values(upper=Upper("username"))
    found = upper.annotate(names=ArrayAgg("username", order_by="username"), number=Count("pk"))
    return list(found.filter(number__gt=1).order_by("upper").values_list("names", flat=True)[:most])


def refuse_second_name(sender: type[User], instance: User, raw: bool, **kwargs: Any) -> None:
    """Refuse a new user whose name differs from another's in the case of its letters alone.

    ValidationError. One query for a new user. Receives `pre_save` of users.
    """
    if raw or not instance._state.adding:
        return
    other = another_of_name(instance.username, instance)
    if other is not None and other.username != instance.username:  # which the index refuses
        raise ValidationError(
            _(
                "%(username)s is the login name of %(username2)s in another case; there is"
                " one login for both. Use that one, or another name."
            )
            % {"username": repr(instance.username), "username2": repr(other.username)}
        )


class AnyCase(BaseBackend):
    """Lets somebody in who has typed the login name in another case, if it is one user's alone.

    It comes after `ModelBackend`, which knows the name as it is stored, and permissions.
    """

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **credentials: Any,
    ) -> User | None:
        if not username or password is None:
            return None
        found = list(User.objects.filter(username__iexact=username)[:2])
        if len(found) != 1:
            User().set_password(password)  # takes the time of a check, so that time says nothing
            return None
        [user] = found
        return user if user.check_password(password) and user.is_active else None

    def get_user(self, user_id: int) -> User | None:
        return User.objects.filter(pk=user_id, is_active=True).first()
