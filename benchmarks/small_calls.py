"""One call on 10 numbers: what a library costs before it computes anything."""

import derivatives
import forward
from cases import DTYPES, Case, Prepared

UNIT = "ns per call"
CASES = [Case(function, (10,), dtype) for function in forward.FUNCTIONS + derivatives.FUNCTIONS for dtype in DTYPES]


def table(case: Case) -> tuple[str, str]:
    """All in one table."""
    return "one call on 10 numbers", f"{case.function} {case.dtype}"


def prepare(case: Case) -> Prepared:
    family = derivatives if case.function in derivatives.FUNCTIONS else forward
    return family.prepare(case)._replace(entries=1)
