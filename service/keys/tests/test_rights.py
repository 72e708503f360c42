"""No key grants what its maker lacks: when it is made, when it is used, and when it is rotated."""

import pytest
from django.contrib.auth.models import Group, Permission, User

from keys import verbs
from keys.models import ApiKey
from keys.tests.asking import code_of, with_key
from keys.tests.making import a_key, a_member_of_staff
from keys.verbs import KeyRefused, Maker
from pricebook.kit.access import Program
from pricebook.kit.scopes import (
    CHANGE_KEY,
    MAKE_KEY,
    SCOPES,
    VIEW_CLIENT,
    VIEW_KEY,
    VIEW_SERVICE,
    permissions_of,
    scopes_for,
)
from pricebook.kit.stored_keys import key_of

pytestmark = pytest.mark.django_db

KEEPS_KEYS = (VIEW_KEY, MAKE_KEY, CHANGE_KEY)


def refused(call, *given, **named):
    with pytest.raises(KeyRefused) as refusal:
        call(*given, **named)
    return refusal.value


def may(text):
    """The permissions that a key has now."""
    return key_of(text.partition(".")[0]).granted


def program(text):
    return Maker.of(Program(key_of(text.partition(".")[0])))


@pytest.fixture
def ann():
    return a_member_of_staff("ann", *KEEPS_KEYS, VIEW_CLIENT)


class TestMaking:
    def test_takes_the_permission_to_make_keys(self):
        bob = a_member_of_staff("bob", VIEW_CLIENT)
        refusal = refused(verbs.make, "erp", ["clients:read"], Maker.of(bob))
        assert (refusal.status_code, refusal.about["missing"]) == (403, MAKE_KEY)

    @pytest.mark.parametrize("scope", SCOPES)
    def test_grants_no_scope_that_the_maker_lacks(self, ann, scope):
        given = verbs.make, "erp", ["clients:read", scope], Maker.of(ann)
        if permissions_of([scope]) <= {*KEEPS_KEYS, VIEW_CLIENT}:
            made, _ = verbs.make(*given[1:])
            assert scope in made.scopes
        else:
            refusal = refused(*given)
            assert (refusal.code, refusal.status_code) == ("grants_too_much", 403)
            assert refusal.about["missing"] in permissions_of([scope])
            assert not ApiKey.objects.exists()

    def test_says_who_made_it(self, ann):
        made, _ = verbs.make("erp", ["clients:read"], Maker.of(ann))
        assert (made.made_by, made.maker) == (f"ann (person {ann.pk})", ann)
        by_hand, _ = a_key("crm")
        assert (by_hand.made_by, by_hand.maker) == ("tests (claimed)", None)

    def test_by_a_key_is_by_that_key_and_by_its_maker(self, ann):
        parent, text = verbs.make("parent", ["clients:read", "keys:manage"], Maker.of(ann))
        child, _ = verbs.make("child", ["clients:read"], program(text))
        assert child.made_by == f"parent (key {parent.number})"
        assert (child.maker, child.made_with) == (ann, parent)

    def test_by_a_key_gives_no_scope_that_the_key_lacks(self, ann):
        _, text = verbs.make("parent", ["keys:manage"], Maker.of(ann))
        refusal = refused(verbs.make, "child", ["clients:read"], program(text))
        assert (refusal.code, refusal.about["missing"]) == ("grants_too_much", VIEW_CLIENT)

    def test_by_a_key_makes_none_that_makes_keys(self, ann):
        _, text = verbs.make("parent", ["keys:manage"], Maker.of(ann))
        refusal = refused(verbs.make, "child", ["keys:manage"], program(text))
        assert (refusal.code, refusal.about["value"]) == ("grants_too_much", "keys:manage")

    def test_refuses_a_scope_that_there_is_not(self, ann):
        refusal = refused(verbs.make, "erp", ["clients:wipe"], Maker.of(ann))
        assert (refusal.code, refusal.status_code) == ("unknown_scope", 400)


class TestUsing:
    def test_ends_with_the_right_of_the_maker(self, ann):
        _, text = verbs.make("erp", ["clients:read"], Maker.of(ann))
        assert with_key(text).get("/api/clients/").status_code == 200
        ann.user_permissions.remove(Permission.objects.get(codename="view_client"))
        refusal = with_key(text).get("/api/clients/")
        assert (refusal.status_code, refusal.json()["missing"]) == (403, VIEW_CLIENT)
        assert "the person or key that made it lacks it" in refusal.json()["detail"]

    def test_counts_the_groups_of_the_maker(self, ann):
        group = Group.objects.create(name="sales")
        group.permissions.add(Permission.objects.get(codename="view_service"))
        ann.groups.add(group)
        ann = User.objects.get(pk=ann.pk)
        _, text = verbs.make("erp", ["services:read"], Maker.of(ann))
        assert may(text) == {VIEW_SERVICE}
        ann.groups.clear()
        assert may(text) == set()

    def test_of_a_superuser_s_key_is_by_its_scopes(self):
        root = User.objects.create_superuser("root")
        _, text = verbs.make("erp", ["clients:read"], Maker.of(root))
        assert may(text) == {VIEW_CLIENT}

    @pytest.mark.parametrize("lost", ["is_active", "is_staff"])
    def test_ends_when_the_maker_is_gone(self, lost):
        root = User.objects.create_superuser("root")
        _, text = verbs.make("erp", ["clients:read"], Maker.of(root))
        User.objects.update(**{lost: False})
        assert may(text) == set()

    def test_ends_when_the_maker_is_deleted(self, ann):
        made, text = verbs.make("erp", ["clients:read", "keys:manage"], Maker.of(ann))
        _, of_child = verbs.make("child", ["clients:read"], program(text))
        ann.delete()
        made.refresh_from_db()
        assert made.maker is None
        assert may(text) == may(of_child) == set()
        assert code_of(text) == ""  # it is known, and may do nothing

    def test_of_a_child_ends_with_the_scope_of_its_parent(self, ann):
        parent, text = verbs.make("parent", ["clients:read", "keys:manage"], Maker.of(ann))
        _, child = verbs.make("child", ["clients:read"], program(text))
        assert may(child) == {VIEW_CLIENT}
        ApiKey.objects.filter(pk=parent.pk).update(scopes=["keys:manage"])
        assert may(child) == set()

    def test_of_a_child_makes_no_keys_whatever_its_scopes_say(self, ann):
        parent, _ = verbs.make("parent", ["keys:manage"], Maker.of(ann))
        _, child = a_key("child", "keys:manage", made_with_id=parent.number)
        assert may(child) == set()
        assert with_key(child).get("/api/keys/").status_code == 403

    def test_a_scope_of_another_release_grants_nothing(self):
        _, text = a_key()
        ApiKey.objects.update(scopes=["clients:erase", "clients:read"])
        assert may(text) == {VIEW_CLIENT}


class TestRotating:
    """The secret is the key, so it goes to nobody who could not have made it."""

    def test_of_another_s_key_is_refused(self, ann):
        bob = User.objects.create_superuser("bob")
        key, _ = verbs.make("erp", ["clients:read"], Maker.of(ann))
        refusal = refused(verbs.rotate, key.number, Maker.of(bob))
        assert (refusal.code, refusal.status_code) == ("key_of_another", 403)

    def test_of_a_key_of_nobody_known_takes_all_that_it_grants(self, ann):
        weak, _ = a_key("weak", "clients:read")
        strong, _ = a_key("strong", "price_changes:approve")
        verbs.rotate(weak.number, Maker.of(ann))
        assert refused(verbs.rotate, strong.number, Maker.of(ann)).code == "grants_too_much"

    def test_is_for_the_maker_the_making_key_and_the_key_itself(self, ann):
        parent, text = verbs.make("parent", ["clients:read", "keys:manage"], Maker.of(ann))
        child, of_child = verbs.make("child", ["clients:read"], program(text))
        for by in (Maker.of(ann), program(text), program(of_child)):
            rotated, _ = verbs.rotate(child.number, by)
            assert rotated.rotated_by == by.author
        for by in (program(of_child),):
            assert refused(verbs.rotate, parent.number, by).about["missing"] == CHANGE_KEY

    def test_of_a_stranger_s_key_by_a_key_is_refused(self, ann):
        bob = User.objects.create_superuser("bob")
        _, text = verbs.make("parent", ["clients:read", "keys:manage"], Maker.of(ann))
        key, _ = verbs.make("other", ["clients:read"], Maker.of(bob))
        assert refused(verbs.rotate, key.number, program(text)).code == "key_of_another"
        nobody_s, _ = a_key("of the first release", "clients:read")
        assert refused(verbs.rotate, nobody_s.number, program(text)).code == "key_of_another"


class TestRevoking:
    def test_takes_the_permission_unless_it_is_the_key_itself(self, ann):
        one, text = verbs.make("one", ["clients:read"], Maker.of(ann))
        other, _ = verbs.make("other", ["clients:read"], Maker.of(ann))
        assert refused(verbs.revoke, other.number, program(text)).about["missing"] == CHANGE_KEY
        assert verbs.revoke(one.number, program(text)).revoked

    def test_is_for_whoever_looks_after_keys(self, ann):
        bob = a_member_of_staff("bob", CHANGE_KEY)
        key, _ = verbs.make("erp", ["clients:read"], Maker.of(ann))
        assert verbs.revoke(key.number, Maker.of(bob)).revoked_by == f"bob (person {bob.pk})"


def test_every_scope_stands_for_permissions_that_there_are():
    known = {
        f"{permission.content_type.app_label}.{permission.codename}"
        for permission in Permission.objects.select_related("content_type")
    }
    assert permissions_of(SCOPES) <= known
    assert scopes_for(VIEW_CLIENT) == ["clients:read"]
