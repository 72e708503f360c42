"""Services, plans, subscriptions, repricings and jobs in the admin."""

from services.admin.catalogue import PlanAdmin, ServiceAdmin
from services.admin.jobs import JobAdmin
from services.admin.repricings import RepricingAdmin
from services.admin.subscriptions import SubscriptionAdmin

__all__ = ["JobAdmin", "PlanAdmin", "RepricingAdmin", "ServiceAdmin", "SubscriptionAdmin"]
