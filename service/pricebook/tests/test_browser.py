"""The work of people in a real browser: Debian's Chromium."""

import io
import os
import re
import shutil
from collections.abc import Iterator
from decimal import Decimal
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from playwright.sync_api import BrowserContext, Page, Request, expect

from events.tests.making import DAY, an_endpoint, some_events
from keys.tests.making import a_key
from price_changes.models import PriceChange
from price_changes.planning import definition
from price_changes.running import brake, lifecycle
from price_changes.running.lifecycle import preview
from price_changes.tests.changes import clock, move_instant
from pricebook.tests.authorship import who
from pricebook.tests.servers import until
from services import price_state
from services.models import Job, Repricing, Service, Subscription
from services.repricing import chunks, plan_due, reprice, stamp
from services.repricing.drain import start_due
from services.tasks import check_book
from services.tests.factories import a_book, a_client, a_plan, a_service, a_subscription
from services.tests.interleaving import a_person, in_background

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    # For the fixture base_url, in one of Playwright's plugins.
    pytest.mark.filterwarnings("ignore:Session-scoped fixtures defined as instance methods"),
]

PASSWORD = "correct horse"

AXE = Axe().axe_script
VIOLATIONS = "async () => (await axe.run(document, {resultTypes: ['violations']})).violations"

# Playwright's loop runs in this thread, and Django takes any loop for asynchronous code.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        pytest.fail(
            "The browser tests need Chromium: apt-get install chromium, or name it in CHROMIUM.",
            pytrace=False,
        )
    return {
        "executable_path": chromium,
        "args": [
            "--no-sandbox",  # which root has not
            "--no-first-run",
            "--disable-gpu",
            "--disable-sync",
            "--disable-background-networking",
            "--disable-component-update",
        ],
    }


class Visit:
    """A person's browser. It records requests of a page to other machines, and errors."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.address = address
        self.strangers: list[str] = []
        self.faults: list[str] = []
        context.on("request", self._asked)
        self.page = context.new_page()
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.strangers.append(request.url)

    def _said(self, message: Any) -> None:
        # (A browser looks for an icon by itself where a page names none, and later.)
        if message.type == "error" and not message.location["url"].endswith("/favicon.ico"):
            self.faults.append(message.text)

    def open(self, path: str) -> Page:
        self.page.goto(self.address + path)
        return self.page

    def log_in(self, name: str) -> "Visit":
        client = Client()
        client.force_login(User.objects.create_superuser(name, f"{name}@example.com", PASSWORD))
        session = client.cookies["sessionid"].value
        self.page.context.add_cookies(
            [{"name": "sessionid", "value": session, "url": self.address}]
        )
        return self

    def log_in_by_the_form(self, name: str) -> "Visit":
        User.objects.create_superuser(name, f"{name}@example.com", PASSWORD)
        page = self.open("/admin/login/?next=/")
        page.get_by_label("Username").fill(name)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(self.address + "/")
        return self

    def choose(self, field: str, text: str) -> None:
        """Pick from a completion, by typing."""
        self.page.locator(f".field-{field} .select2-selection").click()
        self.page.locator(".select2-search__field").fill(text)
        self.page.locator(".select2-results__option", has_text=text).first.click()

    def save(self) -> None:
        self.page.get_by_role("button", name="Save", exact=True).click()


@pytest.fixture
def visit(new_context: Any, live_server: Any) -> Iterator[Any]:
    """A function that gives a new person's browser; at the end nothing may have gone wrong."""
    visits: list[Visit] = []

    def _visit(**options: Any) -> Visit:
        visits.append(Visit(new_context(**options), live_server.url))
        return visits[-1]

    yield _visit
    for each in visits:
        assert not each.strangers, "pages ask nothing of other machines"
        assert not each.faults


def cancelled_who_waits() -> bool:
    """End a statement that waits for a lock, as PostgreSQL ends one that takes too long."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return bool(cursor.fetchall())


class TestKeepingTheBook:
    def test_a_service_a_plan_a_client_and_a_subscription_are_added(self, visit):
        ann = visit().log_in_by_the_form("ann")

        page = ann.open("/admin/services/service/add/")
        page.get_by_label("Name").fill("Fibre")
        page.get_by_label("List price").fill("250")
        ann.save()
        expect(page.get_by_text("was added successfully")).to_be_visible()

        page = ann.open("/admin/services/plan/add/")
        page.get_by_label("Plan type").select_option("discount")
        page.get_by_label("Discount percent").fill("5")
        ann.save()
        expect(page.get_by_text("was added successfully")).to_be_visible()

        User.objects.create(username="nordwind", email="info@nordwind.example")
        page = ann.open("/admin/clients/client/add/")
        page.get_by_label("Company name").fill("Nordwind AG")
        ann.choose("user", "nordwind")
        ann.save()
        expect(page.get_by_text("info@nordwind.example")).to_be_visible()

        page = ann.open("/admin/services/subscription/add/")
        ann.choose("client", "Nordwind")
        ann.choose("service", "Fibre")
        ann.choose("plan", "discount")
        ann.save()
        expect(page.locator("#total")).to_contain_text("237.50 USD for 1 subscription")
        assert Subscription.objects.get().price == Decimal("237.50")

    def test_an_edit_of_the_catalogue_is_watched_until_it_is_applied(self, visit):
        a_book(60, services=1, plans=2).update(comment="")
        service = Service.objects.get()
        ann = visit().log_in("ann")

        page = ann.open(f"/admin/services/service/{service.pk}/change/")
        page.get_by_label("List price").fill("300")
        page.get_by_label("Comment to stamp").fill("Prices of 2027")
        ann.save()
        expect(page.get_by_role("heading", name="100.00 → 300.00")).to_be_visible()
        assert not Repricing.objects.exists()
        page.get_by_role("button", name="Move 60 prices").click()
        expect(page.get_by_text("60 subscriptions are being repriced")).to_be_visible()
        page.get_by_role("link", name="Watch it").click()
        expect(page.get_by_role("status")).to_contain_text("Applying")

        plan_due()  # a worker's first step; from here on the page is not touched
        expect(page.get_by_role("progressbar")).to_have_js_property("value", 0)
        reprice()
        stamp()
        expect(page.get_by_role("status")).to_contain_text("Applied")
        expect(page.get_by_text("60 of 60 rows done")).to_be_visible()
        expect(page.get_by_role("progressbar")).to_have_js_property("value", 1)

        repricing = Repricing.objects.get()
        assert (who(repricing.author), repricing.comment) == ("person ann", "Prices of 2027")
        assert not Subscription.objects.mispriced().exists()

    def test_the_home_page_shows_what_is_being_repriced_and_that_it_is_done(self, visit):
        a_book(60, services=1, plans=1)
        ann = visit().log_in("ann")
        Service.objects.update(full_price=Decimal(1000))
        total = sum(Subscription.objects.in_force().values_list("price", flat=True))

        page = ann.open("/")
        expect(page.get_by_role("definition").first).to_contain_text(f"{total:,.2f} USD")
        expect(page.locator("[data-live]").get_by_text("Applying").first).to_be_visible()
        reprice()
        expect(page.get_by_text("Nothing is being repriced").first).to_be_visible()
        total = sum(Subscription.objects.values_list("price", flat=True))
        expect(page.get_by_role("definition").first).to_contain_text(f"{total:,.2f} USD")

    def test_the_home_page_keeps_its_figures_from_strangers(self, visit):
        a_subscription(service=a_service(1234))
        page = visit().open("/")
        expect(page.get_by_role("main").get_by_role("link", name="Log in")).to_be_visible()
        assert "1,234" not in page.content()

    def test_an_open_form_does_not_move_a_price_back(self, visit):
        service = a_service(100)
        form = f"/admin/services/service/{service.pk}/change/"
        ann, bob = visit().log_in("ann"), visit().log_in("bob")
        anns, bobs = ann.open(form), bob.open(form)
        bobs.get_by_label("List price").fill("120")
        bob.save()
        expect(bobs.get_by_text("was changed successfully")).to_be_visible()

        anns.get_by_label("List price").fill("110")
        ann.save()
        expect(anns.get_by_text("moved from 100.00 to 120.00 while this form was")).to_be_visible()
        service.refresh_from_db()
        assert service.full_price == Decimal(120)

        ann.open(form).get_by_label("Name").fill("Renamed")
        Service.objects.update(full_price=130)
        ann.save()
        expect(anns.get_by_text("was changed successfully")).to_be_visible()
        service.refresh_from_db()
        assert (service.name, service.full_price) == ("Renamed", Decimal(130))

    def test_the_list_is_narrowed_by_its_filters(self, visit):
        wanted = a_subscription(service=a_service(100, "Fibre"))
        a_subscription(service=a_service(70, "Copper"))
        ann = visit().log_in("ann")
        page = ann.open("/admin/services/subscription/")
        expect(page.locator("#total")).to_contain_text("170.00 USD for 2 subscriptions")
        page.locator("a", has_text="Filters").click()
        page.locator("select[name=service__id__exact]").select_option(str(wanted.service_id))
        page.get_by_role("button", name="Apply Filters").click()
        expect(page.locator("#total")).to_contain_text("100.00 USD for 1 subscription found")


def a_raise(**values: Any) -> PriceChange:
    """A change that raises all prices by 5, planned and previewed."""
    values = {"kind": "set", "filter": {}, "adjustment": "add", "operand": 5} | values
    return preview(definition.plan(values, "ann").pk)


class TestPriceChanges:
    @pytest.mark.thorough  # the desk's tests have these steps
    def test_one_is_planned_approved_applied_and_taken_back(self, visit):
        book = a_book(60, services=1, plans=2)
        before = dict(book.values_list("pk", "price"))
        ann = visit().log_in("ann")

        page = ann.open(f"/admin/services/service/{Service.objects.get().pk}/change/")
        page.get_by_role("link", name="Plan a change of this price").click()
        expect(page.locator("#select2-id_service-container")).to_contain_text("Service")
        page.get_by_label("New list price").fill("120")
        page.get_by_label("Title").fill("Prices of 2027")
        page.get_by_role("button", name="Plan and preview").click()

        expect(page.get_by_role("status")).to_contain_text("Planned")
        expect(page.locator("#content")).to_contain_text("100.00 → 120.00 USD")
        page.get_by_role("link", name="All rows").click()
        expect(page.get_by_role("row")).to_have_count(51)
        page.get_by_role("link", name="Next page").click()
        expect(page.get_by_role("row")).to_have_count(11)
        page.get_by_role("link", name="Prices of 2027").last.click()

        page.get_by_role("link", name="Approve").click()
        page.get_by_role("button", name="Approve").click()
        expect(page.get_by_text("Approved.")).to_be_visible()
        assert dict(book.values_list("pk", "price")) == before
        reprice()
        expect(page.get_by_role("status")).to_contain_text("Applied")
        expect(page.get_by_text("60 of 60 rows done")).to_be_visible()
        assert book.filter(price=Decimal(120)).exists()

        page.get_by_role("link", name="Take back").click()
        page.get_by_role("button", name="Take back").click()
        page.get_by_role("link", name="Approve").click()
        page.get_by_role("button", name="Approve").click()
        reprice()
        expect(page.get_by_role("status")).to_contain_text("Applied")
        assert dict(book.values_list("pk", "price")) == before
        page.get_by_role("link", name="Prices of 2027", exact=True).click()
        expect(page.get_by_role("status")).to_contain_text("Reverted")

    @pytest.mark.usefixtures("by_chunks")
    @pytest.mark.thorough  # the desk's tests have these steps
    def test_a_set_is_paused_resumed_and_what_moved_meanwhile_holds_the_next(
        self, visit, monkeypatch
    ):
        a_book(60, services=1, plans=1)
        monkeypatch.setattr(chunks, "CHUNK", 20)
        ann = visit().log_in("ann")
        page = ann.open("/admin/services/subscription/")
        page.get_by_role("link", name="Plan a change for").click()
        page.get_by_label("The whole book").check()
        page.get_by_label("Effect on their price").select_option("percent")
        page.get_by_label("By how much").fill("10")
        page.get_by_role("button", name="Plan and preview").click()
        page.get_by_role("link", name="Approve").click()
        page.get_by_label("Hold").check()
        page.get_by_role("button", name="Approve").click()
        expect(page.get_by_role("status")).to_contain_text("Scheduled")
        start_due()
        chunks.take_chunk("price", set())

        expect(page.get_by_role("progressbar")).not_to_have_js_property("value", 0)
        page.get_by_role("link", name="Pause").click()
        page.get_by_role("button", name="Pause").click()
        expect(page.get_by_text(re.compile(r"Paused by ann \(person \d+\)\."))).to_be_visible()
        late = a_raise()
        lifecycle.approve(late.pk, late.fingerprint, "ann", "hold")
        price_state.negotiate(Subscription.objects.first().pk, 1, "asked", "ann")
        move_instant(late, clock())
        page.get_by_role("link", name="Resume").click()
        page.get_by_role("button", name="Resume").click()
        reprice()
        expect(page.get_by_role("status")).to_contain_text("Applied")
        late.refresh_from_db()
        assert late.status == "held"

    @pytest.mark.thorough  # the desk's tests have these steps
    def test_who_looks_at_an_old_preview_is_told_and_nothing_happens(self, visit):
        a_book(12, services=1, plans=1)
        change = a_raise()
        ann = visit().log_in("ann")
        page = ann.open(f"/admin/price_changes/pricechange/{change.pk}/approve/")
        Service.objects.update(full_price=999)
        reprice()
        preview(change.pk)
        page.get_by_role("button", name="Approve").click()
        expect(page.get_by_text("is not the fingerprint of the latest preview")).to_be_visible()

        page.get_by_role("link", name="Approve").click()
        page.get_by_role("button", name="Approve").click()
        expect(page.get_by_role("status")).to_contain_text("Scheduled")
        Subscription.objects.update(price_state="negotiated", price=9)
        move_instant(change, clock())
        reprice()
        expect(page.get_by_role("status")).to_contain_text("Held")
        expect(page.get_by_text("Rows have moved since the approval")).to_be_visible()
        page.get_by_role("button", name="Preview again").click()
        page.get_by_role("link", name="Approve").click()
        page.get_by_role("button", name="Approve").click()
        reprice()
        expect(page.get_by_role("status")).to_contain_text("Applied")

    @pytest.mark.thorough  # the desk's tests have these steps
    def test_who_approves_what_has_moved_sees_the_new_figures_first(self, visit):
        a_book(12, services=1, plans=1)
        service = Service.objects.get()
        values = {"kind": "list_price", "service": service.pk, "new_value": "6"}
        change = preview(definition.plan(values, "ann").pk)
        ann = visit().log_in("ann")
        path = f"/admin/price_changes/pricechange/{change.pk}/approve/"
        page = ann.open(path)
        expect(page.locator("#content-main")).to_contain_text("100.00 → 6.00 USD")
        Service.objects.update(full_price=2550)
        reprice()

        page.get_by_role("button", name="Approve").click()  # of the page that was open
        expect(page.get_by_text("value before 100.00 → 2,550.00")).to_be_visible()
        assert page.url == ann.address + path
        fingerprint = page.locator("code").text_content()
        assert fingerprint == PriceChange.objects.get(pk=change.pk).fingerprint
        assert fingerprint != change.fingerprint
        expect(page.locator("#content-main")).to_contain_text("30,600.00 USD → 72.00 USD")

        Service.objects.update(full_price=2551)
        reprice()
        page = ann.open(path)  # and of one that is opened when it has moved again
        table = page.get_by_role("region", name="Moved since the preview")
        value = table.get_by_role("row", name="Value before")
        expect(value.get_by_role("cell")).to_have_text(["2,550.00", "2,551.00"])
        expect(page.get_by_role("button", name="Approve")).to_have_count(0)
        page.get_by_role("button", name="Preview again").click()
        expect(page.get_by_text("Previewed again")).to_be_visible()
        expect(table).to_have_count(0)
        page.get_by_role("button", name="Approve").click()
        expect(page.get_by_text("Approved.")).to_be_visible()
        reprice()
        expect(page.get_by_role("status")).to_contain_text("Applied")
        assert set(Subscription.objects.values_list("price", flat=True)) == {Decimal(6)}

    def test_one_price_is_locked_with_a_reason(self, visit):
        subscription = a_subscription(service=a_service(100))
        ann = visit().log_in("ann")
        page = ann.open(f"/admin/services/subscription/{subscription.pk}/change/")
        page.get_by_role("link", name="Lock").click()
        page.get_by_label("Reason").fill("Contract of 2024")
        page.get_by_role("button", name="Lock").click()
        expect(page.locator("#price")).to_contain_text(
            "locked until it is released (Contract of 2024)"
        )


def type_into(page: Page, name: str, text: str) -> None:
    """Key by key, as a person does: what a box makes of each key is its browser's."""
    box = page.locator(f"[name={name}]")
    box.clear()
    box.press_sequentially(text)


class TestAmountsThatPeopleType:
    """A number input leaves out the comma where the browser's language has none: 4,50 was 450."""

    @pytest.mark.parametrize(
        "locale", ["de-DE", "en-US", pytest.param("ru-RU", marks=pytest.mark.thorough)]
    )
    def test_a_price_is_negotiated(self, visit, locale):
        subscription = a_subscription(service=a_service(100))
        ann = visit(locale=locale).log_in("ann")
        page = ann.open(f"/admin/services/subscription/{subscription.pk}/price/negotiate/")
        type_into(page, "price", "4,50")
        page.locator("[name=reason]").fill("Asked for it")
        page.locator("[name=reason]").press("Enter")
        expect(page.locator("#price")).to_be_visible()
        assert Subscription.objects.get().price == Decimal("4.50")

    def test_a_list_price_is_edited(self, visit):
        service = a_service(100)
        ann = visit(locale="en-US").log_in("ann")
        page = ann.open(f"/admin/services/service/{service.pk}/change/")
        expect(page.get_by_label("List price")).to_have_value("100.00")
        type_into(page, "full_price", "25,50")
        ann.save()
        expect(page.get_by_text("was changed successfully")).to_be_visible()
        assert Service.objects.get().full_price == Decimal("25.50")

    def test_a_list_price_is_planned(self, visit):
        service = a_subscription(service=a_service(100)).service
        ann = visit(locale="en-US").log_in("ann")
        plan = "/admin/price_changes/pricechange/plan/list_price/"
        page = ann.open(f"{plan}?service={service.pk}")
        type_into(page, "new_value", "22,50")
        page.get_by_role("button", name="Plan and preview").click()
        expect(page.get_by_role("status")).to_contain_text("Planned")
        assert PriceChange.objects.get().new_value == Decimal("22.50")

    def test_a_set_is_planned(self, visit):
        a_subscription(service=a_service(100))
        ann = visit(locale="en-US").log_in("ann")
        page = ann.open("/admin/price_changes/pricechange/plan/set/")
        page.get_by_label("The whole book").check()
        page.get_by_label("Effect on their price").select_option("percent")
        for name, text in {
            "operand": "-2,5",
            "rounding_step": "0,50",
            "floor": "1.234,50",
            "ceiling": "1'234.50",
            "where_price_from": "4,50",
        }.items():
            type_into(page, name, text)
        page.get_by_role("button", name="Plan and preview").click()
        expect(page.get_by_role("status")).to_contain_text("Planned")
        change = PriceChange.objects.get()
        assert (change.operand, change.rounding_step) == (Decimal("-2.5"), Decimal("0.5"))
        assert change.floor == change.ceiling == Decimal("1234.5")
        assert change.filter == {"price_from": "4.50"}


@pytest.mark.parametrize(
    ("form", "name", "text"),
    [
        ("services/subscription/{subscription}/price/negotiate/", "price", "1,234"),
        pytest.param(
            "services/plan/{plan}/change/", "discount_percent", "12,5", marks=pytest.mark.thorough
        ),
        ("price_changes/pricechange/plan/set/", "where_price_from", "4,50 €"),
    ],
)
def test_an_amount_that_is_unclear_is_said_at_its_field_and_kept(visit, form, name, text):
    subscription = a_subscription(service=a_service(100))
    before = Subscription.objects.values().get()
    ann = visit(locale="ru-RU").log_in("ann")
    page = ann.open(
        "/admin/"
        + form.format(
            subscription=subscription.pk,
            service=subscription.service_id,
            plan=subscription.plan_id,
        )
    )
    type_into(page, name, text)
    box = page.locator(f"[name={name}]")
    box.press("Enter")
    expect(page.locator(".errors", has=box)).to_contain_text(text)
    expect(box).to_have_value(text)
    assert Subscription.objects.values().get() == before
    assert not PriceChange.objects.exists()


class TestTheApiForPeople:
    def test_swagger_and_the_browsable_api_work_under_their_content_policy(self, visit):
        anna = visit().log_in("anna")
        anna.open("/api/docs/").locator("#operations-subscriptions-subscriptions_list").wait_for()
        anna.open("/api/subscriptions/").get_by_text('"total_amount"').wait_for()


SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
WAYS = [(scheme, width) for scheme in SCHEMES for width in (1280, 390)]


# Findings of axe in the admin that are moderate or worse, by rule: the element, and why it is
# Unfold's. docs/desk.md has the same table.
UNFOLDS = {
    "landmark-one-main": ("<html", "its frame has a <div> in place of <main>"),
    "region": ("<", "so nothing that stands in that frame is in a landmark"),
    "landmark-unique": ("simplebar-content-wrapper", "each box of its SimpleBar has one name"),
}
DESK = Path(__file__).resolve().parents[3] / "docs" / "desk.md"


@pytest.mark.parametrize(
    "at_once",
    [pytest.param(1, id="in turn"), pytest.param(len(WAYS), id="all", marks=pytest.mark.matrix)],
)
class TestEveryPage:
    """The pages of the admin, and what it shows when something is wrong.

    CI looks at each once, by turns in one of the themes and widths; the tier `matrix` in all.
    """

    @pytest.fixture(autouse=True)
    def turns(self, at_once: int) -> None:
        self.at_once, self.ways = at_once, cycle(WAYS)
        self.of_unfold: dict[str, set[str]] = {}  # pages by rule

    def test_can_be_used_by_everyone_and_fits_its_window(self, visit):
        subscription = a_subscription(a_client(), a_service(), a_plan(5))
        Service.objects.update(full_price=Decimal(300))
        changes = "/admin/price_changes/pricechange"
        reprice()
        applied, planned = PriceChange.objects.get(), a_raise()
        values = {"kind": "list_price", "service": subscription.service_id, "new_value": "6"}
        moved = preview(definition.plan(values, "ann").pk)
        Service.objects.update(full_price=Decimal(2550))
        reprice()
        key, _ = a_key("biller")
        some_events(1, 3)
        endpoint = an_endpoint(failing_since=DAY, attempts=5)
        endpoint.log.create(
            number=1, webhook_id="evt_1", type="prices.moved", status_code=500, duration_ms=7,
            error="The receiver answered 500.",
        )  # fmt: skip
        job = Job.objects.create(
            kind="subscriptions", author="ann", skip=True, dry_run=False, lines=50, lines_done=20,
            counts={"created": 20}, status="running",
        )  # fmt: skip
        ann, violations = visit().log_in("ann"), []
        for path in (
            "/admin/services/subscription/",
            f"/admin/services/subscription/{subscription.pk}/change/",
            f"/admin/services/service/{subscription.service_id}/change/",
            f"/admin/services/repricing/{Repricing.objects.earliest('pk').pk}/change/",
            "/admin/services/repricing/",
            "/admin/clients/client/",
            f"/admin/services/subscription/{subscription.pk}/price/lock/",
            f"{changes}/",
            f"{changes}/add/",
            f"{changes}/plan/list_price/",
            f"{changes}/plan/set/",
            f"{changes}/{planned.pk}/change/",
            f"{changes}/{planned.pk}/rows/",
            f"{changes}/{planned.pk}/approve/",
            f"{changes}/{moved.pk}/approve/",
            f"{changes}/{moved.pk}/change/",
            f"{changes}/{applied.pk}/change/",
            "/admin/rest_framework_api_key/apikey/",
            "/admin/rest_framework_api_key/apikey/add/",
            f"/admin/rest_framework_api_key/apikey/{key.pk}/change/",
            "/admin/services/job/",
            f"/admin/services/job/{job.pk}/change/",
            "/admin/events/endpoint/",
            "/admin/events/endpoint/add/",
            f"/admin/events/endpoint/{endpoint.pk}/change/",
            f"{changes}/brake/",
        ):
            violations += self.violations(ann, path)
        brake.pull("ann", "Wrong list of prices")
        for path in (f"{changes}/brake/", f"{changes}/{planned.pk}/change/"):
            violations += self.violations(ann, path)
        assert not violations
        assert set(self.of_unfold) == set(UNFOLDS), "one that Unfold has fixed leaves the table"
        told = DESK.read_text()
        for rule in UNFOLDS:
            assert f"| `{rule}` |" in told

    def test_that_says_what_is_wrong_can_be_too(self, visit):
        a_subscription()
        ann = visit().log_in("ann")
        check_book()
        violations = self.violations(ann, "/")
        expect(ann.page.get_by_text("In order")).to_be_visible()
        with connection.cursor() as cursor:
            cursor.execute("UPDATE services_subtotal SET amount = amount + 1")
        with pytest.raises(SystemExit):
            call_command("check_book", stdout=io.StringIO())
        violations += self.violations(ann, "/")
        expect(ann.page.get_by_text("The book differs")).to_be_visible()
        with a_person() as person:
            person.execute("LOCK TABLE services_subscription IN ACCESS EXCLUSIVE MODE")
            timeout = in_background(until, cancelled_who_waits)
            violations += self.violations(ann, "/admin/services/subscription/")
            timeout.result()
        expect(ann.page.get_by_role("heading", name="This took too long")).to_be_visible()
        assert "503" in ann.faults.pop()  # what a browser says of the status
        assert not violations

    def violations(self, visit: Visit, path: str) -> list[str]:
        """Findings of axe, moderate and worse, not Unfold's; and pages that are too wide."""
        page = visit.open(path)
        page.evaluate(AXE)
        found = []
        for scheme, width in islice(self.ways, self.at_once):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": 844})
            for violation in page.evaluate(VIOLATIONS):
                rule, said = violation["id"], f"{path} at {width}, {scheme}"
                if violation["impact"] == "minor":
                    continue
                for node in violation["nodes"]:
                    of_unfold = path.startswith("/admin/") and rule in UNFOLDS
                    if of_unfold and UNFOLDS[rule][0] in node["html"]:
                        self.of_unfold.setdefault(rule, set()).add(path)
                    else:
                        found.append(f"{said}: {rule}: {node['html'][:200]}")
        for width in {width for _, width in WAYS}:
            page.set_viewport_size({"width": width, "height": 844})
            if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                found.append(f"{path} at {width}: wider than its window")
        return found
