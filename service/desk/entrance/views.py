"""The log-in of the desk, and the log-out, after which the browser forgets what was typed."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.views import LoginView, LogoutView
from django.utils.translation import gettext as _


class LogIn(LoginView):
    template_name = "desk/log_in.html"
    authentication_form = AdminAuthenticationForm  # says who is not staff
    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(title=_("Log in"), **kwargs)


class LogOut(LogoutView):
    template_name = "desk/logged_out.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**kwargs) | {"title": _("You are logged out")}
