"""Keys for tests."""

from typing import Any

from django.contrib.auth.models import Permission, User

from keys import verbs
from keys.models import ApiKey
from keys.verbs import Maker
from pricebook.kit.scopes import READ_SCOPES


def a_key(
    name: str = "erp", *scopes: str, by: Maker | None = None, **columns: Any
) -> tuple[ApiKey, str]:
    """A key and its secret text, made by the operator, that reads if no scopes are given.

    Columns are written past the verbs, such as an end that has passed.
    """
    key, text = verbs.make(name, scopes or READ_SCOPES, by or Maker.operator("tests"))
    if columns:
        ApiKey.objects.filter(pk=key.pk).update(**columns)
        key.refresh_from_db()
    return key, text


def a_member_of_staff(username: str = "ann", *permissions: str, **columns: Any) -> User:
    user = User.objects.create_user(username, is_staff=True, **columns)
    for permission in permissions:
        app, codename = permission.split(".")
        user.user_permissions.add(
            Permission.objects.get(content_type__app_label=app, codename=codename)
        )
    return User.objects.get(pk=user.pk)
