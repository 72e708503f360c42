"""The log-in of the desk and the admin, and the log-out, after which the browser forgets what was
typed."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _


class LogIn(LoginView):
    template_name = "desk/log_in.html"
    authentication_form = AdminAuthenticationForm  # says who is not staff

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        # (Another person would be sent to a page of staff, and from there back to here.)
        self.redirect_authenticated_user = request.user.is_active and request.user.is_staff
        return super().dispatch(request, *args, **kwargs)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(title=_("Log in"), **kwargs)


class LogOut(LogoutView):
    template_name = "desk/logged_out.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**kwargs) | {"title": _("You are logged out")}
