"""The lines of a correction as programs and files give them, each checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.db import connection
from django.utils.translation import gettext as _

from pricebook.kit.errors import Refused
from pricebook.kit.refusal import Refusal
from services import parsing
from services.corrections import CorrectionRefused, Line, LinesRefused
from services.writing.bodies import IDS, INSTANT, Field, values_of

OF_INTERVAL = {
    "since": INSTANT(required=True),
    "until": INSTANT(null=None),
    "price": Field(parsing.money, required=True),
}
OF_LINE = {"subscription": Field(parsing.identifier, null=None), **IDS, **OF_INTERVAL}

ELSEWHERE = """
SELECT source, external_id, id FROM services_subscription
 WHERE (source, external_id) IN (SELECT * FROM unnest(%s::text[], %s::text[]))
"""
Id = tuple[str, str]


def lines_of(given: Iterable[Any]) -> list[Line]:
    """The lines, whose subscriptions are named by id, or by source and external id. One query.

    `LinesRefused` if one of them can't be used, or names what is not there.
    """
    values: dict[int, Mapping[str, Any]] = {}
    refused: dict[int, Refusal] = {}
    for number, each in enumerate(given):
        try:
            values[number] = _checked(each)
        except Refused as error:
            refused[number] = CorrectionRefused(str(error.get_codes()), str(error.detail))
        except Refusal as error:
            refused[number] = error
    known = _known({_elsewhere(each) for each in values.values()} - {None})
    for number, each in values.items():
        if each.get("subscription") is None and _elsewhere(each) not in known:
            refused[number] = CorrectionRefused(
                "not_found",
                _("There is no subscription %(each)s of %(each2)s.")
                % {"each": repr(each["external_id"]), "each2": repr(each["source"])},
                404,
                parameter="external_id",
                value=each["external_id"],
            )
    if refused:
        raise LinesRefused(refused)
    return [
        Line(
            each.get("subscription") or known[_elsewhere(each)],
            each["since"],
            each["price"],
            each.get("until"),
        )
        for each in values.values()
    ]


def _checked(given: Any) -> Mapping[str, Any]:
    values = values_of(OF_LINE, given, called="line")
    named = [name for name in ("subscription", *IDS) if values.get(name) is not None]
    if named not in (["subscription"], list(IDS)):
        raise CorrectionRefused(
            "missing",
            _("Name a subscription by its id, or by source and external_id, and not by both."),
            parameter="subscription",
        )
    return values


def _elsewhere(values: Mapping[str, Any]) -> Id | None:
    source, external_id = values.get("source"), values.get("external_id")
    return None if source is None or external_id is None else (source, external_id)


def _known(wanted: set[Any]) -> dict[Any, int]:
    if not wanted:
        return {}
    sources, ids = zip(*wanted, strict=True)
    with connection.cursor() as cursor:
        cursor.execute(ELSEWHERE, [list(sources), list(ids)])
        return {(source, external_id): id for source, external_id, id in cursor.fetchall()}
