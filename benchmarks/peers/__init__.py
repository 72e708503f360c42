"""The cost of the same work in other software, beside Pricebook, with the same PostgreSQL.

Each peer is a public package, which is installed by hash into an environment of its own for the run
(`requirements/`), and a script that uses it as its documentation shows (`scripts/`). Its book is a
copy of ours, in a database of its own. The work, in turn, round after round:

- list price: all followers of one service get another price, with their history. Pricebook's is
  counted from the approval to the last copy; the line below has the plan and the preview too
- whole book then: the total as of an instant before the last prices
- one price then: that of one subscription
- import: the rows of a file into an empty book
- the admin's list: the same 50 rows on one page, in ours with the exact total

After each change the peer must have a record in its history for each row, and the total of the
rule; each reading must find the value that stood there. CPU is that of the process and of its
PostgreSQL session. Above 1 a peer costs more than Pricebook, below 1 it costs less. No peer plans,
previews or approves a change of many rows: its figure is the bare write and its history.

    ./pricebook bench peers                            # all of them
    ./pricebook bench peers --only django_pghistory    # one

It needs a package index, so `bench all` leaves it out. A way that would take minutes a round is
measured up to 5,000 rows.
"""

from typing import Any

from benchmarks import results
from benchmarks.peers import admin_lists, book_imports, list_prices
from benchmarks.peers.installed import REQUIREMENTS, python_with, release

# The measurement of a peer, where it is not that of the list price with its history.
WORK = {"django_admin": admin_lists.measure, "django_import_export": book_imports.measure}


def names() -> list[str]:
    """The peers, by their files of requirements."""
    return sorted(path.stem for path in REQUIREMENTS.glob("*.txt"))


def main(arguments: list[str]) -> None:
    parser = results.options(__doc__, rows=[5_000, 50_000], quick=[1_000], rounds=5)
    parser.add_argument("--only", choices=names(), action="append", help="one peer, or several")
    chosen = results.parse(parser, arguments)
    under = results.conditions(chosen)
    figures: list[dict[str, Any]] = []
    for name in chosen.only or names():
        measure = WORK.get(name, list_prices.measure)
        of_peer: list[dict[str, Any]] = []
        with python_with(name) as python:
            for rows in chosen.rows:
                of_peer += measure(name, python, rows, chosen.rounds)
        if of_peer:
            results.table(release(name), of_peer)
            figures += [{"peer": release(name), **figure} for figure in of_peer]
    results.save("peers", chosen, under, figures)
