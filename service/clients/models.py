"""Clients: the companies that buy."""

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex
from django.db import models

from pricebook.kit.known_elsewhere import KnownElsewhere, constraints_of_ids
from pricebook.kit.names import NameField


class Client(KnownElsewhere):
    """A company that buys; it has a login user, whose e-mail is the client's."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    company_name = NameField(max_length=100)
    full_address = models.CharField(max_length=200, blank=True, default="")

    class Meta:
        ordering = ["id"]
        indexes = [
            # For lists of clients, and of their subscriptions, in the order of the names.
            models.Index(name="client_company_name", fields=["company_name", "id"]),
            # For the search.
            GinIndex(
                name="client_name_trigrams", fields=["company_name"], opclasses=["gin_trgm_ops"]
            ),
        ]
        constraints = constraints_of_ids("client")

    def __str__(self) -> str:
        return str(self.company_name)
