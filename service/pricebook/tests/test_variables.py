"""A variable with a value that can't be used is named, with what it may be."""

import re

import pytest
from django.core.exceptions import ImproperlyConfigured

from pricebook.variables import beside, database, hosts_of, seconds, whole_number


@pytest.mark.parametrize("value", ["0", "-1", "86401", "nan", "soon", ""])
def test_a_time_has_its_bounds(monkeypatch, value):
    monkeypatch.setenv("BODY_TIMEOUT", value)
    with pytest.raises(ImproperlyConfigured, match=r"BODY_TIMEOUT=.* it is 1 to 86400 seconds"):
        seconds("BODY_TIMEOUT", 15, least=1)


@pytest.mark.parametrize("value", ["-1", "65", "1.5", "many", ""])
def test_a_number_has_its_bounds(monkeypatch, value):
    monkeypatch.setenv("WEB_THREADS", value)
    with pytest.raises(ImproperlyConfigured, match=r"WEB_THREADS=.* it is 1 to 64"):
        whole_number("WEB_THREADS", 5, 1, 64)


def test_what_is_not_set_has_its_default(monkeypatch):
    monkeypatch.delenv("BODY_TIMEOUT", raising=False)
    assert seconds("BODY_TIMEOUT", 15, least=1) == 15


def where(found):
    return found["HOST"], str(found["PORT"]), found["OPTIONS"].get("target_session_attrs")


class TestDatabases:
    """Several hosts, each with a port, as libpq takes them."""

    @pytest.mark.parametrize(
        ("url", "hosts"),
        [
            ("postgresql://u:p@a/book", ("a", "", None)),
            ("postgresql://u:p@a:5433/book", ("a", "5433", None)),
            ("postgres://u:p@a:5433,b/book", ("a,b", "5433,5432", "read-write")),
            ("psql://u:p@a,b,c/book?target_session_attrs=any", ("a,b,c", "", "any")),
            ("postgresql://u@[::1]:5433,b:5434/book", ("::1,b", "5433,5434", "read-write")),
            ("postgresql://u@%2Frun%2Fa,b/book", ("/run/a,b", "", "read-write")),
        ],
    )
    def test_of_an_address(self, monkeypatch, url, hosts):
        monkeypatch.setenv("DATABASE_URL", url)
        found = database("DATABASE_URL", "read-write")
        assert where(found) == hosts
        assert (found["NAME"], found["USER"]) == ("book", "u")

    @pytest.mark.parametrize(
        ("hosts", "ports", "found"),
        [
            ("a", "", ("a", "", None)),
            ("a,b", "", ("a,b", "", "read-write")),
            ("a, b", "5433", ("a,b", "5433", "read-write")),
            ("a,b", "5433,", ("a,b", "5433,5432", "read-write")),
        ],
    )
    def test_of_the_tutorials_variables(self, monkeypatch, hosts, ports, found):
        monkeypatch.setenv("DB_HOST", hosts)
        monkeypatch.setenv("DB_PORT", ports)
        assert where(hosts_of("DB_HOST", "DB_PORT", "read-write")) == found

    @pytest.mark.parametrize(
        ("url", "said"),
        [
            ("postgresql://a:x/book", "port 'x' is not known; it is 1 to 65535"),
            ("postgresql://a:0,b/book", "port '0' is not known"),
            ("postgresql://a:65536/book", "port '65536' is not known"),
            ("postgresql://a,,b/book", "one of the hosts 'a,,b' is empty"),
            ("postgresql://::1/book", "An IPv6 address is in brackets"),
            ("postgresql://a,b/book?target_session_attrs=primry", "primry is not known; it may be"),
            ("mysql://a/book", "mysql is not known; it is postgresql://"),
            ("a:5432/book", "DATABASE_URL: a is not known"),
        ],
    )
    def test_that_can_not_be_used_say_why(self, monkeypatch, url, said):
        monkeypatch.setenv("DATABASE_URL", url)
        with pytest.raises(ImproperlyConfigured, match=re.escape(said)):
            database("DATABASE_URL", "read-write")

    def test_of_the_tutorial_with_too_few_ports_say_so(self, monkeypatch):
        monkeypatch.setenv("DB_HOST", "a,b,c")
        monkeypatch.setenv("DB_PORT", "5432,5433")
        with pytest.raises(ImproperlyConfigured, match="2 ports for 3 hosts"):
            hosts_of("DB_HOST", "DB_PORT", "read-write")

    def test_beside_another_one_take_its_names_and_limits_and_no_pool(self, monkeypatch):
        first = {
            "ENGINE": "pricebook.database",
            "HOST": "a",
            "PORT": "1",
            "NAME": "book",
            "USER": "u",
            "PASSWORD": "p",
            "OPTIONS": {"connect_timeout": 4, "pool": {}, "target_session_attrs": "read-write"},
        }
        monkeypatch.setenv("REPLICA", "postgresql://b:5433/")
        found = beside(first, "replica", "REPLICA", "standby", "-c x=1")["replica"]
        assert where(found) == ("b", "5433", None)
        assert [found[name] for name in ("NAME", "USER", "PASSWORD")] == ["book", "u", "p"]
        assert found["ENGINE"] == "pricebook.database"
        assert found["OPTIONS"] == {"connect_timeout": 4, "options": "-c x=1"}
        monkeypatch.setenv("REPLICA", "")
        assert beside(first, "replica", "REPLICA", "standby", "") == {}
