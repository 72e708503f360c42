"""One client: created with a log-in that can't be used, changed, deleted if it never bought."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from uuid import uuid4

from django.contrib.auth.models import User
from django.db import connection
from django.utils.translation import gettext as _

from clients.models import Client
from services import fields
from services.models import LedgerEntry, Subscription
from services.writing.bodies import IDS, Field, email, words
from services.writing.refusals import (
    WriteRefused,
    not_there,
    refuse_source_alike,
    told_by_constraints,
)

FIELDS: dict[str, Field] = {
    "company_name": Field(words(fields.COMPANY_NAME), required=True),
    "email": Field(email, null=""),
    "full_address": Field(words(fields.FULL_ADDRESS)),
    **IDS,
}
# One at a time of an e-mail; and an import, which finds clients by their e-mails, sees all or none
# of them (it holds the first of these alone).
LOCK_EMAIL = """
SELECT pg_advisory_xact_lock_shared('clients_client'::regclass::oid::int, 0),
       pg_advisory_xact_lock('clients_client'::regclass::oid::int, hashtext(upper(%s)))
"""


def create(values: Mapping[str, Any]) -> int:
    """Insert a client and its log-in; return the client's id. Two queries, with an e-mail four.

    The log-in has no password that fits, and a name that nobody knows. `WriteRefused` if another
    client has the e-mail or the external id.
    """
    of_client = dict(values)
    address = of_client.pop("email", "")
    lock_email(address)
    _refuse_taken(address)
    login = User(username=f"client-{uuid4().hex}", email=address)
    login.set_unusable_password()
    login.save(force_insert=True)
    made = Client(user=login, **of_client)
    with told_by_constraints():
        made.save(force_insert=True)
    return int(made.pk)


def lock_email(address: str) -> None:
    """Let nobody else give this e-mail to a client before the end of the transaction. One query.

    To be called before the client is locked, as an import does it in this order.
    """
    if address:
        with connection.cursor() as cursor:
            cursor.execute(LOCK_EMAIL, [address])


def change(id: int, values: Mapping[str, Any]) -> None:
    """Write its names, its e-mail, its ids elsewhere, and nothing where nothing differs.

    `lock_email()` goes before it. `WriteRefused` in the cases of `create()`, if it is not there,
    and for the e-mail of somebody on the staff.
    """
    client = _held(id)
    of_client = dict(values)
    address = of_client.pop("email", client.user.email)
    if address != client.user.email:
        if client.user.is_staff or client.user.is_superuser:
            raise email_of_staff(id)
        _refuse_taken(address, id)
        User.objects.filter(pk=client.user_id).update(email=address)
    differing = {name: value for name, value in of_client.items() if getattr(client, name) != value}
    if differing.get("source"):
        refuse_source_alike("client", id, differing["source"])
    if differing:
        with told_by_constraints():
            Client.objects.filter(pk=id).update(**differing)


def delete(id: int) -> None:
    """Delete a client that never had a subscription, with its log-in if that can't be used.

    `WriteRefused` for any other one.
    """
    _held(id, to_delete=True)
    if used([id]):
        raise in_use(id)
    remove([id])


def used(ids: Collection[int]) -> set[int]:
    """Those of the clients that have or had a subscription. Two queries."""
    # The first entry of a subscription names no change, and so it is in the index.
    had = LedgerEntry.objects.filter(client_id__in=ids, change_id=None)
    have = Subscription.objects.filter(client_id__in=ids)
    return {id for found in (had, have) for id in found.values_list("client_id", flat=True)}


def in_use(id: int) -> WriteRefused:
    return WriteRefused(
        "in_use",
        _(
            "Client %(id)s has or had subscriptions, and their history names it: it stays."
            " End those that it has."
        )
        % {"id": id},
        409,
    )


def remove(ids: Collection[int]) -> None:
    """Delete clients that are locked and not used, with their log-ins if those can't be used."""
    removed = list(Client.objects.select_related("user").filter(pk__in=ids))
    Client.objects.filter(pk__in=ids).delete()
    unused = [
        one.user_id
        for one in removed
        if not (one.user.has_usable_password() or one.user.is_staff or one.user.is_superuser)
    ]
    if unused:
        User.objects.filter(pk__in=unused).delete()


def _refuse_taken(address: str, other_than: int | None = None) -> None:
    if not address:
        return
    having_it = Client.objects.filter(user__email__iexact=address)
    other = next((client for client in having_it if client.pk != other_than), None)
    if other is not None:
        raise email_taken(_("Client %(id)s") % {"id": other.pk})


def email_taken(by: str) -> WriteRefused:
    return WriteRefused(
        "email_taken",
        _("%(by)s has this e-mail, and files name a client by it: give another one.") % {"by": by},
        409,
        parameter="email",
    )


def email_of_staff(id: int) -> WriteRefused:
    return WriteRefused(
        "email_of_staff",
        _(
            "The log-in of client %(id)s is on the staff: a person who looks after the users"
            " changes its e-mail."
        )
        % {"id": id},
        409,
        parameter="email",
    )


def _held(id: int, to_delete: bool = False) -> Client:
    """The client, locked, with its log-in; against new subscriptions too if it is to be deleted."""
    rows = Client.objects.select_for_update(of=("self",), no_key=not to_delete)
    found = rows.select_related("user").filter(pk=id).first()
    if found is None:
        raise not_there("client", id)
    return found
