"""The pages of errors, in the reader's language and with a way back; a POST without a log-in."""

import pytest
from django.contrib.auth.models import User
from django.test import Client as Browser

from desk.tests import kept_form
from services.models import Service

RUSSIAN = {"Accept-Language": "ru"}


@pytest.fixture
def anna(db):
    return User.objects.create_superuser("anna", password="right horse")


@pytest.fixture
def clerk(db):
    """A person of the staff without a permission."""
    return User.objects.create_user("boris", password="right horse", is_staff=True)


def logged_in(user, **options):
    browser = Browser(headers=RUSSIAN, **options)
    browser.force_login(user)
    return browser


def test_a_page_that_is_not_there_has_a_way_back(anna):
    for path in ("/nothing/", "/desk/nothing/", "/admin/nothing/"):
        page = logged_in(anna).get(path, headers={"Referer": "http://testserver/desk/files/?a=1"})
        assert page.status_code == 404
        said = page.content.decode()
        assert "Такой страницы нет" in said
        assert 'href="/desk/files/?a=1">Назад' in said
        assert 'href="/">На главную' in said
    strange = logged_in(anna).get("/nothing/", headers={"Referer": "http://elsewhere/"})
    assert "Назад" not in strange.content.decode()


def test_a_page_that_is_not_for_everybody_says_so(clerk):
    for path in ("/admin/services/plan/", "/admin/services/plan/add/"):
        page = logged_in(clerk).get(path)
        assert page.status_code == 403
        assert "Эта страница вам недоступна" in page.content.decode()
        assert "На главную" in page.content.decode()


def test_a_defect_says_so_without_asking_the_database(anna, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("a defect")

    monkeypatch.setattr("desk.menu.menu_of", broken)
    monkeypatch.setattr("desk.errors.menu_of", broken)
    browser = logged_in(anna, raise_request_exception=False)
    page = browser.get("/nothing/")
    assert page.status_code == 500
    assert "Что-то пошло не так" in page.content.decode()
    assert 'href="/"' in page.content.decode()


def test_a_form_sent_after_the_log_in_has_ended_does_nothing(settings, anna):
    settings.ROOT_URLCONF = "desk.tests.kept_form"
    kept_form.sent.clear()
    page = Browser(headers=RUSSIAN).post(
        "/kept/", {"note": "x"}, headers={"Referer": "http://testserver/kept/?of=5"}
    )
    assert page.status_code == 403
    assert "Ничего не сделано" in page.content.decode()
    assert "/desk/log-in/?next=/kept/%3Fof%3D5" in page.content.decode()
    assert kept_form.sent == []


def test_a_form_of_the_admin_sent_after_the_log_in_has_ended_is_given_back_once(anna):
    typed = {"name": "Fax <&>", "full_price": "12.50", "_save": "Save", "initial-name": "Old"}
    page = Browser(headers=RUSSIAN).post("/admin/services/service/add/", typed)
    said = page.content.decode()
    assert page.status_code == 403
    assert "no-store" in page["Cache-Control"]
    assert "Ничего не сохранено" in said
    assert "<dt>цена по каталогу</dt><dd>12.50</dd>" in said.lower()
    assert "Fax &lt;&amp;&gt;" in said
    assert "/desk/log-in/?next=/admin/services/service/add/" in said
    assert "Old" not in said
    assert not Service.objects.exists()
    # The words of another site are not shown.
    checked = Browser(enforce_csrf_checks=True, headers=RUSSIAN)
    assert "Fax" not in checked.post("/admin/services/service/add/", typed).content.decode()


def test_a_form_of_an_earlier_log_in_is_out_of_date(anna):
    browser = Browser(enforce_csrf_checks=True, headers=RUSSIAN)
    browser.force_login(anna)
    page = browser.post(
        "/desk/log-out/",
        {"csrfmiddlewaretoken": "of another log-in"},
        headers={"Referer": "http://testserver/desk/clients/"},
    )
    assert page.status_code == 403
    assert "Эта форма устарела" in page.content.decode()
    assert 'href="/desk/clients/">Назад к форме' in page.content.decode()
    assert browser.get("/").context["user"] == anna


@pytest.mark.parametrize("path", ["/desk/log-in/", "/admin/login/"])
def test_the_log_in_says_once_that_it_has_failed(anna, path):
    form = {"username": "anna", "password": "wrong"}
    page = Browser(headers=RUSSIAN).post(path, form).content.decode()
    assert page.count("Пожалуйста, введите корректные") == 1
    assert Browser().post(path, form | {"password": "right horse"}).status_code == 302


def test_a_person_who_is_not_staff_is_not_sent_round_in_a_circle(db):
    client = User.objects.create_user("client", password="right horse")
    page = logged_in(client).get("/admin/", follow=True)
    assert page.status_code == 200
    assert page.request["PATH_INFO"] == "/admin/login/"


def test_too_many_attempts_are_told_in_the_frame_of_the_desk(anna, settings):
    settings.LOGIN_ATTEMPTS = 1
    browser = Browser(headers=RUSSIAN)
    for _ in range(2):
        page = browser.post("/desk/log-in/", {"username": "anna", "password": "wrong"})
    assert page.status_code == 429
    assert "Слишком много попыток входа" in page.content.decode()
    assert 'href="/desk/log-in/"' in page.content.decode()
