"""Single objects that two write at once, on connections of their own."""

import pytest
from django.contrib.auth.models import User
from django.db import connection

from clients.models import Client
from services.models import Plan, Service, Subscription
from services.tests.factories import a_client, a_plan, a_service, a_subscription
from services.tests.interleaving import CREATE, a_person, in_background
from services.tests.programs import a_writer
from services.views.one_object import OneObject

pytestmark = pytest.mark.django_db(transaction=True)


def hold(person, record):
    person.execute(
        f"SELECT FROM {record._meta.db_table} WHERE id = %s FOR NO KEY UPDATE", [record.pk]
    )


def kinds():
    """A record of each kind, its address, and two changes of it."""
    one = a_subscription()
    return {
        "subscriptions": (one, {"comment": "one"}, {"comment": "two"}),
        "clients": (one.client, {"company_name": "one"}, {"company_name": "two"}),
        "services": (one.service, {"name": "one"}, {"name": "two"}),
        "plans": (one.plan, {"plan_type": "student"}, {"plan_type": "discount"}),
    }


def two_at_once(kind):
    """Two programs that saw the same, and change it while somebody holds its row."""
    record, *changes = kinds()[kind]
    erp = a_writer()
    address = f"/api/{kind}/{record.pk}/"
    seen = {"If-Match": erp.get(address)["ETag"]}
    with a_person() as other:
        hold(other, record)
        both = [
            in_background(
                lambda given=given: erp.patch(address, given, headers=seen)
            ).until_it_waits()
            for given in changes
        ]
        other.commit()
    return sorted(each.result().status_code for each in both)


@pytest.mark.parametrize("kind", ["subscriptions", "clients", "services", "plans"])
class TestOneETag:
    def test_is_good_for_one_of_two(self, kind):
        assert two_at_once(kind) == [200, 412]

    def test_would_be_good_for_both_without_the_lock(self, kind, monkeypatch):
        monkeypatch.setattr(OneObject, "hold", lambda self, id: True)
        assert two_at_once(kind) == [200, 200]


class TestWhatIsDeletedMeanwhile:
    @pytest.mark.parametrize("name", ["client", "service", "plan"])
    def test_is_not_there_for_a_subscription(self, name):
        named = {"client": a_client(), "service": a_service(), "plan": a_plan()}
        given = {each: record.pk for each, record in named.items()}
        with a_person() as other:
            other.execute(
                f"DELETE FROM {named[name]._meta.db_table} WHERE id = %s", [named[name].pk]
            )
            post = in_background(lambda: a_writer().post("/api/subscriptions/", given))
            post.until_it_waits()
            other.commit()
        answer = post.result()
        assert (answer.status_code, answer.json()["code"]) == (400, "not_found")
        assert answer.json()["parameter"] == name
        assert not Subscription.objects.exists()

    @pytest.mark.parametrize("kind", ["clients", "services", "plans"])
    def test_stays_if_a_subscription_was_quicker(self, kind):
        named = {"clients": a_client(), "services": a_service(), "plans": a_plan()}
        with a_person() as other:
            other.execute(
                "INSERT INTO services_subscription (client_id, service_id, plan_id, comment)"
                " VALUES (%s, %s, %s, '')",
                [record.pk for record in named.values()],
            )
            other.execute("SET CONSTRAINTS ALL IMMEDIATE")  # as a commit does
            gone = in_background(lambda: a_writer().delete(f"/api/{kind}/{named[kind].pk}/"))
            gone.until_it_waits()
            other.commit()
        answer = gone.result()
        assert (answer.status_code, answer.json()["code"]) == (409, "in_use")
        assert type(named[kind])._default_manager.filter(pk=named[kind].pk).exists()


@pytest.mark.parametrize("kind", ["services", "plans"])
class TestDeletedCatalogue:
    @pytest.fixture
    def named(self):
        return {"clients": a_client(), "services": a_service(), "plans": a_plan()}

    def test_waits_for_an_insert_that_is_to_be_committed(self, kind, named):
        """Its foreign keys are checked at the commit, when the other one holds the row already."""
        with a_person() as other:
            other.execute(CREATE + "(%s, %s, %s, '')", [record.pk for record in named.values()])
            gone = in_background(lambda: a_writer().delete(f"/api/{kind}/{named[kind].pk}/"))
            gone.until_it_waits()
            other.commit()
        answer = gone.result()
        assert (answer.status_code, answer.json()["code"]) == (409, "in_use")
        assert Subscription.objects.count() == 1

    def test_gives_way_to_a_request_that_holds_the_row(self, kind, named):
        with a_person() as other:
            other.execute(
                f"SELECT FROM {named[kind]._meta.db_table} WHERE id = %s FOR KEY SHARE",
                [named[kind].pk],
            )
            answer = a_writer().delete(f"/api/{kind}/{named[kind].pk}/")
            assert (answer.status_code, answer.json()["code"]) == (503, "crossed_writes")
            assert int(answer["Retry-After"]) > 0
        assert a_writer().delete(f"/api/{kind}/{named[kind].pk}/").status_code == 204


class TestOneEMail:
    def test_is_given_to_one_of_two(self):
        given = {"company_name": "Acme", "email": "a@acme.example"}
        with a_person() as other:
            other.execute("SELECT pg_advisory_xact_lock('clients_client'::regclass::oid::int, 0)")
            both = [
                in_background(lambda: a_writer().post("/api/clients/", given)).until_it_waits()
                for _ in range(2)
            ]
            other.commit()
        assert sorted(each.result().status_code for each in both) == [201, 409]
        assert Client.objects.count() == 1
        assert User.objects.filter(email="a@acme.example").count() == 1


class TestOneName:
    @pytest.mark.parametrize(
        ("kind", "given", "code"),
        [
            ("services", {"name": "Fibre", "full_price": 1}, "name_taken"),
            ("plans", {"plan_type": "student", "discount_percent": 9}, "plan_exists"),
            (
                "clients",
                {"company_name": "x", "source": "erp", "external_id": "1"},
                "external_id_taken",
            ),
        ],
    )
    def test_is_given_to_one_of_two(self, kind, given, code):
        """The unique index decides, and the other one is told what it has found."""
        model = {"services": Service, "plans": Plan, "clients": Client}[kind]
        columns = {
            "services": "(name, full_price) VALUES ('Fibre', 1)",
            "plans": "(plan_type, discount_percent) VALUES ('student', 9)",
            "clients": "(company_name, full_address, source, external_id, user_id)"
            " VALUES ('y', '', 'erp', '1', %s)",
        }[kind]
        user = User.objects.create(username="somebody")
        with a_person() as other:
            other.execute(
                f"INSERT INTO {model._meta.db_table} {columns}",
                [user.pk] if kind == "clients" else None,
            )
            post = in_background(lambda: a_writer().post(f"/api/{kind}/", given))
            post.until_it_waits()
            other.commit()
        answer = post.result()
        assert (answer.status_code, answer.json()["code"]) == (409, code)
        assert model._default_manager.count() == 1
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM auth_user")
            assert cursor.fetchone() == (1,)
