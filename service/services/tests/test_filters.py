"""What a query string may say, and what it is told when it says something else."""

import base64
from urllib.parse import quote

import pytest
from django.http import QueryDict
from hypothesis import given
from hypothesis import strategies as st

from pricebook.api import BadParameter
from services import filters
from services.filters import BookFilter, book_filter
from services.listing import Cursor
from services.models import Subscription
from services.tests.factories import a_book, a_reader, a_subscription
from services.views import cursor_of

BIGGEST = 2**63 - 1


class TestBookFilter:
    def test_is_by_catalogue_only_where_the_subtotals_can_tell(self):
        assert BookFilter().by_catalogue
        assert BookFilter(service=1).by_catalogue
        assert BookFilter(service=1, plan=2).by_catalogue
        assert not BookFilter(service=1, client=2).by_catalogue
        assert not BookFilter(comment="").by_catalogue

    def test_takes_an_empty_comment_for_a_comment_and_an_empty_prefix_for_none(self):
        assert book_filter(QueryDict("comment=")) == BookFilter(comment="")
        assert book_filter(QueryDict("comment_prefix=")) == BookFilter()


@pytest.mark.django_db
class TestMatching:
    def test_takes_what_a_pattern_would_mean_literally(self):
        for comment in ("100% off", "100 euro", "a_b", "axb", "back\\slash"):
            a_subscription(comment=comment)

        def comments(prefix):
            found = Subscription.objects.matching(BookFilter(comment_prefix=prefix))
            return [subscription.comment for subscription in found]

        assert comments("100%") == ["100% off"]
        assert comments("a_") == ["a_b"]
        assert comments("back\\") == ["back\\slash"]

    @pytest.mark.parametrize(
        "query",
        ["service={service_id}", "plan={plan_id}", "client={client_id}", "source={source}"],
    )
    def test_finds_what_has_the_value(self, query):
        subscription = a_book(40).last()
        a_subscription()
        query = query.format(**vars(subscription))
        name, value = query.split("=")

        response = a_reader().get(f"/api/subscriptions/?{query}")

        expected = Subscription.objects.filter(**{name: value}).values_list("id", flat=True)
        assert 0 < len(expected) < 41
        assert [row["id"] for row in response.data["result"]] == list(expected)
        assert response.data["count"] == len(expected)

    def test_finds_one_by_its_id_elsewhere(self):
        subscription = a_book(40).last()
        response = a_reader().get(
            "/api/subscriptions/",
            {"source": subscription.source, "external_id": subscription.external_id},
        )
        assert [row["id"] for row in response.data["result"]] == [subscription.pk]

    def test_finds_nothing_for_an_id_that_does_not_exist(self):
        a_subscription()
        for name in ("service", "plan", "client"):
            page = a_reader().get("/api/subscriptions/", {name: BIGGEST}).data
            assert (page["result"], page["total_amount"], page["count"]) == ([], 0, 0)


# What is refused, with the parameter that the answer names and a word of its mend.
REFUSED = [
    ("servise=1", "servise", "service, plan, client"),
    ("service=1&service=2", "service", "once"),
    ("service=", "service", "from 1"),
    ("service=abc", "service", "from 1"),
    ("service=1.0", "service", "from 1"),
    ("service=1e3", "service", "from 1"),
    ("service=+1", "service", "from 1"),
    ("service=%2B1", "service", "from 1"),
    ("service=1_0", "service", "from 1"),
    ("service=-1", "service", "from 1"),
    ("service=0", "service", "from 1"),
    ("service=NaN", "service", "from 1"),
    (f"service={BIGGEST + 1}", "service", "from 1"),
    (f"plan={'9' * 5000}", "plan", "from 1"),
    (f"client={quote('٣')}", "client", "from 1"),
    ("client=%ED%A0%80", "client", "from 1"),
    ("client=%FF", "client", "from 1"),
    ("comment=a%00b", "comment", "NUL"),
    ("comment_prefix=%00", "comment_prefix", "NUL"),
    ("source=%00", "source", "NUL"),
    ("external_id=7", "external_id", "give source"),
    ("page_size=0", "page_size", "from 1 to 1000"),
    ("page_size=-1", "page_size", "from 1 to 1000"),
    ("page_size=1001", "page_size", "from 1 to 1000"),
    ("page_size=abc", "page_size", "from 1 to 1000"),
    (f"page_size={quote('١٠')}", "page_size", "from 1 to 1000"),
    (f"page_size={'1' * 5000}", "page_size", "from 1 to 1000"),
    ("page_size=", "page_size", "from 1 to 1000"),
    ("cursor=", "cursor", "next or previous"),
    ("cursor=abc", "cursor", "next or previous"),
    ("cursor=p%3Dabc", "cursor", "next or previous"),
    ("cursor=NaN", "cursor", "next or previous"),
    ("cursor=%00", "cursor", "NUL"),
    (f"cursor={'A' * 5000}", "cursor", "next or previous"),
    (f"cursor={base64.urlsafe_b64encode(b'twelve bytes').decode()}", "cursor", "next or previous"),
    (f"cursor={base64.b64encode(b'p=abc').decode()}", "cursor", "next or previous"),
    ("format=xml", "format", "json"),
]


class TestRefusals:
    @pytest.mark.parametrize(("query", "parameter", "mend"), REFUSED)
    def test_name_the_parameter_the_value_and_the_mend(self, query, parameter, mend):
        # No database: what can't be used is refused before it is asked.
        response = a_reader().get(f"/api/subscriptions/?{query}")

        body = response.json()
        assert response.status_code == 400, body
        assert body["parameter"] == parameter
        assert body["value"] in QueryDict(query)[parameter] or "," in body["value"]
        assert mend in body["detail"]
        assert body["code"] in (
            "bad_parameter",
            "unknown_parameter",
            "repeated_parameter",
            "source_missing",
        )

    def test_tell_which_parameters_there_are(self):
        body = a_reader().get("/api/subscriptions/?order=price").json()
        assert body["code"] == "unknown_parameter"
        assert body["allowed"] == [*filters.FILTERS, "as_of", *filters.PAGING, "format"]

    def test_are_the_detail_s_too(self):
        body = a_reader().get("/api/subscriptions/1/?fields=price").json()
        assert (body["code"], body["allowed"]) == ("unknown_parameter", ["as_of", "format"])

    @given(st.text(max_size=40))
    def test_meet_any_text_that_is_no_cursor(self, text):
        query = QueryDict(mutable=True)
        query["cursor"] = text
        with pytest.raises(BadParameter):
            cursor_of(query)

    @given(st.text(max_size=40))
    def test_meet_any_text_that_is_no_id(self, text):
        query = QueryDict(mutable=True)
        query["plan"] = text
        try:
            found = filters.id_of(query, "plan")
        except BadParameter:
            assert not (text.isascii() and text.isdigit() and 0 < int(text) <= BIGGEST)
        else:
            assert str(found) == text.lstrip("0")


class TestCursor:
    @given(st.integers(0, BIGGEST), st.booleans())
    def test_comes_back_as_it_went_out(self, id, backward):
        text = str(Cursor(id, backward))
        assert Cursor.parse(text) == Cursor(id, backward)
        assert quote(text, safe="") == text

    @given(st.integers(0, BIGGEST), st.integers(0, 15), st.sampled_from("ABCDwxyz0189-_"))
    def test_is_known_for_false_when_one_letter_is_another(self, id, place, letter):
        text = str(Cursor(id))
        other = text[:place] + letter + text[place + 1 :]
        if other != text:
            with pytest.raises(ValueError, match="check"):
                Cursor.parse(other)
