"""Which line is which subscription: no edit of what a line is known by makes an old file double."""

import pytest
from django.contrib.auth.models import User

from services.models import Service, Subscription
from services.tests.factories import a_client, a_service
from services.tests.test_import_export import everything, lines, problems, read, the_problem, xmins
from services.tests.test_import_outcomes import outcomes_of
from services.tests.test_import_states import exported

pytestmark = pytest.mark.django_db

BARE = {"source": "", "external_id": ""}


def bare(*changes):
    return lines(*(BARE | change for change in changes))


FILE = bare(
    {"service": "Line", "plan_type": "discount", "discount_percent": "15"},
    {"email": "b@example.com", "company_name": "Beta", "service": "Line"},
)


def renamed(row):
    Service.objects.filter(pk=row.service_id).update(name="Line 300")


def corrected(row):
    row.started_at = row.started_at.replace(minute=1)
    row.save()


def moved(row):
    row.service = a_service(20, name="Other")
    row.save()


def given(row):
    row.client = a_client()
    row.save()


def with_another_email(row):
    User.objects.filter(pk=row.client.user_id).update(username="elsewhere", email="new@example.com")


def of_another_system(row):
    Subscription.objects.filter(pk=row.pk).update(source="erp", external_id="7")


EDITS = [renamed, corrected, moved, given, with_another_email]


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("update", [False, True])
def test_an_edit_never_makes_an_old_file_double_the_book(edit, update):
    read(FILE)
    row = Subscription.objects.order_by("pk").first()
    edit(row)
    found = problems(FILE, update=update)
    assert all(f"subscription {problem_id(each)}" in each.reason for each in found)
    assert f"subscription {row.pk} (" in found[0].reason
    assert "--add" in found[0].reason
    assert (found[0].code, found[0].answers) == ("unclear", ("add=true",))


def problem_id(problem):
    return problem.reason.split("subscription ")[1].split(" ")[0]


def test_another_zone_does_not_double_it_either(settings):
    read(FILE)
    settings.TIME_ZONE = "Europe/Berlin"
    assert [each.line for each in problems(FILE)] == [2, 3]


@pytest.mark.parametrize("edit", [*EDITS, of_another_system])
def test_a_line_with_an_id_is_known_after_each_edit(edit):
    read(FILE)
    old = exported()
    edit(Subscription.objects.order_by("pk").first())
    found = problems(old)
    assert {each.line for each in found} == {2} or edit is renamed
    before = Subscription.objects.count()
    if edit not in (renamed, with_another_email):
        assert read(old, update=True).subscriptions_new == 0
        assert exported() == old
    assert Subscription.objects.count() == before


def test_ids_of_another_book_mean_nothing():
    read(FILE)
    content = exported()
    first, second = Subscription.objects.order_by("pk").values_list("pk", flat=True)
    swapped = content.replace(b",%d\n" % first, b",x\n").replace(
        b",%d\n" % second, b",%d\n" % first
    )
    before = everything(), xmins()
    assert read(swapped.replace(b",x\n", b",%d\n" % second)).subscriptions_same == 2
    assert (everything(), xmins()) == before


def test_an_id_and_an_external_id_of_two_are_refused():
    read(lines({}, {}))
    ids = list(Subscription.objects.order_by("pk").values_list("pk", flat=True))
    problem = the_problem(lines({"id": str(ids[1])}))
    assert (problem.line, problem.column, problem.value) == (2, "id", str(ids[1]))
    assert str(ids[0]) in problem.reason


def test_two_lines_of_one_subscription_are_refused():
    read(bare({}))
    id = str(Subscription.objects.get().pk)
    problem = the_problem(bare({"id": id}, {"id": id, "comment": "second"}))
    assert (problem.line, problem.value) == (3, id)


class TestAlike:
    ALIKE = bare({}, {"plan_type": "discount", "discount_percent": "15"})

    def test_a_part_of_the_file_changes_nothing(self):
        read(self.ALIKE)
        before = xmins()
        for update in (False, True):
            for part in (self.ALIKE[:1], self.ALIKE[1:]):
                assert read(part, update=update).subscriptions_same == 1
        assert xmins() == before

    def test_a_changed_line_is_that_of_its_plan(self):
        read(self.ALIKE)
        found = outcomes_of([self.ALIKE[1] | {"comment": "said"}], update=True)
        assert [each.differences for each in found] == [{"comment": ("", "said")}]
        assert list(Subscription.objects.order_by("pk").values_list("comment", flat=True)) == [
            "", "said",
        ]  # fmt: skip

    def test_what_may_be_either_is_refused_with_both(self):
        read(self.ALIKE)
        ids = Subscription.objects.order_by("pk").values_list("pk", flat=True)
        problem = the_problem(bare({"plan_type": "student", "discount_percent": "5"}), update=True)
        assert all(f"subscription {id} (" in problem.reason for id in ids)
        assert "acme@example.com / Phone" in problem.value

    def test_equal_ones_are_any_and_one_more_is_new(self):
        read(bare({}, {}))
        assert read(bare({})).subscriptions_same == 1
        assert read(bare({}, {}, {})).subscriptions_new == 1


class TestNew:
    def test_the_same_service_a_second_time(self):
        first, second = bare({}, {"started_at": "2026-06-01"})
        read([first])
        assert "subscription " in the_problem([second]).reason
        assert read([first, second]).subscriptions_new == 1

    def test_is_new_where_that_is_said(self):
        read(bare({}))
        found = outcomes_of(bare({"started_at": "2026-06-01"}), add=True)
        assert [each.outcome for each in found] == ["created"]

    def test_after_the_first_has_ended(self):
        read(bare({"ended_at": "2026-03-01"}))
        later = bare({"started_at": "2026-06-01", "ended_at": ""})
        assert read(later).subscriptions_new == 1

    def test_another_service_or_client(self):
        read(bare({}))
        other = bare({"service": "DSL", "started_at": "2026-02-01"}, {"email": "c@example.com",
                     "company_name": "Gamma"})  # fmt: skip
        assert read(other).subscriptions_new == 2

    def test_an_id_of_the_same_source_tells_it_apart_and_that_of_another_does_not(self):
        read(lines({}))
        assert read(lines({}, {})[1:]).subscriptions_new == 1
        assert "may be what the book has" in the_problem(lines({"source": "erp"})).reason
