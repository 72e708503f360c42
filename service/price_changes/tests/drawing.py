"""Random histories: a_history() draws one, in which two kinds of event meet."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from random import Random
from typing import Any

from price_changes.tests.histories import (
    ASKING,
    CATALOGUE,
    CLIENTS,
    DISCOUNTS,
    FOR_NEW_ONLY,
    KINDS,
    LIST_PRICES,
    NEEDS,
    OF_BRAKE,
    OF_CHANGE,
    OF_NOTICE,
    OPENED,
    PERCENTS,
    PRICES,
    SCHEDULED,
    SETS,
    Event,
    History,
    Telling,
)


class Drawing:
    """Draws events around one subscription, its service and its plan, and few others."""

    def __init__(self, random: Random, ticks: bool) -> None:
        self.random = random
        self.telling = Telling(ticks)
        self.events: list[Event] = []
        self.minute = 1
        self.focus = random.choice(list(OPENED))
        self.notices = False  # whether changes ask for notices

    def draw(self, kind: str, depth: int = 0) -> None:
        for again in range(8):
            self.pass_time()
            about = self.about(kind)
            if self.notices and kind in ASKING and "at" in about and self.often(0.8):
                about["notice"] = True
            event = Event(100 + len(self.events), self.minute, kind, about)
            if self.telling.allows(event):
                self.telling.tell(event)
                self.events.append(event)
                return
            if again == 3 and depth < 3 and kind in NEEDS:
                self.draw(self.random.choice(NEEDS[kind]), depth + 1)

    def pass_time(self) -> None:
        """Let no time pass, a minute or two, or the time to the next instant of an effect."""
        coming = [minute for minute in self.coming() if minute > self.minute]
        if coming and self.random.random() < 0.35:
            self.minute = coming[0]
        else:
            self.minute += self.random.choice([0, 0, 1, 1, 2])

    def coming(self) -> list[int]:
        return History(None, False, self.events).boundaries

    def later(self) -> int:
        """An instant to come, often one at which something else takes effect."""
        coming = [minute for minute in self.coming() if minute > self.minute]
        if coming and self.random.random() < 0.4:
            return self.random.choice(coming)
        return self.minute + self.random.randint(1, 4)

    def any_time(self) -> int:
        return self.random.choice([self.later(), self.later(), self.minute, self.earlier()])

    def earlier(self) -> int:
        happened = [event.minute for event in self.events] or [0]
        return self.random.choice([*happened, self.minute - 1, 1 - self.random.randint(1, 9)])

    def often(self, share: float = 0.5) -> bool:
        return self.random.random() < share

    def some(self, numbers: Any, of_focus: int) -> int:
        return of_focus if self.often(0.75) else self.random.choice(list(numbers))

    def about(self, kind: str) -> dict[str, Any]:
        choose = self.random.choice
        client, service, plan = OPENED[self.focus]
        subscriptions = self.telling.oracle.subscriptions
        if kind in (*OF_CHANGE, *OF_NOTICE):
            changes = list(self.telling.changes) or [0]
            change = changes[-1] if self.often(0.7) else choose(changes)
            return {"change": change, "by": choose(["cancel", "revert"])}
        if kind in OF_BRAKE:
            return {}
        if kind in CATALOGUE:
            return self.about_a_value(kind, service, plan)
        if kind in SETS:
            return self.about_a_set(kind)
        if kind == "opened":
            about: dict[str, Any] = {
                "client": self.some(CLIENTS, client),
                "service": self.some(LIST_PRICES, service),
                "plan": self.some(DISCOUNTS, plan),
                "by": choose(["save", "bulk", "SQL"]),
            }
            if self.often():
                about["started_at"] = self.any_time()
            if self.often(0.3):
                about["ended_at"] = self.any_time()
            if self.often(0.2):
                about["price"] = choose(PRICES)
            elif about.get("ended_at", self.minute + 1) <= self.minute and self.often():
                about["paid"] = choose(PRICES)
            return about
        about = {"subscription": self.some(subscriptions, self.focus)}
        if kind == "started":
            about["started_at"] = self.any_time()
        elif kind == "ended" or (kind == "reopened" and self.often(0.4)):
            about["ended_at"] = self.any_time()
        elif kind == "moved to a service":
            about["to"] = choose(list(LIST_PRICES))
        elif kind == "moved to a plan":
            about["to"] = choose(list(DISCOUNTS))
        elif kind == "moved to a client":
            about["to"] = choose(CLIENTS)
        elif kind == "negotiated":
            about["price"] = choose(PRICES)
        elif kind == "corrected":
            about |= {"since": self.earlier(), "price": choose(PRICES)}
            if self.often():
                about["until"] = self.earlier()
        elif kind == "locked" and self.often(0.7):
            about["until"] = self.later()
        about["by"] = choose(["verb", "update", "save"])
        return about

    def about_a_value(self, kind: str, service: int, plan: int) -> dict[str, Any]:
        of_service = CATALOGUE[kind] == "service"
        about: dict[str, Any] = {
            "of": self.some(LIST_PRICES, service) if of_service else self.some(DISCOUNTS, plan),
            "value": self.random.choice(PRICES if of_service else PERCENTS),
        }
        if "edited" in kind:
            about["by"] = self.random.choice(["update", "save", "bulk", "SQL"])
            return about
        if self.often(0.75):
            about["at"] = self.later()
        if kind in FOR_NEW_ONLY and self.often(0.4):
            about["until"] = about.get("at", self.minute) + self.random.randint(1, 4)
        about["when_moved"] = self.random.choice(["hold", "current"])
        return about

    def about_a_set(self, kind: str) -> dict[str, Any]:
        choose = self.random.choice
        client, service, plan = OPENED[self.focus]
        about: dict[str, Any] = {
            "filter": choose(
                [
                    {},
                    {"subscription": self.focus},
                    {"service": service},
                    {"plan": plan},
                    {"client": client},
                    {"price_state": choose(["follows", "negotiated", "locked"])},
                    {"price_from": "21"},
                    {"price_to": "21"},
                    {"state": choose(["active", "upcoming"])},
                ]
            ),
            "when_moved": choose(["current", "current", "frozen", "hold"]),
        }
        if self.often(0.75):
            about["at"] = self.later()
        if kind == "set of states":
            about["adjustment"] = choose(["lock", "lock", "release", "follow"])
            if about["adjustment"] == "lock" and self.often():
                about["until"] = about.get("at", self.minute) + self.random.randint(1, 4)
            return about
        about["adjustment"] = choose(["amount", "add", "percent"])
        about["operand"] = {
            "amount": choose(["20", "33.33"]),
            "add": "5",
            "percent": choose(["10", "-10", "50"]),
        }[about["adjustment"]]
        about |= choose([{}, {}, {"rounding_step": "0.5"}, {"floor": "21"}, {"ceiling": "22"}])
        return about


def a_history(seed: object, meeting: tuple[str, str], more: int = 1) -> History:
    """A history in which events of two kinds may meet, with up to `more` others in between."""
    random = Random(str(seed))
    drawing = Drawing(random, random.random() < 0.5)
    kinds = [*meeting, *random.choices(KINDS, k=random.randint(0, more))]
    if {*OF_BRAKE} & {*kinds}:
        kinds.append(random.choice(SCHEDULED))
    drawing.notices = bool({*OF_NOTICE} & {*kinds})
    random.shuffle(kinds)
    for kind in kinds:
        drawing.draw(kind)
    return History(seed, drawing.telling.tick > timedelta(0), drawing.events)


def meetings(telling: Telling) -> Iterator[tuple[str, str]]:
    """The kinds that met on one subscription, service or plan; each pair in the order of KINDS."""
    events = [(event, telling.subjects(event)) for event in telling.told]
    for n, (event, subjects) in enumerate(events):
        for other, others in events[:n]:
            if subjects & others:
                first, second = sorted([event.kind, other.kind], key=KINDS.index)
                yield first, second


def told(history: History) -> Telling:
    telling = Telling(history.ticks)
    for event in history.events:
        assert telling.allows(event), event
        telling.tell(event)
    return telling


def histories_in_which_two_meet(seed: object, tries: int = 500) -> Iterator[History]:
    """Endlessly: for each two kinds a history in which they meet, then another one for each.

    ValueError if two don't meet in so many tries.
    """
    pairs = [(kind, to) for n, kind in enumerate(KINDS) for to in KINDS[n:]]
    for again in count():
        Random(f"{seed} {again}").shuffle(pairs)
        for pair in pairs:
            for n in range(tries):
                name = f"{seed} {again}: {' and '.join(pair)}, {n}"
                history = a_history(name, pair)
                if pair in meetings(told(history)):
                    yield history
                    break
            else:
                raise ValueError(f"{pair} never met")
