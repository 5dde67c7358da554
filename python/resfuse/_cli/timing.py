"""How long a call takes."""

import time
from collections.abc import Callable

from jax import Array


def seconds_per_call(call: Callable[[], Array], at_least: float = 0.03) -> float:
    """The mean over as many calls as fill ``at_least`` seconds: one, if it is slow."""
    calls, elapsed, start = 0, 0.0, time.perf_counter()
    while elapsed < at_least:
        call().block_until_ready()
        calls += 1
        elapsed = time.perf_counter() - start
    return elapsed / calls
