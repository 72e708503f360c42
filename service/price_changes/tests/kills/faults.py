"""Faults that the rounds must detect, or they would prove nothing. They are inserted on purpose.

Each says which interleaving shows it.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import F

from price_changes.running import judging, moving
from pricebook.kit.points import at_point
from services.models import Repricing
from services.repricing import accounts, chunks, followers, movers
from services.repricing.locks import giving_way, lock_catalogue
from services.tests.interleaving import replaced, without_catalogue_locks


@dataclass(frozen=True)
class Fault:
    says: str
    in_worker: Callable[[], None] | None = None
    in_database: Callable[[], AbstractContextManager[Any]] = nullcontext
    point: str | None = None  # where a worker has to die for it

    @property
    def killed(self) -> str:
        return "worker" if self.point else "nobody"


@contextmanager
def locks_after_the_update() -> Iterator[None]:
    lock = "PERFORM lock_pairs(services, plans);"

    def mutate(definition: str) -> str:
        before, found, after = definition.partition(lock)
        assert found
        head, end, tail = after.rpartition("RETURN NULL;")
        return f"{before}{head}{lock}\n    {end}{tail}"

    with replaced("subscription_written", mutate):
        yield


def saves_the_cursor_first() -> None:
    def take_chunk(
        lane: str,
        blocked: set[int],
        sizes: dict[int, int] | None = None,
        up_to: datetime | None = None,
    ) -> int | None:
        with giving_way():
            claimed = chunks._claim(lane, blocked, up_to=up_to)
            if not claimed:
                return None
            step = claimed[0]
            if step.repricing.kind != Repricing.Mode.CATALOGUE or lane != "price":
                chunk = chunks._do_chunk(step, chunks.CHUNK)
                chunks._save(lane, [(step, chunk)])
                return chunk.moved
            pair, repricing_id = (step.service_id, step.plan_id), step.repricing_id
            rows, count, last_id, done = movers._next_rows(step, chunks.CHUNK)
            if done:
                step.delete()
            else:
                step.after_id = last_id
                step.save(update_fields=["after_id"])
        at_point("cursor saved")
        with giving_way():
            lock_catalogue(*pair)
            moved = followers.move(rows, *pair)
            count, moved = accounts.count(step, last_id)
            at_point("chunk moved")
            Repricing.objects.filter(pk=repricing_id).update(
                repriced=F("repriced") + moved, checked=F("checked") + count
            )
            at_point("chunk counted")
        return moved

    chunks.take_chunk = take_chunk


def writes_what_was_listed() -> None:
    written_since = "(newest_at > %(effective)s OR is_copied) AND"
    entered = "%(up_to_id)s"
    assert written_since in moving.MOVE
    assert entered in moving.MOVE
    judging.reasons_of = lambda change: ""
    moving.MOVE = moving.MOVE.replace(written_since, f"false AND {written_since}").replace(
        entered, "NULL"
    )


FAULTS = {
    "no lock": Fault(
        "Somebody's new row is not committed yet when its list price moves. The edit does not wait"
        " for it, the repricing does not see it, and it keeps the old price for ever.",
        in_database=without_catalogue_locks,
    ),
    "lock after the update": Fault(
        "A list price has moved and is not committed; a row is created at the old one, and only"
        " then waits for the edit. It commits after the repricing has been there.",
        in_database=locks_after_the_update,
    ),
    "cursor outside the transaction": Fault(
        "A worker dies between the COMMIT of the cursor and that of the rows: the next one goes on"
        " behind rows that nobody has moved.",
        in_worker=saves_the_cursor_first,
        point="cursor saved",
    ),
    "blind write": Fault(
        "Somebody locks or negotiates a row between a set's instant and its worker: the worker"
        " writes what the list says.",
        in_worker=writes_what_was_listed,
    ),
}
