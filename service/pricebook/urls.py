"""The paths, and the views that they lead to."""

from django.contrib import admin
from django.urls import include, path, re_path
from rest_framework.routers import DefaultRouter

from desk.entrance.views import LogIn, LogOut
from events.event_views import EventsView
from events.views import WebhookView
from keys.views import KeyView
from price_changes.brake_views import BrakeView
from price_changes.bridge_views import BridgeRowsView, BridgeView
from price_changes.views import PriceChangeView
from pricebook.seeing.probes import PROBES
from pricebook.views import DocsView, SchemaView, UnknownPath, healthz
from services.views import (
    ClientView,
    ImportView,
    JobView,
    LedgerView,
    PlanView,
    ServiceView,
    SubscriptionView,
    TotalsView,
)

router = DefaultRouter()
router.include_root_view = False  # the root is the home page
router.include_format_suffixes = False  # ?format= does it
router.register("api/subscriptions", SubscriptionView)
router.register("api/price-changes", PriceChangeView, basename="price-change")
router.register("api/brake", BrakeView, basename="brake")
router.register("api/clients", ClientView, "client")
router.register("api/services", ServiceView, "service")
router.register("api/plans", PlanView, "plan")
router.register("api/imports", ImportView, "import")
router.register("api/jobs", JobView, "job")
router.register("api/keys", KeyView, "key")
router.register("api/webhooks", WebhookView, "webhook")

urlpatterns = [
    path("", include("desk.urls")),
    # One entrance: the log-out there also forgets what the browser keeps.
    path("admin/login/", LogIn.as_view(next_page="admin:index")),
    path("admin/logout/", LogOut.as_view()),
    path("admin/", admin.site.urls),
    path("healthz", healthz, name="healthz"),
    *[path(probe[1:], view, name=probe[1:]) for probe, view in PROBES.items()],
    *router.urls,
    path("api/totals/", TotalsView.as_view(), name="totals"),
    path("api/totals/bridge/", BridgeView.as_view(), name="totals-bridge"),
    path("api/totals/bridge/rows/", BridgeRowsView.as_view(), name="totals-bridge-rows"),
    path("api/ledger/", LedgerView.as_view(), name="ledger"),
    path("api/events/", EventsView.as_view(), name="events"),
    path("api/schema/", SchemaView.as_view(), name="schema"),
    path("api/docs/", DocsView.as_view(url_name="schema"), name="docs"),
    # Only with a slash at the end, so that /api/subscriptions still finds its own.
    re_path(r"^api/(?:[\s\S]*/)?$", UnknownPath.as_view()),
]

handler400 = "desk.errors.bad_request"
handler403 = "desk.errors.not_allowed"
handler404 = "desk.errors.not_found"
handler500 = "desk.errors.server_error"
