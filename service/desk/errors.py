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
from pricebook.kit.language import language_of


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
    """`handler500`: asks neither the database nor the session.

    A database that does not answer is no defect, and neither are writes that gave way: 503, and
    try again.
    """
    if error_response.is_api(request):
        return error_response.server_error(request)
    error = sys.exc_info()[1]
    again = request.get_full_path() if request.method == "GET" else ""
    before = page_before(request)
    if error_response.gave_way(error):
        page = plain(
            503,
            _("Others were writing the same"),
            _("Nothing was done: somebody else wrote the same rows at that moment. Try again."),
            before,
            again,
        )
    elif known := away.told(error):
        done = _("Your last step may not have been done: look before you repeat it.")
        says = f"{known.detail} {done}"
        page = plain(503, _("Pricebook can't answer just now"), says, before, again)
        page["Retry-After"] = str(known.wait)
        return page
    else:
        return plain(
            500,
            _("Something went wrong"),
            _("This is a defect of Pricebook, and it has been logged. Look whether your last step"
              " was done before you repeat it."),
            before,
        )  # fmt: skip
    page["Retry-After"] = "5"
    return page


def plain(status: int, title: str, says: str = "", back: str = "", again: str = "") -> HttpResponse:
    """A page that asks for nothing but its style sheet.

    `back` and `again`: the paths of the page before, and of this one, if it can be asked for again.
    """
    said = {"title": title, "says": says, "back": back, "again": again}
    return HttpResponse(render_to_string("desk/plain_error.html", said), status=status)


def refused_body(code: str, status: int, accepts: str, cookie: str) -> HttpResponse:
    """The page for a form or a file that was not read to its end: Django has never seen it.

    `accepts` and `cookie` are the headers that name the reader's language.
    """
    with language_of(accepts, cookie):
        says = {
            "body_too_long": _("It is too large, so it was not read. Send less: a file"
                               " can be split."),
            "body_too_slow": _("It did not come to its end in time. Send it again."),
            "too_many_bodies": _("Too much is being sent at once. Try again in a minute."),
        }  # fmt: skip
        broken = _("It broke off on its way. Send it again.")
        return plain(status, _("Nothing was done"), says.get(code, broken))


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
