"""The gain of each step of the tutorial, in its order and on one book, and of ours after them.

Chapters 5 to 7: the list, from N+1 over prefetch, `only` and `annotate` to `aggregate`. Chapter 9:
the stored price, moved by one task a row, by one UPDATE, and by us. Chapter 11: the total, cached
and exact. Chapter 12: an index, before and after, its cost in updates, the composite index and its
prefix. Chapter 13: cachalot. Then our page; and the design that was not taken, one price for each
(service, plan). A rung is a call, or the repricing of the whole book after every list price moved:

- queries: the number that one call sends
- CPU: Python and the PostgreSQL session together, ms, at each size; and how it has grown
- ms: by the clock, at the largest size; rows/s if rows move
- wrong: rows or answers that stay wrong, with the queue empty and no error anywhere

The rungs of a chapter run interleaved, and must give the same answer. The figures are those of the
single claims (list_page, repricing, total, lost_updates, index_cost…), which say how each is
measured. A count or a plan in the test suite backs each figure of time: `RUNGS` says where.
"""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from benchmarks import (
    cachalot_writes,
    index_cost,
    list_page,
    lost_updates,
    pair_prices,
    repricing,
    results,
    stale_totals,
    total,
)
from benchmarks.progress import step
from benchmarks.scratch import copy_of_the_book, fill, scratch_database
from benchmarks.stopwatch import one_session, timed
from services.models import Subscription

LIST = "test_docs.py::TestLadder::test_queries_are_as_documented"
LIST_GROWS = "test_benchmarks.py::TestList::test_grows_with_the_page_only_where_it_is_naive"
COMMENTS = "test_indexes.py::TestComment"
COMPOSITES = "test_indexes.py::TestCompositeIndex"
HOT = "test_indexes.py::TestHot"
OWN = "test_benchmarks.py"

# Each rung, in the order of the chapters, and the test that checks what its figures show.
RUNGS = {
    "ch. 5 as first written": LIST_GROWS,
    "ch. 6.3 prefetch_related": LIST_GROWS,
    "ch. 6.3 Prefetch, only": LIST,
    "ch. 6.4 plan added": LIST_GROWS,
    "ch. 6.5 plan prefetched": LIST_GROWS,
    "ch. 7.1 price computed": LIST_GROWS,
    "ch. 7.2 price annotated": LIST_GROWS,
    "ch. 7.6 total aggregated": LIST,
    "ch. 9 price stored": LIST,
    "ch. 9 by select_related": LIST,
    "ch. 9 one task a row": "test_benchmarks.py::TestRepricing::test_by_tasks_costs_each_row",
    "  the task's body alone": "test_benchmarks.py::TestRepricing::test_by_tasks_costs_each_row",
    "  one UPDATE": "test_indexes.py::TestHot::test_so_would_full_pages",
    "  ours, set-wise": "test_repricing.py::TestQueryBudget::test_does_not_grow_with_the_rows",
    "  ours, two workers": "test_races.py::TestTwoWorkers::"
    "test_share_the_steps_and_wait_for_nobody",
    "ch. 11 total cached, cold": LIST,
    "ch. 11 total cached, warm": f"{OWN}::TestTotal::test_cached_is_stale_when_overtaken",
    "  total: SUM over the rows": f"{OWN}::TestTotal::test_a_sum_reads_every_row",
    "  total: a value in the cache": f"{OWN}::TestTotal::test_a_sum_reads_every_row",
    "  total: ours, exact": f"{OWN}::TestTotal::test_ours_reads_no_subscription",
    "ch. 12 comment, no index": f"{COMMENTS}::test_without_the_index_reads_the_whole_table",
    "ch. 12 comment, index": f"{COMMENTS}::test_with_it_reads_the_index",
    "ch. 12 both columns, no index": f"{COMPOSITES}::test_without_it_each_reads_the_whole_table",
    "ch. 12 both columns, composite": f"{COMPOSITES}::test_serves_both_columns",
    "ch. 12 its first column": f"{COMPOSITES}::test_serves_its_first_column",
    "ch. 12 its second column": f"{COMPOSITES}::test_does_not_serve_its_second_column",
    "ch. 12 a comment, as shipped": f"{OWN}::TestComment::test_is_hot_without_its_index",
    "ch. 12 a comment, no index on it": f"{OWN}::TestComment::test_is_hot_without_its_index",
    "ch. 12 a price, as shipped": f"{HOT}::test_no_index_names_the_price",
    "ch. 12 a price, index on it": f"{HOT}::test_an_index_on_the_price_would_end_it",
    "ch. 13 cachalot, read-heavy": "test_benchmarks.py::TestCachalot::"
    "test_spares_all_queries_until_a_write",
    "ch. 13 cachalot, write-heavy": "test_benchmarks.py::TestCachalot::"
    "test_spares_all_queries_until_a_write",
    "  ours, read-heavy": LIST_GROWS,
    "  ours, write-heavy": LIST_GROWS,
    "shipped": LIST_GROWS,
    "shipped, any filter, cold": "test_total.py::TestCache::test_spares_the_second_page_the_sum",
    "shipped, any filter, warm": "test_total.py::TestCache::test_spares_the_second_page_the_sum",
    "not taken: a price a pair": "test_benchmarks.py::TestPairPrices::"
    "test_writes_the_pairs_and_gives_the_same_sum",
}
OUR_RUNGS = {name for name in RUNGS if name.strip().startswith(("ours", "shipped", "total: ours"))}

Figures = list[dict[str, Any]]


def main(arguments: list[str]) -> None:
    parser = results.options(__doc__, rows=[300, 10_000, 1_000_000], quick=[300, 10_000], rounds=3)
    parser.add_argument("--large", action="store_true", help="10,000,000 too: hours")
    parser.add_argument("--only", choices=list(PARTS), help="one part of the ladder")
    chosen = results.parse(parser, arguments)
    if chosen.large:
        chosen.rows = [*chosen.rows, 10_000_000]
    under = results.conditions(chosen)
    parts = {chosen.only: PARTS[chosen.only]} if chosen.only else PARTS
    figures: Figures = []
    with scratch_database("ladder"):
        for rows in chosen.rows:
            with copy_of_the_book():
                fill(rows)
                for name, part in parts.items():
                    if chosen.quick and rows < 10_000 and name in ("repricing", "updates"):
                        continue  # so few are mostly the making of a book for each way
                    step(f"ladder, {rows:,}: {name}")
                    figures += part(rows, chosen.rounds)
        if not chosen.only or chosen.only == "repricing":
            figures += losses(500 if chosen.quick else 2_000, chosen.rounds)
    figures.sort(key=lambda figure: list(RUNGS).index(figure["rung"]))
    results.table("The ladder", table_of(figures))
    results.save("ladder", chosen, under, figures)
    if chosen.plot:
        from benchmarks import plots  # matplotlib takes a second

        plots.ladder(figures, chosen.plot, OUR_RUNGS)


def table_of(figures: Figures) -> Iterator[dict[str, Any]]:
    """A line for each rung: CPU at each size, the rest at the largest size of the rung."""
    by_rung: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    for figure in figures:
        known = by_rung[figure["rung"]].setdefault(figure["rows"], {})
        known.update({key: value for key, value in figure.items() if value is not None})
    sizes = sorted({figure["rows"] for figure in figures if "CPU ms" in figure})
    for rung, by_size in by_rung.items():
        cpu = {rows: found["CPU ms"] for rows, found in by_size.items() if "CPU ms" in found}
        last = by_size[max(by_size)] if not cpu else by_size[max(cpu)]
        everything = {key: value for found in by_size.values() for key, value in found.items()}
        yield {
            "rung": rung,
            "queries": everything.get("queries"),
            **{f"CPU ms, {rows:,}": cpu.get(rows) for rows in sizes},
            **({"grows ×": cpu[max(cpu)] / cpu[min(cpu)] if cpu else None} if sizes[1:] else {}),
            "ms": last.get("ms"),
            "rows/s": last.get("rows/s"),
            "wrong": everything.get("wrong", ""),
            "": last.get("note", ""),
        }


# --- The parts: each measures one book, and gives figures for its rungs --------------------------


def the_list(rows: int, rounds: int) -> Figures:
    measured = list_page.measure(rows, rounds)
    return [{"rung": figure.pop("step"), **figure} for figure in measured]


def the_repricing(rows: int, rounds: int) -> Figures:
    names = {
        "one task a row": "ch. 9 one task a row",
        "its body alone": "  the task's body alone",
        "one UPDATE": "  one UPDATE",
        "Pricebook": "  ours, set-wise",
        "Pricebook, two workers": "  ours, two workers",
    }
    return [
        {
            "rung": names[figure["way"]],
            "rows": rows,
            "CPU ms": figure["CPU µs a row"] and figure["CPU µs a row"] * rows / 1000,
            "ms": 1000 * figure["whole book, s"],
            "rows/s": figure["rows/s"],
            "note": f"HOT {figure['HOT %']:.0f} %, heap +{figure['heap +%']:.0f} %",
        }
        for figure in repricing.measure(rows, rounds)
    ]


def losses(rows: int, rounds: int) -> Figures:
    """The prices that stay wrong after changes in bursts, and wrong totals from a cache."""
    step("ladder: what stays wrong")
    with copy_of_the_book():
        fill(rows)
        prices = {figure["variant"]: figure for figure in lost_updates.measure(rows, rounds)}
    with copy_of_the_book():
        fill(10_000)
        totals = {figure["total"]: figure for figure in stale_totals.measure(10_000, 20 * rounds)}
    return [
        {
            "rung": rung,
            "rows": rows,
            "wrong": f"{prices[variant]['wrong after a drain, mean %']:.2g} % of prices",
            **prices[variant],
        }
        for rung, variant in (
            ("ch. 9 one task a row", lost_updates.THEIRS),
            ("  ours, set-wise", lost_updates.OURS),
        )
    ] + [
        {
            **totals[variant],
            "rung": rung,
            "wrong": f"{totals[variant]['wrong after']} of {totals[variant]['bursts']} totals",
        }
        for rung, variant in (
            ("ch. 11 total cached, warm", stale_totals.THEIRS),
            ("  total: ours, exact", stale_totals.OURS),
        )
    ]


def the_total(rows: int, rounds: int) -> Figures:
    names = {
        "SUM over the rows": "  total: SUM over the rows",
        "GET": "  total: a value in the cache",
        "shipped": "  total: ours, exact",
    }
    return [
        {
            "rung": names[figure["total"]],
            "rows": rows,
            "queries": 0 if figure["total"] == "GET" else 1,
            "CPU ms": figure["CPU ms"],
            "ms": figure["ms"],
            "note": f"{figure['× GET']:.1f} × a GET",
        }
        for figure in total.measure(rows, rounds)
        if figure["total"] in names
    ]


COMMENT = "DROP INDEX subscription_comment"
COMPOSITE = "ALTER TABLE services_subscription DROP CONSTRAINT subscription_unique_external_id"


def the_indexes(rows: int, rounds: int) -> Figures:
    """Chapter 12's queries; an index is dropped in a transaction, which is rolled back."""
    one_session()
    subscriptions = Subscription.objects.order_by()
    one = subscriptions.order_by("pk")[rows // 2]
    queries = {
        "ch. 12 comment, no index": (COMMENT, subscriptions.filter(comment=one.comment)),
        "ch. 12 comment, index": ("", subscriptions.filter(comment=one.comment)),
        "ch. 12 both columns, no index": (
            COMPOSITE,
            subscriptions.filter(source=one.source, external_id=one.external_id),
        ),
        "ch. 12 both columns, composite": (
            "",
            subscriptions.filter(source=one.source, external_id=one.external_id),
        ),
        "ch. 12 its first column": ("", subscriptions.filter(source=one.source)),
        "ch. 12 its second column": ("", subscriptions.filter(external_id=one.external_id)),
    }
    plans: dict[str, str] = {}
    found: dict[str, set[int]] = {}
    walls: dict[str, list[float]] = defaultdict(list)

    def run_once(rung: str, drop: str, query: QuerySet[Subscription]) -> float:
        with transaction.atomic():
            if drop:
                index_cost.execute("SET CONSTRAINTS ALL IMMEDIATE")
                index_cost.execute(drop)
            plans[rung] = query.explain()
            found[rung] = {row.pk for row in query}
            cpu, wall = timed(lambda: list(query.all()), seconds=0.1)
            transaction.set_rollback(True)
        walls[rung].append(wall)
        return cpu

    cpu = results.interleaved(
        {rung: partial(run_once, rung, *query) for rung, query in queries.items()}, rounds
    )
    for rung, ids in found.items():
        expected = (
            found["ch. 12 its first column"] if rung == "ch. 12 its first column" else {one.pk}
        )
        if one.pk not in ids or ids != expected:
            raise AssertionError(f"{rung}: {ids}, not {expected}")
    return [
        {
            "rung": rung,
            "rows": rows,
            "queries": 1,
            "CPU ms": 1000 * statistics.median(cpu[rung]),
            "ms": 1000 * statistics.median(walls[rung]),
            "note": scan_of(plans[rung]),
            "plan": plans[rung],
        }
        for rung in queries
    ]


def scan_of(plan: str) -> str:
    """The way in which a plan, as text, reads the table: "Seq Scan", say."""
    return next(
        line.partition(" on ")[0].partition(" using ")[0].strip(" ->")
        for line in plan.splitlines()
        if "services_subscription" in line
    )


def the_updates(rows: int, rounds: int) -> Figures:
    """The cost of the indexes: microseconds of CPU a row, and their size."""
    shipped = index_cost.SHIPPED
    no_comment, on_price = "without subscription_comment", index_cost.ON_PRICE
    measured = {
        figure["variant"]: figure
        for figure in index_cost.measure(rows, rounds, without=["subscription_comment"])
    }
    index_size = f"{measured[no_comment]['index MB']:,.1f} MB"
    price_size = f"{measured[on_price]['index MB']:,.1f} MB"
    return [
        {
            "rung": rung,
            "rows": rows,
            "CPU µs a row": measured[variant][f"{write} µs"],
            "rows/s": 1e6 / measured[variant][f"{write} µs"],  # of CPU
            "note": note,
        }
        for rung, variant, write, note in (
            ("ch. 12 a comment, as shipped", shipped, "comment", f"index of {index_size}"),
            ("ch. 12 a comment, no index on it", no_comment, "comment", ""),
            ("ch. 12 a price, as shipped", shipped, "reprice", hot(measured[shipped])),
            (
                "ch. 12 a price, index on it",
                on_price,
                "reprice",
                f"{hot(measured[on_price])}; index of {price_size}",
            ),
        )
    ]


def hot(figure: dict[str, Any]) -> str:
    return f"HOT {figure['HOT %']:.0f} %"


def the_cachalot(rows: int, rounds: int) -> Figures:
    names = {
        (cachalot_writes.THEIRS, "read-heavy"): "ch. 13 cachalot, read-heavy",
        (cachalot_writes.THEIRS, "write-heavy"): "ch. 13 cachalot, write-heavy",
        (cachalot_writes.OURS, "read-heavy"): "  ours, read-heavy",
        (cachalot_writes.OURS, "write-heavy"): "  ours, write-heavy",
    }
    return [
        {
            "rung": names[figure["page"], figure["load"]],
            "rows": rows,
            "CPU ms": figure["CPU ms"],
            "wrong": "stale after SQL" if figure["stale after SQL"] == "yes" else "",
            "note": f"{figure['× without']:.2g} × the same without",
        }
        for figure in cachalot_writes.measure(rows, rounds)
        if figure["page"] != cachalot_writes.CONTROL
    ]


def the_road_not_taken(rows: int, rounds: int) -> Figures:
    return [
        {
            "rung": "not taken: a price a pair",
            "rows": rows,
            "queries": 1,
            "CPU ms": figure["CPU ms"],
            "ms": figure["ms"],
            "rows/s": figure["subscriptions/s"],
            "note": "no negotiated price, no lock, no rise of a set",
        }
        for figure in pair_prices.measure(rows, rounds)
        if figure["way"] == pair_prices.PAIRS
    ]


PARTS: dict[str, Callable[[int, int], Figures]] = {
    "list": the_list,
    "repricing": the_repricing,
    "total": the_total,
    "indexes": the_indexes,
    "updates": the_updates,
    "cachalot": the_cachalot,
    "pairs": the_road_not_taken,
}
