"""The book as text, a line for each subscription: JSON as the list has it, or the file's CSV.

PostgreSQL writes the lines, so this module has SQL: expressions of a statement of `chunks` that has
the relations `subscription`, `client`, `login`, `service` and `plan`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, get_type_hints

from django.conf import settings

from pricebook.kit.exact_json import encode
from services.models.subscription import SAID_AT_END
from services.reading.row import JOINED, BookRow
from services.reading.total import Total
from services.transfer import csv_file

BROKEN = "This text is not complete: ask for it again."


@dataclass(frozen=True)
class Written:
    """The figures of a complete text. `changed`: the book changed while it was written."""

    version: str
    changed: bool
    total: Total
    paid: Total  # the part paid by those that had begun and had not ended


@dataclass(frozen=True)
class Format:
    """A way to write the book. `line` is SQL."""

    name: str
    media_type: str
    header: bytes
    line: str
    end: Callable[[Written], bytes]  # the last line, without which a text is incomplete
    broken: bytes  # the line in its place, if the text broke off


def _line(*parts: str) -> str:
    """`concat()` writes numbers exactly, and nothing for NULL."""
    return f"concat({', '.join(parts)}, E'\\n')"


def instant(column: str) -> str:
    """ISO 8601 in UTC, with six decimals or none, as msgspec writes it for the list."""
    text = f"to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')"
    return f"replace({text}, '.000000', '') || 'Z'"


# --- NDJSON -----------------------------------------------------------------------------------


def _amount(column: str) -> str:
    return f"round({column}, minor_unit())"


def _text(column: str) -> str:
    return f"coalesce(to_json({column})::text, 'null')"


def _instant_or_null(column: str) -> str:
    return f"coalesce('\"' || {instant(column)} || '\"', 'null')"


def _object(members: dict[str, Any]) -> list[str]:
    parts = []
    for number, (name, value) in enumerate(members.items()):
        parts.append(f"'{',' if number else '{'}\"{name}\":'")
        parts += _object(value) if isinstance(value, dict) else [value]
    return [*parts, "'}'"]


# The text of a column, by its type.
TEXT: dict[Any, Callable[[str], str]] = {
    int: str,
    Decimal: _amount,
    str: _text,
    str | None: _text,
    datetime: _instant_or_null,
    datetime | None: _instant_or_null,
}
# The members of a line: expressions in the places where `BookRow` has the values.
MEMBERS = BookRow._make(
    TEXT[type_of](JOINED.get(name, f"subscription.{name}"))
    for name, type_of in get_type_hints(BookRow).items()
).for_api()


def _end_object(written: Written) -> bytes:
    end = {
        "version": written.version,
        "changed": written.changed,
        "count": written.total.subscriptions,
        "total_amount": written.total.amount,
        "paid_count": written.paid.subscriptions,
        "paid_amount": written.paid.amount,
        "currency": settings.CURRENCY,
    }
    return encode({"end": end}) + b"\n"


NDJSON = Format(
    name="ndjson",
    media_type="application/x-ndjson",
    header=b"",
    line=_line(*_object(MEMBERS)),
    end=_end_object,
    broken=encode({"error": {"code": "broken_off", "detail": BROKEN}}) + b"\n",
)

# --- CSV --------------------------------------------------------------------------------------


def _quoted(column: str) -> str:
    return f"'\"' || replace({column}, '\"', '\"\"') || '\"'"


def _of_state(otherwise: str, of_its_own: str) -> str:
    """A cell of the price state: another one where one has ended at a price of its own.

    That state only says that the catalogue of this book does not explain the price: the catalogue
    of another book may, and if not, says so itself.
    """
    return f"""CASE WHEN subscription.ended_at <= (SELECT book_now())
        AND subscription.price_state = 'negotiated'
        AND subscription.price_reason = '{SAID_AT_END}' THEN '{of_its_own}' ELSE {otherwise} END"""


CELLS = {
    "company_name": _quoted("client.company_name"),
    "email": _quoted("login.email"),
    "full_address": _quoted("client.full_address"),
    "service": _quoted("service.name"),
    "full_price": _amount("service.full_price"),
    "plan_type": "plan.plan_type",
    "discount_percent": "plan.discount_percent",
    "source": _quoted("subscription.source"),
    "external_id": _quoted("subscription.external_id"),
    "started_at": instant("subscription.started_at"),
    "ended_at": instant("subscription.ended_at"),
    "comment": _quoted("subscription.comment"),
    "stamp": _quoted("subscription.stamp"),
    "price": _amount("subscription.price"),
    "price_state": _of_state("subscription.price_state", "follows"),
    "locked_until": instant("subscription.locked_until"),
    "price_reason": _of_state(_quoted("subscription.price_reason"), '""'),
    "id": "subscription.id",
}


def _end_comment(written: Written) -> bytes:
    return csv_file.end_line(
        version=written.version,
        changed=written.changed,
        total=written.total,
        paid=written.paid,
    )


CSV = Format(
    name="csv",
    media_type="text/csv",
    header=(",".join(csv_file.COLUMNS) + "\n").encode(),
    line=_line(*[part for name in csv_file.COLUMNS for part in ("','", CELLS[name])][1:]),
    end=_end_comment,
    broken=f"# error: broken_off. {BROKEN}\n".encode(),
)
FORMATS = {each.name: each for each in (CSV, NDJSON)}
