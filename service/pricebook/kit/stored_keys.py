"""API keys as requests need them: one statement, which reads what the key's maker may do, too.

The table is that of `keys.models`; the kit does not know that module, and the ORM would cost more
than the statement.
"""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import NamedTuple

from pricebook.kit import authors
from pricebook.kit.prepared import prepared_cursor
from pricebook.kit.scopes import OF_PEOPLE_ALONE, SCOPES, permissions_of

# A superuser may do everything, and NULL says so. A key that another key made ends with that one,
# and has none of the scopes that it lacks.
# Only permissions that scopes stand for are looked for, which halves the time.
CODENAMES = ", ".join(
    f"'{permission.partition('.')[2]}'" for permission in sorted(permissions_of(SCOPES))
)
KEY = f"""
SELECT own.id, own.number, own.name, own.hashed_key, own.old_hashed_key, own.old_until,
       own.revoked OR coalesce(made_with.revoked, false),
       least(own.expiry_date, made_with.expiry_date),
       own.scopes, made_with.scopes, coalesce(made_with.made_by, own.made_by), own.maker_id,
       maker.is_active AND maker.is_staff, maker.is_superuser,
       CASE WHEN NOT maker.is_superuser THEN ARRAY(
           SELECT concat(app_label, '.', codename)
             FROM auth_permission permission
             JOIN django_content_type of_model ON of_model.id = content_type_id
            WHERE codename IN ({CODENAMES}) AND permission.id IN (
                SELECT permission_id FROM auth_user_user_permissions WHERE user_id = maker.id
                UNION ALL
                SELECT permission_id
                  FROM auth_user_groups membership
                  JOIN auth_group_permissions USING (group_id)
                 WHERE membership.user_id = maker.id)) END
  FROM rest_framework_api_key_apikey own
  LEFT JOIN rest_framework_api_key_apikey made_with ON made_with.number = own.made_with_id
  LEFT JOIN auth_user maker ON maker.id = own.maker_id
 WHERE own.prefix = %s
"""  # noqa: S608 - constants


class Row(NamedTuple):
    id: str
    number: int
    name: str
    hashed_key: str
    old_hashed_key: str
    old_until: datetime | None
    revoked: bool
    expiry_date: datetime | None
    scopes: list[str]
    scopes_of_making_key: list[str] | None
    made_by: str
    maker_id: int | None
    maker_is_staff: bool | None
    maker_is_superuser: bool | None
    permissions_of_maker: list[str] | None


class StoredKey(Row):
    """A key, with what it may do now: what its scopes say, and its maker may do too."""

    @cached_property
    def said(self) -> frozenset[str]:
        """The permissions that its scopes stand for."""
        return permissions_of(self.scopes)

    @cached_property
    def granted(self) -> frozenset[str]:
        """The permissions that it has: those that are said, without what its maker lacks.

        A maker who is not known is the operator of the machine, by a command or by an earlier
        release, and lacks nothing. A person who is not there any more lacks all.
        """
        granted = self.said
        if self.scopes_of_making_key is not None:
            of_people = permissions_of([OF_PEOPLE_ALONE])
            granted = (granted & permissions_of(self.scopes_of_making_key)) - of_people
        if self.maker_id is None:
            return granted if authors.parse(self.made_by).kind != authors.Kind.PERSON else _NONE
        if not self.maker_is_staff:
            return _NONE
        if self.permissions_of_maker is None:
            return granted
        return granted & frozenset(self.permissions_of_maker)


_NONE: frozenset[str] = frozenset()


def key_of(prefix: str) -> StoredKey | None:
    """The key with this prefix. One query at every request of a program."""
    with prepared_cursor() as cursor:
        cursor.execute(KEY, [prefix])
        row = cursor.fetchone()
    return StoredKey(*row) if row else None
