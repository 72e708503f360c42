"""The question of a form before it moves prices: a page whose button sends the form again."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import ModelAdmin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from pricebook.kit.scopes import VIEW_CLIENT
from services.moves import Effect

CONFIRMED = "_confirmed"  # the field with what the question has shown


def ask(
    request: HttpRequest,
    page: ModelAdmin,
    original: object,
    title: str,
    says: str,
    effect: Effect,
    confirmation: str,
) -> HttpResponse:
    """The page with the rows and totals before and after. `confirmation` is what its button says
    that the person has seen."""
    context: dict[str, Any] = {
        **page.admin_site.each_context(request),
        "opts": page.opts,
        "original": original,
        "title": title,
        "says": says,
        "effect": effect,
        "names_clients": request.user.has_perm(VIEW_CLIENT),
        "posted": [
            (name, value)
            for name, values in request.POST.lists()
            for value in values
            if name not in ("csrfmiddlewaretoken", CONFIRMED)
        ],
        "confirmed": (CONFIRMED, confirmation),
    }
    return TemplateResponse(request, "services/question.html", context)
