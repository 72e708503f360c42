"""The kinds of jobs: the steps of their bulks, and of what takes them back."""

from __future__ import annotations

from dataclasses import dataclass

from services.bulk.catalogue import PlanSteps, ServiceSteps
from services.bulk.clients import ClientSteps
from services.bulk.steps import Steps
from services.bulk.subscriptions import SubscriptionSteps
from services.jobs.undoing import Undo, UndoClients, UndoPlans, UndoServices, UndoSubscriptions


@dataclass(frozen=True)
class Kind:
    steps: type[Steps]
    undo: type[Undo]


KINDS: dict[str, Kind] = {
    "clients": Kind(ClientSteps, UndoClients),
    "services": Kind(ServiceSteps, UndoServices),
    "plans": Kind(PlanSteps, UndoPlans),
    "subscriptions": Kind(SubscriptionSteps, UndoSubscriptions),
}
