"""kill -9 at every named point of a price change: the rounds that try to lose a row.

`run()` plays them in a process of its own, on a PostgreSQL and a Valkey of their own, which are
killed. `./pricebook bench kills` and `test_kills.py` call it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

SERVICE = Path(__file__).resolve().parents[3]
# The servers of the caller; the rounds have their own.
OTHERS = ("DATABASE_URL", "DB_HOST", "REDIS_URL", "CELERY_BROKER_URL", "CELERY_QUEUE", "DB_POOL")


def run(
    directory: Path, rounds: int, seed: int = 0, faults: Iterable[str] = ()
) -> Iterator[dict[str, Any]]:
    """The outcome of each round (`rounds.Round`), as it ends. The same seed gives the same round.

    Then, for each fault in `faults` (names of `faults.FAULTS`), the round that shows it.
    """
    environment = {name: os.environ[name] for name in os.environ if name not in OTHERS}
    environment |= {"PRICEBOOK_HOME": str(directory), "PYTHONPATH": str(SERVICE)}
    command = [sys.executable, "-P", "-m", f"{__name__}.servers", str(rounds), str(seed)]
    command += faults
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                yield json.loads(line)
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise RuntimeError(f"The rounds ended with {process.returncode}; logs: {directory}/log")
