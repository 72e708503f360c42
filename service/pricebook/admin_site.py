"""The look of the admin: its colours, its icons, and the entries of the sidebar (UNFOLD)."""

from django.templatetags.static import static
from django.urls import reverse_lazy
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

StrOrPromise = str | Promise


def page(title: StrOrPromise, icon: str, model: str) -> dict[str, object]:
    """An entry of the admin's menu, for those who may see the model ("app.model")."""
    app, name = model.split(".")
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{app}_{name}_changelist"),
        "permission": lambda request: request.user.has_perm(f"{app}.view_{name}"),
    }


UNFOLD = {
    "SITE_TITLE": "Pricebook",
    "SITE_HEADER": "Pricebook",
    "SITE_ICON": lambda request: static("pricebook/icon.svg"),
    "SITE_FAVICONS": [
        {
            "rel": "icon",
            "type": "image/svg+xml",
            "href": lambda request: static("pricebook/icon.svg"),
        }
    ],
    "STYLES": [
        lambda request: static("pricebook/progress.css"),
        lambda request: static("pricebook/price_changes.css"),
    ],
    "COLORS": {
        "primary": {
            "50": "oklch(98.4% .014 180.72)",
            "100": "oklch(95.3% .051 180.801)",
            "200": "oklch(91% .096 180.426)",
            "300": "oklch(85.5% .138 181.071)",
            "400": "oklch(77.7% .152 181.912)",
            "500": "oklch(70.4% .14 182.503)",
            "600": "oklch(51.1% .096 186.391)",
            "700": "oklch(43.7% .078 188.216)",
            "800": "oklch(38.6% .063 188.416)",
            "900": "oklch(33% .053 188.9)",
            "950": "oklch(27.7% .046 192.524)",
        }
    },
    "COMMAND": {"search_callback": "desk.finding.command.results"},
    "SIDEBAR": {
        "navigation": [
            {
                "title": _("Book"),
                "items": [
                    page(_("Subscriptions"), "receipt_long", "services.subscription"),
                    page(_("Price changes"), "price_change", "price_changes.pricechange"),
                    page(_("Clients"), "business_center", "clients.client"),
                    page(_("Services"), "sell", "services.service"),
                    page(_("Plans"), "percent", "services.plan"),
                    page(_("Repricings"), "autorenew", "services.repricing"),
                    page(_("Jobs"), "pending_actions", "services.job"),
                ],
            },
            {
                "title": _("Access"),
                "items": [
                    page(_("Users"), "person", "auth.user"),
                    page(_("Groups"), "group", "auth.group"),
                    page(_("API keys"), "key", "rest_framework_api_key.apikey"),
                    page(_("Webhooks"), "webhook", "events.endpoint"),
                ],
            },
        ],
    },
}
