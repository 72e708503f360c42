"""The way back from a page that could not be shown."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.http import HttpRequest
from django.utils.http import url_has_allowed_host_and_scheme


def page_before(request: HttpRequest) -> str:
    """The path and query of the page of ours that this request comes from; empty if from none."""
    referer = request.META.get("HTTP_REFERER", "")
    if not url_has_allowed_host_and_scheme(referer, {request.get_host()}):
        return ""
    address = urlsplit(referer)
    path = address.path + (f"?{address.query}" if address.query else "")
    # Two slashes would begin the name of another site.
    is_ours = path.startswith("/") and not path.startswith("//")
    return path if is_ours and path != request.get_full_path() else ""


def form_page(request: HttpRequest) -> str:
    """The page with the form that this request has sent: some forms are sent elsewhere."""
    return page_before(request) or request.get_full_path()
