"""Limits for guessing: they stop a guesser, and nobody else."""

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client as Browser
from django.test import RequestFactory

from keys.tests.making import a_key
from pricebook.kit import attempts
from pricebook.kit.addresses import address_of
from pricebook.kit.cache import RedisCache

LOGIN = "/admin/login/?next=/"
URL = "/api/subscriptions/"
RIGHT = "right horse"


@pytest.fixture(autouse=True)
def limits(settings, monkeypatch):
    settings.LOGIN_ATTEMPTS, settings.LOGIN_WAIT = 3, 60
    settings.KEY_ATTEMPTS, settings.KEY_WAIT = 3, 60
    for counters in (attempts.LOGINS, attempts.ADDRESSES, attempts.KEYS):
        counters.alone.clear()


@pytest.fixture(params=["with the cache", "while the cache is away"])
def cache_there_or_away(request, monkeypatch):
    if request.param == "while the cache is away":
        monkeypatch.setattr(RedisCache, "_try", lambda self, call, otherwise: otherwise)


@pytest.fixture
def anna(db):
    return User.objects.create_superuser("anna", password=RIGHT)


def log_in(name="anna", password="wrong", address="192.0.2.1", **headers):
    browser = Browser(REMOTE_ADDR=address, **headers)
    return browser.post(LOGIN, {"username": name, "password": password})


@pytest.mark.usefixtures("anna", "cache_there_or_away")
class TestLogIn:
    def test_waits_after_some_wrong_passwords(self):
        assert [log_in().status_code for _ in range(3)] == [200, 200, 200]
        refused = log_in(password=RIGHT)
        assert refused.status_code == 429
        assert 0 < int(refused["Retry-After"]) <= 60
        assert "Too many log-ins" in refused.content.decode()

    @pytest.mark.parametrize("name", ["ANNA", " anna "])
    def test_knows_a_name_in_other_letters(self, name):
        for _ in range(3):
            log_in(name)
        assert log_in().status_code == 429

    def test_of_the_same_name_from_elsewhere_goes_on(self):
        for _ in range(5):
            log_in(address="192.0.2.66")
        assert log_in(password=RIGHT).status_code == 302

    def test_of_another_name_from_there_goes_on(self):
        for _ in range(5):
            log_in("boris")
        assert log_in(password=RIGHT).status_code == 302

    def test_that_succeeds_begins_anew(self):
        for _ in range(3):
            log_in()
            log_in()
            assert log_in(password=RIGHT).status_code == 302

    def test_of_many_names_waits_too(self):
        for number in range(30):
            assert log_in(f"name {number}").status_code == 200
        assert log_in(password=RIGHT).status_code == 429
        assert log_in(password=RIGHT, address="192.0.2.2").status_code == 302

    def test_of_many_who_know_their_passwords_goes_on(self):
        for _ in range(40):
            assert log_in(password=RIGHT).status_code == 302

    def test_is_not_limited_by_0(self, settings):
        settings.LOGIN_ATTEMPTS = 0
        for _ in range(5):
            log_in()
        assert log_in(password=RIGHT).status_code == 302

    def test_is_told_once_in_the_log(self, caplog):
        for _ in range(6):
            log_in()
        assert len([r for r in caplog.records if "Too many log-ins" in r.getMessage()]) == 1


@pytest.mark.django_db
@pytest.mark.usefixtures("cache_there_or_away")
class TestKey:
    def ask(self, key, address="192.0.2.1"):
        return Browser(REMOTE_ADDR=address).get(URL, headers={"Authorization": f"Api-Key {key}"})

    def test_passes_if_it_is_right_after_many_wrong_ones_from_there(self):
        _, right = a_key()
        wrong = "abcdefgh." + "x" * 32
        assert [self.ask(wrong).status_code for _ in range(3)] == [401, 401, 401]
        for key in (wrong, "malformed"):
            refused = self.ask(key)
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_wrong_keys")
            assert 0 < int(refused["Retry-After"]) <= 60
        assert self.ask(right).status_code == 200
        assert self.ask(wrong, "192.0.2.2").status_code == 401

    def test_that_is_malformed_counts_too(self):
        for _ in range(3):
            self.ask("nonsense")
        assert self.ask("nonsense").status_code == 429

    def test_that_is_right_is_not_counted(self):
        _, right = a_key()
        assert {self.ask(right).status_code for _ in range(6)} == {200}


class TestCounters:
    def test_end_after_their_time(self):
        counters = attempts.Counters("test")
        cache.delete(counters._key("a"))
        assert counters.add("a", 60) == (1, 60)
        assert counters.add("a", 60)[0] == 2
        counters.forget("a")
        assert counters.add("a", 60)[0] == 1

    def test_of_a_process_are_not_more_than_some(self, monkeypatch):
        monkeypatch.setattr(RedisCache, "_try", lambda self, call, otherwise: otherwise)
        monkeypatch.setattr(attempts, "MOST", 5)
        counters = attempts.Counters("test")
        for number in range(20):
            counters.add(str(number), 60)
        assert len(counters.alone) <= 5


class TestAddress:
    @pytest.mark.parametrize(
        ("proxies", "forwarded", "address"),
        [
            (0, "203.0.113.9", "192.0.2.1"),
            (1, "203.0.113.9", "203.0.113.9"),
            (1, "1.1.1.1, 203.0.113.9", "203.0.113.9"),  # the client has written the first
            (2, "1.1.1.1, 203.0.113.9, 10.0.0.1", "203.0.113.9"),
            (2, "203.0.113.9", "192.0.2.1"),
            (1, "", "192.0.2.1"),
            (1, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            (1, "::ffff:203.0.113.9", "203.0.113.9"),
            (1, "unknown", "unknown"),
            (1, "x" * 5000, "x" * 50),
        ],
    )
    def test_is_the_one_that_our_proxies_saw(self, settings, proxies, forwarded, address):
        settings.PROXIES = proxies
        request = RequestFactory().get("/", REMOTE_ADDR="192.0.2.1")
        if forwarded:
            request.META["HTTP_X_FORWARDED_FOR"] = forwarded
        assert address_of(request) == address

    def test_of_a_unix_socket_is_empty(self):
        assert address_of(RequestFactory().get("/", REMOTE_ADDR="")) == ""
