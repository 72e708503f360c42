"""Texts that people have stored are shown as they are: none of them becomes a part of a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.admin import site
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client as Browser
from django.urls import NoReverseMatch, reverse
from playwright.sync_api import expect

from desk.tests.looking import NARROW, SPREAD, a_book_with_all, addresses
from desk.tests.test_files import forty, looked_at
from price_changes.running import brake, rejecting
from price_changes.tests.changes import planned
from pricebook.tests.test_browser import browser_type_launch_args, visit
from services import price_state

__all__ = ["browser_type_launch_args", "visit"]  # fixtures

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:Session-scoped fixtures defined as instance methods"),
]

TEXT, LONG = '<b>bold</b>{{ 7 }}"onmouseover=x \u202ecba', "W" * 50
# The text as marks; a backslash before a quotation mark is JSON's.
RAW = re.compile(r'<b>bold|(?<!\\)"onmouseover')
ALIVE = """() => [...document.querySelectorAll("*")].filter(each =>
    each.localName === "b" && each.textContent === "bold" || each.hasAttribute("onmouseover")
).map(each => each.outerHTML.slice(0, 200))"""
TOLD = """addEventListener("securitypolicyviolation", event =>
    console.error(`${location}: ${event.violatedDirective} ${event.blockedURI}`))"""
SCRIPTED = ("home", "client", "service", "change_list_price", "change", "bridge", "import")


def a_hostile_book() -> dict[str, int]:
    """The book of all pages, with texts in it that look like marks, templates and attributes."""
    book = a_book_with_all()
    typed = TEXT.replace("\u202e", "")  # which no door takes
    price_state.negotiate(book["subscription"], 7, typed, typed)
    rejecting.reject(planned(kind="set", adjustment="add", operand=1).pk, "ann", typed)
    brake.pull(typed, typed)
    cells = forty(F7=TEXT, G12=TEXT, C3=TEXT, A5=TEXT, D9="=1+1")
    bob = Browser()
    bob.force_login(User.objects.create_superuser("bob", first_name=TEXT))
    book["job"] = looked_at(bob, cells, f"{TEXT}.xlsx").pk
    with connection.cursor() as cursor:
        for table, names in {
            "clients_client": ("company_name", "full_address"),
            "services_subscription": ("comment",),
            "price_changes_pricechange": ("title", "reason", "comment", "note"),
        }.items():
            given = ", ".join(f"{name} = %(text)s" for name in names)
            cursor.execute(f"UPDATE {table} SET {given}", {"text": TEXT})
        cursor.execute("UPDATE services_service SET name = %s || id", [TEXT])
        named: list[str | int] = [LONG, book["service"]]
        cursor.execute("UPDATE services_service SET name = %s WHERE id = %s", named)
    return book


def of_admin() -> Iterator[str]:
    """The admin's lists, and the pages of one record of each."""
    for model in site._registry:
        name, one = model._meta.label_lower.replace(".", "_"), model._default_manager.first()
        for page in ("changelist", "change", "history"):
            try:
                args = [] if page == "changelist" else [one.pk] if one else None
                if args is not None:
                    yield reverse(f"admin:{name}_{page}", args=args)
            except NoReverseMatch:
                continue


def test_a_stored_text_is_a_text_on_every_page(visit: Any) -> None:
    book = a_hostile_book()
    ann = visit(viewport={"width": NARROW, "height": 900}).log_in("ann")
    reader, pages = Browser(), addresses(book)
    reader.force_login(User.objects.get(username="ann"))
    shown = 0
    for path in [*(path for _name, path in pages), *of_admin()]:
        html = reader.get(path).content.decode()
        assert not RAW.search(html), path
        shown += "{{ 7 }}" in html
    assert shown > 30

    # And those in which scripts have a part; the longest words make none of them scroll aside.
    ann.page.add_init_script(TOLD)
    for name, path in pages:
        if name in SCRIPTED:
            page = ann.open(path)
            assert page.evaluate(ALIVE) == [], path
            assert page.evaluate(SPREAD) <= 0, path
    page.locator("#find").fill("bold")
    expect(page.get_by_role("option").first).to_contain_text("<b>bold</b>{{ 7 }}")
    assert page.evaluate(ALIVE) == []
