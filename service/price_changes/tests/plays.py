"""Plays a history against the product, and compares its answers with those of the facts.

Workers come as the schedule says. Whenever they come, the answers must be those of the oracle:
at each instant at which something happens, just before it and just after it. The one exception is
a set that has not been listed yet: its rows wait for it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from unittest.mock import patch

from django.db import DatabaseError, connection, transaction

from price_changes.errors import ChangeError
from price_changes.models import PriceChange
from price_changes.notices import tell, to_tell
from price_changes.planning import definition
from price_changes.running import allowing, brake, lifecycle, starting
from price_changes.running.lifecycle import preview
from price_changes.tests import histories
from price_changes.tests.asking import SECOND, Asking, Book, Difference
from price_changes.tests.histories import SETS, Event, History, instant
from price_changes.tests.schedules import ONCE, SCHEDULES
from price_changes.tests.timeline import MICROSECOND, Timeline
from services import corrections, price_state, repricing
from services.audit import book_check
from services.corrections import CorrectionRefused, Line
from services.ledger import points
from services.models import Plan, Point, Service, Subscription
from services.price_state import PriceStateError
from services.reading import copies
from services.repricing import chunks
from services.repricing.writes import ledger_origin


class Play(Asking):
    """One history, one schedule."""

    def __init__(
        self, book: Book, timeline: Timeline, history: History, schedule: str, every: bool = False
    ) -> None:
        super().__init__(book, timeline, history, every)
        self.schedule = (SCHEDULES | ONCE)[schedule](history.seed)

    def differences(self) -> list[Difference]:
        """Play it, and take all back; the differences."""
        with (
            transaction.atomic(),
            patch.object(chunks, "CHUNK", self.schedule.chunk),
            patch.object(chunks, "AT_ONCE", self.schedule.at_once),
            # It tells transactions apart, of which a play is one; the server counts others too.
            patch.object(starting, "drift", return_value=0),
            # Else a play would begin with what the one before has left.
            patch.object(copies.expected, "late", False),
        ):
            try:
                self._play()
            finally:
                transaction.set_rollback(True)
        return self.found

    def _play(self) -> None:
        self.timeline.set(histories.START, self.history.ticks)
        events = list(self.history.events)
        for minute in self.history.minutes:
            at = instant(minute)
            if at > histories.START:
                is_boundary = minute in self.history.boundaries
                if is_boundary:
                    self._compare_now(at - MICROSECOND, "just before an instant")
                self._set(at)
                self.schedule.at_an_instant()
                if is_boundary:
                    self._compare_now(at, "at an instant")
                self._set(at)
            wrote = bool(events) and events[0].minute <= minute
            while events and events[0].minute <= minute:
                if not self._happens(events.pop(0)):
                    return
                self.schedule.after_a_write()
            if wrote:
                self._compare_now(at + SECOND, "after a write")
                self._compare_ahead(at + SECOND, "after a write")
        end = self.timeline.now + histories.MINUTE
        self._compare_now(end, "at the end, before workers came")
        self._compare_then(end, "at the end, before workers came")
        self._compare_known("at the end, before workers came")
        self._resume_all()
        repricing.reprice()
        self._compare_now(end, "at the end")
        self._compare_then(end, "at the end")
        self._compare_known("at the end")
        self._compare_bills("at the end")
        with patch.object(points, "check", first_wrong_point):
            book = book_check.check()
        if book.differs:
            found = [book.mispriced, book.unrecorded, book.wrong_subtotals, book.wrong_point]
            self._differs("check_book", "at the end", "the book", found, "as it is to be")

    def _set(self, at: datetime) -> None:
        self.timeline.set(at, self.history.ticks)

    def _resume_all(self) -> None:
        for change in PriceChange.objects.filter(status="paused"):
            lifecycle.resume(change.pk, "carl")

    # --- Events

    def _happens(self, event: Event) -> bool:
        """Whether the product has let it happen, as the facts do."""
        try:
            with transaction.atomic():
                self._do(event)
        except (ChangeError, PriceStateError, CorrectionRefused, DatabaseError, NotThere) as error:
            if getattr(error, "code", "") == "set_waits":
                return False  # behind a change that is paused
            if event.kind in ("paused", "resumed"):
                return True  # there may be nothing left to copy, or nothing begun
            reason = getattr(error, "code", "") or type(error).__name__
            self._differs("writes", event.kind, event, f"refused: {reason}: {error}", "allowed")
            return False
        self.telling.allows(event)  # advances its clock
        self.telling.tell(event)
        return True

    def _do(self, event: Event) -> None:
        kind, about = event.kind, event.about
        if "edited" in kind:
            self._edit(event)
        elif kind in histories.CATALOGUE or kind in SETS:
            self._change(event)
        elif kind in histories.OF_CHANGE:
            self._verb(kind, about)
        elif kind in histories.OF_BRAKE:
            (brake.pull if kind == histories.PULLED else brake.release)("carl", "harm")
        elif kind in histories.OF_NOTICE:
            self._tell_clients(kind, about["change"])
        elif kind == "opened":
            self._open(event)
        elif kind == "deleted":
            row = Subscription.objects.get(pk=self.subscriptions[about["subscription"]])
            row.delete()
        else:
            self._write(kind, about)

    def _edit(self, event: Event) -> None:
        model, field, pk = self._thing(event)
        value, by = event.about["value"], event.about["by"]
        newest = PriceChange.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
        if by == "update":
            model.objects.filter(pk=pk).update(**{field: value})
        elif by == "SQL":
            with connection.cursor() as cursor:
                cursor.execute(
                    f"UPDATE {model._meta.db_table} SET {field} = %s WHERE id = %s", [value, pk]
                )
        else:
            # The editor has read the value in force; a late copy is nobody's old value.
            thing = model.objects.in_force().get(pk=pk)
            setattr(thing, field, value)
            if by == "save":
                thing.save()
            else:
                model.objects.bulk_update([thing], [field])
        edit = PriceChange.objects.filter(pk__gt=newest).values_list("pk", flat=True).first()
        if edit is not None:
            self.changes[event.number] = edit

    def _thing(self, event: Event) -> tuple[Any, str, int]:
        of = event.about["of"]
        if histories.CATALOGUE[event.kind] == "service":
            return Service, "full_price", self.book.services[of]
        return Plan, "discount_percent", self.book.plans[of]

    def _change(self, event: Event) -> None:
        about = event.about
        values: dict[str, Any] = {}
        for name, given in (("effective_at", "at"), ("locked_until", "until")):
            if given in about:
                values[name] = instant(about[given])
        if about.get("notice"):
            values["notice_days"] = 0
        if event.kind in SETS:
            names = ("adjustment", "operand", "floor", "ceiling", "rounding_step")
            values |= {name: about[name] for name in names if name in about}
            values |= {"kind": "set", "filter": self._filter(about["filter"])}
        else:
            _, _, pk = self._thing(event)
            of = histories.CATALOGUE[event.kind]
            values |= {
                "kind": "list_price" if of == "service" else "discount",
                of: pk,
                "new_value": about["value"],
                "for_new_only": event.kind in histories.FOR_NEW_ONLY,
            }
        change = preview(definition.plan(values, "ann").pk)
        when_moved = about["when_moved"]
        if event.kind not in SETS and when_moved == "hold":
            when_moved = None  # the default
        lifecycle.approve(change.pk, change.fingerprint, "bob", when_moved)
        self.changes[event.number] = change.pk

    def _tell_clients(self, kind: str, of: int) -> None:
        change = PriceChange.objects.get(pk=self.changes[of])
        clients = [each.client_id for each in to_tell(change)]
        today = self.timeline.now.date()
        if kind == histories.TOLD:
            tell(change, [(client, today, "") for client in clients], "file", "carl")
        else:
            tell(change, [(clients[-1], None, "")], "hand", "carl")

    def _filter(self, given: dict[str, Any]) -> dict[str, Any]:
        ids = {
            "subscription": self.subscriptions,
            "service": self.book.services,
            "plan": self.book.plans,
            "client": self.book.clients,
        }
        return {name: ids[name][of] if name in ids else of for name, of in given.items()}

    def _verb(self, kind: str, about: dict[str, Any]) -> None:
        change = self.changes.get(about["change"])
        if change is None:
            raise NotThere(f"no change was written for #{about['change']}")
        if kind == "cancelled":
            lifecycle.cancel(change, "carl")
        elif kind == "paused":
            lifecycle.pause(change, "carl")
        elif kind == "resumed":
            lifecycle.resume(change, "carl")
        elif kind == "restored":
            lifecycle.revert(self._last_of(change), "carl", approve_too=True)
        else:
            change = self._last_of(change)
            status = PriceChange.objects.values_list("status", flat=True).get(pk=change)
            if about["by"] == "cancel" and status in allowing.ALLOWED["cancel"]:
                lifecycle.cancel(change, "carl")
            else:
                lifecycle.revert(change, "carl", approve_too=True)

    @staticmethod
    def _last_of(change: int) -> int:
        """The change, or the last of those that have taken it back, restored it, and so on."""
        backs = PriceChange.objects.exclude(status="cancelled")
        while back := backs.filter(reverts=change).values_list("pk", flat=True).first():
            change = back
        return change

    def _open(self, event: Event) -> None:
        about = event.about
        values: dict[str, Any] = {
            "client_id": self.book.clients[about["client"]],
            "service_id": self.book.services[about["service"]],
            "plan_id": self.book.plans[about["plan"]],
        }
        for name in ("started_at", "ended_at"):
            if name in about:
                values[name] = instant(about[name])
        if "price" in about:
            values |= {"price": about["price"], "price_state": "negotiated"}
        elif "paid" in about:
            values["price"] = about["paid"]
        if about["by"] == "SQL":
            values["comment"] = ""
            places = ", ".join(["%s"] * len(values))
            with connection.cursor() as cursor:
                cursor.execute(
                    f"INSERT INTO services_subscription ({', '.join(values)})"
                    f" VALUES ({places}) RETURNING id",
                    list(values.values()),
                )
                (pk,) = cursor.fetchone()
        elif about["by"] == "bulk":
            [made] = Subscription.objects.bulk_create([Subscription(**values)])
            pk = made.pk
        else:
            pk = Subscription.objects.create(**values).pk
        self.subscriptions[event.number] = pk

    def _write(self, kind: str, about: dict[str, Any]) -> None:
        pk = self.subscriptions[about["subscription"]]
        if kind == "corrected":
            until = instant(about["until"]) if "until" in about else None
            line = Line(pk, instant(about["since"]), about["price"], until)
            corrections.correct([line], "wrong", "dan")
            return
        if about["by"] == "verb" and kind in VERBS:
            until = instant(about["until"]) if "until" in about else None
            {
                "locked": lambda: price_state.lock(pk, until, "asked", "dan"),
                "released": lambda: price_state.release(pk, "dan"),
                "negotiated": lambda: price_state.negotiate(pk, about["price"], "deal", "dan"),
                "follows": lambda: price_state.follow(pk, "dan"),
            }[kind]()
            return
        values: dict[str, Any] = {}
        if kind in ("started", "ended", "reopened"):
            name = "started_at" if kind == "started" else "ended_at"
            values = {name: instant(about[name]) if name in about else None}
        elif kind == "moved to a service":
            values = {"service_id": self.book.services[about["to"]]}
        elif kind == "moved to a plan":
            values = {"plan_id": self.book.plans[about["to"]]}
        elif kind == "moved to a client":
            values = {"client_id": self.book.clients[about["to"]]}
        elif kind == "locked":
            until = instant(about["until"]) if "until" in about else None
            values = {"price_state": "locked", "locked_until": until, "price_reason": "asked"}
        elif kind == "lock cut":
            # The columns go together, so the lock that a set brings has to be in the row.
            self._copy_listed(pk)
            values = {"locked_until": self.timeline.now - SECOND}
        elif kind == "negotiated":
            values = {
                "price_state": "negotiated",
                "price": about["price"],
                "locked_until": None,
                "price_reason": "deal",
            }
        else:
            values = {"price_state": "follows", "price": None}
        if kind in VERBS and self._is_stored(pk, values):
            self._copy_listed(pk)  # else it would be no write at all
        if about["by"] == "save" and kind != "lock cut":
            row = Subscription.objects.get(pk=pk)
            for name, value in values.items():
                setattr(row, name, value)
            row.save()
        else:
            Subscription.objects.filter(pk=pk).update(**values)

    @staticmethod
    def _is_stored(pk: int, values: dict[str, Any]) -> bool:
        """Whether a row has these values already, apart from the reason and the rule's price."""
        told = {name: value for name, value in values.items() if name != "price_reason"}
        if told["price_state"] == "follows":
            del told["price"]
        return Subscription.objects.filter(pk=pk, **told).exists()

    @staticmethod
    def _copy_listed(pk: int) -> None:
        """Copy a row that a set has listed, as its worker would."""
        with ledger_origin(writes_entries=True), connection.cursor() as cursor:
            cursor.execute("SELECT copy_listed(%s)", [[pk]])


def first_wrong_point() -> datetime | None:
    """The first wrong one: the product looks at a random one, but a play is the same each time."""
    at = Point.objects.order_by("at").values_list("at", flat=True)
    return next(filter(points.is_wrong, at), None)


VERBS = ("locked", "released", "negotiated", "follows")


class NotThere(Exception):
    """The product has not written what a verb is about."""


def shortest(book: Book, timeline: Timeline, history: History, schedule: str) -> str:
    """The history without events that do not matter, and how its first reader differs."""

    def differences(shorter: History) -> list[Difference]:
        return Play(book, timeline, shorter, schedule, every=True).differences()

    first = differences(history)[0].reader

    def fails(shorter: History) -> bool:
        return any(found.reader == first for found in differences(shorter))

    history = histories.shortened(history, fails)
    found = [str(each) for each in differences(history) if each.reader == first]
    return "\n".join([f"workers come {schedule}", str(history), *found[:10]])
