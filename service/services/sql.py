"""The type of a statement."""

from typing import Any

SQL = tuple[str, tuple[Any, ...]]  # a statement and its parameters
