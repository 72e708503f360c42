"""The list of subscriptions in the admin: ours, with the exact total, beside a plain one."""

import re
import statistics
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.test import Client

from benchmarks import results
from benchmarks.peers.installed import files_of_the_book, started
from benchmarks.scratch import scratch_book
from benchmarks.stopwatch import cpu_seconds, one_session

CALLS = 5  # of each in a round
ADDRESS = "/admin/services/subscription/"


def measure(name: str, python: Path, rows: int, rounds: int) -> list[dict[str, Any]]:
    with (
        scratch_book("peers", rows),
        files_of_the_book() as folder,
        started(name, python) as ask,
    ):
        one_session()
        ask("fill", folder=str(folder))
        ask("log_in")
        browser = Client(SERVER_NAME="localhost")
        browser.force_login(User.objects.create_superuser("reader"))
        texts: dict[str, str] = {}

        def ours() -> float:
            cpu = cpu_seconds()
            for _ in range(CALLS):
                texts["Pricebook"] = browser.get(ADDRESS).content.decode()
            return (cpu_seconds() - cpu) / CALLS

        def theirs() -> float:
            answer = ask("page", calls=CALLS)
            texts["plain admin"] = answer["text"]
            return float(answer["cpu"])

        taken = results.interleaved({"Pricebook": ours, "plain admin": theirs}, rounds + 1)
        first, second = (rows_of(text) for text in texts.values())
        if first != second or len(first) != 50:
            raise AssertionError(f"not the same rows: {first} and {second}")
    return [
        {
            "rows": rows,
            "work": "admin's list, 50 rows",
            "way": way,
            "CPU, ms": 1000 * statistics.median(cpu[1:]),  # the first one compiles templates
            "× Pricebook": results.ratio_to(taken["Pricebook"][1:], cpu[1:]),
            "kB of HTML": len(texts[way].encode()) // 1000,
        }
        for way, cpu in taken.items()
    ]


def rows_of(text: str) -> list[int]:
    """The ids of the rows that a list shows."""
    boxes = re.findall(r"<input[^>]*_selected_action[^>]*>", text)
    return [int(found[1]) for box in boxes if (found := re.search(r'value="(\d+)"', box))]
