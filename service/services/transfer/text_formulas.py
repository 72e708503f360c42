"""Texts as formulas: `="00123"`, a cell whose value is this very text.

So CSV says to Excel that something is a text which looks like a formula, a number or a date.
"""

from __future__ import annotations

import re

# A literal within a formula has up to 255 characters.
LITERAL = 255
FORMULA = re.compile(r'="(?:[^"]|"")*"(?:&"(?:[^"]|"")*")*')
IN_FORMULA = re.compile(r'"((?:[^"]|"")*)"')


def text_formula(text: str) -> str:
    """A cell that Excel reads as this very text, and neither as a formula nor as anything else."""
    pieces = [text[start : start + LITERAL] for start in range(0, len(text), LITERAL)]
    return "=" + "&".join(f'"{_doubled(piece)}"' for piece in pieces)


def _doubled(text: str) -> str:
    return text.replace('"', '""')


def text_of(cell: str) -> str:
    """The text of a cell that `text_formula` has written, or of any other one."""
    if not FORMULA.fullmatch(cell):
        return cell
    return "".join(piece.replace('""', '"') for piece in IN_FORMULA.findall(cell))
