"""The way back from a page that could not be shown leads to a page of ours, or nowhere."""

import pytest

from desk.coming_back import form_page, page_before


@pytest.mark.parametrize(
    ("referer", "path"),
    [
        ("http://testserver/desk/clients/?q=acme", "/desk/clients/?q=acme"),
        ("http://testserver/desk/plans/", ""),  # itself
        ("http://other.example/desk/clients/", ""),
        ("http://testserver//other.example/", ""),
        ("//other.example/", ""),
        ("", ""),
    ],
)
def test_leads_to_the_page_before_where_that_is_ours(rf, referer, path):
    request = rf.post("/desk/plans/", headers={"referer": referer})
    assert page_before(request) == path
    assert form_page(request) == (path or "/desk/plans/")
