"""Shared by all pages of the admin."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.core.exceptions import ObjectDoesNotExist
from django.core.paginator import Page, Paginator
from django.db import IntegrityError, connection, models
from django.db.models import ProtectedError
from django.forms import ModelChoiceField
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _

from pricebook.kit.amount_field import AmountField, AmountInput
from pricebook.kit.figures import grouped
from pricebook.kit.language import in_english
from pricebook.kit.list_addresses import UnderstoodAddresses, WrongAddress
from pricebook.kit.open_forms import OpenForm
from pricebook.kit.refusal import Refusal

NUL = "\x00"  # PostgreSQL's text has no such character
PICKER = "autocomplete"


@dataclass(frozen=True)
class Searched:
    """The records that a search has found, and whether more names are like it than are compared."""

    condition: models.Q
    too_many: bool = False


def missing_for(user: Any, *permissions: str) -> str:
    """The sentence that says which of these permissions a person lacks; empty if none."""
    missing = [each for each in permissions if not user.has_perm(each)]
    if not missing:
        return ""
    return _("You lack %(missing)s: a person who looks after the users can give you that.") % {
        "missing": _(" and ").join(missing)
    }


def missing_to_pick(user: Any, model: type[models.Model]) -> str:
    """The sentence that says why a picker of these records finds none; empty if it works."""
    app, name = model._meta.app_label, model._meta.model_name
    if user.has_perm(f"{app}.change_{name}"):
        return ""
    missing = missing_for(user, f"{app}.view_{name}")
    return missing and _("There is nothing to pick from here. %(missing)s") % {"missing": missing}


class Colours(dict):
    """The colours of labels, for Unfold's `display`, by words in the language of the reader."""

    def __contains__(self, word: object) -> bool:
        return any(str(each) == word for each in self)

    def __getitem__(self, word: object) -> str:
        return next(colour for each, colour in self.items() if str(each) == word)


class ShownCount(int):
    """A number of things that templates show as `figures.grouped` has it: 29,202."""

    def __str__(self) -> str:
        return grouped(int(self))


class LateJoinPaginator(Paginator):
    """Finds a page by its ids alone and joins only the rows on it.

    With the joins the last page of a million rows takes a second, and without them 50 ms.
    """

    @cached_property
    def count(self) -> int:
        return ShownCount(super().count)

    def page(self, number: int | str) -> Page:
        page = super().page(number)
        ids = list(page.object_list.values_list("pk", flat=True))  # type: ignore[attr-defined]
        page.object_list = self.object_list.filter(pk__in=ids)  # type: ignore[attr-defined]
        return page


class BookAdmin(UnderstoodAddresses):
    """A page of the admin whose records other people and programs write at the same time."""

    form = OpenForm
    # The name of the desk's page of a record, which has its history: the admin's own log has only
    # what was done in the admin.
    desk_page = ""
    formfield_overrides = {
        models.DecimalField: {"form_class": AmountField, "widget": AmountInput},
        models.IntegerField: {
            "form_class": AmountField,
            "widget": AmountInput,
            "decimal_places": 0,
        },
    }
    paginator = LateJoinPaginator
    show_full_result_count = False
    list_per_page = 50
    list_filter_submit = True
    warn_unsaved_form = True

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> models.Model | None:
        """The record, which nobody else can write while it is being saved or deleted.

        So the values that the form is compared with are still there when the form is written.
        """
        if NUL in object_id:
            return None
        record = super().get_object(request, object_id, from_field)
        if record is not None and request.method == "POST" and connection.in_atomic_block:
            # FOR NO KEY UPDATE: subscriptions of a service can be created during its edit.
            rows = type(record)._base_manager.select_for_update(no_key=True)
            try:
                rows.values_list("pk").get(pk=record.pk)
                # The row may hold a late copy; the form was opened with what is in force.
                record.refresh_from_db(from_queryset=self.get_queryset(request))
            except ObjectDoesNotExist:
                return None
        return record

    def formfield_for_foreignkey(
        self, db_field: Any, request: HttpRequest, **kwargs: Any
    ) -> ModelChoiceField | None:
        field = super().formfield_for_foreignkey(db_field, request, **kwargs)
        if field is not None and db_field.name in self.get_autocomplete_fields(request):
            why_not = missing_to_pick(request.user, db_field.related_model)
            field.help_text = f"{field.help_text} {why_not}".strip()
        return field

    def message_user(self, request: HttpRequest, message: Any, *args: Any, **kwargs: Any) -> None:
        """The message, without a name twice: The subscription “subscription 5” was added."""
        once = re.sub(r"\bThe ([\w ]+) “((?:<a [^>]*>)?\1 \d)", r"The “\2", str(message))
        message = mark_safe(once) if isinstance(message, SafeString) else once  # noqa: S308
        super().message_user(request, message, *args, **kwargs)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        for name, values in request.GET.lists():
            for value in values:
                if NUL in value:
                    return self.show_wrong(request, WrongAddress(name, value))
        return super().changelist_view(request, extra_context)

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet, search_term: str
    ) -> tuple[models.QuerySet, bool]:
        if NUL in search_term:  # the autocompletion comes here without the list's form
            return queryset.none(), False
        found = self.searched(words) if (words := search_term.strip()) else None
        if found is None:
            return super().get_search_results(request, queryset, search_term)
        if found.too_many and request.resolver_match and request.resolver_match.url_name != PICKER:
            why = _("More than 1,000 names are like this: give more of the name.")
            raise WrongAddress("q", search_term, why)
        return queryset.filter(found.condition), False

    def searched(self, words: str) -> Searched | None:
        """The records that a search finds by likeness; None: it is Django's own."""
        return None

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except IntegrityError:
            # The form was right when it was checked: somebody else was faster.
            messages.error(
                request,
                _("Nothing was saved: somebody else has just written the same. Look again."),
            )
        except Refusal as error:
            messages.error(request, _("Nothing was saved. %(detail)s") % {"detail": error.detail})
        return HttpResponseRedirect(request.get_full_path())

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not (self.desk_page and object_id.isascii() and object_id.isdigit()):
            return super().history_view(request, object_id, extra_context)
        return HttpResponseRedirect(reverse(self.desk_page, args=[int(object_id)]) + "#history")

    # The admin's own log is stored, with the names of records.

    def log_addition(self, request: HttpRequest, obj: models.Model, message: Any) -> Any:
        with in_english():
            return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: models.Model, message: Any) -> Any:
        with in_english():
            return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        with in_english():
            return super().log_deletions(request, queryset)

    def in_the_way(self, records: Collection[models.Model]) -> list[str]:
        """Sentences about what uses these records and keeps them from being deleted."""
        return []

    def get_deleted_objects(
        self, objs: Iterable[models.Model], request: HttpRequest
    ) -> tuple[list, dict[str, int], set[str], list[str]]:
        # Django would list every subscription of a service that is in use.
        if in_the_way := self.in_the_way(list(objs)):
            return [], {}, set(), in_the_way
        return super().get_deleted_objects(objs, request)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        try:
            return super().delete_view(request, object_id, extra_context)
        except (IntegrityError, ProtectedError):
            messages.error(request, _("Nothing was deleted: it has just been taken into use."))
        except Refusal as error:
            messages.error(request, _("Nothing was deleted. %(detail)s") % {"detail": error.detail})
        return HttpResponseRedirect(request.get_full_path())


class ReadOnlyAdmin(BookAdmin):
    """A page of the admin whose records only workers write."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
