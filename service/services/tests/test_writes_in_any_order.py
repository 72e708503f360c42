"""Subscriptions created, changed, ended, restarted, moved and deleted over the API, in any order.

The clock of the book moves on between the requests. Each answer is compared with what a reader
sees, and with a plain model of starts and ends; at the end of a play the book is checked.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from pricebook.tests.tiers import examples
from services import ledger
from services.audit import book_check
from services.models import book_clock
from services.tests.factories import a_client, a_plan, a_service
from services.tests.programs import a_writer

pytestmark = [pytest.mark.django_db, pytest.mark.long]

SUBSCRIPTIONS = "/api/subscriptions/"
DAYS = st.sampled_from([-40, -3, -1, 1, 2, 30])
WHICH = st.integers(0, 4)  # of those that there are, or one that there is not


class Requests(RuleBasedStateMachine):
    clock: Any  # services.tests.moved_clock.MovedClock

    def __init__(self) -> None:
        super().__init__()
        self.erp = a_writer()
        self.clients = [a_client().pk for _ in range(2)]
        self.services = [a_service(price).pk for price in (100, 30)]
        self.plans = [a_plan(percent).pk for percent in (0, 20)]
        self.known: dict[int, dict[str, Any]] = {}  # as the last answer showed each
        self.has_paid: set[int] = set()
        self.etags: dict[int, str] = {}

    # --- Requests ---------------------------------------------------------------------------

    @rule(
        client=st.integers(0, 2),
        service=st.integers(0, 1),
        plan=st.integers(0, 1),
        start=DAYS | st.none(),
        end=DAYS | st.none(),
    )
    def create(self, client: int, service: int, plan: int, start: int, end: int) -> None:
        clients = [*self.clients, 2**40]
        given: dict[str, Any] = {
            "client": clients[client],
            "service": self.services[service],
            "plan": self.plans[plan],
        }
        begins = None if start is None else self.at(start)
        ends = None if end is None else self.at(end)
        if begins is not None:
            given["started_at"] = begins.isoformat()
        if ends is not None:
            given["ended_at"] = ends.isoformat()
        answer = self.erp.post(SUBSCRIPTIONS, given)
        possible = client < 2 and (ends is None or ends > (begins or book_clock()))
        assert answer.status_code == (201 if possible else 400), answer.content
        if possible:
            self.remember(answer.json(), answer["ETag"])

    @rule(which=WHICH, comment=st.sampled_from(["", "x", "y"]), seen=st.booleans())
    def comment(self, which: int, comment: str, seen: bool) -> None:
        self.send("patch", which, "", {"comment": comment}, seen)

    @rule(which=WHICH, start=DAYS)
    def begin_at(self, which: int, start: int) -> None:
        begins = self.at(start)
        answer, before = self.send("patch", which, "", {"started_at": begins.isoformat()})
        if before is not None:
            ends = self.end_of(before)
            assert (answer.status_code == 200) == (ends is None or ends > begins)

    @rule(which=WHICH, end=DAYS, seen=st.booleans())
    def end(self, which: int, end: int, seen: bool) -> None:
        at = self.at(end)
        answer, before = self.send("post", which, "end/", {"ended_at": at.isoformat()}, seen)
        if before is not None:
            ends = self.end_of(before)
            later = ends is not None and ends <= book_clock() and at > ends
            possible = not later and at > datetime.fromisoformat(before["started_at"])
            assert (answer.status_code == 200) == possible, answer.content

    @rule(which=WHICH, until=DAYS | st.none())
    def restart(self, which: int, until: int | None) -> None:
        at = None if until is None else self.at(until)
        given = {} if at is None else {"ended_at": at.isoformat()}
        answer, before = self.send("post", which, "restart/", given)
        if before is not None:
            possible = before["ended_at"] is not None and (
                at is None
                or (at > book_clock() and at > datetime.fromisoformat(before["started_at"]))
            )
            assert (answer.status_code == 200) == possible, answer.content

    @rule(which=WHICH, service=st.integers(0, 1), plan=st.integers(0, 1))
    def move(self, which: int, service: int, plan: int) -> None:
        to = {"service": self.services[service], "plan": self.plans[plan]}
        answer, before = self.send("post", which, "move/", to)
        if before is not None:
            ends = self.end_of(before)
            has_ended = ends is not None and ends <= book_clock()
            assert (answer.status_code == 200) != has_ended, answer.content

    @rule(which=WHICH, verb=st.sampled_from(["lock", "release", "negotiate", "follow"]))
    def decide(self, which: int, verb: str) -> None:
        given: dict[str, dict[str, Any]] = {
            "lock": {"reason": "x", "until": self.at(2).isoformat()},
            "negotiate": {"reason": "x", "price": "7.50"},
        }
        self.send("post", which, f"{verb}/", given.get(verb, {}))

    @rule(which=WHICH)
    def delete(self, which: int) -> None:
        answer, before = self.send("delete", which, "", None)
        if before is not None:
            assert (answer.status_code == 204) == (before["id"] not in self.has_paid)

    @rule(days=st.sampled_from([1, 5, 60]))
    def time_passes(self, days: int) -> None:
        self.note_payers()
        self.clock.passes(timedelta(days=days))

    # --- Checks -----------------------------------------------------------------------------

    @invariant()
    def figures_are_those_of_the_rows(self) -> None:
        page = self.erp.get(f"{SUBSCRIPTIONS}?page_size=1000").json()
        shown = {row["id"]: row for row in page["result"]}
        assert shown.keys() >= self.known.keys()
        now = book_clock()
        active = [row for row in page["result"] if self.pays(row, now)]
        assert page["paid_count"] == len(active)
        assert page["paid_amount"] == pytest.approx(sum(row["price"] for row in active))

    def teardown(self) -> None:
        checked = book_check.check()
        assert not checked.differs, checked
        for id in self.known:
            entries = ledger.history(id)
            assert all(entry["author"].startswith("erp (key ") for entry in entries[:1])

    # --- Helpers ----------------------------------------------------------------------------

    def at(self, days: int) -> datetime:
        return book_clock() + timedelta(days=days)

    def end_of(self, shown: dict[str, Any]) -> datetime | None:
        return None if shown["ended_at"] is None else datetime.fromisoformat(shown["ended_at"])

    def pays(self, shown: dict[str, Any], now: datetime) -> bool:
        ends = self.end_of(shown)
        return datetime.fromisoformat(shown["started_at"]) <= now and (ends is None or ends > now)

    def remember(self, shown: dict[str, Any], etag: str) -> None:
        self.known[shown["id"]], self.etags[shown["id"]] = shown, etag
        self.note_payers()

    def note_payers(self) -> None:
        """Those that have begun were said to pay, whatever is said of them later."""
        now = book_clock()
        for id, shown in self.known.items():
            if datetime.fromisoformat(shown["started_at"]) <= now:
                self.has_paid.add(id)

    def send(
        self, method: str, which: int, verb: str, given: Any, seen: bool = False
    ) -> tuple[Any, dict[str, Any] | None]:
        """The answer to a request about one, and how it was shown before; None: there is none."""
        ids = sorted(self.known)
        id = ids[which] if which < len(ids) else 2**40
        self.note_payers()
        before = self.known.get(id)
        address = f"{SUBSCRIPTIONS}{id}/"
        stood = self.erp.get(address)
        headers = {"If-Match": stood["ETag"]} if seen and before else {}
        answer = getattr(self.erp, method)(address + verb, given, headers=headers)
        assert answer.status_code < 500
        assert answer.status_code != 412
        after = self.erp.get(address)
        if before is None:
            assert answer.status_code == 404
        elif answer.status_code == 204:
            assert after.status_code == 404
            del self.known[id], self.etags[id]
        elif answer.status_code == 200:
            assert answer.json() == after.json()
            assert answer["ETag"] == after["ETag"]
            self.remember(answer.json(), answer["ETag"])
        else:
            assert after.content == stood.content
        return answer, before


def test_requests_in_any_order_leave_a_book_that_is_right(moved_clock):
    machine = type("RequestsByThisClock", (Requests,), {"clock": moved_clock})
    run_state_machine_as_test(
        machine,
        settings=hypothesis.settings(
            max_examples=examples(10),
            stateful_step_count=25,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
