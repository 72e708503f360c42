"""The values that a query string may have, and the errors for others."""

import base64
import re
from datetime import UTC, datetime
from decimal import Decimal
from urllib.parse import quote

import pytest
from django.db import connection
from django.http import QueryDict
from hypothesis import given
from hypothesis import strategies as st

from price_changes.errors import ChangeError
from price_changes.kinds.sets import row_filter
from pricebook.kit.errors import BadParameter
from services import price_state
from services.models import Subscription
from services.reading import access_paths, filters, pages, parameters
from services.reading.access_paths import access_path
from services.reading.filters import BookFilter
from services.reading.ordering import ORDERINGS, Cursor, key_of_subscriptions
from services.reading.parameters import book_filter
from services.tests.factories import (
    a_book,
    a_client,
    a_plan,
    a_reader,
    a_service,
    a_subscription,
)
from services.views.paging import cursor_of

BIGGEST = 2**63 - 1

# For each filter a value as in a URL, and the value as JSON keeps it.
EXAMPLES = {
    "service": ("1", 1),
    "plan": ("02", 2),
    "plan_type": ("student", "student"),
    "client": ("3", 3),
    "except_client": ("4", 4),
    "email": ("Ada@example.com", "Ada@example.com"),
    "subscription": (str(BIGGEST), BIGGEST),
    "source": ("crm", "crm"),
    "external_id": ("7", "7"),
    "comment": (" a ", " a "),
    "comment_prefix": ("100%", "100%"),
    "state": ("active", "active"),
    "price_state": ("locked", "locked"),
    "price_from": ("1e1", "10.00"),
    "price_to": ("12.5", "12.50"),
    "started_from": ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00+00:00"),
    "started_to": ("2026-01-31T12:00+02:00", "2026-01-31T12:00:00+02:00"),
    "ended_from": ("2026-01-31 12:00:00.5z", "2026-01-31T12:00:00.500000+00:00"),
    "ended_to": ("2026-01-31T12:00:00-0330", "2026-01-31T12:00:00-03:30"),
    "skipped_by": ("7", 7),
    "q": ("Ромашка", "Ромашка"),
    "pending": ("true", "true"),
}


class TestVocabulary:
    """The same list of names for query strings, JSON and changes of a set of subscriptions."""

    @pytest.mark.parametrize("name", EXAMPLES)
    def test_means_the_same_in_an_address_and_in_json(self, name):
        value, kept = EXAMPLES[name]
        query = QueryDict(mutable=True)
        query[name] = value
        values = {name: value} | ({"source": "crm"} if name == "external_id" else {})
        query.update({"source": "crm"} if name == "external_id" else {})

        wanted = book_filter(query)

        assert wanted == BookFilter.of(values)
        assert wanted.as_json() == {**values, name: kept}
        # The filter that a change of a set keeps is read again later, and is part of its
        # fingerprint.
        assert BookFilter.of(wanted.as_json()).as_json() == wanted.as_json()
        if name in filters.LASTING:
            assert row_filter(values) == wanted.as_json()

    def test_has_an_example_for_each_name(self):
        assert list(EXAMPLES) == list(filters.FILTERS)

    def test_is_refused_to_a_set_change_with_its_own_codes(self):
        for wanted, code in [
            ({"servise": 1}, "unknown_filter"),
            ({"service": True}, "bad_id"),
            ({"service": None}, "bad_id"),
            ({"price_from": 1.005}, "too_exact"),
            ({"price_from": "NaN"}, "not_a_number"),
            ({"price_to": -1}, "out_of_range"),
            ({"started_from": "2026-01-01T00:00:00"}, "time_zone_missing"),
            ({"started_from": 5}, "not_an_instant"),
            ({"state": "asleep"}, "unknown_value"),
            ({"comment": "\ud800"}, "bad_text"),
            ({"comment": "x" * 51}, "bad_text"),
            ({"external_id": "7"}, "source_missing"),
            ([], "bad_filter"),
        ]:
            with pytest.raises(ChangeError) as refused:
                row_filter(wanted)
            assert refused.value.code == code


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
            found = BookFilter(comment_prefix=prefix).subscriptions()
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

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ({"state": "active"}, ["follows", "negotiated", "ends later"]),
            ({"state": "ended"}, ["ended"]),
            ({"price_state": "negotiated"}, ["negotiated"]),
            ({"price_from": "100.00", "price_to": "100.00"}, ["follows", "ends later"]),
            ({"price_from": "100.01"}, ["negotiated"]),
            ({"price_to": "99.99"}, ["ended"]),
            ({"plan_type": "student"}, ["ended"]),
            ({"email": "ADA@Example.com"}, ["negotiated"]),
            (
                {"started_from": "2020-01-01T00:00:00Z", "started_to": "2020-01-02T00:00:00Z"},
                ["ended"],
            ),
            (
                {
                    "started_from": "2020-01-01T00:00:00.000001Z",
                    "started_to": "2020-01-02T00:00:00Z",
                },
                [],
            ),
            ({"started_to": "2020-01-01T00:00:00Z"}, []),
            ({"ended_from": "2021-01-01T00:00:00Z", "ended_to": "2022-01-01T00:00:00Z"}, ["ended"]),
            ({"ended_to": "2021-01-01T00:00:00+00:00"}, []),
            ({"ended_from": "2021-01-01T03:00:00 03:00"}, ["ended", "ends later"]),
            ({"state": "active", "price_to": "100"}, ["follows", "ends later"]),
        ],
    )
    def test_finds_what_the_words_say(self, query, expected):
        service = a_service(100)
        new_year = datetime(2020, 1, 1, tzinfo=UTC)
        a_subscription(service=service, comment="follows")
        negotiated = a_subscription(
            client=a_client(email="ada@example.com"), service=service, comment="negotiated"
        )
        price_state.negotiate(negotiated.pk, Decimal("120"), "a friend", "ada")
        a_subscription(
            service=service,
            plan=a_plan(50, "student"),
            started_at=new_year,
            ended_at=new_year.replace(year=2021),
            comment="ended",
        )
        a_subscription(service=service, ended_at=new_year.replace(year=2999), comment="ends later")

        page = a_reader().get("/api/subscriptions/", query).data

        assert [row["comment"] for row in page["result"]] == expected
        assert page["count"] == len(expected)
        assert page["total_amount"] == sum(row["price"] for row in page["result"])

    def test_finds_nothing_for_an_id_that_does_not_exist(self):
        a_subscription()
        for name in ("service", "plan", "client"):
            page = a_reader().get("/api/subscriptions/", {name: BIGGEST}).data
            assert (page["result"], page["total_amount"], page["count"]) == ([], 0, 0)


@pytest.mark.django_db
class TestSearch:
    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            ("Fibre", ["fibre", "acme"]),
            ("fibre", ["fibre", "acme"]),
            ("Fiber", ["fibre", "acme"]),
            ("ромашка", ["romashka"]),
            ("РОМАШКА", ["romashka"]),
            ("ромашко", ["romashka"]),
            ("ромшка", ["romashka"]),
            ("Acme", ["acme"]),
            ("Amce Corp", ["acme"]),
            ("Corporation Acme", ["acme"]),
            ("ООО Ромашка", ["romashka"]),
            ("ООО Ромшка", ["romashka"]),
            ("телефония", ["romashka"]),
            ("nothing like it", []),
            ("100%", []),
            ("%%%", []),
            ("' OR 1=1 --", []),
        ],
    )
    def test_finds_names_in_any_alphabet_and_forgives_a_typo(self, words, expected):
        fibre, phone = a_service(name="Fibre 300"), a_service(name="Телефония")
        a_subscription(a_client("Smith"), fibre, comment="fibre")
        a_subscription(a_client("ООО Ромашка"), phone, comment="romashka")
        a_subscription(a_client("Acme Corporation"), fibre, comment="acme")
        a_subscription(a_client("Zebra"), a_service(name="Hosting"), comment="neither")
        a_subscription(a_client("ООО Луч"), a_service(name="Хостинг"), comment="ray")

        for ordering in ("id", "price", "client_name"):
            page = (
                a_reader()
                .get("/api/subscriptions/", {"q": words, "ordering": ordering, "page_size": 10})
                .data
            )
            assert {row["comment"] for row in page["result"]} == set(expected)
            assert page["count"] == len(expected)

    @pytest.mark.parametrize("name", ["Fibre 300", "ООО Почта", "Ромашка"])
    def test_forgives_a_letter_wherever_it_stands(self, name):
        a_client(name)
        word = max(name.split(), key=len)
        letters = range(len(word))
        wrong = [word[:place] + "ж" + word[place + 1 :] for place in letters]
        missing = [word[:place] + word[place + 1 :] for place in letters]
        too_many = [word[:place] + "ж" + word[place:] for place in letters]
        swapped = [
            word[:place] + word[place + 1] + word[place] + word[place + 2 :]
            for place in letters[:-1]
            if len(word) > 6
        ]
        for mistyped in [*wrong, *missing, *too_many, *swapped]:
            assert a_reader().get("/api/clients/", {"q": mistyped}).data["count"] == 1, mistyped

    def test_of_too_many_names_is_refused_and_compares_no_more_of_them(self, monkeypatch):
        a_book(subscriptions=600, clients=300)
        monkeypatch.setattr(access_paths, "SEARCH_NAMES", 20)
        few = a_subscription(a_client("Ромашка"))
        assert a_reader().get("/api/subscriptions/?q=ромашка").json()["count"] == 1
        for further in ("", f"&email={few.client.user.email}", "&ordering=price"):
            response = a_reader().get(f"/api/subscriptions/?q=company{further}")
            assert (response.status_code, response.json()["code"]) == (400, "not_served_at_size")
            assert "20 names like 'company'" in response.json()["detail"]
        sql, params = pages.statement(access_path(BookFilter(q="company")), None, 100)
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, BUFFERS OFF) {sql}", params)
            plan = "\n".join(line for (line,) in cursor.fetchall())
        # Where names are compared; the page's own join has another name for the table.
        compared = r"on clients_client(?: clients_client_\d+)? +\(.*actual rows=([0-9.]+)"
        read = re.findall(compared, plan)
        assert max(map(float, read)) <= 21

    def test_finds_the_clients_by_their_trigrams(self, empty_files):
        subscription = a_book(5_000, clients=30_000).first()
        name = "Ромашка и сыновья"
        subscription.client.company_name = name
        subscription.client.save()
        sql, params = pages.statement(access_path(BookFilter(q="ромашка")), None, 100)
        with connection.cursor() as cursor:
            # As vacuum does: entries that wait to be put in order make the index expensive.
            cursor.execute("SELECT gin_clean_pending_list('client_name_trigrams')")
            cursor.execute("ANALYZE clients_client, services_service")
            cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF) {sql}", params)
            plan = "\n".join(line for (line,) in cursor.fetchall())
        assert "client_name_trigrams" in plan
        assert "Seq Scan on clients_client" not in plan


# Refused queries, each with the parameter that the answer names and a word of its fix.
REFUSED = [
    ("servise=1", "servise", "service, plan, plan_type"),
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
    ("subscription=1e400", "subscription", "from 1"),
    ("plan_type=Full", "plan_type", "full, student, discount"),
    ("plan_type=", "plan_type", "full, student, discount"),
    ("price_state=free", "price_state", "follows, locked, negotiated"),
    ("state=asleep", "state", "active, ended"),
    ("price_from=", "price_from", "such as 12.50"),
    ("price_from=NaN", "price_from", "such as 12.50"),
    ("price_from=-Infinity", "price_from", "such as 12.50"),
    ("price_from=1e400", "price_from", "such as 12.50"),
    ("price_from=1e-400", "price_from", "such as 12.50"),
    ("price_from=4,50", "price_from", "decimals follow a point"),
    ("price_from=1,234", "price_from", "nothing separates thousands"),
    ("price_from=-0.01", "price_from", "0 to 9999999999.99"),
    ("price_from=10000000000", "price_from", "0 to 9999999999.99"),
    ("price_to=0.005", "price_to", "two decimals"),
    (f"price_to={quote('١٠')}", "price_to", "such as 12.50"),
    (f"price_to={'9' * 5000}", "price_to", "such as 12.50"),
    ("started_from=2026-01-01", "started_from", "ISO 8601"),
    ("started_to=2026-01-01T00:00:00", "started_to", "no time zone"),
    ("started_to=2026-01-01T00:00:00-16:00", "started_to", "16 hours"),
    ("ended_from=0001-01-01T00:00:00Z", "ended_from", "1900 to 9999"),
    ("ended_to=9999-12-31T23:59:59-14:00", "ended_to", "1900 to 9999"),
    ("q=ab", "q", "three letters"),
    ("q=%20%20%20", "q", "three letters"),
    ("q=abc%00", "q", "NUL"),
    ("email=%00", "email", "NUL"),
    (f"email={'a' * 255}", "email", "254"),
    (f"comment={'a' * 51}", "comment", "50"),
    ("ordering=", "ordering", "id, -id, price, -price"),
    ("ordering=random", "ordering", "id, -id, price, -price"),
    ("ordering=id%2Cprice", "ordering", "id, -id, price, -price"),
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
    ("format=csv&format=json", "format", "once"),
    ("format=json&format=csv", "format", "once"),
]


class TestRefusals:
    @pytest.mark.parametrize(("query", "parameter", "fix"), REFUSED)
    def test_name_the_parameter_the_value_and_the_fix(self, query, parameter, fix):
        # No database: what can't be used is refused before it is asked.
        response = a_reader().get(f"/api/subscriptions/?{query}")

        body = response.json()
        assert response.status_code == 400, body
        assert body["parameter"] == parameter
        assert body["value"] in QueryDict(query)[parameter] or "," in body["value"]
        assert len(body["value"]) <= 100
        assert fix in body["detail"]
        assert body["code"] in (
            "bad_parameter",
            "unknown_parameter",
            "repeated_parameter",
            "source_missing",
            "bad_instant",
            "instant_without_zone",
        )

    def test_tell_which_parameters_there_are(self):
        body = a_reader().get("/api/subscriptions/?order_by=price").json()
        assert body["code"] == "unknown_parameter"
        assert body["allowed"] == [
            *filters.FILTERS,
            "as_of",
            "known_at",
            "ordering",
            *parameters.PAGING,
            "format",
            "decimals",
        ]

    def test_are_the_detail_s_too(self):
        body = a_reader().get("/api/subscriptions/1/?fields=price").json()
        assert (body["code"], body["allowed"]) == (
            "unknown_parameter",
            ["as_of", "known_at", "format", "decimals"],
        )

    @given(st.text(max_size=40))
    def test_meet_any_text_that_is_no_cursor(self, text):
        query = QueryDict(mutable=True)
        query["cursor"] = text
        with pytest.raises(BadParameter):
            cursor_of(query, b"")

    @given(st.text(max_size=40))
    def test_meet_any_text_that_is_no_id(self, text):
        query = QueryDict(mutable=True)
        query["plan"] = text
        try:
            found = book_filter(query).plan
        except BadParameter:
            assert not (text.isascii() and text.isdigit() and 0 < int(text) <= BIGGEST)
        else:
            assert str(found) == text.lstrip("0")


class TestCursor:
    cursors = st.builds(
        Cursor,
        st.integers(0, BIGGEST),
        st.booleans(),
        st.text(max_size=100).filter(lambda text: text.isprintable()),
        st.binary(min_size=6, max_size=6),
    )

    @given(cursors)
    def test_comes_back_as_it_went_out(self, cursor):
        assert Cursor.parse(str(cursor)) == cursor
        assert quote(str(cursor), safe="") == str(cursor)

    @given(cursors, st.integers(0, 23), st.sampled_from("ABCDwxyz0189-_"))
    def test_is_known_for_false_when_one_letter_is_another(self, cursor, place, letter):
        text = str(cursor)
        other = text[:place] + letter + text[place + 1 :]
        if other != text:
            with pytest.raises(ValueError, match="check"):
                Cursor.parse(other)

    def test_of_another_list_is_refused(self):
        wanted = BookFilter(client=1)
        key = key_of_subscriptions(wanted, ORDERINGS["price"])
        cursor = Cursor(5, value="1.00", list_key=key)
        accepted = cursor_of(QueryDict(f"cursor={cursor}"), key, ORDERINGS["price"])
        assert accepted == cursor
        for query in (
            "client=1&ordering=-price",
            "client=2&ordering=price",
            "ordering=price",
            "client=1",
            "client=1&as_of=2026-01-01T00:00:00Z",
        ):
            body = a_reader().get(f"/api/subscriptions/?{query}&cursor={cursor}").json()
            assert (body["code"], body["parameter"]) == ("cursor_of_another_list", "cursor")

    @pytest.mark.parametrize(
        ("ordering", "value"),
        [
            ("price", "NaN"),
            ("price", "1e400"),
            ("price", ""),
            ("started_at", "infinity"),
            ("started_at", "2026-01-01T00:00:00"),
            ("client_name", "a\0b"),
            ("client_name", "x" * 101),
            ("id", "5"),
        ],
    )
    def test_forged_with_a_value_that_no_row_has_is_refused(self, ordering, value):
        key = key_of_subscriptions(BookFilter(), ORDERINGS[ordering])
        cursor = Cursor(5, value=value, list_key=key)
        response = a_reader().get(f"/api/subscriptions/?ordering={ordering}&cursor={cursor}")
        assert response.status_code == 400
        assert response.json()["parameter"] == "cursor"
