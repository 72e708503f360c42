"""A line of `doctor`."""

from typing import NamedTuple


class Finding(NamedTuple):
    """A line: ✓ is well, ✗ is wrong (its text ends with how to fix it), – is not running."""

    mark: str
    text: str
