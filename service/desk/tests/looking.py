"""The desk's pages, each with an address in one book; and how a page is looked over."""

import os
import re
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from django.contrib.auth.models import User
from django.test import Client as Browser
from django.urls import get_resolver, resolve
from django.utils import timezone
from playwright.sync_api import Page

from desk.tests.test_files import forty
from desk.tests.test_files import looked_at as looked_at_file
from price_changes.tests.changes import applied, approved, planned
from pricebook.tests.test_browser import AXE
from services.tests.factories import a_book, a_client, a_plan, a_service, a_subscription

NARROW, WIDE = 390, 1360
FOUND = """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations
    .filter(each => each.impact !== "minor")
    .map(each => `${each.id}: ${each.nodes.map(node => node.html.slice(0, 160)).join(" ")}`)"""
# A page scrolls down, and its wide tables within themselves; it never scrolls to the side.
SPREAD = "document.documentElement.scrollWidth - innerWidth"

# The names of the desk's addresses, and what stands after /desk/ in those that are pages; the
# words in braces are ids of `a_book_with_all`.
PAGES = {
    "home": ["../"],
    "log_in": ["log-in/?next=/"],
    "search": ["search/?q=ромашко"],
    "subscriptions": ["subscriptions/?price_from=4.50&ordering=price"],
    "clients": ["clients/"],
    "services": ["services/"],
    "plans": ["plans/"],
    "client": ["clients/{client}/"],
    "add_client": ["clients/new/"],
    "edit_client": ["clients/{client}/edit/"],
    "add_subscription": ["clients/{client}/add/"],
    "subscription": ["subscriptions/{subscription}/"],
    "edit_subscription": ["subscriptions/{subscription}/edit/"],
    "subscription_verb": ["subscriptions/{subscription}/move/"],
    "service": ["services/{service}/"],
    "add_service": ["services/new/"],
    "edit_service": ["services/{service}/edit/"],
    "change_list_price": ["services/{service}/price/"],
    "plan": ["plans/{plan}/"],
    "add_plan": ["plans/new/"],
    "edit_plan": ["plans/{plan}/edit/"],
    "change_discount": ["plans/{plan}/discount/"],
    "changes": ["changes/"],
    "new_change": ["changes/new/"],
    "plan_change": ["changes/new/list_price/", "changes/new/set/?adjustment=percent"],
    "change": ["changes/{planned}/", "changes/{applied}/"],
    "change_rows": ["changes/{planned}/rows/"],
    "notices": ["changes/{scheduled}/notices/"],
    "change_verb": ["changes/{planned}/approve/", "changes/{planned}/reject/"],
    "brake": ["changes/brake/"],
    "files": ["files/"],
    "imports": ["files/imports/"],
    "import": ["files/imports/{job}/"],
    "exports": ["files/exports/"],
    "then": ["then/"],
    "bridge": ["then/bridge/?by=client"],
    "bridge_rows": ["then/bridge/rows/?kind=started"],
    "evidence": ["then/evidence/"],
}
# The others answer with a part of a page, a file, or the address of a page.
NOT_PAGES = {
    "change_clients", "change_count", "clone_change", "do_import", "evidence_file", "export",
    "forget_mapping", "import_problems", "language", "log_out", "mark_told", "notices_file",
    "rest_of_change", "upload", "upload_told",
}  # fmt: skip


def pages_named() -> set[str]:
    """The names of all addresses of the desk."""
    desk = get_resolver().namespace_dict["desk"][1]
    return {name for name in desk.reverse_dict if isinstance(name, str)}


def a_book_with_all() -> dict[str, int]:
    """A book in which each page has something to show: the ids that the addresses of PAGES name."""
    a_book(12, services=2, plans=2)
    client, phone, plan = a_client("ООО Ромашка"), a_service(20, "Phone"), a_plan(10)
    subscription = a_subscription(client, phone, plan)
    a_subscription(client, a_service(12, "Streaming TV"), a_plan(0))
    before = planned(kind="list_price", service=phone.pk, new_value="24", title="Spring")
    applied(before)
    later = planned(kind="set", adjustment="percent", operand=10, title="Autumn")
    scheduled = planned(kind="set", adjustment="percent", operand=5, title="Winter",
                        effective_at=timezone.now() + timedelta(days=40))  # fmt: skip
    approved(scheduled)
    browser = Browser()
    browser.force_login(User.objects.create_superuser("carol"))
    job = looked_at_file(browser, forty(F7=101, G12="31.11.2025"))
    return {
        "client": client.pk, "subscription": subscription.pk, "service": phone.pk, "plan": plan.pk,
        "applied": before.pk, "planned": later.pk, "scheduled": scheduled.pk,
        "job": job.pk,
    }  # fmt: skip


def addresses(book: dict[str, int]) -> list[tuple[str, str]]:
    """The names and the addresses of all pages."""
    return [
        (name, "/" if path == "../" else "/desk/" + path.format(**book))
        for name, paths in PAGES.items()
        for path in paths
    ]


def name_of(page: Page) -> str:
    return resolve(urlsplit(page.url).path).url_name or ""


def looked_at(page: Page, shot: str = "") -> None:
    """axe finds nothing that is moderate or worse, and no width makes the page scroll aside.

    `shot`: how its picture is called; it is taken where SHOTS names a directory for it.
    """
    page.evaluate(AXE)
    assert page.evaluate(FOUND) == [], page.url
    size = page.viewport_size
    assert size is not None
    if shot and (directory := os.environ.get("SHOTS")):
        page.screenshot(path=Path(directory) / f"{re.sub('[^a-z0-9]+', '-', shot)}.png")
    for width in {size["width"], NARROW}:
        page.set_viewport_size({"width": width, "height": size["height"]})
        assert page.evaluate(SPREAD) <= 0, f"{page.url} at {width}"
    page.set_viewport_size(size)
