"""The pages of errors: what was asked for, why it is not shown, and a way back."""

from __future__ import annotations

import sys
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.translation import gettext as _
from django.views.decorators.csrf import requires_csrf_token

from desk.coming_back import form_page, page_before
from desk.menu import menu_of
from pricebook.kit import away, error_response


@requires_csrf_token
def not_allowed(request: HttpRequest, exception: Any) -> HttpResponse:
    """`handler403`: names what is missing."""
    return _page(request, 403, _("You may not see this"), str(exception))


@requires_csrf_token
def not_found(request: HttpRequest, exception: Any) -> HttpResponse:
    """`handler404`. The reason is that of our own views; Django's names patterns of paths."""
    said = exception.args[0] if exception.args and isinstance(exception.args[0], str) else ""
    return _page(request, 404, _("There is no such page"), said)


@requires_csrf_token
def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """`handler400`."""
    if error_response.is_api(request):
        return error_response.bad_request(request, exception)
    return plain(400, _("This request can't be understood"))


def server_error(request: HttpRequest) -> HttpResponse:
    """`handler500`: asks neither the session nor a database that does not answer."""
    if error_response.is_api(request):
        return error_response.server_error(request)
    if error := away.told(sys.exc_info()[1]):
        page = plain(503, _("Pricebook can't answer now"), str(error.detail))
        page["Retry-After"] = str(error.wait)
        return page
    return plain(500, _("Something went wrong"))


def plain(status: int, title: str, said: str = "") -> HttpResponse:
    context = {"title": title, "status": status, "said": said}
    return HttpResponse(render_to_string("desk/plain_error.html", context), status=status)


def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponse:
    """CSRF_FAILURE_VIEW: a form that was opened before a log-in or log-out; nothing was done."""
    return render(
        request,
        "desk/log_in_again.html",
        {"title": _("This form is out of date"), "next": form_page(request)},
        status=403,
    )


def _page(request: HttpRequest, status: int, title: str, said: str) -> HttpResponse:
    before = "" if request.method != "GET" else page_before(request)
    context = {"title": title, "said": said, "back": before, "menu": menu_of(request)}
    return render(request, "desk/error.html", context, status=status)
