"""How much of what it could try a test tries: little in every run of the suite, all on request.

PROPERTY_EXAMPLES and SCHEMATHESIS_EXAMPLES ask for that many, each of the tests that it is for.
"""

import os
from collections.abc import Collection, Iterable
from typing import Any

import pytest


def examples(of_the_suite: int, variable: str = "PROPERTY_EXAMPLES") -> int:
    return int(os.environ.get(variable) or of_the_suite)


def always(these: Collection[object], of: Iterable[object]) -> list[Any]:
    """Parameters, of which every run of the suite takes `these`, and the tier `thorough` all."""
    return [pytest.param(each, marks=() if each in these else pytest.mark.thorough) for each in of]
