"""How long a call takes."""

import time
from collections.abc import Callable


def seconds_per_call(call: Callable[[], object], at_least: float = 0.03) -> float:
    """The mean over as many calls as fill ``at_least`` seconds: one, if it is slow.

    The call has to wait for its result: JAX returns before it is there.
    """
    calls, elapsed, start = 0, 0.0, time.perf_counter()
    while elapsed < at_least:
        call()
        calls += 1
        elapsed = time.perf_counter() - start
    return elapsed / calls
