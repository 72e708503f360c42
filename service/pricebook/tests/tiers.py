"""How many random examples a test draws: few in every run of the suite, and many on request.

PROPERTY_EXAMPLES and SCHEMATHESIS_EXAMPLES ask for that many, each of the tests that it is for.
"""

import os


def examples(of_the_suite: int, variable: str = "PROPERTY_EXAMPLES") -> int:
    return int(os.environ.get(variable) or of_the_suite)
