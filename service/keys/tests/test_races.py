"""Keys that are written by two at once, on connections of their own; requests wait for neither."""

import pytest

from keys import last_use, verbs
from keys.models import ApiKey
from keys.tests.asking import code_of
from keys.tests.making import a_key
from keys.verbs import KeyRefused, Maker
from pricebook.kit import key_use
from services.tests.interleaving import a_person, in_background

pytestmark = pytest.mark.django_db(transaction=True)

OPERATOR = Maker.operator("ann")
HOLD = "SELECT FROM rest_framework_api_key_apikey WHERE number = %s FOR NO KEY UPDATE"


@pytest.fixture
def key():
    return a_key()


def test_two_rotations_leave_their_two_secrets(key):
    stored, first = key
    with a_person() as other:
        other.execute(HOLD, [stored.number])
        one = in_background(verbs.rotate, stored.number, OPERATOR).until_it_waits()
        two = in_background(verbs.rotate, stored.number, OPERATOR).until_it_waits()
        other.commit()
    texts = [one.result()[1], two.result()[1]]
    assert [code_of(text) for text in texts] == ["", ""]
    assert code_of(first) == "wrong_key"


def test_a_rotation_that_waited_for_a_revocation_is_refused(key):
    stored, text = key
    with a_person() as other:
        other.execute(HOLD, [stored.number])
        revoked = in_background(verbs.revoke, stored.number, OPERATOR).until_it_waits()
        rotated = in_background(verbs.rotate, stored.number, OPERATOR).until_it_waits()
        other.commit()
    revoked.result()
    with pytest.raises(KeyRefused) as refused:
        rotated.result()
    assert refused.value.code == "key_revoked"
    assert code_of(text) == "revoked_key"


def test_a_request_waits_for_no_writer_of_its_key(key):
    stored, text = key
    with a_person() as other:
        other.execute(HOLD, [stored.number])
        assert in_background(code_of, text).result(seconds=5) == ""


def test_the_last_use_overwrites_nothing_of_a_rotation(key):
    stored, old = key
    key_use._noted.clear()
    assert code_of(old) == ""
    with a_person() as other:
        other.execute(HOLD, [stored.number])
        writing = in_background(last_use.write).until_it_waits()
        other.execute(
            "UPDATE rest_framework_api_key_apikey SET name = 'renamed' WHERE number = %s",
            [stored.number],
        )
        other.commit()
    assert writing.result() == 1
    after = ApiKey.objects.get()
    assert (after.name, after.last_used_at is not None) == ("renamed", True)
    _, new = verbs.rotate(stored.number, OPERATOR, 1)
    assert (code_of(old), code_of(new)) == ("", "")
    assert ApiKey.objects.get().last_used_at == after.last_used_at
