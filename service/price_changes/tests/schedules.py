"""Schedules: when workers come."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from django.db.models import Q

from price_changes.models import PriceChange
from price_changes.running import starting
from services import repricing
from services.models import RepricingStep, book_clock
from services.repricing import chunks, lock_ends
from services.repricing.planning import plan_due


class AtOnce:
    """Workers come at each instant, and after each write."""

    chunk = at_once = 4_000

    def at_an_instant(self) -> None:
        repricing.reprice()

    def after_a_write(self) -> None:
        repricing.reprice()


def list_sets() -> None:
    """Do all that a set needs of workers, with the copies before it: its rows wait."""
    sets = PriceChange.objects.filter(Q(kind="set") | Q(kind="revert"), status="scheduled")
    due = sets.filter(effective_at__lte=book_clock()).order_by("effective_at")
    while (at := due.values_list("effective_at", flat=True).first()) and not starting.start_due():
        if chunks.take_chunk("price", set(), up_to=at) is None:
            return


class Never:
    """Workers do not come before the end."""

    chunk = at_once = 4_000

    def at_an_instant(self) -> None:
        list_sets()

    def after_a_write(self) -> None:
        list_sets()


class Listed(Never):
    """Workers list sets, and copy nothing before the end but what another set waits for."""

    at_once = 0


class Last:
    """Workers do not come before the end, not even to list a set.

    Not for any history: a set that is cancelled before it is listed has never moved anything.
    """

    chunk = at_once = 4_000

    def at_an_instant(self) -> None: ...

    def after_a_write(self) -> None: ...


class Late(Never):
    """Workers come now and then, between the instants."""

    def __init__(self, seed: object) -> None:
        self.random = Random(f"late {seed}")

    def after_a_write(self) -> None:
        super().after_a_write()
        if self.random.random() < 0.4:
            repricing.reprice()


class Once(Never):
    """Workers come once, after so many writes."""

    def __init__(self, writes: int) -> None:
        self.to_come = writes

    def after_a_write(self) -> None:
        self.to_come -= 1
        if self.to_come == 0:
            repricing.reprice()
        else:
            super().after_a_write()


class Piecemeal(Late):
    """Workers do a step here and there, in another order than a drain."""

    chunk, at_once = 1, 0

    def at_an_instant(self) -> None:
        self.after_a_write()

    def after_a_write(self) -> None:
        list_sets()
        for _ in range(self.random.randint(0, 3)):
            self.random.choice(
                [self._release_ended, starting.start_due, plan_due, self._take_a_chunk]
            )()

    def _release_ended(self) -> None:
        lock_ends.release_ended()

    def _take_a_chunk(self) -> None:
        steps = list(RepricingStep.objects.order_by("pk").values_list("pk", flat=True))
        chunks.take_chunk("price", {step for step in steps if self.random.random() < 0.5})


class Beginning(Never):
    """Workers begin changes at their instants, and write only the copies that a set needs."""

    def at_an_instant(self) -> None:
        starting.start_due()
        plan_due()
        list_sets()


FOR_ANY: dict[str, Callable[[object], Any]] = {
    "at once": lambda seed: AtOnce(),
    "never": lambda seed: Never(),
    "listed": lambda seed: Listed(),
    "beginning": lambda seed: Beginning(),
    "late": Late,
    "piecemeal": Piecemeal,
}
SCHEDULES = {**FOR_ANY, "last": lambda seed: Last()}
# For histories by hand, which say when workers come.
ONCE: dict[str, Callable[[object], Any]] = {
    "once, after the first write": lambda seed: Once(1),
    "once, after the second write": lambda seed: Once(2),
}


# --- The book -----------------------------------------------------------------------------------
