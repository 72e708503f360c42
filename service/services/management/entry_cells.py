"""An entry of the ledger as cells of a table for people."""

from django.utils.translation import gettext as _

from services import ledger
from services.management.table import shown_amount, shown_instant, words_of


def entry_cells(entry: ledger.Entry) -> tuple[str, ...]:
    """Those of `price_state history`."""
    late = (entry["recorded_at"] - entry["effective_at"]).total_seconds() >= 1
    return (
        str(entry["id"]),
        shown_instant(entry["effective_at"]),
        shown_amount(entry["price"]),
        _("deleted") if entry["price"] is None else state_of(entry),
        _period(entry),
        "" if entry["change_id"] is None else str(entry["change_id"]),
        entry["author"],
        shown_instant(entry["recorded_at"]) if late else "",
    )


def _period(entry: ledger.Entry) -> str:
    """The period that is paid for, according to the entry; empty if it has none."""
    if entry["started_at"] is None:
        return ""
    end = (
        _(" until %(shown_instant)s") % {"shown_instant": shown_instant(entry["ended_at"])}
        if entry["ended_at"]
        else ""
    )
    gap = entry["unpaid_since"]
    return _("from %(shown_instant)s%(end)s") % {
        "shown_instant": shown_instant(entry["started_at"]),
        "end": end,
    } + (_(", not since %(shown_instant)s") % {"shown_instant": shown_instant(gap)} if gap else "")


def state_of(row: ledger.Entry) -> str:
    """Its price state, with the end of its lock."""
    end = (
        _(" until %(shown_instant)s") % {"shown_instant": shown_instant(row["locked_until"])}
        if row["locked_until"]
        else ""
    )
    return f"{words_of(row['price_state'])}{end}"
