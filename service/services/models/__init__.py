"""The models of the book: what is sold, at what price and to whom, and what is recorded of that.

These modules never write a price: triggers price every subscription that is created, moved or
written against the rule, and record a `Repricing` for every change of a list price or a discount,
whoever makes it (migration `0002_price_rule`). Workers apply it (`services.repricing`).
"""

from services.models.catalogue import Plan, Service
from services.models.catalogue_value import CatalogueValue
from services.models.clock import BookNow, Clock, book_clock, renew_clock
from services.models.correction import CorrectedEntry, Correction
from services.models.import_mapping import ImportMapping
from services.models.job import Job, JobPiece, JobQuerySet, JobResult
from services.models.kept_book_check import KeptBookCheck
from services.models.ledger import LedgerEntry, MovedFollowers, WholeLedger
from services.models.life import Life
from services.models.point import Backdated, Point
from services.models.repricing import (
    Repricing,
    RepricingQuerySet,
    RepricingStep,
    Skip,
    StampedComment,
)
from services.models.saved_changes import ChangesQuerySet, SavesChanges
from services.models.seal import SealedBlock
from services.models.subscription import LockEnd, Subscription, SubscriptionQuerySet
from services.models.subtotal import PaidBoundary, Subtotal

__all__ = [
    "Backdated",
    "BookNow",
    "CatalogueValue",
    "ChangesQuerySet",
    "Clock",
    "CorrectedEntry",
    "Correction",
    "ImportMapping",
    "Job",
    "JobPiece",
    "JobQuerySet",
    "JobResult",
    "KeptBookCheck",
    "LedgerEntry",
    "Life",
    "LockEnd",
    "MovedFollowers",
    "PaidBoundary",
    "Plan",
    "Point",
    "Repricing",
    "RepricingQuerySet",
    "RepricingStep",
    "SavesChanges",
    "SealedBlock",
    "Service",
    "Skip",
    "StampedComment",
    "Subscription",
    "SubscriptionQuerySet",
    "Subtotal",
    "WholeLedger",
    "book_clock",
    "renew_clock",
]
