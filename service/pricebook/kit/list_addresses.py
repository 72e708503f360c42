"""Addresses of the admin's lists: one that can't be understood shows a message, and no rows.

Django would show the whole list instead, with its total, which people then copy.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from django.contrib.admin.exceptions import DisallowedModelAdminLookup
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import get_fields_from_path
from django.contrib.admin.views.main import IGNORED_PARAMS, PAGE_VAR, ChangeList
from django.core.exceptions import FieldDoesNotExist
from django.db.models import Field
from django.http import HttpRequest, HttpResponse, QueryDict
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from unfold.admin import ModelAdmin

EXACT = "__exact"


class WrongAddress(Exception):
    """A value in the address of a list can't be used."""

    def __init__(self, name: str, value: str, why: str = "") -> None:
        super().__init__(name, value, why)
        self.name, self.value, self.why = name, value, why


class UnderstoodAddresses(ModelAdmin):
    """A list that shows nothing where its address can't be understood."""

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        try:
            shown: HttpResponse = super().changelist_view(request, extra_context)
        except WrongAddress as wrong:
            return self.show_wrong(request, wrong)
        return shown

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """The list of an address; raises WrongAddress.

        An empty one costs a query for each filter by another record, which may not exist.
        """
        number = request.GET.get(PAGE_VAR)
        if number is not None and not re.fullmatch("[1-9][0-9]{0,8}", number):
            raise WrongAddress(PAGE_VAR, number, _("A page has a number from 1 on."))
        try:
            found: ChangeList = super().get_changelist_instance(request)
        except (IncorrectLookupParameters, DisallowedModelAdminLookup):
            raise self._culprit(request) from None
        pages = found.paginator.num_pages
        if found.page_num > pages:
            raise WrongAddress(
                PAGE_VAR, str(number), _("The last page is %(last)s.") % {"last": pages}
            )
        if not found.result_count:
            self._refuse_unknown(request)
        if not found.get_filters_params() and not found.query:
            found.full_result_count = found.result_count  # nothing is left out: no "Show all"
        return found

    def _culprit(self, request: HttpRequest) -> WrongAddress:
        """The first value of the address that can't be used even alone."""
        names = [name for name in request.GET if name not in (*IGNORED_PARAMS, PAGE_VAR)]
        for name in names:
            alone = copy.copy(request)
            query = QueryDict(mutable=True)
            query.setlist(name, request.GET.getlist(name))
            alone.GET = query  # type: ignore[assignment]
            try:
                super().get_changelist_instance(alone)
            except (IncorrectLookupParameters, DisallowedModelAdminLookup):
                return WrongAddress(name, ", ".join(request.GET.getlist(name)))
        if last := request.GET.get(PAGE_VAR):
            return WrongAddress(PAGE_VAR, last)
        values = (value for name in names for value in request.GET.getlist(name))
        return WrongAddress(", ".join(names), ", ".join(values))

    def _refuse_unknown(self, request: HttpRequest) -> None:
        """Raise WrongAddress for a choice that there is not, and for the id of no record."""
        for name in request.GET:
            if not name.endswith(EXACT):
                continue
            try:
                *_way, last = get_fields_from_path(self.model, name.removesuffix(EXACT))
            except FieldDoesNotExist:
                continue
            for value in request.GET.getlist(name):
                if isinstance(last, Field) and not _is_known(last, value, len(_way)):
                    raise WrongAddress(name, value, _("There is no such value."))

    def show_wrong(self, request: HttpRequest, wrong: WrongAddress) -> HttpResponse:
        without = request.GET.copy()
        for name in wrong.name.split(", "):
            without.pop(name, None)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": self.opts.verbose_name_plural,
            "wrong": wrong,
            "value": "".join(
                each if each.isprintable() else "\N{REPLACEMENT CHARACTER}"
                for each in wrong.value[:100]
            ),
            "without": f"{request.path}?{without.urlencode()}" if without else request.path,
        }
        return TemplateResponse(request, "pricebook/wrong_address.html", context, status=400)


def _is_known(field: Field, value: str, steps: int) -> bool:
    if field.choices:
        return value in {str(choice) for choice, _label in field.flatchoices}
    if field.primary_key and steps:  # of another record
        return bool(field.model._base_manager.filter(pk=value).exists())
    return True
