"""The values of a plan, checked, and the price change that they make.

values (API, form, command line) → `plan()` → PriceChange
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from price_changes.errors import ChangeError
from price_changes.kinds import TO_PLAN
from price_changes.kinds.plan_fields import COMMON
from price_changes.kinds.values import (
    in_future,
    parse_text,
    parse_word,
    refuse_lock_that_has_ended,
    required,
)
from price_changes.models import PriceChange
from price_changes.planning.local_instant import said_instant
from price_changes.planning.notice_days import day_of_notice, parse_days
from pricebook.kit.points import at_point
from services.models import book_clock

TEXTS = [field for field in COMMON if field.name in ("title", "reason", "comment")]


def plan(values: Mapping[str, Any], author: str) -> PriceChange:
    """Plan a change; raises ChangeError. Nothing moves before it is approved. 2 to 6 queries.

    `values`: the kind (one of `TO_PLAN`), the fields of that kind, and those in `COMMON`.
    """
    change = PriceChange(planned_by=author, **checked(values))
    change.save(force_insert=True)
    change.refresh_from_db()
    at_point("change planned")
    return change


def checked(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the change, checked; raises ChangeError."""
    kinds = list(TO_PLAN)
    name = parse_word(
        "kind",
        required("kind", values, _("; it may be %(allowed)s") % {"allowed": ", ".join(kinds)}),
        kinds,
    )
    kind = TO_PLAN[name]
    _refuse_unknown(values, name, ["kind", *(each.name for each in (*COMMON, *kind.fields))])
    given = {name: value for name, value in values.items() if value is not None}
    common: dict[str, Any] = {"kind": name}
    for field in TEXTS:
        common[field.name] = parse_text(field.name, given.get(field.name, ""), field.length)
    if "effective_at" in given:
        common |= said_instant("effective_at", given["effective_at"], given.get("time_zone"))
    elif "time_zone" in given:
        raise ChangeError(
            "missing",
            _("time_zone is that of effective_at: give both, or neither for at once."),
            parameter="effective_at",
        )
    if "notice_days" in given:
        common["notice_days"] = days = parse_days(given["notice_days"])
        if (at := common.get("effective_at")) is not None:
            day_of_notice(at, common["effective_zone"], days, book_clock())
    if "locked_until" in given:
        common["locked_until"] = in_future("locked_until", given["locked_until"])
        refuse_lock_that_has_ended(common["locked_until"], common.get("effective_at"))
    return common | kind.checked(given, common)


def _refuse_unknown(values: Mapping[str, Any], kind: str, known: list[str]) -> None:
    for name in values:
        if name not in known:
            raise ChangeError(
                "unknown_field",
                _("A change of kind %(kind)s has no %(name)s; it has %(known)s.")
                % {"kind": kind, "name": repr(str(name)[:100]), "known": ", ".join(known)},
                parameter=str(name)[:100],
                allowed=known,
            )
