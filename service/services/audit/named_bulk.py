"""The statements of `POST …/bulk/`: lines that are compared with the book, judged and written.

They work on temporary tables, which are empty when a statement is explained.
"""

from __future__ import annotations

from datetime import datetime

from pricebook.kit.named_statements import NamedStatement, Params
from services.audit.book_examples import examples
from services.bulk import clients, steps, subscriptions
from services.bulk.catalogue import CatalogueSteps, PlanSteps, ServiceSteps
from services.bulk.steps import Steps
from services.jobs import undoing
from services.transfer import moved_prices

LOCK = "FOR NO KEY UPDATE OF book"


def named_bulk() -> list[NamedStatement]:
    """The statements of all kinds, and of undos: names begin with "bulk" or "undo".

    A few queries.
    """
    at = examples().middle.started_at
    return [
        *of_subscriptions(at),
        *of_clients(),
        *of_catalogue(ServiceSteps),
        *of_catalogue(PlanSteps),
        *of_undo(at),
    ]


class Named:
    """The statements of a kind, which read the tables that its lines are in."""

    def __init__(self, kind: type[Steps], verb: str = "bulk", run_by: str = "") -> None:
        self.kind = kind.record.kind
        self.verb = verb
        self.run_by = run_by or f"POST /api/{self.kind}s/bulk/"
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
                f"{self.verb} of {self.kind}s, {name}",
                purpose,
                self.run_by,
                sql,
                params,
                writes=writes,
                needs=tuple(self.tables),
            )
        )


def of_subscriptions(at: datetime) -> list[NamedStatement]:
    kind = subscriptions.SubscriptionSteps
    named = Named(kind)
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
    named.add(
        "fingerprints",
        "of what a job has written, for its undo",
        steps.LEFT_AS.format(seen=kind.seen, records=kind.records),
        [1, steps.BATCH],
    )
    named.makes("price states", "which the moves of a job end", subscriptions.STATES)
    named.add("states before", "for its undo", subscriptions.STATES_BEFORE, [1, steps.BATCH])
    named.add("would move", "the prices, for a dry run", moved_prices.BY_LINES)
    named.writes("lock the catalogue", "as every writer of prices", subscriptions.LOCK_PAIRS)
    named.writes("change", "comments, starts, ends", subscriptions.SAY)
    named.writes("move", "to another client, service, plan", subscriptions.MOVE)
    named.writes("create", "those that are new, at the rule's price", subscriptions.INSERT)
    named.add(
        "sources alike",
        "lines whose source differs from another in case or blanks alone",
        steps.SOURCES_ALIKE.format(table="services_subscription"),
    )
    named.add("crossed", "whether somebody came between the first two", steps.LATE)
    named.writes("refuse", "lines that the book does not allow", steps.REFUSE, [[0], [""]])
    named.writes("forget", "what was found of refused lines", steps.FORGET_REFUSED)
    named.add("first refused", "for the refusal of all", steps.FIRST_REFUSED, [1])
    named.add(
        "results",
        "of the next lines, as NDJSON",
        steps.RESULTS.format(outcome=steps.OUTCOME),
        [0, steps.BATCH],
    )
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


def of_catalogue(kind: type[CatalogueSteps]) -> list[NamedStatement]:
    named, of = Named(kind), kind.of
    named.makes("those that differ", "locked, in the order of their ids", of.held.format(lock=LOCK))
    named.makes("found", f"each line beside its {named.kind}", of.found)
    named.add("not allowed", "what lacks, and values that a price change moves", of.not_allowed)
    named.add("the same", "those that are there already, or in an earlier line", of.same)
    named.writes("change", "names and types", of.change)
    named.writes("create", "those that are new, with their values", of.insert)
    return named.made


def of_undo(at: datetime) -> list[NamedStatement]:
    """The statements of an undo that are not those of a bulk; of subscriptions, for all kinds."""
    kind = undoing.UndoSubscriptions
    named = Named(kind, "undo", "workers: run_jobs")
    named.writes("lines", "which a job has created or changed", undoing.JOB_LINES, [0])
    named.tables += [(undoing.OF_ID, None), (undoing.JOB_LINES, [0])]
    named.makes("their records", "locked, in the order of their ids", kind.held.format(lock=""))
    named.writes("values", "as they were before the job", kind.take_back_sql())
    named.tables.append((kind.take_back_sql(), None))
    left = undoing.LEFT.format(records=kind.records, seen=kind.seen)
    named.add("left", "those that are not as the job has left them", left)
    named.add("made", "those that the job has created", undoing.MADE)
    named.writes("begun", "subscriptions that have begun are ended", undoing.BEGUN, {"now": at})
    named.writes("to delete", "created and never used", undoing.DELETES, [[0]])
    named.makes("found", "each line beside its subscription", kind.found)
    named.add("deleted", "those that are deleted", undoing.TO_DELETE)
    named.add("would move", "the prices, for a dry run", undoing.WOULD_MOVE)
    named.writes("lock the catalogue", "as every writer of prices", undoing.PAIRS)
    named.writes("price states", "given back after a move back", undoing.GIVE_STATES_BACK)
    results = steps.RESULTS.format(outcome=undoing.OUTCOME)
    named.add("results", "of the lines, as NDJSON", results, [0, steps.BATCH])
    return named.made
