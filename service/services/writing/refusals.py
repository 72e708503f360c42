"""Refusals of writes, and the words for what the database refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import IntegrityError, connection
from django.utils.translation import gettext as _

from pricebook.kit.known_elsewhere import SOURCE_ALIKE
from pricebook.kit.refusal import Refusal
from services.models.catalogue import SAME_DISCOUNT

KINDS = ("client", "service", "plan", "subscription")


class WriteRefused(Refusal):
    """Something can't be created, changed, ended or deleted, and nothing was."""


def not_there(kind: str, id: int) -> WriteRefused:
    return WriteRefused(
        "not_found", _("There is no %(kind)s %(id)s.") % {"kind": _(kind), "id": id}, 404
    )


def unknown_here(kind: str, id: int) -> WriteRefused:
    """The refusal of a body that names what there is not."""
    return WriteRefused(
        "not_found",
        _("There is no %(kind)s %(id)s.") % {"kind": _(kind), "id": id},
        parameter=kind,
        value=str(id),
    )


def moved_by(how: str) -> Callable[[str], WriteRefused]:
    """The refusal of a change that gives a field which something else moves."""
    return lambda name: WriteRefused(
        "not_by_patch",
        _("A change of fields does not move %(name)s: %(how)s.") % {"name": name, "how": how},
        parameter=name,
    )


def needs_price_change(name: str) -> WriteRefused:
    """The refusal of a value that moves the prices of many, among other lines."""
    return WriteRefused(
        "needs_price_change",
        _(
            "%(name)s moves the prices of all subscriptions that follow it. PATCH it alone,"
            " or plan it with POST /api/price-changes/, look at its preview, and have it"
            " approved."
        )
        % {"name": name},
        409,
        parameter=name,
    )


def ends_before_start() -> WriteRefused:
    return WriteRefused(
        "ends_before_start",
        _("The end is not after the start; a subscription ends after it has started."),
        parameter="ended_at",
    )


def name_taken(by: str) -> WriteRefused:
    return WriteRefused(
        "name_taken", _("%(by)s has this name.") % {"by": by}, 409, parameter="name"
    )


def plan_exists() -> WriteRefused:
    return WriteRefused(
        "plan_exists",
        _(
            "A plan of this type and discount already exists, or will by what is approved:"
            " take that one."
        ),
        409,
        parameter="discount_percent",
    )


CODES = {"name": "name_alike", "source": "source_alike"}  # of names that look alike
ALIKE = {"service_name_alike": "name", "source_alike": "source"}  # by constraint


def alike(parameter: str, value: str, other: str) -> WriteRefused:
    """The refusal of a name or a source that looks like one that is there."""
    return WriteRefused(
        CODES[parameter],
        _(
            "%(value)s differs in case or blanks alone from %(other)s, which is there: write"
            " that, or another one."
        )
        % {"value": repr(value), "other": repr(other)},
        409,
        parameter=parameter,
        value=value,
        other=other,
    )


def refuse_source_alike(kind: str, id: int, source: str | None) -> None:
    """Refuse a source that is to be written to a record, as the database refuses a new one's.

    One query. `WriteRefused` if it looks like another one of this kind's.
    """
    if source is None:
        return
    with connection.cursor() as cursor:
        place = "clients_client" if kind == "client" else f"services_{kind}"
        cursor.execute(SOURCE_ALIKE, [place, source, id, id])
        found = cursor.fetchone()
    if found is not None:
        raise alike("source", source, *found)


def _by_constraint(name: str, message: str) -> WriteRefused | None:
    """The refusal that a constraint of the database stands for."""
    if parameter := ALIKE.get(name):
        detail = _("%(message)s, which is there: write that, or another one.") % {
            "message": message
        }
        return WriteRefused(CODES[parameter], detail, 409, parameter=parameter)
    for kind in KINDS:
        if name == f"{kind}_unique_external_id":
            return WriteRefused(
                "external_id_taken",
                _("Another %(kind)s has this external id of this source: change that one.")
                % {"kind": _(kind)},
                409,
                parameter="external_id",
            )
        if name == f"{kind}_external_id_has_source":
            return WriteRefused(
                "half_an_id",
                _("source and external_id belong together: give both, or null for both."),
                parameter="external_id",
            )
    if name == "service_unique_name":
        return name_taken(_("Another service"))
    if name == SAME_DISCOUNT:
        return plan_exists()
    if name == "subscription_ends_after_start":
        return ends_before_start()
    return None


@contextmanager
def told_by_constraints() -> Iterator[None]:
    """Turn what a constraint refuses into a refusal. Later statements of the transaction fail."""
    try:
        yield
    except IntegrityError as error:
        told: Any = error.__cause__
        diag = told.diag
        refusal = _by_constraint(diag.constraint_name or "", diag.message_primary or "")
        if refusal is None:
            raise
        raise refusal from None
