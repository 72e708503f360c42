"""The language that a person has chosen: kept with the person, and with the browser."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.signals import user_logged_in
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_POST
from django.views.i18n import set_language

from desk.models import ChosenLanguage


@require_POST
def choose(request: HttpRequest) -> HttpResponse:
    """Show pages in `language` from now on, and go back to `next`."""
    language = request.POST.get("language", "")
    if request.user.is_authenticated and language in dict(settings.LANGUAGES):
        ChosenLanguage.objects.update_or_create(
            user_id=request.user.pk, defaults={"language": language}
        )
    return set_language(request)  # which keeps it in a cookie


def bring_along(sender: Any, request: HttpRequest, user: Any, **kwargs: Any) -> None:
    """At a log-in, let the browser have the language that the person chose elsewhere."""
    row = ChosenLanguage.objects.filter(user_id=user.pk).first()
    if row is not None and row.language in dict(settings.LANGUAGES):
        # LanguageMiddleware puts it into the answer.
        request.chosen_language = row.language  # type: ignore[attr-defined]


def connect() -> None:
    user_logged_in.connect(bring_along, dispatch_uid="desk.entrance.languages")
