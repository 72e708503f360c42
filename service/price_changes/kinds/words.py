"""The names, and the percentages, in sentences about price changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Self

from django.utils.translation import gettext as _

from clients.models import Client
from price_changes.models import PriceChange
from services.models import Plan, Service


@dataclass(frozen=True)
class Names:
    """The names of services, plans and clients by their ids; a deleted one is called deleted."""

    services: dict[int, str]
    plans: dict[int, str]
    clients: dict[int, str]

    @classmethod
    def of(
        cls,
        services: Iterable[int | None] = (),
        plans: Iterable[int | None] = (),
        clients: Iterable[int | None] = (),
    ) -> Self:
        """The names of these ids. Up to three queries, whatever the number of ids."""
        return cls(
            services={each.pk: each.name for each in _those(Service, services)},
            plans={each.pk: str(each) for each in _those(Plan, plans)},
            clients={each.pk: each.company_name for each in _those(Client, clients)},
        )

    @classmethod
    def of_changes(cls, changes: Iterable[PriceChange], names_clients: bool = True) -> Self:
        """The names that the sentences of these changes need. Up to three queries.

        `names_clients`: whether the reader may see the names of clients; else these are numbers.
        """
        changes = list(changes)
        filters = [change.filter or {} for change in changes]
        found = cls.of(
            [*(each.service_id for each in changes), *(which.get("service") for which in filters)],
            [*(each.plan_id for each in changes), *(which.get("plan") for which in filters)],
            [pk for which in filters for pk in of_clients(which)] if names_clients else (),
        )
        return found if names_clients else replace(found, clients=_Numbered())

    def service(self, pk: int | None) -> str:
        return self.services.get(pk or 0, _("deleted service %(pk)s") % {"pk": pk})

    def plan(self, pk: int | None) -> str:
        return self.plans.get(pk or 0, _("deleted plan %(pk)s") % {"pk": pk})

    def client(self, pk: int | None) -> str:
        return self.clients.get(pk or 0, _("deleted client %(pk)s") % {"pk": pk})

    except_client = client  # as the filter of a set has it


def of_clients(which: Mapping[str, Any]) -> list[int]:
    """The ids of the clients that the filter of a set names."""
    return [which[name] for name in ("client", "except_client") if name in which]


class _Numbered(dict[int, str]):
    def get(self, key: int, default: Any = None) -> str:
        return _("client %(id)s") % {"id": key}


def _those(model: Any, ids: Iterable[int | None]) -> Iterable[Any]:
    wanted = {pk for pk in ids if pk}
    return model.objects.filter(pk__in=wanted) if wanted else ()


def shown_percent(value: Decimal | None) -> str:
    return "" if value is None else f"{value.normalize():f}"
