"""The first row of a table: which of our columns each of its columns is."""

from __future__ import annotations

from collections.abc import Mapping

from django.utils.translation import pgettext

from services.transfer.csv_file import BadBook, Column, Problem
from services.transfer.files.reading import Reading, header_key
from services.transfer.sheets.headings import column_meant

COLUMNS_ASKED = 50  # unknown ones of a file with none of ours


def shown(known: Mapping[str, Column]) -> str:
    """Our columns, those that may be left out in brackets."""
    return ", ".join(name if column.required else f"[{name}]" for name, column in known.items())


class Header:
    """`columns` are ours, in the order of the file, and `positions` where each stands there.

    `add_problems` says what is wrong with it.
    """

    def __init__(self, cells: list[str], reading: Reading, line: int = 1) -> None:
        while cells and not cells[-1].strip():
            cells = cells[:-1]
        self.cells = cells
        self.line = line
        self.reading = reading
        ours = [reading.column_of(cell) for cell in cells]
        if any(column is None for column in ours):
            meant = [column_meant(cell) for cell in cells]
            # Another's "Цена" may be anything; a header of nothing but our headings is one of ours.
            if all(column in reading.known for column in meant):
                ours = meant
        self.positions = [position for position, column in enumerate(ours) if column]
        self.columns = [column for column in ours if column]
        self.unknown = [n for n, column in enumerate(ours) if column is None and cells[n].strip()]
        # Columns without a name, which have to be empty.
        self.nameless = [n for n, cell in enumerate(cells) if not cell.strip() and ours[n] is None]

    @property
    def missing(self) -> list[str]:
        return [
            name
            for name, column in self.reading.known.items()
            if column.required and name not in self.columns
        ]

    def add_problems(self, problems: BadBook, cell_at: list[str]) -> None:
        """`cell_at` are the places of its cells in a workbook, or empty."""

        def add(
            value: str, reason: str, position: int | None = None, answers: tuple[str, ...] = ()
        ) -> None:
            cell = cell_at[position] if cell_at and position is not None else ""
            problems.add(Problem(self.line, "", value, reason, cell, "bad_header", answers))

        known = shown(self.reading.known)
        if not self.cells:
            add(
                "", pgettext("file", "is empty; the first line names: %(known)s") % {"known": known}
            )
            return
        # The parameters that leave a column out, as `column=Kunde:comment` says which one it is.
        if not self.columns:
            named = [cell for cell in self.cells if cell.strip()]
            add(
                ", ".join(repr(cell[:30]) for cell in named[:8]),
                pgettext(
                    "file",
                    "names none of our columns: %(known)s. Name them so, or say which is"
                    " which, as column=%(cell)s:company_name (import_book: --column)",
                )
                % {"known": known, "cell": named[0][:30]},
                answers=tuple(f"column={cell}:" for cell in named[:COLUMNS_ASKED]),
            )
            return
        # The list of columns is said once.
        told = pgettext("file", "; known are: %(known)s") % {"known": known}
        for position in self.unknown:
            name = self.cells[position]
            add(
                name,
                pgettext(
                    "file",
                    "is not a column%(told)s. Say which one it is, as column=%(name)s:comment, or"
                    " leave it out, as column=%(name)s: (import_book: --column)",
                )
                % {"told": told, "name": name[:30]},
                position,
                (f"column={name}:",),
            )
            told = ""
        there = set()
        for column, position in zip(self.columns, self.positions, strict=True):
            if column in there:
                add(
                    self.cells[position],
                    pgettext("file", "is there twice; keep one of them"),
                    position,
                )
            there.add(column)
        for name in self.missing:
            needed = told and pgettext("file", "; needed are: %(known)s") % {"known": known}
            add(name, pgettext("file", "is missing%(needed)s") % {"needed": needed})
            told = ""
        if ("source" in self.columns) != ("external_id" in self.columns):
            add("source, external_id", pgettext("file", "belong together; give both or neither"))

    def understood(self) -> dict[str, str]:
        """The columns that have other names in the file, and those left out, for people."""
        mapped = ", ".join(
            f"{self.cells[position]}={column}"
            for column, position in zip(self.columns, self.positions, strict=True)
            if header_key(self.cells[position]) != column
        )
        others = {*self.positions, *self.unknown, *self.nameless}
        ignored = ", ".join(cell for n, cell in enumerate(self.cells) if n not in others)
        said = {"columns": mapped, "left out": ignored}
        return {name: value for name, value in said.items() if value}
