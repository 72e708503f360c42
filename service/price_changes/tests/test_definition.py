"""The statement that a plan becomes."""

import pytest
from django.db.models import BooleanField, Q
from django.db.models.expressions import RawSQL

from price_changes.tests.changes import applied, planned, reverted
from services.models import Subscription
from services.reading.filters import BookFilter
from services.tests.factories import a_subscription

pytestmark = pytest.mark.django_db

BRACES = "{} {0} {{x}} } %s"


class TestFilterOfASet:
    """It fills a placeholder of the statement, and is not searched for placeholders itself."""

    @pytest.mark.parametrize("name", ["comment", "comment_prefix"])
    def test_may_have_braces_in_a_value(self, name):
        meant = a_subscription(comment=BRACES)
        for another in ("{}", "", BRACES.replace("{{", "{")):
            a_subscription(comment=another)
        change = planned(kind="set", filter={name: BRACES}, adjustment="amount", operand=7)
        assert change.preview["rows"] == change.preview["moves"] == 1
        applied(change)
        assert list(Subscription.objects.filter(price=7)) == [meant]
        reverted(change)
        assert not Subscription.objects.filter(price=7).exists()

    def test_may_have_braces_in_its_sql(self, monkeypatch):
        """As in an array, or a regular expression; no filter writes one today."""
        meant = a_subscription(comment="a" * 3)
        a_subscription(comment="{3}")
        braces = Q(RawSQL("comment ~ '^a{3}$'", (), output_field=BooleanField()))
        monkeypatch.setattr(BookFilter, "condition", lambda self: braces)
        change = planned(kind="set", filter={"comment": "?"}, adjustment="amount", operand=7)
        assert change.preview["rows"] == 1
        applied(change)
        assert list(Subscription.objects.filter(price=7)) == [meant]
