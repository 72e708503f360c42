"""Each path answers each method: what nobody thought of is a 4xx, never a fault of the server."""

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client as Browser
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import RoutePattern

from price_changes.tests.api import ALL, a_program, planned
from services.tests.factories import a_book, a_service

METHODS = ("HEAD", "OPTIONS", "TRACE", "PUT", "PATCH", "DELETE", "PROPFIND", "BREW", "get")
# Pages of Django's admin take each of the others for a GET.
OF_THE_ADMIN = ("HEAD", "OPTIONS", "DELETE", "BREW")
LEAVE = ("/admin/logout/",)  # would end the session of the walk


def sample(pattern) -> str:
    """A path that a pattern matches."""
    if isinstance(pattern, RoutePattern):
        return re.sub(r"<[^>]+>", "1", str(pattern))
    text = str(pattern).lstrip("^").rstrip("$")
    text = text.replace(r"(?:[\s\S]*/)?", "nothing/")
    text = re.sub(r"\(\?P<\w+>(\w+)[^)]*\)", r"\1", text)  # the first of some words
    text = re.sub(r"\(\?P<\w+>\[[^)]*\)", "1", text)
    text = re.sub(r"\(\?P<\w+>\.\*\)", "nothing", text)
    return text.replace("\\", "").rstrip("Z")


def paths(resolver=None, before="/"):
    for each in (resolver or get_resolver()).url_patterns:
        path = before + sample(each.pattern)
        if isinstance(each, URLResolver):
            yield from paths(each, path)
        else:
            assert isinstance(each, URLPattern)
            yield path


PATHS = sorted(set(paths()) - set(LEAVE))


@pytest.fixture
def book(db):
    a_book(3)
    planned(a_program(**ALL), kind="list_price", service=a_service().pk, new_value=2)


@pytest.fixture(params=["nobody", "a superuser", "a program"])
def client(request, db):
    client = a_program("crm", **ALL) if request.param == "a program" else Browser()
    if request.param == "a superuser":
        client.force_login(User.objects.create_superuser("anna"))
    client.raise_request_exception = False
    return client


def test_the_walk_meets_paths_of_every_sort():
    api = {"/api/docs/", "/api/subscriptions/1/lock/", "/api/nothing/"}
    admin = {"/admin/services/plan/1/change/", "/admin/price_changes/pricechange/1/rows/"}
    assert {"/", "/healthz", *api, *admin} <= set(PATHS)
    assert len(PATHS) > 80


@pytest.mark.long
@pytest.mark.usefixtures("book")
def test_no_method_on_any_path_is_a_fault_of_the_server(client):
    seen = {
        (method, path): client.generic(method, path).status_code
        for path in PATHS
        for method in (OF_THE_ADMIN if path.startswith("/admin/") else METHODS)
    }
    assert not {asked: status for asked, status in seen.items() if status >= 500}


@pytest.mark.usefixtures("book")
@pytest.mark.parametrize("path", ["/api/schema/", "/api/docs/", "/api/totals/", "/api/clients/"])
def test_options_name_the_methods(path):
    response = a_program("crm", **ALL).options(path)
    assert response.status_code == 200
    assert "GET" in response.headers["Allow"]


@pytest.mark.usefixtures("book")
def test_head_is_get_without_a_body():
    erp = a_program("crm", **ALL)
    for path in (path for path in PATHS if path.startswith("/api/")):
        head, get = erp.head(path), erp.get(path)
        assert (path, head.status_code) == (path, get.status_code)
        assert head.content == b""


@pytest.mark.parametrize("method", ["OPTIONS", "HEAD", "BREW", "POST"])
def test_paths_open_to_all_log_no_fault(caplog, method):
    """Otherwise anybody could fill the log."""
    browser = Browser(raise_request_exception=False)
    for path in ("/api/docs/", "/api/schema/", "/api/nothing/", "/nothing", "/static/nothing"):
        assert browser.generic(method, path).status_code < 500
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_host_that_is_not_ours_costs_the_log_one_line(caplog):
    Browser().get("/healthz", headers={"Host": "evil.example.com"})
    assert "evil.example.com" in caplog.text
    assert "Traceback" not in caplog.text
