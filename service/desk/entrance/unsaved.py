"""Forms of the admin that are sent after the log-in has ended: nothing is done or kept, and the
answer gives their sender back what was typed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from django.contrib import admin
from django.core.exceptions import FieldDoesNotExist
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.utils.cache import add_never_cache_headers

from desk.page import log_in_again

# Names of fields that nobody has typed into, or that are not to be shown.
NOT_TYPED = re.compile(r"_|csrf|initial-|.*(_FORMS$|-initial-|password|secret)", re.IGNORECASE)
FIELDS, CHARACTERS = 100, 2_000


class UnsavedFormMiddleware:
    """Behind the check of CSRF tokens: no other site can have its own words shown here."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Any, args: Any, kwargs: Any
    ) -> HttpResponse | None:
        match = request.resolver_match
        if request.method != "POST" or match is None or match.app_name != "admin":
            return None
        if request.user.is_authenticated:
            return None
        answer = log_in_again(request, list(_typed(request, _model_of(match.url_name or ""))))
        add_never_cache_headers(answer)
        return answer


def _typed(request: HttpRequest, model: type[Model] | None) -> Iterator[tuple[str, str]]:
    """The fields that have something in them, each with its name for people."""
    for name, values in list(request.POST.lists())[:FIELDS]:
        value = ", ".join(str(each) for each in values if each)
        if value and not NOT_TYPED.match(name):
            yield _label(name, model), value[:CHARACTERS]


def _label(name: str, model: type[Model] | None) -> str:
    try:
        field = None if model is None else model._meta.get_field(name)
    except FieldDoesNotExist:
        field = None
    return str(getattr(field, "verbose_name", name.replace("_", " ")))


def _model_of(url_name: str) -> type[Model] | None:
    for model in admin.site._registry:
        if url_name.startswith(f"{model._meta.app_label}_{model._meta.model_name}_"):
            return model
    return None
