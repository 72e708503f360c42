"""Services, plans, subscriptions and repricings in the admin."""

from services.admin.catalogue import PlanAdmin, ServiceAdmin
from services.admin.repricings import RepricingAdmin
from services.admin.subscriptions import SubscriptionAdmin

__all__ = ["PlanAdmin", "RepricingAdmin", "ServiceAdmin", "SubscriptionAdmin"]
