"""When workers come."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from price_changes.running import starting
from services import repricing
from services.models import RepricingStep
from services.repricing import chunks, lock_ends
from services.repricing.planning import plan_due


class AtOnce:
    """At each instant, and after each write."""

    chunk = 4_000

    def at_an_instant(self) -> None:
        repricing.reprice()

    def after_a_write(self) -> None:
        repricing.reprice()


class Never:
    """Not before the end."""

    chunk = 4_000

    def at_an_instant(self) -> None: ...

    def after_a_write(self) -> None: ...


class Late(Never):
    """Now and then, between the instants."""

    def __init__(self, seed: object) -> None:
        self.random = Random(f"late {seed}")

    def after_a_write(self) -> None:
        if self.random.random() < 0.4:
            repricing.reprice()


class Piecemeal(Late):
    """One step of the work here and there, and none in the order that a drain has."""

    chunk = 1

    def at_an_instant(self) -> None:
        self.after_a_write()

    def after_a_write(self) -> None:
        for _ in range(self.random.randint(0, 3)):
            self.random.choice(
                [lock_ends.release_ended, starting.start_due, plan_due, self._take_a_chunk]
            )()

    def _take_a_chunk(self) -> None:
        steps = list(RepricingStep.objects.order_by("pk").values_list("pk", flat=True))
        chunks.take_chunk("price", {step for step in steps if self.random.random() < 0.5})


class Beginning(Never):
    """What is due is begun at its instant, and not one copy is written."""

    def at_an_instant(self) -> None:
        starting.start_due()
        plan_due()


SCHEDULES: dict[str, Callable[[object], Any]] = {
    "at once": lambda seed: AtOnce(),
    "never": lambda seed: Never(),
    "beginning": lambda seed: Beginning(),
    "late": Late,
    "piecemeal": Piecemeal,
}


# --- The book -----------------------------------------------------------------------------------
