"""A book of the first release: its keys stay valid, read all, and do what was ticked."""

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from keys import verbs
from keys.models import ApiKey
from keys.tests.asking import code_of, with_key
from keys.tests.test_hashes import OF_RELEASES
from keys.verbs import Maker
from pricebook.kit.scopes import READ_SCOPES

pytestmark = pytest.mark.django_db

FIRST = [("rest_framework_api_key", "0001_initial"), ("pricebook", "0001_rights_and_answers")]
LAST = [
    ("rest_framework_api_key", "0003_scopes_of_earlier_keys"),
    ("pricebook", "0002_rights_are_scopes"),
]
OF_THE_PACKAGE = ("0002_auto_20190529_2243", "0005_auto_20220110_1102")


def migrated_to(targets):
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # tables with waiting checks stay as is
    MigrationExecutor(connection).migrate(targets)


@pytest.fixture
def first_release():
    """The tables as the first release leaves them, with two of its keys; gives their texts."""
    migrated_to(FIRST)
    texts = {}
    with connection.cursor() as cursor:
        for name in OF_THE_PACKAGE:  # recorded there, and in no file of ours
            cursor.execute(
                "INSERT INTO django_migrations (app, name, applied)"
                " VALUES ('rest_framework_api_key', %s, now())",
                [name],
            )
        for (text, hashed), rights in zip(
            OF_RELEASES.values(), [None, (True, False, True), (False, True, False)], strict=True
        ):
            prefix = text.partition(".")[0]
            cursor.execute(
                "INSERT INTO rest_framework_api_key_apikey"
                "       (id, created, name, revoked, hashed_key, prefix)"
                " VALUES (%s, now(), %s, false, %s, %s)",
                [f"{prefix}.{hashed}", prefix, hashed, prefix],
            )
            if rights:
                cursor.execute(
                    "INSERT INTO pricebook_apikeyrights"
                    "       (api_key_id, may_plan, may_approve, may_set_price_states)"
                    " VALUES (%s, %s, %s, %s)",
                    [f"{prefix}.{hashed}", *rights],
                )
            texts[prefix] = text
    return texts


def test_keys_of_the_first_release_read_all_and_do_what_was_ticked(first_release):
    migrated_to(LAST)
    keys = {key.prefix: key for key in ApiKey.objects.all()}
    reads, plans, approves = (keys[prefix] for prefix in first_release)
    all_of_then = [scope for scope in READ_SCOPES if scope != "events:read"]
    assert reads.scopes == all_of_then
    assert plans.scopes == [*all_of_then, "price_changes:plan", "price_states:set"]
    assert approves.scopes == [*all_of_then, "price_changes:approve"]
    assert len({key.number for key in keys.values()}) == 3
    assert {key.made_by for key in keys.values()} == {""}
    for text in first_release.values():
        assert code_of(text) == ""
        for path in ("subscriptions", "clients", "services", "plans", "totals", "ledger"):
            assert with_key(text).get(f"/api/{path}/").status_code == 200
        assert with_key(text).get("/api/price-changes/").status_code == 200
        assert with_key(text).get("/api/keys/").status_code == 403


def test_the_way_back_keeps_what_was_ticked(first_release):
    migrated_to(LAST)
    reads, _, approves = first_release
    verbs.revoke(ApiKey.objects.get(prefix=approves).number, Maker.operator("ann"))
    ApiKey.objects.filter(prefix=reads).update(scopes=["price_changes:plan"])
    migrated_to(FIRST)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT prefix, may_plan, may_approve, may_set_price_states"
            "  FROM pricebook_apikeyrights"
            "  JOIN rest_framework_api_key_apikey key ON key.id = api_key_id"
        )
        found = {prefix: rights for prefix, *rights in cursor.fetchall()}
    _, plans, _ = first_release
    assert found == {
        reads: [True, False, False],
        plans: [True, False, True],
        approves: [False, True, False],
    }
    migrated_to(LAST)
