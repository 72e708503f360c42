"""The catalogue: what is sold, at which list price, and which discounts there are."""

import re

from django.contrib.postgres.indexes import GinIndex
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import connection, models
from django.db.models import Q
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import override, pgettext_lazy

from pricebook.kit.known_elsewhere import KnownElsewhere, constraints_of_ids
from pricebook.kit.names import NameField, normal_form
from pricebook.words import stored
from services.bounds import HIGHEST_PRICE
from services.models.exact_fields import ExactDecimalField, WholePercentField, is_exact
from services.models.saved_changes import ChangesQuerySet, SavesChanges


class Service(KnownElsewhere, SavesChanges):
    """A thing sold, with its list price."""

    name = NameField(max_length=50)
    full_price = ExactDecimalField(
        "list price",
        max_digits=12,
        decimal_places=2,
        unbounded=True,
        validators=[MinValueValidator(0)],
    )

    objects = ChangesQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        indexes = [
            # For the search.
            GinIndex(name="service_name_trigrams", fields=["name"], opclasses=["gin_trgm_ops"]),
            # For the trigger that refuses a name which looks like another one's.
            models.Index(models.Func("name", function="alike"), name="service_name_like"),
        ]
        constraints = [
            # The condition is always true, and makes the index one that no foreign key can
            # reference: an edit of these columns then locks its row FOR NO KEY UPDATE, which does
            # not block the foreign key checks of writers at their commit. Otherwise a writer and an
            # editor, who waits for it in the advisory lock, would deadlock (test_races.py).
            models.UniqueConstraint(
                name="service_unique_name",
                fields=["name"],
                condition=Q(full_price__gte=0),
                violation_error_message=_lazy("A service of this name already exists."),
            ),
            models.CheckConstraint(
                name="service_full_price_not_negative",
                condition=Q(full_price__gte=0, full_price__lte=HIGHEST_PRICE),
                violation_error_message=_lazy("A list price can't be negative."),
            ),
            models.CheckConstraint(
                name="service_full_price_exact",
                condition=is_exact("full_price"),
                violation_error_message=_lazy("A list price has at most two decimals."),
            ),
            *constraints_of_ids("service"),
        ]

    def __str__(self) -> str:
        return str(self.name)

    def clean(self) -> None:
        """Refuse a name that differs from another one's in case or blanks alone, as the database.

        Up to two queries.
        """
        super().clean()
        like = models.Func(models.Value(normal_form(self.name or "")), function="alike")
        others = Service.objects.alias(like=models.Func("name", function="alike")).filter(like=like)
        other = others.exclude(pk=self.pk).exclude(name=self.name).first()
        if other is not None and (self._state.adding or "name" in self.changed_fields()):
            raise ValidationError(
                {
                    "name": _("It differs in case or blanks alone from service %(name)s.")
                    % {"name": repr(other.name)}
                }
            )


PLAN_WORDS = {
    "full": pgettext_lazy("plan", "full"),
    "student": pgettext_lazy("plan", "student"),
    "discount": pgettext_lazy("plan", "discount"),
}
STORED_NAME = re.compile(r"(full|student|discount)( -?\d{1,3} %)")


def stored_name_shown(name: str) -> str:
    """A plan's name as it is stored (`Plan.stored_name`), in the reader's language."""
    found = STORED_NAME.fullmatch(name)
    return f"{PLAN_WORDS[found[1]]}{found[2]}" if found else name


stored.read_values(stored_name_shown)
# The name under which the index and the triggers refuse a second plan of a type and discount.
SAME_DISCOUNT = "plan_unique_type_and_percent"


class PlanQuerySet(ChangesQuerySet["Plan"]):
    def with_discount(self, plan_type: str, percent: int, other_than: int | None) -> "Plan | None":
        """Another plan of a type that has a discount now, or will have it by what is approved.

        One query, with a plan two.
        """
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT plan_with_discount(%s::text, ARRAY[%s]::numeric[], %s::bigint)",
                [plan_type, percent, other_than],
            )
            (found,) = cursor.fetchone()
        return None if found is None else self.filter(pk=found).first()


class Plan(KnownElsewhere, SavesChanges):
    """A percentage discount of a type, on any service."""

    class Type(models.TextChoices):
        FULL = "full", _lazy("Full")
        STUDENT = "student", _lazy("Student")
        DISCOUNT = "discount", _lazy("Discount")

    plan_type = models.CharField(max_length=10, choices=Type)
    discount_percent = WholePercentField(default=0, validators=[MaxValueValidator(100)])

    objects = PlanQuerySet.as_manager()

    class Meta:
        ordering = ["plan_type", "discount_percent"]
        constraints = [
            # Conditional for the same reason as the service's name.
            models.UniqueConstraint(
                name=SAME_DISCOUNT,
                fields=["plan_type", "discount_percent"],
                condition=Q(discount_percent__gte=0),
                violation_error_message=_lazy("A plan of this type and discount already exists."),
            ),
            models.CheckConstraint(
                name="plan_discount_percent_0_to_100",
                condition=Q(discount_percent__gte=0, discount_percent__lte=100),
                violation_error_message=_lazy("A discount is a whole number from 0 to 100."),
            ),
            models.CheckConstraint(
                name="plan_discount_percent_whole",
                condition=is_exact("discount_percent", 0),
                violation_error_message=_lazy("A discount is a whole number from 0 to 100."),
            ),
            models.CheckConstraint(
                name="plan_type_known",
                condition=Q(plan_type__in=["full", "student", "discount"]),
                violation_error_message=_lazy("A plan type is full, student or discount."),
            ),
            *constraints_of_ids("plan"),
        ]

    def __str__(self) -> str:
        sign = "-" if self.discount_percent else ""
        return f"{PLAN_WORDS.get(self.plan_type, self.plan_type)} {sign}{self.discount_percent} %"

    @property
    def stored_name(self) -> str:
        """Its name in English, for what is stored."""
        with override("en"):
            return str(self)

    def clean(self) -> None:
        """Refuse a discount that another plan of the type has, or will have by what is approved.

        One query, with a refusal two. The database refuses it from everybody.
        """
        if self.discount_percent is None:
            return
        other = Plan.objects.with_discount(self.plan_type, self.discount_percent, self.pk)
        if other is not None:
            raise ValidationError(
                {
                    "discount_percent": _(
                        "A plan of this type and discount already exists,"
                        " or will by what is approved: plan %(pk)s"
                        " (%(other)s)."
                    )
                    % {"pk": other.pk, "other": other}
                }
            )
