"""Expiry at its instant, rotation with two secrets at once, revocation."""

from datetime import timedelta

import pytest
from django.utils import timezone

from keys import verbs
from keys.models import ApiKey
from keys.tests.asking import code_of
from keys.tests.making import a_key
from keys.verbs import KeyRefused, Maker

pytestmark = pytest.mark.django_db

OPERATOR = Maker.operator("ann")
TICK = timedelta(microseconds=1)


@pytest.fixture
def clock(monkeypatch):
    """The time of requests, which stands still."""

    class Still:
        now = timezone.now()

    monkeypatch.setattr(timezone, "now", lambda: Still.now)
    return Still


class TestExpiry:
    def test_is_at_its_instant(self, clock):
        end = clock.now + timedelta(hours=1)
        _, text = a_key(expiry_date=end)
        clock.now = end - TICK
        assert code_of(text) == ""
        clock.now = end
        assert code_of(text) == "expired_key"

    def test_of_the_key_that_made_it_counts_too(self, clock):
        end = clock.now + timedelta(hours=1)
        parent, _ = a_key("parent", expiry_date=end)
        _, text = a_key(made_with_id=parent.number)
        clock.now = end - TICK
        assert code_of(text) == ""
        clock.now = end
        assert code_of(text) == "expired_key"

    def test_can_be_taken_back(self, clock):
        key, text = a_key(expiry_date=clock.now)
        assert code_of(text) == "expired_key"
        ApiKey.objects.filter(pk=key.pk).update(expiry_date=None)
        assert code_of(text) == ""


class TestRotation:
    def test_has_two_secrets_until_the_old_one_ends(self, clock):
        key, old = a_key()
        _, new = verbs.rotate(key.number, OPERATOR, 2)
        assert (code_of(old), code_of(new)) == ("", "")
        clock.now += timedelta(hours=2) - TICK
        assert (code_of(old), code_of(new)) == ("", "")
        clock.now += TICK
        assert (code_of(old), code_of(new)) == ("rotated_key", "")

    def test_without_an_overlap_ends_the_old_secret_at_once(self):
        key, old = a_key()
        _, new = verbs.rotate(key.number, OPERATOR, 0)
        assert (code_of(old), code_of(new)) == ("rotated_key", "")

    def test_leaves_two_secrets_at_most(self):
        key, first = a_key()
        _, second = verbs.rotate(key.number, OPERATOR)
        _, third = verbs.rotate(key.number, OPERATOR)
        assert [code_of(each) for each in (first, second, third)] == ["wrong_key", "", ""]

    def test_keeps_key_number_prefix_scopes_and_end(self):
        key, old = a_key(expiry_date=timezone.now() + timedelta(days=1))
        _, new = verbs.rotate(key.number, OPERATOR)
        after = ApiKey.objects.get()
        for column in ("id", "number", "prefix", "scopes", "expiry_date", "made_by", "name"):
            assert getattr(after, column) == getattr(key, column), column
        assert old.partition(".")[0] == new.partition(".")[0]
        assert after.rotated_by == "ann (claimed)"

    def test_tells_of_the_old_secret_only_who_knows_it(self):
        key, old = a_key()
        verbs.rotate(key.number, OPERATOR, 0)
        assert code_of(old[:-1] + ("a" if old[-1] != "a" else "b")) == "wrong_key"

    @pytest.mark.parametrize("days", [-1, 31])
    def test_has_an_overlap_of_up_to_a_month(self, days):
        key, _ = a_key()
        with pytest.raises(KeyRefused) as refused:
            verbs.rotate(key.number, OPERATOR, days * 24)
        assert refused.value.code == "out_of_range"

    def test_of_a_key_that_has_ended_is_refused(self):
        key, _ = a_key(expiry_date=timezone.now())
        with pytest.raises(KeyRefused) as refused:
            verbs.rotate(key.number, OPERATOR)
        assert (refused.value.code, refused.value.status_code) == ("key_expired", 409)
        verbs.revoke(key.number, OPERATOR)
        with pytest.raises(KeyRefused) as refused:
            verbs.rotate(key.number, OPERATOR)
        assert refused.value.code == "key_revoked"


class TestRevocation:
    def test_ends_both_secrets_and_the_keys_that_it_made(self):
        key, old = a_key()
        _, new = verbs.rotate(key.number, OPERATOR)
        _, child = a_key(made_with_id=key.number)
        assert code_of(child) == ""
        verbs.revoke(key.number, OPERATOR)
        assert [code_of(each) for each in (old, new, child)] == ["revoked_key"] * 3
        assert [each.state() for each in ApiKey.objects.all()] == ["revoked"] * 2

    def test_is_for_ever_and_may_come_twice(self):
        key, _ = a_key()
        verbs.revoke(key.number, OPERATOR)
        again = verbs.revoke(key.number, Maker.operator("bob"))
        assert (again.revoked, again.revoked_by) == (True, "ann (claimed)")

    def test_of_no_key_is_refused(self):
        for verb in (verbs.revoke, verbs.rotate):
            with pytest.raises(KeyRefused) as refused:
                verb(2**62, OPERATOR)
            assert (refused.value.code, refused.value.status_code) == ("not_found", 404)


class TestName:
    @pytest.mark.parametrize("name", ["", "  ", "a" * 51, "two\nlines", "\u202eerp", None, 7])
    def test_has_a_form(self, name):
        with pytest.raises(KeyRefused) as refused:
            a_key(name)
        assert refused.value.code == "bad_name"
        assert not ApiKey.objects.exists()
