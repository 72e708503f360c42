"""The verbs of API keys: make, rotate, revoke. The admin, the API and the command call these.

    make ──▶ valid ──rotate──▶ valid, with two secrets until the old one ends
               │
               └──revoke──▶ revoked, for ever; so is one whose end has come

A secret is returned once, and only its hash is stored. No key grants what its maker lacks: that is
refused here, and counted again at each request (`stored_keys`), as a person may lose a right later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from keys.models import ApiKey
from pricebook.kit import authors
from pricebook.kit.access import Program, author
from pricebook.kit.authors import Kind
from pricebook.kit.refusal import Refusal
from pricebook.kit.scopes import (
    CHANGE_KEY,
    MAKE_KEY,
    OF_PEOPLE_ALONE,
    SCOPES,
    permissions_of,
)
from pricebook.kit.secrets_of_keys import hash_of, new_key, new_prefix

OVERLAP_HOURS, LONGEST_OVERLAP_HOURS = 24, 720
LONGEST_NAME = 50


class KeyRefused(Refusal):
    """A key can't be made, rotated or revoked, and nothing was done."""


@dataclass(frozen=True)
class Maker:
    """A caller who makes, rotates or revokes keys, and what it may do itself."""

    author: str
    may: Callable[[str], bool]
    person: int | None = None
    key: int | None = None

    @classmethod
    def of(cls, user: User | Program | Any) -> Maker:
        """A person with a session, or a program with a key."""
        if isinstance(user, Program):
            key = user.key
            return cls(author(user), user.has_perm, key.maker_id, key.number)
        return cls(author(user), user.has_perm, user.pk)

    @classmethod
    def operator(cls, name: str) -> Maker:
        """The operator of the machine, under a name that nobody has proved; may do everything."""
        return cls(authors.claimed(name), lambda permission: True)


def make(
    name: Any, scopes: Iterable[str], by: Maker, expiry_date: datetime | None = None
) -> tuple[ApiKey, str]:
    """A new key, and its secret text, which nobody can find out later."""
    _refuse_without(by, MAKE_KEY)
    scopes = checked_scopes(scopes, by)
    refuse_past(expiry_date)
    prefix = new_prefix()
    text = new_key(prefix)
    made = ApiKey(
        id=f"{prefix}.{hash_of(text)}",
        prefix=prefix,
        hashed_key=hash_of(text),
        name=checked_name(name),
        scopes=scopes,
        expiry_date=expiry_date,
        made_by=by.author,
        maker_id=by.person,
        made_with_id=by.key,
    )
    made.save(force_insert=True)
    return made, text


def rotate(number: int, by: Maker, hours: Any = OVERLAP_HOURS) -> tuple[ApiKey, str]:
    """A new secret for a key; the one before it is good for so many hours, an older one no more.

    A secret is the key, so only its maker gets one: the person, the key that made it, or the key
    itself. If nobody knows the maker, that is a person who may do all that the key may. The
    operator of the machine gets one too, and then the key is known to be in other hands.
    """
    overlap = _overlap_of(hours)
    if by.key != number:
        _refuse_without(by, CHANGE_KEY)
    with transaction.atomic():
        key = _held(number)
        _refuse_other_maker(key, by)
        _refuse_more(permissions_of(key.scopes), by)
        if key.state() != "valid":
            raise KeyRefused(
                f"key_{key.state()}",
                _("Key %(number)s is %(state)s, and a new secret does not help: make a new key.")
                % {"number": number, "state": key.state()},
                409,
                state=key.state(),
            )
        text = new_key(key.prefix)
        key.old_hashed_key, key.old_until = key.hashed_key, timezone.now() + overlap
        key.hashed_key, key.rotated_by = hash_of(text), by.author
        key.save(update_fields=["hashed_key", "old_hashed_key", "old_until", "rotated_by"])
    return key, text


def revoke(number: int, by: Maker) -> ApiKey:
    """End a key for ever, and with it those that it has made. Once more, it stays as it is."""
    if by.key != number:
        _refuse_without(by, CHANGE_KEY)
    with transaction.atomic():
        key = _held(number)
        if not key.revoked:
            key.revoked, key.revoked_by = True, by.author
            key.save(update_fields=["revoked", "revoked_by"])
    return key


def checked_scopes(scopes: Iterable[str], by: Maker) -> list[str]:
    """Scopes that this maker may give, each once, in the order in which they are listed."""
    given = set(scopes)
    if unknown := sorted(given - SCOPES.keys()):
        raise KeyRefused(
            "unknown_scope",
            _("%(unknown)s is no scope; there are %(scopes)s.")
            % {"unknown": repr(unknown[0][:100]), "scopes": ", ".join(SCOPES)},
            parameter="scopes",
            value=unknown[0][:100],
            allowed=list(SCOPES),
        )
    if by.key is not None and OF_PEOPLE_ALONE in given:
        raise KeyRefused(
            "grants_too_much",
            _("A key can't give %(of_people_alone)s to another one; a person can.")
            % {"of_people_alone": OF_PEOPLE_ALONE},
            403,
            parameter="scopes",
            value=OF_PEOPLE_ALONE,
        )
    _refuse_more(permissions_of(given), by)
    return [scope for scope in SCOPES if scope in given]


def refuse_past(end: datetime | None) -> None:
    if end is not None and end <= timezone.now():
        raise KeyRefused(
            "in_the_past", _("A key has to end in the future."), parameter="expires_at"
        )


def checked_name(name: Any) -> str:
    text = name.strip() if isinstance(name, str) else ""
    if not 0 < len(text) <= LONGEST_NAME or not text.isprintable():
        raise KeyRefused(
            "bad_name",
            _(
                "A key has a name of 1 to %(longest_name)s characters on one line, such as"
                " the name of the program that uses it."
            )
            % {"longest_name": LONGEST_NAME},
            parameter="name",
            value=str(name)[:100].encode(errors="replace").decode(),
        )
    return text


def _overlap_of(hours: Any) -> timedelta:
    """The time for which two secrets are good, of a number of hours that somebody gave."""
    if isinstance(hours, bool) or not isinstance(hours, int):
        hours = -1
    if not 0 <= hours <= LONGEST_OVERLAP_HOURS:
        raise KeyRefused(
            "out_of_range",
            _(
                "The two secrets are good together for a whole number of hours, from 0 to"
                " %(longest_overlap_hours)s."
            )
            % {"longest_overlap_hours": LONGEST_OVERLAP_HOURS},
            parameter="overlap_hours",
        )
    return timedelta(hours=hours)


def _held(number: int) -> ApiKey:
    """The key, locked until the end of the transaction."""
    key = ApiKey.objects.select_for_update(no_key=True).filter(number=number).first()
    if key is None:
        raise KeyRefused("not_found", _("There is no key %(number)s.") % {"number": number}, 404)
    return key


def _refuse_without(by: Maker, permission: str) -> None:
    if not by.may(permission):
        raise KeyRefused(
            "permission_denied",
            _("%(author)s may not do this: the permission %(permission)s is missing.")
            % {"author": by.author, "permission": permission},
            403,
            missing=permission,
        )


def _refuse_more(permissions: Iterable[str], by: Maker) -> None:
    if lacking := sorted(each for each in permissions if not by.may(each)):
        raise KeyRefused(
            "grants_too_much",
            _("%(author)s lacks %(lacking)s, and no key grants what its maker lacks.")
            % {"author": by.author, "lacking": ", ".join(lacking)},
            403,
            missing=lacking[0],
        )


def _refuse_other_maker(key: ApiKey, by: Maker) -> None:
    nobody_known = key.maker_id is None and authors.parse(key.made_by).kind != Kind.PERSON
    if (by.person is None and by.key is None) or (by.key is None and nobody_known):  # the operator
        return
    if by.key is not None:
        its_own = by.key in (key.number, key.made_with_id)
    else:
        its_own = by.person == key.maker_id
    if not its_own:
        raise KeyRefused(
            "key_of_another",
            _(
                "Key %(number)s was made by %(value)s: with its secret another would act"
                " under that name. Make a key of your own, and revoke this one."
            )
            % {"number": key.number, "value": key.made_by or _("nobody known")},
            403,
        )
