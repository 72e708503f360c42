"""Clients in the admin."""

from collections.abc import Collection

from django.contrib import admin
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from clients.models import Client
from pricebook.kit.book_admin import BookAdmin, Searched
from services.reading.access_paths import SEARCH_NAMES
from services.reading.found import found


@admin.register(Client)
class ClientAdmin(BookAdmin):
    desk_page = "desk:client"
    list_display = ["company_name", "email", "full_address"]
    list_display_links = ["company_name"]
    list_select_related = ["user"]
    sortable_by: list[str] = []
    ordering = ["-id"]
    search_fields = ["company_name"]  # see searched
    search_help_text = _lazy("Company or e-mail")
    autocomplete_fields = ["user"]
    fields = [
        "company_name",
        "full_address",
        "user",
        "email",
        ("source", "external_id"),
        "subscriptions",
    ]
    readonly_fields = ["email", "subscriptions"]

    def searched(self, words: str) -> Searched:
        """By name, as the API's `q`; by id, external id and e-mail, which may be a part of one."""
        which = found("client", words, SEARCH_NAMES)
        condition = Q(pk__in=which.ids)
        if "@" in words:
            condition |= Q(user__email__icontains=words)
        return Searched(condition, which.too_many)

    @admin.display(description=_lazy("e-mail"))
    def email(self, client: Client) -> str:
        return client.user.email if client.pk else _("The e-mail is the user's.")

    @admin.display(description=_lazy("subscriptions"))
    def subscriptions(self, client: Client) -> str:
        if not client.pk:
            return "-"
        url = reverse("admin:services_subscription_changelist")
        return format_html(
            '<a class="text-link" href="{}?client__id__exact={}">{}</a>',
            url,
            client.pk,
            _("Those of this client"),
        )

    def in_the_way(self, records: Collection[models.Model]) -> list[str]:
        clients = Client.objects.filter(pk__in=[client.pk for client in records])
        return [
            _("the subscriptions of %(client)s: delete them first") % {"client": client}
            for client in clients.filter(subscriptions__isnull=False).distinct()
        ]
