"""A line of the table of goals: what was measured, what was wanted, and whether it is met."""

from typing import Any

Figures = list[dict[str, Any]]
BIG = 1_000_000  # what some of the goals are about


def goal(
    work: str,
    measured: float,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    unit: str = "×",
    small: bool = False,
) -> dict[str, Any]:
    """A line of the table; `small` says that the book is smaller than the goal is meant for."""
    if at_most is not None:
        wanted, margin = (
            f"at most {at_most:g} {unit}".rstrip(),
            at_most / max(measured, at_most / 10),
        )
    else:
        assert at_least is not None
        wanted, margin = f"at least {at_least:g} {unit}".rstrip(), measured / at_least
    missed = f"not with so few rows; it is about {BIG:,}" if small else "NO"
    return {
        "work": work,
        "measured": measured,
        "goal": wanted,
        "met": "yes" if margin >= 1 else missed,
        "margin": margin,
    }
