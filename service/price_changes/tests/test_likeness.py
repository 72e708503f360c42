"""A search by likeness chooses no rows of a change, at any door; those of before stay."""

from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command

from price_changes.errors import ChangeError
from price_changes.kinds import sets
from price_changes.models import PriceChange
from price_changes.planning import definition
from price_changes.running import lifecycle
from price_changes.running.lifecycle import preview
from price_changes.tests.api import URL, a_program
from price_changes.tests.changes import applied, approved, drained, planned, reverted
from services.models import Subscription
from services.tests.factories import a_client, a_reader, a_service, a_subscription

pytestmark = pytest.mark.django_db(transaction=True)

VALUES = {"kind": "set", "adjustment": "add", "operand": 5}
SEARCH = {"q": "VHVEG"}


@pytest.fixture
def meant() -> Subscription:
    """The one of a name; another client's is like it."""
    a_subscription(a_client("5440-VHLUL"), a_service(100))
    return a_subscription(a_client("7590-VHVEG"), a_service(100))


@pytest.fixture
def before(monkeypatch):
    """Do what a release did in which such a filter was taken."""

    def by_an_earlier_release(do, *args, **values):
        with monkeypatch.context() as patch:
            patch.setattr(sets, "refuse_filters", lambda given: None)
            patch.setattr(lifecycle, "refuse_filters", lambda given: None)
            return do(*args, **values)

    return by_an_earlier_release


class TestEachDoor:
    def test_of_functions_refuses_it(self, meant):
        with pytest.raises(ChangeError, match="client, e-mail, comment or source") as refused:
            definition.plan({**VALUES, "filter": SEARCH}, "ann")
        assert refused.value.code == "not_for_a_change"
        assert refused.value.about["parameter"] == "q"
        assert "q" not in refused.value.about["allowed"]

    def test_of_the_api_refuses_it(self, meant):
        answer = a_program(may_plan=True).post(URL, {**VALUES, "filter": SEARCH})
        assert (answer.status_code, answer.json()["code"]) == (400, "not_for_a_change")
        assert not PriceChange.objects.exists()

    def test_of_the_command_refuses_it(self, meant):
        with pytest.raises(CommandError, match="finds what is only like the word"):
            call_command("price_change", "plan", "--filter", "q=VHVEG", "--add", "5")
        assert not PriceChange.objects.exists()

    def test_of_the_browser_has_no_field_for_it(self, meant, admin_client):
        page = admin_client.get("/admin/price_changes/pricechange/plan/set/")
        fields = page.context["form"].fields
        assert "where_comment" in fields
        assert "where_q" not in fields

    def test_of_the_document_does_not_offer_it(self):
        offered = sets.FILTER
        assert "comment" in offered.help
        assert " q" not in offered.help
        assert " q" not in offered.option_help


class TestChangesOfBefore:
    def test_are_read(self, meant, before, admin_client):
        change = before(planned, **VALUES, filter=SEARCH)
        assert a_reader().get(f"{URL}{change.pk}/").data["filter"] == SEARCH
        page = admin_client.get(f"/admin/price_changes/pricechange/{change.pk}/change/")
        assert "VHVEG" in page.content.decode()
        call_command("price_change", "show", str(change.pk))

    def test_are_not_approved_any_more(self, meant, before):
        change = before(planned, **VALUES, filter=SEARCH)
        change = preview(change.pk)
        with pytest.raises(ChangeError) as refused:
            approved(change)
        assert refused.value.code == "not_for_a_change"
        assert lifecycle.cancel(change.pk, "ann").status == "cancelled"

    def test_that_are_approved_move_the_rows_of_their_approval(self, meant, before, moved_clock):
        at = moved_clock.now() + timedelta(hours=1)
        change = before(lambda: approved(planned(**VALUES, filter=SEARCH, effective_at=at)))
        assert change.has_members
        meant.client.company_name = "Nemo"
        meant.client.save()
        moved_clock.to(at + timedelta(minutes=1))
        drained()
        change.refresh_from_db()
        assert change.status == "applied"
        assert Subscription.objects.in_force().get(pk=meant.pk).price == 105

    def test_that_are_applied_are_taken_back(self, meant, before):
        change = before(lambda: applied(planned(**VALUES, filter=SEARCH)))
        assert Subscription.objects.get(pk=meant.pk).price == 105
        reverted(change)
        drained()
        assert Subscription.objects.get(pk=meant.pk).price == 100
