"""The language of an answer: the reader's, the browser's, or the deployment's; and of the API."""

import re

import pytest
from django.conf import settings as configured
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client as Browser
from django.urls import reverse
from django.utils.translation import gettext

import celery_app
from pricebook.kit import idle
from pricebook.tests.test_amounts_in_forms import known_records
from pricebook.urls import router
from services.jobs import running
from services.models import Job

RUSSIAN = {"Accept-Language": "ru-RU,ru;q=0.9,en;q=0.8"}
LIST = "/api/subscriptions/?page_size=1"


@pytest.fixture
def anna(db):
    return User.objects.create_superuser("anna", password="right horse")


def a_browser(user=None, **headers):
    browser = Browser(headers=headers)
    if user:
        browser.force_login(user)
    return browser


def language_of(page):
    return page["Content-Language"]


# The records of paths whose name is another one than their model's.
OF_PATH = {"price-change": "pricechange", "key": "apikey", "webhook": "endpoint"}


def readable(by_name):
    """The paths of the API that can be read, of the records that there are."""
    for url in router.urls:
        if "get" in getattr(url.callback, "actions", {}):
            name, _, _ = str(url.name).rpartition("-")
            if "pk" not in url.pattern.regex.groupindex:
                yield reverse(url.name)
            elif record := by_name.get(OF_PATH.get(name, name)):
                yield reverse(url.name, args=[getattr(record, "number", record.pk)])
    yield from ("/api/totals/?by=plan", "/api/ledger/", "/api/events/")


class TestPage:
    @pytest.mark.parametrize(
        ("asked", "shown"),
        [
            ({}, "en"),
            (RUSSIAN, "ru"),
            ({"Accept-Language": "en-US,ru"}, "en"),
            ({"Accept-Language": "de"}, "en"),
            ({"Accept-Language": "\x00;q=x,,"}, "en"),
        ],
    )
    def test_is_in_the_language_of_the_browser(self, db, asked, shown):
        page = a_browser(**asked).get("/desk/log-in/")
        assert language_of(page) == shown
        assert ("Войти" in page.content.decode()) == (shown == "ru")
        assert "Accept-Language" in page["Vary"]

    def test_is_in_that_of_the_deployment_if_the_browser_asks_for_none(self, db, settings):
        settings.LANGUAGE_CODE = "ru"
        assert language_of(a_browser().get("/desk/log-in/")) == "ru"

    def test_is_in_the_language_that_its_reader_chose_in_another_browser_too(self, anna):
        here, there = a_browser(anna), a_browser(**{"Accept-Language": "en"})
        here.post("/desk/language/", {"language": "ru", "next": "/"})
        assert language_of(here.get("/")) == "ru"

        form = {"username": "anna", "password": "right horse"}
        entered = there.post("/desk/log-in/", form)
        assert language_of(there.get("/")) == "ru"
        of_session, of_language = entered.cookies["sessionid"], entered.cookies["django_language"]
        for attribute in ("httponly", "samesite", "secure", "path", "domain"):
            assert of_language[attribute] == of_session[attribute], attribute

    def test_forgets_no_choice_for_a_language_that_there_is_not(self, anna):
        browser = a_browser(anna)
        browser.post("/desk/language/", {"language": "ru"})
        browser.post("/desk/language/", {"language": "xx"})
        assert browser.get("/desk/language/").status_code == 405
        assert language_of(browser.get("/")) == "ru"


class TestApi:
    @pytest.mark.parametrize("path", ["/api/nothing/", "/api/subscriptions/?page=x", LIST])
    def test_says_what_is_wrong_in_the_language_that_is_asked_for(self, settings, db, path):
        settings.LANGUAGE_CODE = "ru"  # which is that of pages alone
        english, russian = a_browser().get(path), a_browser(**RUSSIAN).get(path)
        assert language_of(english) == "en"
        assert english.json()["detail"].isascii()
        assert language_of(russian) == "ru"
        assert not russian.json()["detail"].isascii()
        for member in ("code", "title", "type", "status"):
            assert english.json()[member] == russian.json()[member]
        for answer in (english, russian):
            assert "Accept-Language" in answer["Vary"]

    def test_reads_out_the_same_in_every_language(self, anna):
        by_name = {str(model._meta.model_name): each for model, each in known_records().items()}
        in_english, in_russian = a_browser(anna), a_browser(anna, **RUSSIAN)
        read = 0
        for path in readable(by_name):
            english, russian = in_english.get(path), in_russian.get(path)
            if english.status_code == 200:
                # (An answer may have the time at which it was asked for.)
                assert re.sub(rb"\d", b"", english.content) == re.sub(rb"\d", b"", russian.content)
                for answer in (english, russian):
                    assert "Accept-Language" not in answer.get("Vary", ""), path
                    assert "Content-Language" not in answer, path
                read += 1
        assert read >= 20


class TestIdleLimit:
    @pytest.fixture(autouse=True)
    def clock(self, monkeypatch, settings):
        settings.SESSION_IDLE = 30
        self.now = 1_800_000_000
        monkeypatch.setattr(idle, "_now", lambda: self.now)

    def test_ends_a_log_in_that_nobody_uses(self, anna):
        browser = a_browser(anna)
        for _ in range(3):
            assert browser.get("/").context["user"] == anna
            self.now += 29 * 60
        self.now += 60
        assert not browser.get("/").context["user"].is_authenticated

    def test_is_not_put_off_by_a_page_that_refreshes_itself(self, anna):
        browser = a_browser(anna)
        browser.get("/")
        for _ in range(2):
            self.now += 16 * 60
            page = browser.get("/", headers={"Pricebook-Live": "1"})
        assert not page.context["user"].is_authenticated

    def test_costs_a_write_a_minute_at_most(self, anna, django_assert_num_queries):
        browser = a_browser(anna)
        browser.get("/healthz")
        self.now += 59
        with django_assert_num_queries(2):  # the session, and the question of healthz
            browser.get("/healthz")

    def test_may_be_none(self, anna, settings):
        settings.SESSION_IDLE = 0
        browser = a_browser(anna)
        browser.get("/")
        self.now += 13 * 24 * 3600
        assert browser.get("/").context["user"] == anna


class TestStoredTexts:
    """They are English, whoever reads while they are written."""

    def test_of_workers(self, settings):
        settings.LANGUAGE_CODE = "ru"
        assert gettext("Back") == "Назад"
        celery_app.work_in_english()
        assert gettext("Back") == "Back"

    def test_of_jobs(self, settings, db):
        settings.LANGUAGE_CODE = "ru"
        job = Job.objects.create(
            kind="clients", author="ann", skip=False, dry_run=False, counts={}, attempts=99
        )
        running.run()
        job.refresh_from_db()
        assert job.error["detail"].isascii()

    def test_of_the_log_of_the_admin(self, anna):
        page = a_browser(anna, **RUSSIAN).post(
            "/admin/services/plan/add/", {"plan_type": "student", "discount_percent": "5"}
        )
        assert page.status_code == 302
        assert LogEntry.objects.get().object_repr == "student -5 %"


def test_the_default_language_is_one_of_ours():
    assert configured.LANGUAGE_CODE in dict(configured.LANGUAGES)
