"""The kinds of price changes. A new kind is a module here, and a line of `KINDS`."""

from price_changes.kinds.catalogue import CatalogueKind, Discount, ListPrice
from price_changes.kinds.kind import ChangeKind, PlannedKind
from price_changes.kinds.reverts import RevertOfSet
from price_changes.kinds.sets import SetOfSubscriptions
from price_changes.models import PriceChange
from services.catalogue_subject import CatalogueSubject

KINDS: dict[str, ChangeKind] = {
    kind.name.value: kind for kind in (ListPrice(), Discount(), SetOfSubscriptions(), RevertOfSet())
}
TO_PLAN = {name: kind for name, kind in KINDS.items() if isinstance(kind, PlannedKind)}
OF_CATALOGUE = [name for name, kind in KINDS.items() if kind.is_of_catalogue]
OF_ROWS = [name for name, kind in KINDS.items() if not kind.is_of_catalogue]


def kind_of(change: PriceChange) -> ChangeKind:
    return KINDS[change.kind]


def is_of_catalogue(change: PriceChange) -> bool:
    """Whether it moves a value of the catalogue, and not a list of rows."""
    return kind_of(change).is_of_catalogue


def subject_of(change: PriceChange) -> CatalogueSubject:
    """The service or plan of a change of the catalogue."""
    kind = kind_of(change)
    assert isinstance(kind, CatalogueKind)
    return kind.subject(change)


def refuse_value(change: PriceChange) -> None:
    """Raise ChangeError if the service or plan of a change can't have its new value any more.

    A plan can't become one that is there already. Two queries.
    """
    kind, subject = kind_of(change), subject_of(change)
    assert isinstance(kind, CatalogueKind)
    thing = subject.model._default_manager.filter(pk=subject.id).first()
    if thing is not None and change.new_value is not None:
        kind.refuse_value(thing, change.new_value)
