"""API keys in the admin: made, rotated and revoked; never deleted, because they are authors."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from unfold.decorators import display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from keys import verbs
from keys.models import ApiKey
from keys.verbs import KeyRefused, Maker
from pricebook.kit.authors import Kind, parse
from pricebook.kit.book_admin import BookAdmin, Colours
from pricebook.kit.open_forms import OpenForm
from pricebook.kit.scopes import OF_PEOPLE_ALONE, READ_SCOPES, SCOPES

STATES = {"valid": _lazy("valid"), "expired": _lazy("expired"), "revoked": _lazy("revoked")}
ONCE = _lazy("The key of {} is: {}. It is shown this once: give it to the program now.")


class KeyForm(OpenForm):
    """A key's name, scopes and end. A scope that is added must be one that the person has."""

    by: Maker  # set by the admin, which knows the request

    scopes = forms.MultipleChoiceField(
        label=_lazy("Scopes"),
        choices=[(scope, scope) for scope in SCOPES],
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text=_lazy("It may do at most what you may do yourself."),
    )

    class Meta:
        model = ApiKey
        fields = ("name", "scopes", "expiry_date")

    def clean_name(self) -> str:
        return self.checked(verbs.checked_name, self.cleaned_data["name"])

    def clean_scopes(self) -> list[str]:
        given = self.cleaned_data["scopes"]
        before = self.initial.get("scopes") if self.instance.pk else None
        self.checked(verbs.checked_scopes, {*given} - {*(before or [])}, self.by)
        if self.instance.made_with_id is not None and OF_PEOPLE_ALONE in given:
            raise forms.ValidationError(
                _("Another key made this one: it can't have %(of_people_alone)s.")
                % {"of_people_alone": OF_PEOPLE_ALONE}
            )
        return [scope for scope in SCOPES if scope in given]

    def clean_expiry_date(self) -> datetime | None:
        end: datetime | None = self.cleaned_data["expiry_date"]
        if end != self.initial.get("expiry_date"):
            self.checked(verbs.refuse_past, end)
        return end

    def checked(self, check: Any, *values: Any) -> Any:
        try:
            return check(*values)
        except KeyRefused as error:
            raise forms.ValidationError(error.detail) from error


@admin.register(ApiKey)
class ApiKeyAdmin(BookAdmin):
    """Keys for programs. A key is shown once, when made or rotated."""

    form = KeyForm
    list_display = [
        "name",
        "number",
        "prefix",
        "state_shown",
        "expiry_date",
        "last_used_at",
        "made_by_shown",
    ]
    list_filter = ["revoked"]
    list_select_related = ["made_with"]
    search_fields = ["name", "prefix"]
    search_help_text = _lazy("Name or prefix")
    ordering = ["-number"]
    sortable_by: list[str] = []
    fields = ["name", "scopes", "expiry_date"]
    shown = [
        "number",
        "prefix",
        "state_shown",
        "created",
        "made_by_shown",
        "last_used_at",
        "old_until",
        "rotated_by",
        "revoked_by",
    ]
    readonly_fields = shown
    actions = ["rotate", "revoke"]

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[str]:
        return [*self.fields, *(self.shown if obj else [])]

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[str]:
        ended = obj is not None and obj.revoked
        return [*(self.fields if ended else []), *self.shown]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        may = [scope for scope in READ_SCOPES if all(map(request.user.has_perm, SCOPES[scope]))]
        return {"scopes": may} | super().get_changeform_initial_data(request)

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> type[forms.ModelForm]:
        form = super().get_form(request, *args, **kwargs)
        form.by = Maker.of(request.user)
        return form

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(
        self, request: HttpRequest, obj: ApiKey, form: forms.ModelForm, change: bool
    ) -> None:
        if change:
            return super().save_model(request, obj, form, change)
        given = form.cleaned_data
        made, text = verbs.make(
            given["name"], given["scopes"], Maker.of(request.user), given["expiry_date"]
        )
        obj.__dict__.update(made.__dict__)
        messages.warning(request, str(ONCE).format(made, text))

    @display(
        description=_lazy("state"),
        label=Colours(zip(STATES.values(), ("success", "warning", "danger"), strict=True)),
    )
    def state_shown(self, key: ApiKey) -> str:
        return str(STATES[key.state()])

    @admin.display(description=_lazy("made by"))
    def made_by_shown(self, key: ApiKey) -> str:
        if parse(key.made_by).kind == Kind.PERSON and key.maker_id is None:
            return _("%(made_by)s, who is not there any more: it may do nothing") % {
                "made_by": key.made_by
            }
        return key.made_by or _("nobody known")

    @admin.action(
        description=_lazy("Rotate: a new secret, the old one is good for a day"),
        permissions=["change"],
    )
    def rotate(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> None:
        for number in sorted(keys.values_list("number", flat=True)):
            try:
                key, text = verbs.rotate(number, Maker.of(request.user))
            except KeyRefused as error:
                messages.error(request, error.detail)
            else:
                messages.warning(request, str(ONCE).format(key, text))

    @admin.action(description=_lazy("Revoke for ever"), permissions=["change"])
    def revoke(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> None:
        with transaction.atomic():
            for number in sorted(keys.values_list("number", flat=True)):
                messages.success(
                    request,
                    _("%(revoke)s is revoked.")
                    % {"revoke": verbs.revoke(number, Maker.of(request.user))},
                )
