"""Whether this process can answer for the book, and how the work behind it stands.

`failing` names the parts without which no request is answered rightly: it is not ready then. `late`
names what workers have not done in time. Every reader sees the right prices all the same
(docs/time.md), so taking the web server away for it would only add to the trouble.
"""

from __future__ import annotations

import logging
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from django.apps import apps
from psycopg.errors import UndefinedTable

from pricebook.seeing import statements
from pricebook.seeing.look import Look, NoAnswer, Session
from services import lives, sweeps
from services.audit.book_check import kept_check

logger = logging.getLogger(__name__)

SECONDS = 0.8  # of the second within which a probe is answered
KEPT = 1.0
# A part that is only told may take this much of it: a locked table is not the database.
SECONDS_OF_WORK = 0.2
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
    ((clock,),) = session.rows(statements.NOW)
    for name, (nothing, part) in PARTS.items():
        try:
            found.says[name], is_late = part(session, clock)
        except Exception as error:  # the database answers, so the process is of use
            if session.connection.closed:
                raise
            logger.warning("Readiness does not know %s: %s", name, str(error).strip())
            found.says[name], is_late = nothing, False
        if is_late:
            found.late.append(name)
    return found


Part = tuple[dict[str, Any], bool]  # what is said, and whether it is late


def _due_work(session: Session, clock: float) -> Part:
    rows = session.rows(statements.DUE, SECONDS_OF_WORK)
    oldest = max((age for _kind, _count, age in rows), default=0.0)
    return {"oldest_seconds": round(oldest, 1)}, oldest > WORK_IS_LATE


def _last_sweep(session: Session, clock: float) -> Part:
    if (swept := sweeps.last()) is None:
        return {"seconds_ago": None}, False
    since = max(0.0, round(clock - swept, 1))
    return {"seconds_ago": since}, since > SWEEP_IS_LATE


def _book_check(session: Session, clock: float) -> Part:
    rows = session.rows(statements.LAST_CHECK, SECONDS_OF_WORK)
    if not rows:
        return {"seconds_ago": None, "differs": None}, False
    *row, age = rows[0]
    since, differs = max(0.0, round(age, 1)), kept_check(*row).differences > 0
    return {"seconds_ago": since, "differs": differs}, differs or since > CHECK_IS_LATE


def _seals(session: Session, clock: float) -> Part:
    ((_count, _oldest, age, is_ahead),) = session.rows(statements.UNSEALED, SECONDS_OF_WORK)
    said = {"oldest_unsealed_seconds": round(age, 1), "is_ahead": is_ahead}
    return said, is_ahead or age > SEAL_IS_LATE


def _life(session: Session, clock: float) -> Part:
    found = lives.Standing.of(session.rows(statements.STANDING, SECONDS_OF_WORK))
    said = {"number": found.number, "why": found.why, "acknowledged": not found.waits}
    return said, found.waits


# The answer for a part that is not known, and how it is asked.
PARTS: dict[str, tuple[dict[str, Any], Callable[[Session, float], Part]]] = {
    "due_work": ({"oldest_seconds": None}, _due_work),
    "last_sweep": ({"seconds_ago": None}, _last_sweep),
    "book_check": ({"seconds_ago": None, "differs": None}, _book_check),
    "life": ({"number": None, "why": None, "acknowledged": None}, _life),
    "seals": ({"oldest_unsealed_seconds": None, "is_ahead": None}, _seals),
}


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
