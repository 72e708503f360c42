"""The results that `./pricebook bench` shows by time, asserted by counts and plans; the command."""

import ast
import io
import json
import re
from decimal import Decimal

import pytest
from django.conf import settings
from django.core.cache import cache
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, connection
from django.db.models import F, Sum
from django.test.utils import CaptureQueriesContext

from benchmarks import __main__ as bench
from benchmarks import (
    cachalot_writes,
    goals,
    growth,
    index_cost,
    ladder,
    list_page,
    pair_prices,
    peers,
    plots,
    progress,
    results,
    scratch,
    stale_totals,
)
from benchmarks import tutorial_variants as tutorial
from benchmarks.peers import book_imports, installed, list_prices
from pricebook.tests.test_docs import names_of_tests
from services import repricing
from services.models import Plan, Service, Subscription
from services.reading import total
from services.reading.filters import BookFilter
from services.tests.factories import a_book
from services.transfer.importing import import_book

pytestmark = pytest.mark.django_db


def queries_of(call):
    with CaptureQueriesContext(connection) as captured:
        call()
    return [query["sql"] for query in captured if "SAVEPOINT" not in query["sql"]]


def rows_read(sql, params=None):
    """How many subscriptions a statement reads, by its plan."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", params)
        (document,) = cursor.fetchone()
    (document,) = json.loads(document) if isinstance(document, str) else document

    def walk(node):
        if node.get("Relation Name") == "services_subscription":
            yield node["Actual Rows"] * node["Actual Loops"]
        for inner in node.get("Plans", []):
            yield from walk(inner)

    return sum(walk(document["Plan"]))


class TestCommand:
    def test_lists_the_claims_and_says_how_to_begin(self, capsys):
        assert bench.main([]) == 0
        out = capsys.readouterr().out
        assert "./pricebook bench --quick" in out
        for name in ("ladder", "goals", "list_page", "repricing"):
            assert f"\n{name} " in out

    @pytest.mark.parametrize("arguments", [["nonsense"], ["ladder", "nonsense"], ["--nonsense"]])
    def test_does_not_know_everything(self, capsys, arguments):
        assert bench.main(arguments) == 2
        captured = capsys.readouterr()
        assert "nonsense" in captured.err
        assert captured.out == ""

    def test_each_claim_begins_with_what_it_claims(self):
        for name, claim in bench.claims().items():
            assert claim.endswith((".", ":")), name

    def test_the_quick_one_runs_the_ladder_and_the_goals_and_draws(self, monkeypatch, tmp_path):
        ran = []
        monkeypatch.setenv("PRICEBOOK_HOME", str(tmp_path))
        monkeypatch.setenv(progress.BEGAN, "0")
        monkeypatch.setattr(bench, "in_a_process", lambda *given: ran.append(given) or 0)
        assert bench.main(["--quick"]) == 0
        plot = ["--plot", str(tmp_path / "bench")]
        assert ran == [(name, ["--quick", *plot]) for name in ("ladder", "goals")]

    def test_all_leaves_out_what_installs_other_packages(self, monkeypatch):
        ran = []
        monkeypatch.setattr(bench, "in_a_process", lambda name, _: ran.append(name) or 0)
        assert bench.main(["all", "--quick"]) == 0
        assert {*ran} == bench.claims().keys() - {"peers"}


class TestScratchBook:
    def test_is_not_taken_from_a_run_that_goes_on(self, monkeypatch):
        for what in ("create_test_db", "destroy_test_db"):
            monkeypatch.setattr(connection.creation, what, lambda *given, **options: None)
        monkeypatch.setitem(connection.settings_dict["TEST"], "NAME", None)
        with scratch.scratch_database("of_two"):
            with (
                pytest.raises(SystemExit, match="of_two runs already"),
                scratch.scratch_database("of_two"),
            ):
                pass
            with scratch.scratch_database("another"):
                pass
        with scratch.scratch_database("of_two"):
            pass


class TestRungs:
    def test_each_has_a_test_that_is_there(self):
        known = set(names_of_tests())
        for rung, test in ladder.RUNGS.items():
            assert test in known, rung

    def test_of_the_list_are_all_of_its_steps(self):
        assert {name for name, *_ in list_page.STEPS} <= set(ladder.RUNGS)

    def test_are_a_line_each_with_what_grows(self, capsys):
        figures = [
            {"rung": "shipped", "rows": 300, "queries": 1, "CPU ms": 2.0, "ms": 2.5},
            {"rung": "shipped", "rows": 10_000, "queries": 1, "CPU ms": 3.0, "ms": 3.5},
            {"rung": "shipped", "rows": 500, "wrong": "0 %"},
        ]
        (line,) = ladder.table_of(figures)
        assert line["CPU ms, 300"] == 2
        assert line["CPU ms, 10,000"] == 3
        assert line["grows ×"] == 1.5
        assert (line["ms"], line["wrong"]) == (3.5, "0 %")
        results.table("The ladder", [line])
        assert "shipped" in capsys.readouterr().out

    def test_are_drawn_without_a_background(self, tmp_path):
        figures = [
            {"rung": rung, "rows": rows, "CPU ms": 1.0 + rows}
            for rung in ladder.RUNGS
            for rows in (300, 10_000)
        ]
        plots.ladder(figures, tmp_path, ladder.OUR_RUNGS)
        drawn = (tmp_path / "ladder.svg").read_text()
        assert ">10,000</text>" in drawn
        assert all(rung.strip() in drawn for rung in ladder.RUNGS)
        assert "fill: #ffffff" not in drawn


class TestList:
    """Queries of each page at one subscription and at fifty."""

    # Queries that N+1 needs for each row:
    # * the client and the user
    # * the plan
    # * the plan's and the service
    A_ROW = {
        "ch. 5 as first written": 2,
        "ch. 6.4 plan added": 1,
        "ch. 7.1 price computed": 1,
    }

    def test_grows_with_the_page_only_where_it_is_naive(self):
        counts = []
        for rows in (1, 49):
            a_book(rows, services=1, plans=1, clients=rows)
            counts.append(
                {
                    name: len(queries_of(list_page.call_of(view, query)))
                    for name, view, query, _ in list_page.STEPS
                    if "cached" not in name and "any filter" not in name
                }
            )
        few, many = counts
        assert {name: (many[name] - few[name]) / 49 for name in few} == {
            name: self.A_ROW.get(name, 0) for name in few
        }


class TestRepricing:
    def test_by_tasks_costs_each_row(self):
        ids = list(a_book(20, services=1, plans=1).values_list("pk", flat=True))
        # 2 queries a row: * the row, locked, with the rule's price * the row, saved
        asked = queries_of(lambda: [tutorial.set_price(pk) for pk in ids])
        assert len(asked) == 2 * len(ids)


class TestTotal:
    def test_a_sum_reads_every_row(self):
        book = a_book(300)
        summed = book.order_by().values("source").annotate(total=Sum("price"))
        assert rows_read(*summed.query.sql_with_params()) == 300

    def test_ours_reads_no_subscription(self):
        a_book(300)
        for of in (BookFilter(), BookFilter(service=Service.objects.earliest("pk").pk)):
            assert rows_read(*total.from_subtotals(of)) == 0

    def test_cached_is_stale_when_overtaken(self, monkeypatch):
        """Reader sums; writer commits and deletes; reader stores what it had."""
        a_book(10)
        cache.delete(settings.PRICE_CACHE_NAME)
        store = type(cache._connections[cache._alias]).set

        def overtaken(*args, **kwargs):
            monkeypatch.setattr(type(cache._connections[cache._alias]), "set", store)
            Subscription.objects.update(price=F("price") + 1, price_state="negotiated")
            cache.delete(settings.PRICE_CACHE_NAME)
            return store(*args, **kwargs)

        monkeypatch.setattr(type(cache._connections[cache._alias]), "set", overtaken)
        stale_totals.tutorial_total()
        amount = Subscription.objects.aggregate(total=Sum("price"))["total"]
        assert stale_totals.tutorial_total() == amount - 10
        assert total.total_amount().amount == amount
        cache.delete(settings.PRICE_CACHE_NAME)


class TestComment:
    """The cost of chapter 12's index for updates."""

    def hot(self, book):
        counters = (
            "SELECT pg_stat_get_xact_tuples_hot_updated('services_subscription'::regclass::oid)"
        )
        ((before,),) = index_cost.execute(counters)
        book.filter(pk=book.latest("pk").pk).update(comment="commented")
        ((after,),) = index_cost.execute(counters)
        return after - before

    def test_is_hot_without_its_index(self):
        book = a_book(10)
        assert self.hot(book) == 0
        index_cost.execute("SET CONSTRAINTS ALL IMMEDIATE")
        index_cost.execute(ladder.COMMENT)
        assert self.hot(book) == 1


@pytest.mark.django_db(transaction=True)
class TestCachalot:
    def test_spares_all_queries_until_a_write(self):
        a_book(10)
        call = list_page.call_of(tutorial.PriceStored, "")
        with cachalot_writes.all_of_cachalot():
            counts = [len(queries_of(call)), len(queries_of(call))]
            Subscription.objects.filter(pk=Subscription.objects.earliest("pk").pk).update(
                comment=""
            )
            counts.append(len(queries_of(call)))
            # cold, warm, after a write: * subscriptions, and with them * their total
            assert counts == [4, 0, 2]
        assert cachalot_writes.renamed_outside(cachalot_writes.THEIRS, call)
        assert not cachalot_writes.renamed_outside(cachalot_writes.CONTROL, call)


class TestPairPrices:
    def test_writes_the_pairs_and_gives_the_same_sum(self):
        a_book(60, services=3, plans=2)
        pair_prices.rows_of(pair_prices.MAKE)
        Service.objects.update(full_price=F("full_price") + 10)
        assert pair_prices.rows_of(pair_prices.MOVE_PAIRS) == 6
        repricing.reprice()
        assert pair_prices.number(pair_prices.SUM_OF_PAIRS) == total.total_amount().amount


class TestGoals:
    def test_are_met_on_their_side_of_the_limit(self):
        assert goals.line.goal("", 1.2, at_most=1.2)["met"] == "yes"
        assert goals.line.goal("", 1.3, at_most=1.2)["met"] == "NO"
        assert goals.line.goal("", 4.0, at_least=4)["met"] == "yes"
        assert goals.line.goal("", 3.9, at_least=4)["met"] == "NO"
        assert goals.line.goal("", 0.0, at_most=15, unit="%")["met"] == "yes"

    def test_about_a_big_book_are_not_judged_by_a_small_one(self):
        assert "1,000,000" in goals.line.goal("", 3.9, at_least=4, small=True)["met"]

    @pytest.fixture
    def one_connection(self):
        """A request's end would close the test's own, as it is in a transaction."""
        for signal in (request_started, request_finished):
            signal.disconnect(close_old_connections)
        yield
        for signal in (request_started, request_finished):
            signal.connect(close_old_connections)

    def test_the_page_by_hand_is_the_shipped_one(self, one_connection):
        a_book(120)
        shipped = json.loads(goals.pages.request_of(goals.pages.PAGE)(), parse_float=Decimal)
        by_hand = json.loads(goals.pages.by_hand(), parse_float=Decimal)
        assert {name: shipped[name] for name in by_hand} == by_hand
        assert len(by_hand["result"]) == 100

    def test_the_file_has_what_bulk_create_makes(self):
        file = goals.transfer.a_file(40)
        goals.transfer.bulk_create(file)
        assert (Subscription.objects.count(), Plan.objects.count()) == (40, 8)
        again = import_book(io.BytesIO(file))
        assert (again.subscriptions_new, again.subscriptions_same) == (0, 40)


class TestGrowth:
    def taken(self, rows, stored):
        return {"a row": growth.Taken(rows, {"table": (stored, 0)}, 5 * rows, 0.001 * rows, 1.0)}

    def test_is_a_line_whose_prediction_is_judged(self):
        sizes = {rows: self.taken(rows, 1_000 + 7 * rows) for rows in (100, 200, 300)}
        year = {"a row": 2.0}
        found, bad = growth.checked(sizes | {1_000: self.taken(1_000, 8_000)}, year)
        assert [round(line["predicted"]) for line in found[:3]] == [8_000, 16_000, 5_000]
        assert bad == []
        for further_off, is_bad in ((9_300, 0), (9_500, 1)):  # 14 % and 15.8 %
            greatest = {1_000: self.taken(1_000, further_off)}
            assert len(growth.checked(sizes | greatest, year)[1]) == is_bad

    def test_leaves_out_at_the_end_of_a_year_what_is_forgotten_by_then(self):
        assert growth.Taken(1, {"table": (365, 0)}, 0, 0, 0).kept == 365
        answers = growth.Taken(1, {"pricebook_answeredrequest": (300, 65)}, 0, 0, 0)
        assert answers.kept == pytest.approx(2)


class TestPeers:
    def test_each_is_a_script_that_says_what_it_is(self):
        shared = {"worker", "django_peer"}
        scripts = {path.stem: path for path in installed.SCRIPTS.glob("*.py")}
        assert {*peers.names()} == scripts.keys() - shared
        for path in scripts.values():
            first, _, _ = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")
            assert first.endswith("."), path

    def test_each_is_pinned_by_hash_and_names_no_index(self):
        pinned = re.compile(r"[\w.-]+(\[\w+\])?==[\w.]+( ;[^\\]*)?( --hash=sha256:[0-9a-f]{64})+")
        for name in peers.names():
            text = (installed.REQUIREMENTS / f"{name}.txt").read_text()
            for line in re.sub(r" \\\n\s+", " ", text).splitlines():
                assert pinned.fullmatch(line), f"{name}: {line}"
            assert re.fullmatch(r"[a-z-]+ [\d.]+", installed.release(name))

    def test_no_time_counts_unless_every_row_has_its_record(self):
        a_book(6, services=1)
        price = Decimal(200)
        total = list_prices.total_at(price)
        list_prices.assert_right(price, 6, 6, total)
        for records, found in ((5, total), (6, total + 1)):
            with pytest.raises(AssertionError, match="not 6;"):
                list_prices.assert_right(price, 6, records, found)

    def test_the_file_for_both_has_the_prices_of_the_rule(self):
        import_book(io.BytesIO(book_imports.with_prices(goals.transfer.a_file(40))))
        assert Subscription.objects.count() == 40
        assert not Subscription.objects.mispriced().exists()
        assert not Subscription.objects.exclude(price_state="follows").exists()
