"""The answers to the questions that `services` asks price changes (`services.hooks`)."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from decimal import Decimal

from price_changes.planning import pending
from price_changes.running import judging_edits, limits, moving, starting, waiting
from price_changes.showing import explaining
from services.catalogue_subject import CatalogueSubject
from services.hooks import Change, Chunk, PendingChange, WaitingChange
from services.models import RepricingStep
from services.moves import Effect, Move, NeedsAnotherPerson, WaitingPlan
from services.sql import SQL


class Answers:
    """The methods of `services.hooks.PriceChanges`, each by the module that has the answer."""

    def moved_by_scheduled(self, change_id: int | None) -> list[SQL]:
        return pending.moves_of_scheduled(change_id)

    def describe(self, change_id: int) -> Change | None:
        return explaining.describe(change_id)

    def pending(self, subscription_id: int) -> list[PendingChange]:
        return explaining.pending([subscription_id])[subscription_id]

    def pending_of_each(self, subscriptions: Collection[int]) -> dict[int, list[PendingChange]]:
        return explaining.pending(subscriptions) if subscriptions else {}

    def waiting_for(
        self, instant: datetime | None, known_at: datetime | None = None
    ) -> list[WaitingChange]:
        return pending.waiting_for(instant, known_at)

    def something_scheduled(self) -> str:
        return pending.SOMETHING_SCHEDULED

    def a_set_waits(self) -> str:
        return pending.A_SET_WAITS

    def waiting_since(self) -> SQL:
        return pending.WAITING_SINCE, ()

    def start_due(self) -> bool:
        return starting.start_due()

    def set_waits_since(self) -> datetime | None:
        return starting.set_waits_since()

    def move_rows(self, step: RepricingStep, size: int) -> Chunk:
        return moving.move_rows(step, size)

    def next_row(self, step: RepricingStep) -> int | None:
        return moving.next_row(step)

    def has_limits(self) -> bool:
        return bool(limits.Limits.now())

    def judge_edits(self) -> int:
        return judging_edits.judge_edits()

    def beyond(self, author: str, move: Move) -> NeedsAnotherPerson | None:
        return limits.beyond(author, move)

    def moved_alone(self, author: str, move: Move, *change_ids: int) -> None:
        limits.moved_alone(author, move, *change_ids)

    def plan_for_one(
        self,
        subscription_id: int,
        adjustment: str,
        author: str,
        why: str,
        *,
        operand: Decimal | None = None,
        locked_until: datetime | None = None,
        reason: str = "",
    ) -> WaitingPlan:
        return waiting.plan_for_one(
            subscription_id,
            adjustment,
            author,
            why,
            operand=operand,
            locked_until=locked_until,
            reason=reason,
        )

    def plan_value(
        self, subject: CatalogueSubject, value: Decimal, comment: str, author: str, why: str
    ) -> WaitingPlan:
        return waiting.plan_value(subject, value, comment, author, why)

    def would_move(
        self, subject: CatalogueSubject, value: Decimal, author: str, rows: int = 0
    ) -> Effect:
        return waiting.would_move(subject, value, author, rows)
