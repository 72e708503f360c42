"""The limits of one person: the figures that count, whose sum it is, and the plans that wait."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import transaction
from django.urls import reverse
from rest_framework.test import APIClient

from keys import verbs as keys
from keys.tests.asking import with_key
from keys.verbs import Maker
from price_changes.models import MovedAlone, PriceChange
from price_changes.running import lifecycle, limits
from price_changes.tests.api import approve
from price_changes.tests.changes import drained, planned, stands
from price_changes.tests.doors import Book, begun
from pricebook.kit import authors
from pricebook.tests.pages import OpenedForm
from pricebook.variables import limit
from services import price_decisions, price_state, repricing, tasks
from services.hooks import price_changes
from services.models import Service, Subscription, book_clock
from services.moves import Move, NeedsAnotherPerson, WaitingPlan
from services.tests.factories import a_client, a_plan, a_service, a_subscription
from services.tests.interleaving import in_background

ANN, BOB = authors.person(1, "ann"), authors.person(2, "bob")


def a_move(rows=1, by=10, percent=10, **names):
    before = Decimal(100 * rows)
    return Move(rows, before, before + by, Decimal(by), Decimal(percent), names)


def may(author, move):
    """Whether the author may make the move alone now, and does it."""
    try:
        with transaction.atomic():
            limits.moved_alone(author, move)
    except NeedsAnotherPerson:
        return False
    return True


@pytest.mark.django_db
class TestWhatCounts:
    def test_rows_add_up(self, settings):
        settings.APPROVAL_LIMIT_ROWS = Decimal(10)
        assert may(ANN, a_move(rows=6))
        assert not may(ANN, a_move(rows=5))
        assert may(ANN, a_move(rows=4))
        assert not may(ANN, a_move(rows=1))

    def test_what_is_refused_does_not_add_up(self, settings):
        settings.APPROVAL_LIMIT_ROWS = Decimal(10)
        assert not may(ANN, a_move(rows=11))
        assert may(ANN, a_move(rows=10))

    def test_rises_and_falls_add_up_without_their_signs(self, settings):
        settings.APPROVAL_LIMIT_AMOUNT = Decimal(100)
        rise_and_fall = Move(2, Decimal(200), Decimal(200), Decimal(100), Decimal(50))
        assert may(ANN, rise_and_fall)
        assert not may(ANN, a_move(by=Decimal("0.01")))

    def test_per_cents_of_one_service_are_compounded(self, settings):
        settings.APPROVAL_LIMIT_PERCENT = Decimal("18.81")
        assert may(ANN, a_move(percent=9, service=1))
        assert may(ANN, a_move(percent=9, service=1))
        assert not may(ANN, a_move(percent=1, service=1))
        assert not may(ANN, a_move(percent=1, subscription=7))  # it may be of that service
        assert may(ANN, a_move(percent=18, service=2, subscription=8))

    def test_a_rise_from_nothing_is_beyond_any_per_cent(self, settings):
        settings.APPROVAL_LIMIT_PERCENT = Decimal(10**6)
        subscription = a_subscription(service=a_service(0))
        with pytest.raises(NeedsAnotherPerson) as refused:
            price_state.negotiate(subscription.pk, 1, "x", ANN)
        assert refused.value.about["limit"] == "percent"
        assert "from 0" in refused.value.detail

    def test_of_a_set_it_is_the_largest_of_one_price(self, settings):
        settings.APPROVAL_LIMIT_PERCENT = Decimal("49.99")
        a_subscription(service=a_service(10))
        a_subscription(service=a_service(1000))
        change = planned(kind="set", adjustment="add", operand=5)
        assert change.preview["largest_percent"].startswith("50.0")
        assert limits.beyond(ANN, limits.move_of(change)).about["value"].startswith("50.0")
        settings.APPROVAL_LIMIT_PERCENT = Decimal(50)
        assert limits.beyond(ANN, limits.move_of(change)) is None

    def test_a_preview_from_before_the_limit_has_to_be_made_anew(self, settings):
        a_subscription(service=a_service(100))
        change = planned(kind="set", adjustment="percent", operand=1)
        settings.APPROVAL_LIMIT_PERCENT = Decimal(5)
        assert limits.why_not(change, "ann") is not None
        assert limits.why_not(lifecycle.preview(change.pk), "ann") is None

    def test_of_a_list_price_for_new_subscriptions_it_is_that_of_the_list_price(self, settings):
        settings.APPROVAL_LIMIT_PERCENT = Decimal(20)
        service = a_service(100)
        change = planned(kind="list_price", service=service.pk, new_value=121, for_new_only=True)
        assert limits.move_of(change).percent == 21
        assert limits.why_not(change, "ann") is not None

    def test_of_a_discount_it_is_that_of_the_price(self, settings):
        settings.APPROVAL_LIMIT_PERCENT = Decimal(1)
        plan = a_plan(50)
        change = planned(kind="discount", plan=plan.pk, new_value=60)
        assert limits.move_of(change).percent == 20  # of 100.00: 50.00 → 40.00

    def test_without_a_limit_nothing_is_asked_or_written(self, django_assert_num_queries):
        with django_assert_num_queries(0):
            assert limits.beyond(ANN, a_move(rows=10**9)) is None
            limits.moved_alone(ANN, a_move(rows=10**9))
        assert not MovedAlone.objects.exists()


@pytest.mark.django_db
class TestForWhom:
    def test_24_hours_later_it_may_again(self, settings):
        settings.APPROVAL_LIMIT_ROWS = Decimal(1)
        assert may(ANN, a_move())
        assert not may(ANN, a_move())
        MovedAlone.objects.update(at=book_clock() - timedelta(hours=24))
        assert may(ANN, a_move())

    def test_persons_have_a_sum_each(self, settings):
        settings.APPROVAL_LIMIT_ROWS = Decimal(1)
        assert may(ANN, a_move())
        assert may(BOB, a_move())

    def test_a_person_and_all_keys_have_one_sum(self, settings):
        settings.APPROVAL_LIMIT_ROWS = Decimal(2)
        user = User.objects.create_superuser("ann")
        session = APIClient()
        session.force_login(user)
        made = [keys.make(f"erp {n}", ["price_states:set"], Maker.of(user))[1] for n in range(2)]
        callers = [session, *(with_key(text) for text in made)]
        answers = [
            caller.post(
                f"/api/subscriptions/{a_subscription().pk}/negotiate/", {"price": 5, "reason": "x"}
            ).status_code
            for caller in callers
        ]
        assert answers == [200, 200, 202]

    def test_names_that_anybody_can_choose_have_one_sum_together(self, settings):
        settings.APPROVAL_LIMIT_ROWS = Decimal(1)
        assert may("ann (claimed)", a_move())
        for author in ("bob (claimed)", "import", "", authors.key(10**6, "erp")):
            assert not may(author, a_move())
        assert may(ANN, a_move())

    def test_what_another_person_approves_adds_to_nobody_s_sum(self, settings):
        book = Book.made()
        settings.APPROVAL_LIMIT_ROWS = Decimal(1)
        values = {"kind": "set", "filter": {}, "adjustment": "add", "operand": 1}
        change = book.session(book.ann).post("/api/price-changes/", values).json()
        assert approve(book.session(book.ann), change).status_code == 403
        assert approve(book.session(book.bob), change).status_code == 200
        assert not MovedAlone.objects.exists()

    def test_an_approval_alone_adds_to_it(self, settings):
        book = Book.made()
        settings.APPROVAL_LIMIT_ROWS = Decimal(3)
        for row in (book.follower, book.locked):
            values = {"kind": "set", "filter": {"subscription": row.pk}, "adjustment": "lock"}
            values |= {"locked_until": "2999-01-01T00:00:00Z"}
            change = book.session(book.ann).post("/api/price-changes/", values).json()
            assert approve(book.session(book.ann), change).status_code == 200
        assert [each.change_ids for each in MovedAlone.objects.order_by("pk")] == [
            [pk] for pk in PriceChange.objects.order_by("pk").values_list("pk", flat=True)
        ]
        assert price_changes().beyond(authors.person(book.ann.pk, "x"), a_move(rows=2)) is not None
        assert price_changes().beyond(authors.person(book.ann.pk, "x"), a_move(rows=1)) is None


@pytest.mark.django_db(transaction=True)
class TestTwoAtOnce:
    def test_do_not_both_slip_under_a_limit(self, settings):
        settings.APPROVAL_LIMIT_ROWS = Decimal(1)
        first, second = a_subscription(), a_subscription()

        def negotiated(pk):
            return price_decisions.decide("negotiate", pk, ANN, price=5, reason="x")

        with transaction.atomic():
            negotiated(first.pk)
            other = in_background(negotiated, second.pk).until_it_waits()
        assert isinstance(other.result(), WaitingPlan)

    def test_would_without_the_lock(self, settings, monkeypatch):
        monkeypatch.setattr(limits, "OF_PERSON", "SELECT %s")
        settings.APPROVAL_LIMIT_ROWS = Decimal(1)
        first, second = a_subscription(), a_subscription()
        with transaction.atomic():
            price_state.negotiate(first.pk, 5, "x", ANN)
            in_background(price_state.negotiate, second.pk, 5, "x", ANN).result()
        assert sum(MovedAlone.objects.values_list("rows", flat=True)) == 2

    def test_a_form_and_an_approval_of_one_service_do_not_wait_for_each_other(self, settings):
        settings.APPROVAL_LIMIT_ROWS = Decimal(100)
        book = Book.made()
        change = planned(kind="list_price", service=book.service.pk, new_value=120)
        ann = authors.person(book.ann.pk, "ann")
        with transaction.atomic():
            Service.objects.select_for_update(no_key=True).get(pk=book.service.pk)
            other = in_background(
                lifecycle.approve, change.pk, change.fingerprint, ann
            ).until_it_waits_or_ends()
            price_changes().moved_alone(ann, a_move())
            Service.objects.filter(pk=book.service.pk).update(name="Glass")
        assert other.result().status == "scheduled"


@pytest.mark.django_db
class TestAPlanThatWaits:
    @pytest.mark.parametrize(
        ("verb", "row", "given"),
        [
            ("negotiate", "follower", {"price": Decimal(150), "reason": "A deal"}),
            ("negotiate", "locked", {"price": Decimal(150), "reason": "A deal"}),
            ("negotiate", "follower", {"price": Decimal(100), "reason": "As it is"}),
            ("negotiate", "negotiated", {"price": Decimal(0), "reason": "A present"}),
            ("lock", "follower", {"until": None, "reason": "Promised"}),
            ("lock", "negotiated", {"until": None, "reason": "Promised"}),
            ("release", "locked", {}),
            ("follow", "negotiated", {}),
            ("follow", "locked", {}),
        ],
    )
    def test_does_what_the_edit_would_have_done(self, settings, verb, row, given):
        book = Book.made()
        subscription = getattr(book, row)
        twin = _twin(book, row)
        price_decisions.VERBS[verb](twin.pk, author=ANN, **given)
        settings.APPROVAL_BY_ANOTHER = True
        plan = price_decisions.decide(verb, subscription.pk, ANN, **given)
        assert isinstance(plan, WaitingPlan)
        change = PriceChange.objects.get(pk=plan.id)
        lifecycle.approve(change.pk, change.fingerprint, BOB)
        drained()
        change.refresh_from_db()
        assert (change.status, change.needs_another) == ("applied", "")
        assert stands(subscription) == stands(twin)

    def test_is_found_by_the_same_edit_again(self, settings):
        book = Book.made()
        settings.APPROVAL_BY_ANOTHER = True
        given = {"price": "150.00", "reason": "x"}
        path = f"/api/subscriptions/{book.follower.pk}/negotiate/"
        first, again = (book.session(book.ann).post(path, given).json() for _ in range(2))
        assert first["address"] == again["address"]
        other = book.session(book.ann).post(path, given | {"price": "151.00"}).json()
        assert other["address"] != first["address"]

    def test_with_an_idempotency_key_is_one(self, settings):
        book = Book.made()
        settings.APPROVAL_BY_ANOTHER = True
        path = f"/api/subscriptions/{book.negotiated.pk}/follow/"
        answers = [
            book.session(book.ann).post(path, {}, headers={"Idempotency-Key": "k"})
            for _ in range(2)
        ]
        assert [answer.status_code for answer in answers] == [202, 202]
        assert answers[0].json() == answers[1].json()
        assert answers[1].headers["Idempotency-Replayed"] == "true"

    def test_of_a_list_price_has_its_comment(self, settings):
        book = Book.made()
        settings.APPROVAL_BY_ANOTHER = True
        page = reverse("admin:services_service_change", args=[book.service.pk])
        answer = OpenedForm(book.browser(book.ann), page).send(
            full_price="150.00", name="Glass", stamp="Dearer"
        )
        change = PriceChange.objects.get(status="planned")
        said = " ".join(map(str, answer.context["messages"]))
        assert reverse("admin:price_changes_pricechange_change", args=[change.pk]) in said
        assert "Nothing else was saved (name)" in said
        assert (change.new_value, change.comment) == (150, "Dearer")
        assert Service.objects.get().name == "Fibre"


def _twin(book, row):
    """Another subscription that stands as this one, for the direct edit."""
    twin = a_subscription(a_client(), book.service, book.plan)
    if row == "locked":
        price_state.negotiate(twin.pk, Decimal(60), "x", "setup")
        price_state.lock(twin.pk, None, "x", "setup")
    elif row == "negotiated":
        price_state.negotiate(twin.pk, Decimal(66), "x", "setup")
    return twin


@pytest.mark.django_db
class TestALookFirst:
    def test_in_the_api_writes_nothing_and_keeps_no_key(self, settings):
        book = Book.made()
        session, before = book.session(book.ann), book.stands()
        path, key = f"/api/subscriptions/{book.follower.pk}/negotiate/", {"Idempotency-Key": "k"}
        given = {"price": "150.00", "reason": "x"}
        shown = session.post(path, given | {"dry_run": True}, headers=key)
        assert shown.status_code == 200
        body = shown.json()
        assert (body["dry_run"], body["moves"], body["needs_another"]) == (True, 1, "")
        assert (body["total_before"], body["total_after"]) == (100, 150)
        assert body["rows"][0]["new_state"] == "negotiated"
        assert book.stands() == before
        assert session.post(path, given, headers=key).json()["price"] == 150

    def test_says_that_it_takes_another_person(self, settings):
        book = Book.made()
        settings.APPROVAL_LIMIT_ROWS = Decimal(0)
        path = f"/api/subscriptions/{book.follower.pk}/lock/"
        shown = book.session(book.ann).post(path, {"reason": "x", "dry_run": True}).json()
        assert "It moves 1 row; alone one may move up to 0" in shown["needs_another"]
        assert not PriceChange.objects.exists()

    def test_of_an_approval_and_a_revert(self, settings):
        book = Book.made()
        session = book.session(book.ann)
        values = {"kind": "set", "filter": {"price_state": "follows"}, "adjustment": "add"}
        change = session.post("/api/price-changes/", values | {"operand": 5}).json()
        path = f"/api/price-changes/{change['id']}"
        given = {"fingerprint": change["fingerprint"], "dry_run": True}
        shown = session.post(f"{path}/approve/", given).json()
        assert (shown["moves"], shown["total_before"], shown["total_after"]) == (2, 200, 210)
        assert [row["new_price"] for row in shown["rows"]] == [105, 105]
        assert PriceChange.objects.get().status == "planned"
        assert session.post(f"{path}/approve/", given | {"fingerprint": "x"}).status_code == 409
        approve(session, change)
        drained()
        shown = session.post(f"{path}/revert/", {"approve": True, "dry_run": True}).json()
        assert (shown["moves"], shown["total_before"], shown["total_after"]) == (2, 210, 200)
        settings.APPROVAL_LIMIT_ROWS = Decimal(1)
        shown = session.post(f"{path}/revert/", {"dry_run": True}).json()
        # No word of the plan that was undone.
        assert shown["needs_another"].startswith("It moves 2 rows; ")
        assert PriceChange.objects.count() == 1

    def test_of_a_cancel(self, settings):
        book = Book.made()
        change = begun(book)
        address = f"/api/price-changes/{change.pk}/cancel/"
        ann, bob = book.session(book.ann), book.session(book.bob)
        settings.APPROVAL_LIMIT_ROWS = Decimal(0)
        for who, needs in ((ann, False), (bob, True)):
            shown = who.post(address, {"dry_run": True}).json()
            assert (shown["moves"], shown["total_before"], shown["total_after"]) == (2, 426, 326)
            assert [row["new_price"] for row in shown["rows"]] == [100, 100]
            assert bool(shown["needs_another"]) == needs
        change.refresh_from_db()
        assert (change.status, change.reverted_by.count()) == ("applying", 0)
        scheduled = planned(kind="list_price", service=book.service.pk, new_value=9)
        call_command("price_change", "cancel", str(scheduled.pk), "--dry-run")
        scheduled.refresh_from_db()
        assert scheduled.status == "planned"

    def test_a_flag_is_a_flag(self):
        book = Book.made()
        path = f"/api/subscriptions/{book.follower.pk}/follow/"
        answer = book.session(book.ann).post(path, {"dry_run": "yes"})
        assert (answer.status_code, answer.json()["code"]) == (400, "not_a_flag")

    def test_a_form_asks_before_it_moves_prices(self):
        book = Book.made()
        page = reverse("admin:services_service_change", args=[book.service.pk])
        form = OpenedForm(book.browser(book.ann), page)
        before = book.stands()
        asked = form.ask(full_price="1000.00")
        text = asked.content.decode()
        assert book.stands() == before
        for figure in ("326.00", "2,126.00", "Move 2 prices", book.follower.client.company_name):
            assert figure in text
        name, seen = asked.context["confirmed"]
        # Another value than the one that was shown is asked about again.
        form.fields[name] = seen
        assert "confirmed" in form.ask(full_price="1001.00").context
        assert book.stands() == before
        del form.fields[name]
        form.send(full_price="1000.00")
        assert Service.objects.in_force().get().full_price == 1000

    @pytest.mark.parametrize("seen", ["", "100.00 200.00 NaN 1 2", "100.00 200.00 1e9 0 0", "a b"])
    def test_a_form_takes_no_made_up_answer(self, seen):
        book = Book.made()
        page = reverse("admin:services_service_change", args=[book.service.pk])
        form = OpenedForm(book.browser(book.ann), page)
        form.fields["_confirmed"] = seen
        assert "confirmed" in form.ask(full_price="200.00").context
        assert book.stands()[0][0] == 100

    def test_a_form_of_a_subscription_asks_before_it_moves_its_price(self):
        book, half = Book.made(), a_plan(50)
        page = reverse("admin:services_subscription_change", args=[book.negotiated.pk])
        form = OpenedForm(book.browser(book.ann), page)
        asked = form.ask(plan=half.pk, comment="half")
        text = " ".join(asked.content.decode().split())
        for said in ("66.00 USD (negotiated)", "50.00 USD (follows)", "16.00", "Fibre"):
            assert said in text
        row = Subscription.objects.get(pk=book.negotiated.pk)
        assert (row.plan_id, row.comment, row.price) == (book.plan.pk, "", 66)
        name, _ = asked.context["confirmed"]
        form.fields[name] = "what nobody was shown"
        assert "confirmed" in form.ask(plan=half.pk).context
        del form.fields[name]
        form.send(plan=half.pk)
        row.refresh_from_db()
        assert (row.plan_id, row.comment, row.price) == (half.pk, "half", 50)
        assert "confirmed" not in form.ask(comment="a comment moves no price").context

    def test_a_form_of_a_service_that_nobody_buys_asks_nothing(self):
        book = Book.made()
        service = a_service(5)
        page = reverse("admin:services_service_change", args=[service.pk])
        OpenedForm(book.browser(book.ann), page).ask(full_price="6.00")
        assert Service.objects.in_force().get(pk=service.pk).full_price == 6

    def test_the_page_of_a_subscription_shows_it(self):
        book = Book.made()
        page = reverse("admin:services_subscription_price", args=[book.follower.pk, "negotiate"])
        given = {"price": "150.00", "reason": "x", "_show": ""}
        text = book.browser(book.ann).post(page, given).content.decode()
        assert "It would go from 100.00 USD (follows) to 150.00 USD (negotiated)." in text
        assert not MovedAlone.objects.exists()
        assert book.stands()[0][0] == 100

    def test_commands_show_it(self, capsys):
        book = Book.made()
        pk = str(book.follower.pk)
        call_command("price_state", "negotiate", "150", pk, "--reason", "x", "--dry-run")
        assert f"Subscription {pk}: 100.00 (follows) → 150.00" in capsys.readouterr().out
        change = planned(kind="set", filter={"price_state": "follows"}, adjustment="lock")
        call_command("price_change", "approve", str(change.pk), change.fingerprint, "--dry-run")
        assert "moves 2, total 200.00 → 200.00" in capsys.readouterr().out
        change.refresh_from_db()
        assert (change.status, book.stands()[0][0]) == ("planned", 100)


@pytest.mark.django_db
class TestAnEditBySQL:
    @pytest.fixture
    def book(self, settings):
        book = Book.made()
        settings.APPROVAL_LIMIT_AMOUNT = Decimal(50)
        return book

    def edited(self, book, price):
        Service.objects.filter(pk=book.service.pk).update(full_price=price)
        tasks.set_price()
        return PriceChange.objects.latest("pk")

    def test_succeeds_and_stands_as_not_approved(self, book, admin_client):
        change = self.edited(book, 130)
        assert [price for price, _ in book.stands()][:2] == [130, 130]
        assert "come to 60.00 USD; alone one may move up to 50.00 USD" in change.needs_another
        shown = book.session(book.ann).get(f"/api/price-changes/{change.pk}/").json()
        assert (shown["status"], shown["not_approved"]) == ("applied", True)
        page = reverse("admin:price_changes_pricechange_change", args=[change.pk])
        for address in ("/", page):
            text = admin_client.get(address).content.decode()
            assert "Not approved" in text
            assert change.needs_another in text

    def test_stands_as_that_too_if_another_one_moves_the_rows_with_it(self, book):
        """A worker that finds two of them enters them row by row, and not by chunks."""
        Service.objects.filter(pk=book.service.pk).update(full_price=130)
        self.edited(book, 100)
        first, second = PriceChange.objects.order_by("pk")
        assert "come to 60.00 USD" in first.needs_another
        assert "come to 60.00 USD" in second.needs_another

    def test_below_the_limits_it_is_none_and_adds_up(self, book, admin_client):
        assert self.edited(book, 120).needs_another == ""
        assert "Not approved" not in admin_client.get("/").content.decode()
        assert "on top of 40.00 USD" in self.edited(book, 100).needs_another

    def test_that_is_taken_back_is_settled(self, book, admin_client):
        change = self.edited(book, 130)
        back = lifecycle.revert(change.pk, BOB)
        lifecycle.approve(back.pk, back.fingerprint, ANN)
        tasks.set_price()
        assert "Not approved" not in admin_client.get("/").content.decode()

    def edited_by_ann(self, book):
        with repricing.catalogue_edit(author=authors.person(book.ann.pk, "ann")):
            Service.objects.filter(pk=book.service.pk).update(full_price=130)
        tasks.set_price()
        return PriceChange.objects.latest("pk")

    def test_is_accepted_by_another_person_over_the_api(self, book):
        change = self.edited_by_ann(book)
        address = f"/api/price-changes/{change.pk}/"
        ann, bob, key = book.session(book.ann), book.session(book.bob), book.key(book.ann)
        for same in (ann, key):
            answer = same.post(f"{address}accept/")
            assert (answer.status_code, answer.json()["code"]) == (403, "needs_another_person")
        assert "accept" in bob.get(address).json()["allowed"]
        shown = bob.post(f"{address}accept/").json()
        assert (shown["not_approved"], shown["needs_another"]) == (False, "")
        assert shown["accepted_by"] == authors.person(book.bob.pk, "bob")
        assert "accept" not in shown["allowed"]
        assert bob.post(f"{address}accept/").json()["code"] == "nothing_to_accept"
        assert ann.get("/api/price-changes/?needs_another=true").json()["result"] == []
        assert not MovedAlone.objects.exists(), "it adds to nobody's sum"

    def test_is_accepted_by_another_person_on_its_page(self, book):
        change = self.edited_by_ann(book)
        page = reverse("admin:price_changes_pricechange_change", args=[change.pk])
        accept = reverse("admin:price_changes_pricechange_accept", args=[change.pk])
        ann, bob = book.browser(book.ann), book.browser(book.bob)
        assert "Approve what it has moved" not in ann.get(page).content.decode()
        assert "somebody else has to approve it" in ann.post(accept, follow=True).content.decode()
        assert "Approve what it has moved" in bob.get(page).content.decode()
        assert "no price moves" in bob.get(accept).content.decode()
        said = bob.post(accept, follow=True).content.decode()
        assert f"Accepted by bob (person {book.bob.pk})" in said
        assert "Not approved" not in said
        assert "Not approved" not in bob.get("/").content.decode()

    def test_is_accepted_at_the_command_line_by_nobody_that_is_only_claimed(
        self, book, settings, capsys
    ):
        change = self.edited(book, 130)
        words = ["price_change", "accept", str(change.pk), "--author", "bob"]
        with pytest.raises(CommandError, match="needs_another_person"):
            call_command(*words)
        settings.APPROVAL_LIMIT_AMOUNT = None
        call_command(*words)
        assert "accepted by    bob (claimed)" in capsys.readouterr().out

    def test_of_a_door_is_judged_by_the_door(self, book, settings):
        settings.APPROVAL_LIMIT_AMOUNT = Decimal(60)
        page = reverse("admin:services_service_change", args=[book.service.pk])
        OpenedForm(book.browser(book.ann), page).send(full_price="130.00")
        tasks.set_price()
        change = PriceChange.objects.get()
        assert (change.status, change.needs_another, change.judged) == ("applied", "", True)
        assert MovedAlone.objects.get().movement == 60

    def test_without_a_limit_is_nobody_s_matter(self, book, settings):
        settings.APPROVAL_LIMIT_AMOUNT = None
        assert self.edited(book, 900).judged
        settings.APPROVAL_LIMIT_AMOUNT = Decimal(0)
        tasks.set_price()
        assert PriceChange.objects.get().needs_another == ""

    def test_is_found_over_the_api(self, book):
        change = self.edited(book, 130)
        self.edited(book, 129)
        session = book.session(book.ann)
        found = session.get("/api/price-changes/?needs_another=true").json()["result"]
        assert change.pk in [each["id"] for each in found]
        assert all(each["needs_another"] for each in found)
        Service.objects.filter(pk=book.service.pk).update(full_price=129)
        assert session.get("/api/price-changes/?needs_another=no").status_code == 400

    def test_a_plan_that_waits_stands_on_the_home_page(self, book, admin_client):
        plan = price_decisions.decide("negotiate", book.follower.pk, ANN, price=900, reason="x")
        text = admin_client.get("/").content.decode()
        assert f"Subscription {book.follower.pk}: a price of 900.00 USD" in text
        assert reverse("desk:change", args=[plan.id]) in text


class TestTheSettings:
    @pytest.mark.parametrize("given", ["-1", "1e3", "ten", "1_000", "0.5", "nan", " 5", "9" * 17])
    def test_that_can_t_be_used_are_named(self, monkeypatch, given):
        monkeypatch.setenv("APPROVAL_LIMIT_ROWS", given)
        with pytest.raises(ImproperlyConfigured, match=r"APPROVAL_LIMIT_ROWS=.* a whole number"):
            limit("APPROVAL_LIMIT_ROWS", 0, 10**12)

    def test_are_exact(self, monkeypatch):
        monkeypatch.setenv("APPROVAL_LIMIT_PERCENT", "12.50")
        assert limit("APPROVAL_LIMIT_PERCENT", 2, 10**6) == Decimal("12.5")
        monkeypatch.setenv("APPROVAL_LIMIT_PERCENT", "")
        assert limit("APPROVAL_LIMIT_PERCENT", 2, 10**6) is None

    def test_are_printed(self, settings, capsys):
        def printed():
            call_command("approval_limits")
            return capsys.readouterr().out

        assert "alone: no limit" in printed()
        settings.APPROVAL_LIMIT_ROWS = Decimal(1000)
        settings.APPROVAL_LIMIT_PERCENT = Decimal("2.5")
        assert "up to 1,000 rows, 2.5 per cent of a price in 24 hours" in printed()
        settings.APPROVAL_BY_ANOTHER = True
        assert "none: every move" in printed()
