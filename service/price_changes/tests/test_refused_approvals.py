"""An approval of figures that have moved, by the API, the command and the admin."""

import io
import json
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from price_changes.models import PriceChange
from price_changes.running import lifecycle
from price_changes.tests.api import ALL, URL, a_program, approve
from price_changes.tests.changes import SECOND, applied, approved, clock, drained, planned
from price_changes.tests.test_admin import logged_in, messages_of, text_of, url
from pricebook.kit.tables import AnsweredRequest
from pricebook.tests.pages import OpenedForm
from services import price_state
from services.models import Service
from services.tests.factories import a_book, a_service, a_subscription

pytestmark = pytest.mark.django_db


@pytest.fixture
def support() -> Service:
    """A service at 5.00 with one subscription."""
    service = a_service(5, "Support")
    a_subscription(service=service)
    return service


@pytest.fixture
def change(support: Service) -> PriceChange:
    """A change to 6.00; since its preview somebody has set the list price to 2,550.00."""
    change = planned(kind="list_price", service=support.pk, new_value="6")
    edit(support)
    return change


def edit(service: Service, full_price: int = 2550) -> None:
    Service.objects.filter(pk=service.pk).update(full_price=full_price)
    drained()


def kept(change: PriceChange) -> PriceChange:
    """The change as it is now: not approved, with another preview."""
    now = PriceChange.objects.get(pk=change.pk)
    assert (now.status, now.approved_by, now.old_value) == ("planned", "", Decimal(2550))
    assert now.fingerprint != change.fingerprint
    return now


class TestTheApi:
    @pytest.mark.parametrize("key", [None, "approve-1"])
    def test_answers_with_the_new_figures_and_keeps_them(self, change, key):
        erp = a_program(**ALL)
        headers = {"Idempotency-Key": key} if key else {}
        url, body = f"{URL}{change.pk}/approve/", {"fingerprint": change.fingerprint}
        response = erp.post(url, body, headers=headers)

        answer = json.loads(response.content, parse_float=Decimal)
        now = kept(change)
        assert (response.status_code, answer["code"]) == (409, "moved_since_preview")
        assert "value before 5.00 → 2,550.00" in answer["detail"]
        assert {"figure": "old_value", "was": 5, "now": 2550} in answer["moved"]
        assert answer["fingerprint"] == answer["change"]["fingerprint"] == now.fingerprint
        assert (answer["change"]["old_value"], answer["change"]["status"]) == (2550, "planned")
        assert answer["change"]["preview"]["total_before"] == 2550
        assert answer["change"] == json.loads(
            erp.get(f"{URL}{change.pk}/").content, parse_float=Decimal
        )
        # Only success is stored, so the key may be used again.
        assert not AnsweredRequest.objects.exists()
        again = erp.post(url, body, headers=headers)
        assert (again.status_code, again.json()["code"]) == (409, "stale_fingerprint")
        approval = erp.post(url, {"fingerprint": now.fingerprint}, headers=headers)
        assert (approval.status_code, approval.json()["status"]) == (200, "scheduled")

    def test_names_the_change_that_was_scheduled_in_between(self, support):
        at = clock() + 3600 * SECOND
        values = {"kind": "list_price", "service": support.pk}
        change = planned(**values, new_value="6", effective_at=at + SECOND)
        other = approved(planned(**values, new_value="7", effective_at=at))
        answer = approve(a_program(**ALL), {"id": change.pk, "fingerprint": change.fingerprint})
        assert answer.json()["moved"] == [
            {"figure": "scheduled_before", "was": None, "now": other.pk}
        ]

    def test_of_a_revert_is_refused_too(self, support):
        back = lifecycle.revert(
            applied(planned(kind="list_price", service=support.pk, new_value="6")).pk, "ann"
        )
        edit(support)
        response = approve(a_program(**ALL), {"id": back.pk, "fingerprint": back.fingerprint})
        assert response.json()["code"] == "moved_since_preview"
        assert kept(back).new_value == 2550


class TestTheCommand:
    def approve(self, change: PriceChange) -> str:
        with pytest.raises(CommandError) as error:
            call_command(
                "price_change", "approve", str(change.pk), change.fingerprint, "--author", "bob"
            )
        assert error.value.returncode == 1
        return str(error.value)

    def show(self, change: PriceChange) -> str:
        out = io.StringIO()
        call_command("price_change", "show", str(change.pk), stdout=out)
        return out.getvalue()

    def test_fails_with_the_new_figures_and_keeps_them(self, change):
        said = self.approve(change)
        now = kept(change)
        assert "value before 5.00 → 2,550.00; total before 5.00 → 2,550.00" in said
        assert said.endswith(f"fingerprint, {now.fingerprint}. (moved_since_preview)")
        assert "List price of Support: 2,550.00 → 6.00 USD" in self.show(change)

    def test_show_says_that_the_preview_is_of_another_value(self, change):
        assert "2,550.00: the figures of the preview are no longer true" in self.show(change)
        self.approve(change)
        assert "no longer true" not in self.show(change)


class TestThePageBeforeAnApproval:
    @pytest.fixture
    def ann(self) -> Any:
        return logged_in("ann")

    def test_shows_what_has_moved_and_offers_to_count_anew(self, ann, change):
        answer = ann.get(url("approve", change.pk))
        page = text_of(answer)
        assert "List price of Support: 2,550.00 → 6.00 USD" in page
        assert (
            '<th scope="row">Value before</th><td class="number">5.00</td>'
            '<td class="number">2,550.00</td>' in page
        )
        assert "can't be approved any more" in page
        assert change.fingerprint not in page.replace(f'value="{change.fingerprint}"', "")
        assert ">Approve</button>" not in page

        answer = ann.post(url("preview", change.pk), {"then": "approve"}, follow=True)
        assert answer.redirect_chain[-1][0] == url("approve", change.pk)
        assert "Moved since the preview" not in text_of(answer)
        form = OpenedForm(ann, url("approve", change.pk))
        assert form.fields["fingerprint"] == kept(change).fingerprint
        assert "Approved." in messages_of(form.send())

    def test_writes_nothing(self, ann, change):
        with CaptureQueriesContext(connection) as queries:
            ann.get(url("approve", change.pk))
        assert all(query["sql"].startswith(("SELECT", "\nSELECT")) for query in queries)

    def test_shows_the_new_figures_after_one_that_was_refused(self, ann, support):
        change = planned(kind="list_price", service=support.pk, new_value="6")
        form = OpenedForm(ann, url("approve", change.pk))
        edit(support)
        answer = form.send()
        now = kept(change)
        assert answer.redirect_chain[-1][0] == url("approve", change.pk)
        assert "value before 5.00 → 2,550.00" in messages_of(answer)
        page = text_of(answer)
        assert now.fingerprint in page
        assert "2,550.00 USD → 6.00 USD" in page
        assert "List price of Support: 2,550.00 → 6.00 USD" in page
        assert "Approved." in messages_of(OpenedForm(ann, url("approve", change.pk)).send())

    def test_may_be_approved_below_the_drift(self, ann):
        book = a_book(200, services=1, plans=1)
        one = book.first()
        change = planned(kind="list_price", service=one.service_id, new_value="150")
        a_subscription(service=one.service, plan=one.plan)
        form = OpenedForm(ann, url("approve", change.pk))
        page = text_of(ann.get(url("approve", change.pk)))
        assert '<td class="number">200</td><td class="number">201</td>' in page
        assert "The figures differ by no more than 1 %, so it may be approved" in page
        assert "Approved." in messages_of(form.send())

    def test_says_which_choice_of_a_set_is_left(self, ann):
        book = a_book(200, services=1, plans=1)
        change = planned(kind="set", adjustment="add", operand=5)
        price_state.negotiate(book.first().pk, 101, "deal", "ann")
        page = text_of(ann.get(url("approve", change.pk)))
        assert "“Hold” and “Frozen” need the rows of the preview, and will be refused" in page
        form = OpenedForm(ann, url("approve", change.pk))
        assert "Approved." in messages_of(form.send(when_moved="current"))

    def test_names_what_was_scheduled_in_between(self, ann, support):
        at = clock() + 3600 * SECOND
        values = {"kind": "list_price", "service": support.pk}
        change = planned(**values, new_value="6", effective_at=at + SECOND)
        other = approved(planned(**values, new_value="7", effective_at=at))
        page = text_of(ann.get(url("approve", change.pk)))
        assert f'{url("change", other.pk)}">Price change {other.pk}</a> has been scheduled' in page

    def test_of_one_that_cant_be_counted_says_why(self, ann, support):
        change = planned(kind="set", adjustment="add", operand=-3)
        edit(support, 1)
        answer = ann.get(url("approve", change.pk), follow=True)
        assert "would move from 1.00 to -2.00" in messages_of(answer)
        assert answer.redirect_chain[-1][0] == url("change", change.pk)

    def test_may_be_counted_anew_by_who_may_approve(self, change):
        bob = logged_in("bob", "view_pricechange", "approve_pricechange")
        answer = bob.post(url("preview", change.pk), {"then": "approve"}, follow=True)
        assert "Previewed again" in messages_of(answer)
        kept(change)


class TestThePagesOfOneChange:
    """The pages agree: if the catalogue has another value than the preview, they say so."""

    SAYS = "Its preview led from 5.00 to 6.00, and the catalogue says 2,550.00 now"

    def test_say_so_before_the_approval_and_after(self, support):
        ann = logged_in("ann")
        at = clock() + 3600 * SECOND
        change = planned(kind="list_price", service=support.pk, new_value="6", effective_at=at)
        for page in ("change", "rows"):
            assert "Its preview led" not in text_of(ann.get(url(page, change.pk)))
        approved(change)
        edit(support)
        for page in ("change", "rows"):
            assert self.SAYS in text_of(ann.get(url(page, change.pk)))
        page = text_of(ann.get(url("change", change.pk)))
        assert "List price of Support: 2,550.00 → 6.00 USD" in page
        assert "Preview it again" not in page  # it is approved

    def test_say_so_of_one_that_is_planned(self, change):
        page = text_of(logged_in("ann").get(url("change", change.pk)))
        assert self.SAYS in page
        assert "Preview it again." in page

    def test_say_nothing_of_one_that_has_begun(self, support):
        change = applied(planned(kind="list_price", service=support.pk, new_value="6"))
        edit(support)
        page = text_of(logged_in("ann").get(url("change", change.pk)))
        assert "Its preview led" not in page
        assert "List price of Support: 5.00 → 6.00 USD" in page
