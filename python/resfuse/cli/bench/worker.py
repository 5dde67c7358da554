"""A process that times what it is told to: it answers requests, a line each, until input ends.

Any interpreter runs it, as a file, so that the process may have another version of resfuse than the
one that asks: nothing else of resfuse is imported than what a request names. A request is a method
of ``Requests`` with its arguments, as JSON; functions are named ``module:name``.
"""

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import resfuse

_WARM = 3  # calls
_SPINNING = 0.05  # seconds for which an engine's idle threads may still take the next one's CPUs


class Requests:
    """What the process is asked for, in this order."""

    def run(self, function: str, *arguments: Any) -> Any:
        """What the function returns."""
        module, _, name = function.partition(":")
        return getattr(importlib.import_module(module), name)(*arguments)

    def build(self, function: str, arguments: list[Any], answers: str, calls: int) -> float:
        """Seconds in which the function makes the call to be timed and the call answers once.

        The answers of the first ``calls`` calls go to the file ``answers``.
        """
        self._call: Callable[[], Any] | None = None  # frees what was timed before
        self._before = _peak_mebibytes()
        start = time.perf_counter()
        call = self.run(function, *arguments)
        first = np.asarray(call())
        seconds = time.perf_counter() - start
        np.save(answers, [first, *(np.asarray(call()) for _ in range(1, calls))])
        self._call = call
        return seconds

    def time(self, at_least: float) -> dict[str, float]:
        """Seconds of a call; and the FMA peak of one thread, in GFLOP/s, measured right after."""
        assert self._call is not None
        # The engine before has emptied the caches, and the system has taken back what memory the
        # last call has freed: it takes a few calls until one is like the next.
        for _ in range(_WARM):
            self._call()
        seconds = seconds_per_call(self._call, at_least)
        time.sleep(_SPINNING)
        return {"seconds": seconds, "peak": resfuse.ffi.fma_peak(0.02)}

    def memory(self) -> float:
        """The most that the process has held, beyond what it held before it built, in MiB."""
        return _peak_mebibytes() - self._before


def seconds_per_call(call: Callable[[], object], at_least: float) -> float:
    """The mean over as many calls as fill ``at_least`` seconds: one, if it is slow.

    The call has to wait for its result: JAX returns before it is there.
    """
    calls, elapsed, start = 0, 0.0, time.perf_counter()
    while elapsed < at_least:
        call()
        calls += 1
        elapsed = time.perf_counter() - start
    return elapsed / calls


def _peak_mebibytes() -> float:
    """The most memory that this process has held so far."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main() -> None:
    """Serves standard input."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no reply
    requests = Requests()
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        print(json.dumps(getattr(requests, what)(*arguments)), file=replies, flush=True)


if __name__ == "__main__":
    main()
