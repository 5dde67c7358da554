"""Python's search for garbage, put off where next to none is made."""

import contextlib
import gc
from collections.abc import Iterator

__all__ = ["uncollected"]


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Within, Python does not look for unreachable cycles.

    To load, trace or lower a network makes objects by the hundred thousand, which stay. Python
    counts them, and goes through all objects of the process for each quarter more; with JAX and
    Flax imported, that takes longer than XLA does to compile the network.

    Threads may be within at the same time: the first to leave ends it for all, and the collector is
    then as the first to enter found it.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
