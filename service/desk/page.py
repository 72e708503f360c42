"""The frame of every page of the desk: who may see it, and what stands around its content."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache

from desk.back import back_of
from desk.coming_back import form_page
from desk.menu import menu_of
from pricebook.kit.book_admin import missing_for

View = Callable[..., HttpResponseBase]


def desk_page(*needs: str) -> Callable[[View], View]:
    """A view of the desk, for staff who have all of these permissions.

    A person who is not logged in is sent to the log-in and comes back; a POST of theirs does
    nothing, and the browser keeps what they typed (desk.js). Others get the page of a 403, which
    names what is missing.
    """

    def decorate(view: View) -> View:
        @never_cache
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            user = request.user
            if not user.is_authenticated:
                if request.method == "POST":
                    return log_in_again(request)
                return redirect_to_login(request.get_full_path())
            if not (user.is_active and user.is_staff):
                raise PermissionDenied(
                    _("%(user)s is not staff. A person who looks after the users can change that.")
                    % {"user": user}
                )
            if missing := missing_for(user, *needs):
                raise PermissionDenied(missing)
            return view(request, *args, **kwargs)

        return guarded

    return decorate


def show(
    request: HttpRequest, template: str, title: str, status: int = 200, **context: Any
) -> HttpResponse:
    """The page `desk/<template>.html`, with its title, the menu, and the way back to a list."""
    frame = {"title": title, "menu": menu_of(request), "back": back_of(request)}
    assert not frame.keys() & context.keys(), "a page's own context has a name of the frame"
    return render(request, f"desk/{template}.html", frame | context, status=status)


def log_in_again(
    request: HttpRequest, typed: Sequence[tuple[str, str]] | None = None
) -> HttpResponse:
    """The page for a form that was sent after the log-in had ended: nothing was done.

    `typed`: the content of a form that the browser does not keep, by the names of its fields.
    """
    return render(
        request,
        "desk/log_in_again.html",
        {"title": _("Your log-in has ended"), "next": form_page(request), "typed": typed},
        status=403,
    )
