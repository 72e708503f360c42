"""The names of the kinds of steps of a bridge."""

from django.utils.translation import gettext_lazy as _

STEPS = {
    "started": _("Subscriptions that started"),
    "restarted": _("Opened again"),
    "ended": _("Subscriptions that ended"),
    "moved": _("Moved to another service, plan or client"),
    "change": _("Price changes"),
    "lock_ended": _("Locks that ended"),
    "negotiated": _("Negotiated prices"),
    "locked": _("Locked or released by hand"),
    "corrected": _("Corrections"),
}
BY = {"service": _("By service"), "plan": _("By plan"), "client": _("By client")}
