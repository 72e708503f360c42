"""Keys that released versions of djangorestframework-api-key have made are taken as they are."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from keys.models import ApiKey
from keys.tests.asking import code_of
from pricebook.kit import secrets_of_keys
from pricebook.kit.secrets_of_keys import hash_of, new_key, new_prefix, verify

pytestmark = pytest.mark.django_db

# What `APIKey.objects.create_key()` of each release has stored, and what it has shown.
OF_RELEASES = {
    "2.3.0": (
        "XZNHbsIV.lmXFi4wotWDuUZqOfHmV8TRI2OmttmZe",
        "pbkdf2_sha256$600000$GtMKe5Y98wrgS764DXW7rD$pG0n6tJ+9NNuEwtHh6I84clZacVvrrVsJOzC2e26dRg=",
    ),
    "3.0.0": (
        "2wPM2HsI.7EcUL6J9TMW4cH5nUNE4sfAmFUmYLNto",
        "sha512$$fe9358052c4e9a52445cc00ba0d9d93b3d2fdb8fcb00c5788b658eddd8e2ee18"
        "f144a855290a2512fc691a2d4e70f891cc7009b2520d468ed2fb204ce532cc9b",
    ),
    "3.1.0": (
        "ylBSwuxG.cJlLqivNrpjDZcqrGXnCsUZScbltDxKq",
        "sha512$$25bff508748674541d2e05f73468c822f737a69e4c564749839adb1715ef783c"
        "ab824a1c076f6458bd44d1c1f329d5c029203c78d3c42f6a7511d87d6a4646f1",
    ),
}
releases = pytest.mark.parametrize("release", OF_RELEASES)


@pytest.fixture(autouse=True)
def nothing_remembered():
    secrets_of_keys._remembered.clear()


def stored(release):
    """The key in the table as that release has left it, and its text."""
    text, hashed = OF_RELEASES[release]
    prefix = text.partition(".")[0]
    ApiKey.objects.create(id=f"{prefix}.{hashed}", prefix=prefix, hashed_key=hashed, name="erp")
    return text


@releases
class TestKeyOfARelease:
    def test_is_taken(self, release):
        assert code_of(stored(release)) == ""

    def test_is_refused_with_another_secret(self, release):
        text = stored(release)
        other = text[:-1] + ("a" if text[-1] != "a" else "b")
        assert code_of(other) == "wrong_key"
        assert code_of(text) == ""  # what is remembered of the right one changes nothing
        assert code_of(other) == "wrong_key"

    def test_is_taken_by_the_prefix_alone_never(self, release):
        text = stored(release)
        assert code_of(text.partition(".")[0] + "." + "x" * 32) == "wrong_key"

    def test_is_read_and_never_written(self, release):
        text = stored(release)
        before = ApiKey.objects.values().get()
        with CaptureQueriesContext(connection) as queries:
            assert code_of(text) == ""
        assert len(queries) == 1  # the key
        assert ApiKey.objects.values().get() == before


def test_a_slow_hash_is_computed_once_in_a_process(monkeypatch):
    text, hashed = OF_RELEASES["2.3.0"]
    asked = []
    monkeypatch.setattr(
        secrets_of_keys, "check_password", lambda key, stored: asked.append(key) or key == text
    )
    assert [verify(text, hashed) for _ in range(3)] == [True] * 3
    assert asked == [text]
    assert not verify(text[:-1] + "?", hashed)
    assert asked == [text]  # the remembered hash answers for wrong keys too


def test_no_more_slow_hashes_are_remembered_than_that(monkeypatch):
    monkeypatch.setattr(secrets_of_keys, "check_password", lambda key, stored: True)
    monkeypatch.setattr(secrets_of_keys, "REMEMBERED", 3)
    for n in range(10):
        verify("key", f"pbkdf2_sha256${n}")
    assert len(secrets_of_keys._remembered) <= 3


@pytest.mark.parametrize("stored", ["", "sha512$$", "!", "nonsense", "sha512", "pbkdf2_sha256$x"])
def test_what_is_no_hash_is_that_of_no_key(stored):
    assert not verify("abcdefgh." + "x" * 32, stored)
    assert not verify("", stored)


def test_new_keys_are_stored_as_the_package_stored_them():
    text, hashed = OF_RELEASES["3.1.0"]
    assert hash_of(text) == hashed
    made = new_key(new_prefix())
    assert secrets_of_keys.SHAPE.fullmatch(made)
    assert len({new_key("a" * 8) for _ in range(100)}) == 100
