"""Every page in every way: languages, themes, widths, 200 %, and no motion.

./pricebook test -m matrix --browser service/desk/tests/test_matrix_in_browser.py
"""

from __future__ import annotations

from typing import Any

import pytest

from desk.tests.looking import FOUND, NARROW, SPREAD, WIDE, a_book_with_all, addresses
from pricebook.tests.test_browser import AXE, browser_type_launch_args, visit

__all__ = ["browser_type_launch_args", "visit"]  # fixtures

pytestmark = [
    pytest.mark.browser,
    pytest.mark.matrix,
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:Session-scoped fixtures defined as instance methods"),
]

TALL = 900
WIDTHS = (NARROW, 768, WIDE, 2560)
PASSED = """async () => (await axe.run(document, {resultTypes: ["passes"]})).passes
    .map(each => each.id)"""
MOVES = """[...document.querySelectorAll("*")].map(each => getComputedStyle(each))
    .filter(each => each.transitionDuration !== "0s" || each.animationName !== "none").length"""


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("language", ["en-US", "ru-RU"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_in_all_widths(visit: Any, language: str, scheme: str, capsys: Any) -> None:
    """200 % gives a page half of the CSS pixels, each twice as large; there nothing moves."""
    pages = addresses(a_book_with_all())
    ann = visit(locale=language, color_scheme=scheme).log_in("ann")
    large = visit(
        locale=language, color_scheme=scheme, device_scale_factor=2, reduced_motion="reduce"
    ).log_in("bob")
    found, looks, passed = [], 0, set()
    for _name, path in pages:
        for person in (ann, large):
            page = person.open(path)
            assert page.locator("html").get_attribute("lang") == language[:2]
            page.evaluate(AXE)
        for person, width in [*((ann, each) for each in WIDTHS), (large, WIDE // 2)]:
            person.page.set_viewport_size({"width": width, "height": TALL})
            found += [f"{path} at {width}: {each}" for each in person.page.evaluate(FOUND)]
            looks += 1
            if person.page.evaluate(SPREAD) > 0:
                found.append(f"{path} at {width}: scrolls aside")
        passed |= set(large.page.evaluate(PASSED))
        if large.page.evaluate(MOVES):
            found.append(f"{path}: moves for somebody who wants no motion")
    with capsys.disabled():
        print(
            f"\n{language} {scheme}: {len(pages)} pages in {looks} ways, {len(found)} findings;"
            f" {len(passed)} rules of axe passed"
        )
    assert found == []
