"""Each caller on each route: what docs/api.md says is what happens."""

import functools
import re
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.backends import ModelBackend

from keys.tests.making import a_key
from keys.tests.matrix import callers, patterns, routes, table

WEBHOOK_VERBS = (
    "deliveries", "rotate", "end_rotation", "enable", "disable", "test", "replay",
)  # fmt: skip
GUIDE = Path(django_settings.BASE_DIR).parent / "docs" / "api.md"


def let_in(answer):
    """Whether a request has passed the rights; what became of it then is no matter here."""
    return answer.status_code != 401 and (
        answer.status_code != 403 or answer.json()["code"] != "permission_denied"
    )


@pytest.fixture
def people_are_read_once(monkeypatch, settings):
    """Nobody's rights change here: each person and session is read for one request, not for all.

    Django keeps the permissions that it has read with the user, who is a new one for each request.
    """
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"
    read_once = staticmethod(functools.cache(ModelBackend().get_user))
    monkeypatch.setattr(ModelBackend, "get_user", read_once)


@pytest.mark.long
@pytest.mark.django_db
def test_every_caller_is_let_in_where_its_rights_say_so_and_nowhere_else(people_are_read_once):
    all_routes, everybody = routes(), callers()
    key, _ = a_key("whose rights are asked")
    wrong, open_cells = [], 0
    for route in all_routes:
        for caller in everybody:
            expected = route.lets_in(caller.permissions)
            answer = route.answer(caller.client, **({"id": key.number} if route.itself else {}))
            open_cells += expected
            if let_in(answer) != expected or (
                not expected and answer.status_code != caller.refusal
            ):
                wrong.append((str(route), caller.name, answer.status_code, expected))
            assert answer.status_code < 500
    assert not wrong
    count = re.search(
        r"(\d+) requests × (\d+) callers = ([\d,]+) cells, ([\d,]+) of them let in",
        GUIDE.read_text(),
    )
    said = tuple(int(number.replace(",", "")) for number in count.groups())
    cells = len(all_routes) * len(everybody)
    assert said == (len(all_routes), len(everybody), cells, open_cells)


@pytest.mark.django_db
def test_open_reads_open_what_is_read_of_the_book_and_nothing_else(settings):
    settings.OPEN_READS = True
    [nobody, outsider, *_] = callers()
    for route in routes():
        reads_the_book = route.method == "get" and not route.never_open
        assert let_in(route.answer(nobody.client)) == reads_the_book, route
        assert let_in(route.answer(outsider.client)) == reads_the_book, route


def test_every_route_says_what_it_takes():
    assert all(route.needs for route in routes())
    assert len(routes()) > 30
    assert {route.path for route in routes() if route.never_open} == {
        "/api/keys/",
        "/api/keys/{id}/",
        "/api/keys/{id}/rotate/",
        "/api/keys/{id}/revoke/",
        "/api/imports/",
        "/api/jobs/",
        "/api/jobs/{id}/",
        "/api/jobs/{id}/lines/",
        "/api/jobs/{id}/cancel/",
        "/api/jobs/{id}/undo/",
        "/api/events/",
        "/api/webhooks/",
        "/api/webhooks/{id}/",
        *[f"/api/webhooks/{{id}}/{verb}/" for verb in WEBHOOK_VERBS],
    }
    assert len(list(patterns())) > len(routes()) / 2


def test_the_guide_has_the_table():
    expected = table(routes())
    assert expected in GUIDE.read_text(), f"docs/api.md has another table; this is it:\n{expected}"
