"""`manage api_key`."""

import io
import json

import pytest
from django.core.management import CommandError, call_command

from keys.models import ApiKey
from keys.tests.asking import accepts, code_of
from keys.tests.making import a_key
from pricebook.kit.scopes import READ_SCOPES

pytestmark = pytest.mark.django_db


def api_key(*words):
    out, told = io.StringIO(), io.StringIO()
    by = () if words[0] == "list" else ("--author", "ann")
    call_command("api_key", *map(str, words), *by, stdout=out, stderr=told)
    return out.getvalue(), told.getvalue()


def records(*words):
    return [json.loads(line) for line in api_key(*words, "--json")[0].splitlines()]


class TestCreate:
    def test_prints_the_key_alone(self):
        text, told = api_key("create", "biller")
        assert accepts(text.strip())
        key = ApiKey.objects.get()
        assert (key.name, key.scopes, key.made_by) == ("biller", [*READ_SCOPES], "ann (claimed)")
        assert "It is shown this once" in told

    def test_is_one_object_for_programs(self):
        [key] = records(
            *("create", "erp", "--scope", "price_changes:plan", "--scope", "clients:read"),
            *("--expires", "2099-01-01T00:00:00Z"),
        )
        assert accepts(key["key"])
        assert key["scopes"] == ["clients:read", "price_changes:plan"]
        assert key["expires_at"] == "2099-01-01T00:00:00Z"

    @pytest.mark.parametrize(
        ("words", "code"),
        [
            (("",), "bad_name"),
            (("a" * 51,), "bad_name"),
            (("erp", "--expires", "2020-01-01T00:00:00Z"), "in_the_past"),
        ],
    )
    def test_refuses_what_can_not_be_used(self, words, code):
        with pytest.raises(CommandError, match=code):
            api_key("create", *words)
        assert not ApiKey.objects.exists()


def test_list_shows_all_and_no_secret():
    key, text = a_key("erp")
    printed, _ = api_key("list")
    assert "erp" in printed
    assert text not in printed
    [shown] = records("list")
    assert (shown["id"], shown["state"], "key" in shown) == (key.number, "valid", False)


def test_rotate_prints_the_new_secret():
    key, old = a_key("erp")
    text, told = api_key("rotate", key.number, "--overlap-hours", 1)
    assert (code_of(old), code_of(text.strip())) == ("", "")
    assert "The old secret is good until" in told
    [rotated] = records("rotate", key.number, "--overlap-hours", 0)
    assert (code_of(text.strip()), code_of(rotated["key"])) == ("rotated_key", "")
    for hours in (-1, 721, 10**30):
        with pytest.raises(CommandError, match="out_of_range"):
            api_key("rotate", key.number, "--overlap-hours", hours)


def test_revoke_ends_a_key():
    key, text = a_key("erp")
    assert "is revoked" in api_key("revoke", key.number)[0]
    assert code_of(text) == "revoked_key"
    assert records("revoke", key.number)[0]["state"] == "revoked"
    with pytest.raises(CommandError, match="not_found"):
        api_key("revoke", key.number + 1)
