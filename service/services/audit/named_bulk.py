"""The statements of `POST …/bulk/`: lines that are compared with the book, judged and written.

They work on temporary tables, which are empty when a statement is explained.
"""

from __future__ import annotations

from datetime import datetime

from pricebook.kit.named_statements import NamedStatement, Params
from services.audit.book_examples import examples
from services.bulk import clients, steps, subscriptions
from services.bulk.steps import Steps
from services.transfer import moved_prices

LOCK = "FOR NO KEY UPDATE OF book"


def named_bulk() -> list[NamedStatement]:
    """The statements of both kinds, under names that begin with "bulk". A few queries."""
    at = examples().middle.started_at
    return [*of_subscriptions(at), *of_clients()]


class Named:
    """The statements of a kind, which read the tables that its lines are in."""

    def __init__(self, kind: type[Steps]) -> None:
        self.kind = kind.record.kind
        columns = ", ".join(
            f"{name} {type}"
            for name, type in [
                *kind.record.columns.items(),
                *((name, "boolean") for name in kind.record.given),
            ]
        )
        self.tables: list[tuple[str, Params]] = [(steps.LINES.format(columns=columns), None)]
        self.made: list[NamedStatement] = []

    def add(self, name: str, purpose: str, sql: str, params: Params = None) -> None:
        self._add(name, purpose, sql, params, writes=False)

    def writes(self, name: str, purpose: str, sql: str, params: Params = None) -> None:
        self._add(name, purpose, sql, params, writes=True)

    def makes(self, name: str, purpose: str, sql: str) -> None:
        self.writes(name, purpose, sql)
        self.tables.append((sql, None))

    def _add(self, name: str, purpose: str, sql: str, params: Params, writes: bool) -> None:
        self.made.append(
            NamedStatement(
                f"bulk of {self.kind}s, {name}",
                purpose,
                f"POST /api/{self.kind}s/bulk/",
                sql,
                params,
                writes=writes,
                needs=tuple(self.tables),
            )
        )


def of_subscriptions(at: datetime) -> list[NamedStatement]:
    named = Named(subscriptions.SubscriptionSteps)
    named.add("sources", "bulks of one source go one by one", subscriptions.LOCK_SOURCES)
    named.makes(
        "those that differ",
        "locked, in the order of their ids",
        subscriptions.HELD.format(lock=LOCK),
    )
    named.makes("found", "each line beside its subscription", subscriptions.FOUND)
    named.makes(
        "named",
        "clients, services and plans, which nobody deletes meanwhile",
        subscriptions.NAMED.format(lock="FOR KEY SHARE"),
    )
    named.add("not named", "what lines name and is not there", subscriptions.NOT_NAMED)
    named.add("periods", "the starts and ends that are to be judged", subscriptions.PERIODS, [at])
    named.add("would move", "the prices, for a dry run", moved_prices.BY_LINES)
    named.writes("lock the catalogue", "as every writer of prices", subscriptions.LOCK_PAIRS)
    named.writes("change", "comments, starts, ends", subscriptions.SAY)
    named.writes("move", "to another client, service, plan", subscriptions.MOVE)
    named.writes("create", "those that are new, at the rule's price", subscriptions.INSERT)
    named.add("crossed", "whether somebody came between the first two", steps.LATE)
    named.writes("refuse", "lines that the book does not allow", steps.REFUSE, [[0], [""]])
    named.writes("forget", "what was found of refused lines", steps.FORGET_REFUSED)
    named.add("first refused", "for the refusal of all", steps.FIRST_REFUSED, [1])
    named.add("results", "of the next lines, as NDJSON", steps.RESULTS, [0, steps.BATCH])
    return named.made


def of_clients() -> list[NamedStatement]:
    named = Named(clients.ClientSteps)
    named.makes(
        "those that differ", "locked, in the order of their ids", clients.HELD.format(lock=LOCK)
    )
    named.makes("found", "each line beside its client", clients.FOUND)
    named.add("not allowed", "names that lack, e-mails that others have", clients.NOT_ALLOWED)
    named.add("same e-mail", "lines that give the e-mail of an earlier one", clients.SAME_EMAIL)
    named.writes("change", "names and addresses", clients.SAY)
    named.writes("e-mails", "changes those that differ", clients.GIVE_EMAIL)
    named.writes("log-ins", "of new clients, without a password", clients.INSERT_LOGINS)
    named.writes("create", "those that are new", clients.INSERT)
    return named.made
