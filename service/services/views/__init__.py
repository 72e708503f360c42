"""The API of subscriptions, of their totals, and of the ledger."""

from services.views.breakdown import ClientView, PlanView, ServiceView
from services.views.imports import ImportView
from services.views.jobs import JobView
from services.views.ledger import LedgerView
from services.views.subscriptions import SubscriptionView
from services.views.totals import TotalsView

__all__ = [
    "ClientView",
    "ImportView",
    "JobView",
    "LedgerView",
    "PlanView",
    "ServiceView",
    "SubscriptionView",
    "TotalsView",
]
