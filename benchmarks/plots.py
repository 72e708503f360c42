"""The README's plots, from the figures of a run, legible on light and on dark pages."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams |= {"svg.hashsalt": "pricebook", "svg.fonttype": "none", "font.size": 11}
import matplotlib.pyplot as plt  # noqa: E402

INK = "#7d8590"  # a grey with contrast on white and on black
OTHERS, OURS = "#a0a8b0", "#2f81f7"
MARKERS = "osD^"  # a size each, from the smallest


def bars(
    path: Path,
    names: Sequence[str],
    values: Sequence[float],
    *,
    ours: set[str],
    label: str,
    goal: float | None = None,
) -> None:
    """Draw horizontal bars on a logarithmic axis, each with its value, and a line at the goal."""
    figure, axes = plt.subplots(figsize=(8, 0.42 * len(names) + 0.9))
    colours = [OURS if name in ours else OTHERS for name in names]
    axes.barh(names, values, color=colours, height=0.62)
    axes.set_xscale("log")
    axes.set_xlim(min(values) / 3, max(values) * 3)
    axes.invert_yaxis()
    axes.set_xlabel(f"{label} (log)", color=INK, loc="right")
    if goal is not None:
        axes.axvline(goal, color=INK, linewidth=1, linestyle=":")
    axes.tick_params(colors=INK, length=0, which="both")
    for side in ("top", "right", "bottom", "left"):
        axes.spines[side].set_visible(False)
    axes.set_xticks([])  # each bar bears its value
    axes.set_xticks([], minor=True)
    for n, value in enumerate(values):
        text = f"{value:,.0f}" if value >= 100 else f"{value:,.3g}"
        axes.text(value * 1.08, n, text, va="center", color=INK)
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, transparent=True, metadata={"Date": None})
    figure.savefig(path.with_suffix(".png"), transparent=True, dpi=150)
    plt.close(figure)


def repricing(figures: Sequence[dict[str, Any]], directory: Path) -> None:
    largest = max(row["rows"] for row in figures)
    shown = [row for row in figures if row["rows"] == largest]
    bars(
        directory / "repricing.svg",
        [row["way"] for row in shown],
        [row["rows/s"] for row in shown],
        ours={row["way"] for row in shown if row["way"].startswith("Pricebook")},
        label=f"subscriptions repriced a second, of {largest:,}",
    )


def list_page(figures: Sequence[dict[str, Any]], directory: Path) -> None:
    largest = max(row["rows"] for row in figures)
    shown = [row for row in figures if row["rows"] == largest]
    bars(
        directory / "list_page.svg",
        [row["step"] for row in shown],
        [row["CPU ms"] for row in shown],
        ours={row["step"] for row in shown if row["step"].startswith("shipped")},
        label=f"CPU for a page of 100, ms, of {largest:,} subscriptions",
    )


def ladder(figures: Sequence[dict[str, Any]], directory: Path, ours: set[str]) -> None:
    """Draw the CPU of each rung, with a mark for each size: their distance shows how it grows."""
    sizes = sorted({row["rows"] for row in figures if row.get("CPU ms")})
    cpu: dict[str, dict[int, float]] = {}
    for row in figures:
        if row.get("CPU ms"):
            cpu.setdefault(row["rung"], {})[row["rows"]] = row["CPU ms"]
    figure, axes = plt.subplots(figsize=(9, 0.3 * len(cpu) + 1.4))
    for n, (rung, by_size) in enumerate(cpu.items()):
        colour = OURS if rung in ours else OTHERS
        axes.plot(list(by_size.values()), [n] * len(by_size), color=colour, linewidth=2, alpha=0.6)
        for rows, value in by_size.items():
            axes.plot(
                value, n, MARKERS[sizes.index(rows)], color=colour, markersize=7, clip_on=False
            )
    axes.set_yticks(range(len(cpu)), [rung.strip() for rung in cpu])
    for label, rung in zip(axes.get_yticklabels(), cpu, strict=True):
        label.set_color(OURS if rung in ours else INK)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.margins(y=0.02)
    axes.invert_yaxis()
    axes.set_xlabel("CPU of Python and PostgreSQL, ms (log)", color=INK)
    axes.tick_params(axis="x", colors=INK, length=0, which="both")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=INK, alpha=0.2)
    for side in ("top", "right", "bottom", "left"):
        axes.spines[side].set_visible(False)
    handles = [
        axes.plot([], [], MARKERS[n], color=INK, label=f"{rows:,}")[0]
        for n, rows in enumerate(sizes)
    ]
    axes.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=len(sizes),
        frameon=False,
        labelcolor=INK,
        title="subscriptions",
    ).get_title().set_color(INK)
    save(figure, directory / "ladder.svg")


def goals(figures: Sequence[dict[str, Any]], directory: Path) -> None:
    largest = max(row["rows"] for row in figures)
    shown = [row for row in figures if row["rows"] == largest]
    bars(
        directory / "goals.svg",
        [f"{row['work']}: {row['goal']}" for row in shown],
        [row["margin"] for row in shown],
        ours={f"{row['work']}: {row['goal']}" for row in shown if row["met"] == "yes"},
        label=f"{largest:,} subscriptions; × better than the goal, which is the line",
        goal=1,
    )
