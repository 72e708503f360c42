"""Whether this process can answer for the book, and how the work behind it stands.

`failing` names the parts without which no request is answered rightly: it is not ready then. `late`
names what workers have not done in time. Every reader sees the right prices all the same
(docs/time.md), so taking the web server away for it would only add to the trouble.
"""

from __future__ import annotations

import logging
import pkgutil
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from django.apps import apps
from psycopg.errors import UndefinedTable

from pricebook.seeing import statements
from pricebook.seeing.look import Look, NoAnswer, Session
from services import sweeps

logger = logging.getLogger(__name__)

SECONDS = 0.8  # of the second within which a probe is answered
KEPT = 1.0
# Seconds after which something is late: work that is due, the sweep of every 2 s, the hourly check,
# the seal of every minute.
WORK_IS_LATE = 60
SWEEP_IS_LATE = 120  # a worker that is busy looks again after 60 s
CHECK_IS_LATE = 3 * 60 * 60
SEAL_IS_LATE = 60 * 60  # it is made every minute


@dataclass
class Readiness:
    """The answer of /readyz. Ages are in seconds; None: not known."""

    failing: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    says: dict[str, Any] = field(default_factory=dict)

    @property
    def is_ready(self) -> bool:
        return not self.failing

    def body(self) -> dict[str, Any]:
        status = "ready" if self.is_ready else "not_ready"
        return {"status": status, "failing": self.failing, "late": self.late, **self.says}


def now() -> Readiness:
    """How it stands now, within a second."""
    try:
        found = _look()
    except NoAnswer as error:
        found = Readiness(["database"], [], {"database": {"answers": False}})
        _tell(found, f": {error}")
    else:
        _tell(found)
    return found


def ask(session: Session) -> Readiness:
    """Ask the database: seven statements, and the cache once."""
    ((system, timeline, in_recovery),) = session.rows(statements.LIFE)
    found = Readiness()
    found.says["database"] = {
        "answers": True,
        "system_identifier": system,
        "timeline": timeline,
        "in_recovery": in_recovery,
    }
    waiting = pending_migrations(session)
    found.says["migrations"] = {"pending": len(waiting)}
    if waiting:
        found.failing.append("migrations")
        return found  # the tables may not be there
    ages = [age for _kind, _count, age in session.rows(statements.DUE)]
    ((clock,),) = session.rows(statements.NOW)
    _of_workers(found, max(ages, default=0.0), clock)
    _of_check(found, session.rows(statements.BOOK_CHECK))
    _of_seals(found, session.rows(statements.UNSEALED))
    return found


def _of_workers(found: Readiness, oldest: float, clock: float) -> None:
    swept = sweeps.last()
    found.says["due_work"] = {"oldest_seconds": round(oldest, 1)}
    since_sweep = None if swept is None else max(0.0, round(clock - swept, 1))
    found.says["last_sweep"] = {"seconds_ago": since_sweep}
    if oldest > WORK_IS_LATE:
        found.late.append("due_work")
    if since_sweep is not None and since_sweep > SWEEP_IS_LATE:
        found.late.append("last_sweep")


def _of_check(found: Readiness, rows: list[Any]) -> None:
    found.says["book_check"] = {"seconds_ago": None, "differs": None}
    for at, now, differences in rows:
        since = max(0.0, round(now - at, 1))
        found.says["book_check"] = {"seconds_ago": since, "differs": differences > 0}
        if differences or since > CHECK_IS_LATE:
            found.late.append("book_check")


def _of_seals(found: Readiness, rows: list[Any]) -> None:
    ((_count, _oldest, seconds, is_ahead),) = rows
    found.says["seals"] = {"oldest_unsealed_seconds": round(seconds, 1), "is_ahead": is_ahead}
    if is_ahead or seconds > SEAL_IS_LATE:
        found.late.append("seals")


def pending_migrations(session: Session) -> set[tuple[str, str]]:
    """The migrations of the code that this database has not had. A newer database has none."""
    try:
        applied = {(app, name) for app, name in session.rows(statements.MIGRATIONS)}
    except UndefinedTable:
        applied = set()
    return _of_the_code() - applied


def _of_the_code() -> set[tuple[str, str]]:
    """By the names of their files, because importing them all takes longer than a probe may."""
    found = set()
    for config in apps.get_app_configs():
        try:
            package = import_module(f"{config.name}.migrations")
        except ModuleNotFoundError:
            continue
        found |= {
            (config.label, module.name)
            for module in pkgutil.iter_modules(package.__path__)
            if module.name[0] not in "_~"
        }
    return found


_look = Look(ask, seconds=SECONDS, kept=KEPT)
_told: list[str] = []  # what the log was told to be failing


def _tell(found: Readiness, why: str = "") -> None:
    """Tell the log when it changes what fails, and not at every probe."""
    global _told
    if found.failing != _told:
        _told = found.failing
        if found.failing:
            logger.error("Not ready: %s%s", ", ".join(found.failing), why)
        else:
            logger.warning("Ready again.")


def forget() -> None:
    """Ask anew at the next probe."""
    _look.forget()
