"""A kind of price change: each says its fields, checks, rows, approval and words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from django.utils.functional import Promise

from price_changes.kinds.plan_fields import PlanField
from price_changes.kinds.relations import SQL
from price_changes.kinds.words import Names
from price_changes.models import PriceChange

WhenMoved = PriceChange.WhenMoved


class ChangeKind(ABC):
    """A kind of price change.

    There are two families. A change of the catalogue moves a value that all who follow have from
    its instant on; the workers copy it. Any other change has a list of rows, which the workers
    make at its instant and move.
    """

    name: ClassVar[PriceChange.Kind]
    # Errors call a change of this kind by this name.
    noun: ClassVar[str | Promise]
    is_of_catalogue: ClassVar[bool] = False

    # Whether a change that is about no subscription at all makes sense.
    may_be_empty: ClassVar[bool] = True

    # --- The approval: what may happen if something has moved by the instant; the first is the
    # default. And what each means.
    when_moved: ClassVar[Mapping[PriceChange.WhenMoved, str | Promise]] = {WhenMoved.CURRENT: ""}
    when_moved_label: ClassVar[str | Promise] = ""

    # --- The rows
    # Whether they are judged as they will stand at its instant, behind all that comes before it;
    # else as they stand now.
    is_judged_ahead: ClassVar[bool] = False

    def __str__(self) -> str:
        return self.name.value

    @abstractmethod
    def rows(self, change: PriceChange, at: datetime, relations: Mapping[str, str] | None) -> SQL:
        """The statement of its rows, judged as of `at`; see `rows_sql`."""

    def stays_if_frozen(self, change: PriceChange) -> str:
        """Reasons, as WHENs, for which a row of the approved list stays before it is compared with
        how it was listed."""
        return ""

    @abstractmethod
    def sentence(self, change: PriceChange, names: Names) -> str:
        """The effect of a change: "List price of Fibre: 250.00 → 260.00 USD"."""

    def taken_back_by(self) -> PriceChange.Kind:
        """The kind of the change that takes one of this kind back."""
        return PriceChange.Kind.REVERT


class PlannedKind(ChangeKind):
    """A kind that a person or a program can plan, by a form, the API or the command."""

    heading: ClassVar[str | Promise]
    about: ClassVar[str | Promise]
    fields: ClassVar[tuple[PlanField, ...]]
    # The titles of the parts of its form, and the fields in each, common ones too.
    sections: ClassVar[tuple[tuple[str | Promise, tuple[str, ...]], ...]]

    @abstractmethod
    def checked(self, given: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of the change that its plan gives, checked; raises ChangeError.

        `given`: the values of the caller that are not None. `common`: the checked values of the
        fields that a plan of any kind has, and of `locked_until`.
        """
