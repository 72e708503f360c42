"""A variable with a value that can't be used is named, with what it may be."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from pricebook.variables import seconds, whole_number


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
