"""The price changes that a search finds: by id, by title, and by what they are about."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from django.db.models import BooleanField, Case, F, FloatField, Max, Q, Value, When
from django.db.models.expressions import RawSQL

from price_changes.models import PriceChange
from services.parsing import MAX_BIGINT

# Titles have no index: the newest changes are looked through.
NEWEST = 5_000


@dataclass(frozen=True)
class About:
    """The services, plans and clients that a search has found, by their ids."""

    services: Collection[int] = ()
    plans: Collection[int] = ()
    clients: Collection[int] = ()


def changes_found(words: str, about: About, limit: int) -> list[PriceChange]:
    """Up to `limit` changes: of this id, then of a title like the words, then those about what was
    found; each the newest first.

    Titles are compared as names are (`services.reading.search`), those of the newest 5,000 changes;
    with fewer than three letters none. Two queries.
    """
    last = PriceChange.objects.aggregate(last=Max("pk"))["last"]
    if last is None:
        return []
    number = int(words) if words.isascii() and words.isdigit() and len(words) < 19 else 0
    each = words.split() if len(words) >= 3 else []
    subject = Q(
        Q(service__in=about.services)
        | Q(plan__in=about.plans)
        | Q(filter__service__in=list(about.services))
        | Q(filter__plan__in=list(about.plans))
        | Q(filter__client__in=list(about.clients))
    )
    whens = [When(pk=min(number, MAX_BIGINT), then=Value(4.0))]
    if each:
        whens += [
            When(title__iexact=words, then=Value(3.0)),
            When(titled_like(each), then=Value(1.0) + _likeness(words)),
        ]
    recent = Q(pk__gt=last - NEWEST) | Q(pk=number)
    changes = PriceChange.objects.filter(recent).annotate(
        rank=Case(*whens, When(subject, then=Value(0.0)), default=None, output_field=FloatField())
    )
    found = changes.exclude(rank=None).select_related("reverts")
    return list(found.order_by(F("rank").desc(), "-pk")[:limit])


def titled_like(words: list[str]) -> Q:
    """Whether the title has a word like each of these."""
    sql = " AND ".join(["price_changes_pricechange.title %%> %s"] * len(words))
    return Q(RawSQL(f"({sql})", words, output_field=BooleanField()))  # noqa: S611 - ours


def _likeness(words: str) -> RawSQL:
    sql = "word_similarity(%s, price_changes_pricechange.title)"
    return RawSQL(sql, [words], output_field=FloatField())  # noqa: S611 - ours
