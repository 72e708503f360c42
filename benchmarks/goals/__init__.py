"""The goals, and whether they are met: each is measured in this one run, as a ratio.

Every goal is a ratio of two things that ran in turn, round after round, on the same book; its
figure is the median over the rounds. Each function here says what it compares. `--rows` gives the
size; the goals are meant for a million rows and more, and 100,000 subscriptions to one service,
which is the size of a run without options.
"""

from collections.abc import Callable

from benchmarks import results
from benchmarks.goals import pages, transfer, writes
from benchmarks.goals.line import Figures
from benchmarks.progress import step
from benchmarks.scratch import copy_of_the_book, scratch_database

PARTS: dict[str, Callable[[int, int], Figures]] = {
    "page": pages.list_pages,
    "size": pages.whatever_the_size,
    "inserts": writes.inserts,
    "list price": writes.list_price,
    "repricing": writes.repricings,
    "import": transfer.imports,
    "stream": transfer.stream,
    "requests": pages.requests,
}

HEADS = ("rows", "work", "measured", "goal", "met")


def main(arguments: list[str]) -> None:
    parser = results.options(__doc__, rows=[1_000_000], quick=[10_000], rounds=5)
    parser.add_argument("--only", choices=list(PARTS), help="the goals of one part")
    chosen = results.parse(parser, arguments)
    under = results.conditions(chosen)
    parts = {chosen.only: PARTS[chosen.only]} if chosen.only else dict(PARTS)
    if chosen.quick and not chosen.only:
        del parts["repricing"]  # about big books; the ladder has the same figures of a small one
    figures: Figures = []
    with scratch_database("goals"):
        for rows in chosen.rows:
            for name, part in parts.items():
                step(f"goals, {rows:,}: {name}")
                with copy_of_the_book():
                    figures += [{"rows": rows, **figure} for figure in part(rows, chosen.rounds)]
    results.table("Goals", [{key: figure[key] for key in HEADS} for figure in figures])
    results.save("goals", chosen, under, figures)
    if chosen.plot:
        from benchmarks import plots  # matplotlib takes a second

        plots.goals(figures, chosen.plot)
