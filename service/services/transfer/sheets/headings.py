"""Tables in the reader's language: headings, not names of the API, and words instead of codes.

Programs get names and codes, whatever language they ask for; so does a reader of English, whose
words they are. An import understands a file of ours in each of our languages (`column_meant`,
`code_meant`), so that what people took out can be brought in again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from django.conf import settings
from django.utils.functional import Promise
from django.utils.translation import get_language, override
from django.utils.translation import gettext_lazy as _

from pricebook.kit import authors
from services.models import Job, Skip
from services.models.catalogue import PLAN_WORDS
from services.transfer.sheets.table import Column, Table, Value

Word = str | Promise
ENGLISH = "en"

# The columns of a book's file; no two have one heading in a language (a test).
OF_BOOK: dict[str, Word] = {
    "company_name": _("Client"),
    "email": _("E-mail"),
    "full_address": _("Address"),
    "service": _("Service"),
    "full_price": _("List price"),
    "plan_type": _("Plan type"),
    "discount_percent": _("Discount, %"),
    "source": _("Source"),
    "external_id": _("Id in the source"),
    "started_at": _("Start"),
    "ended_at": _("End"),
    "comment": _("Comment"),
    "stamp": _("Stamp"),
    "price": _("Price"),
    "price_state": _("Price state"),
    "locked_until": _("Locked until"),
    "price_reason": _("Reason of the price"),
    "id": _("Id in this book"),
}
HEADINGS: dict[str, Word] = {
    **OF_BOOK,
    "name": _("Name"),
    "count": _("Subscriptions"),
    "total_amount": _("Total"),
    "subscriptions": _("Subscriptions"),
    "service_id": _("Service, id"),
    "service_name": _("Service"),
    "plan_id": _("Plan, id"),
    "plan": _("Plan"),
    "client": _("Client, id"),
    "client_id": _("Client, id"),
    "client_name": _("Client"),
    "subscription": _("Subscription, id"),
    "subscription_id": _("Subscription, id"),
    "old_total": _("Pays now"),
    "new_total": _("Pays then"),
    "currency": _("Currency"),
    "from_when": _("In force from"),
    "why": _("Price change"),
    "told_on": _("Told on"),
    "told_by": _("Told by"),
    "way": _("Way"),
    "note": _("Note"),
    "old_price": _("Old price"),
    "new_price": _("New price"),
    "new_state": _("New price state"),
    "new_until": _("New end of the lock"),
    "reason": _("Reason"),
    "moved": _("Moved"),
    "by_change": _("Held by change"),
    "detail": _("Details"),
    "rows": _("Rows"),
    "effective_at": _("In force from"),
    "recorded_at": _("Recorded at"),
    "unpaid_since": _("Unpaid since"),
    "period_only": _("Only the period"),
    "author": _("Author"),
    "request_id": _("Request"),
    "change": _("Price change"),
    "change_id": _("Price change"),
    "change_title": _("Title of the change"),
    "change_reason": _("Reason of the change"),
    "correction_id": _("Correction"),
    "correction": _("Correction"),
    "correction_reason": _("Reason of the correction"),
    "entry": _("Entry"),
    "step": _("Step"),
    "says": _("In words"),
    "amount": _("Amount"),
    "what": _("Figure"),
    "value": _("Value"),
    "title": _("Title"),
    "does": _("In words"),
    "status": _("Status"),
    "planned_by": _("Planned by"),
    "planned_at": _("Planned at"),
    "fingerprint": _("Fingerprint"),
    "rows_seen": _("Rows in the preview"),
    "figures_seen": _("Figures of the preview"),
    "approved_by": _("Approved by"),
    "approved_at": _("Approved at"),
    "needs_another": _("Why another person"),
    "accepted_by": _("Accepted by"),
    "accepted_at": _("Accepted at"),
    "paused_by": _("Paused by"),
    "cancelled_by": _("Cancelled by"),
    "finished_at": _("Ended at"),
    "takes_back": _("Takes back"),
    "taken_back_by": _("Taken back by"),
    "since": _("From"),
    "until": _("Until"),
    "pulled_at": _("Pulled at"),
    "pulled_by": _("Pulled by"),
    "released_at": _("Released at"),
    "released_by": _("Released by"),
    "release_reason": _("Reason of the release"),
    "kind": _("Kind"),
    "dry_run": _("Dry run"),
    "asked_at": _("Asked at"),
    "lines": _("Lines"),
    "counts": _("Lines by outcome"),
    "sha256": _("SHA-256"),
    "undoes_id": _("Undoes job"),
}
PRICE_STATES: dict[str, Word] = {
    "follows": _("follows the catalogue"),
    "locked": _("locked"),
    "negotiated": _("negotiated"),
}
# The codes of a column, where it has any; what is none of them stays as it is.
WORDS: dict[str, Mapping[str, Word]] = {
    "plan_type": PLAN_WORDS,
    "price_state": PRICE_STATES,
    "new_state": PRICE_STATES,
}
STATUSES: Mapping[str, Word] = {each.value: each.label for each in Job.Status}
KINDS: Mapping[str, Word] = {each.value: each.label for each in Job.Kind}
SKIPS: Mapping[str, Word] = {each.value: each.label for each in Skip.Reason}
TITLES: dict[str, Word] = {
    "Subscriptions": _("Subscriptions"),
    "Clients": _("Clients"),
    "Services": _("Services"),
    "Plans": _("Plans"),
    "Totals": _("Totals"),
    "Ledger": _("Ledger"),
    "Summary": _("Summary"),
    "Bridge": _("Bridge"),
    "Bridge by service": _("Bridge by service"),
    "Bridge by plan": _("Bridge by plan"),
    "Bridge by client": _("Bridge by client"),
    "Behind a step": _("Behind a step"),
    "Price changes": _("Price changes"),
    "Catalogue edits": _("Catalogue edits"),
    "Single decisions": _("Single decisions"),
    "Corrections": _("Corrections"),
    "Brake": _("Brake"),
    "Imports and jobs": _("Imports and jobs"),
    "Clients to tell of change": _("Clients to tell of %(number)s"),
    "Rows of change": _("Rows of change %(number)s"),
    "Skips of change": _("Skips of change %(number)s"),
}
LONGEST_TITLE = 31  # of a sheet, in characters


def in_words(table: Table) -> Table:
    """The table as the reader reads it; itself in English."""
    language = get_language() or settings.LANGUAGE_CODE
    if language.startswith(ENGLISH):
        return table
    said = {**WORDS, **table.words}
    tell = [(n, _teller(column, said)) for n, column in enumerate(table.columns)]
    tell = [(n, told) for n, told in tell if told is not None]
    return replace(
        table,
        columns=tuple(
            column._replace(label=str(HEADINGS.get(column.name, column.name)))
            for column in table.columns
        ),
        rows=_told(table, tell),
        title=_title(table.name)[:LONGEST_TITLE],
        is_in_words=True,
    )


def _title(name: str) -> str:
    words, _blank, number = name.rpartition(" ")
    if number.isdigit() and words in TITLES:
        return str(TITLES[words]) % {"number": number}
    return str(TITLES.get(name, name))


Teller = Callable[[str], str]


def _teller(column: Column, words: Mapping[str, Mapping[str, Word]]) -> Teller | None:
    """The function that says a column's codes and authors in words, if it has any."""
    if column.name == "author" or (column.name.endswith("_by") and column.name != "taken_back_by"):
        return authors.in_words
    if column.name not in words:
        return None
    said = {code: str(word) for code, word in words[column.name].items()}
    return lambda value: said.get(value, value)


def _told(table: Table, tell: list[tuple[int, Any]]) -> Iterator[tuple[Value, ...]]:
    for row in table.rows:
        cells = list(row)
        for n, told in tell:
            if isinstance(value := cells[n], str):
                cells[n] = told(value)
        yield tuple(cells)


# --- Files that people bring in again ------------------------------------------------------------


def key(text: str) -> str:
    """A heading or a word as it is compared: in any case, with any blanks around it."""
    return text.strip().casefold()


def headings_of(names: Iterable[str]) -> dict[str, str]:
    """The headings of columns in our languages, as `key` has them, and what each is of."""
    return _in_our_languages({name: HEADINGS[name] for name in names})


def column_meant(heading: str) -> str | None:
    """The column of a book's file that has this heading in one of our languages."""
    return _columns().get(key(heading))


def code_meant(column: str, word: str) -> str:
    """The code that a word stands for in a column; the word itself if it is none of ours."""
    return _codes(column).get(key(word), word)


@cache
def _columns() -> dict[str, str]:
    return _in_our_languages(OF_BOOK)


@cache
def _codes(column: str) -> dict[str, str]:
    return _in_our_languages(WORDS.get(column, {}))


def _in_our_languages(words: Mapping[str, Word]) -> dict[str, str]:
    """The name that each word stands for, in all languages but English, which has the API's."""
    found: dict[str, str] = {}
    for language, _name in settings.LANGUAGES:
        if language != ENGLISH:
            with override(language):
                found |= {key(str(word)): name for name, word in words.items()}
    return found
