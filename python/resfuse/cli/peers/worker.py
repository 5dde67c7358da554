"""One engine on one network: a process that builds it when first asked, and then times it.

The arguments are the task's name, the engine's module and variant, the folder of what was
prepared, the batch size, and the number of threads.
"""

import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from resfuse.cli.peers.prepared import Prepared
from resfuse.cli.timing import seconds_per_call
from resfuse.cli.turns import serve
from resfuse.kernel import extension

_WARM = 3  # calls
_SPINNING = 0.05  # seconds for which an engine's idle threads may still take the next one's CPUs


def main() -> None:
    """Serves standard input until it ends."""
    task, module, variant, folder, batch, threads = sys.argv[1:]
    engine = importlib.import_module(f"resfuse.cli.peers.{task}_{module}")
    engine.start()
    serve(_Network(lambda: engine.load(variant, Prepared(folder), int(batch), int(threads))).answer)


class _Network:
    """What there is to know about an engine's network, in the order in which it is asked."""

    def __init__(self, load: Callable[[], Callable[[], Any]]) -> None:
        self._load = load
        self._before = _peak_kilobytes()
        self._call: Callable[[], Any]

    def answer(self, what: str, *arguments: Any) -> object:
        """Builds the network at first, and then times it."""
        return self._build(*arguments) if what == "build" else self._time()

    def _build(self, answers_file: str, calls: int) -> float:
        """Seconds from the files to the first answer. Those of the first calls are written."""
        start = time.perf_counter()
        self._call = self._load()
        first = np.asarray(self._call())
        seconds = time.perf_counter() - start
        np.save(answers_file, [first, *(np.asarray(self._call()) for _ in range(1, calls))])
        return seconds

    def _time(self) -> dict[str, float]:
        """Seconds of a call, the most memory so far beyond what the runtime took, the FMA peak."""
        # The engine before has emptied the caches, and the system has taken back what memory the
        # last call has freed: it takes a few calls until one is like the next.
        for _ in range(_WARM):
            self._call()
        seconds = seconds_per_call(self._call, 0.2)
        time.sleep(_SPINNING)
        return {
            "seconds": seconds,
            "kilobytes": _peak_kilobytes() - self._before,
            "fma_peak": extension.fma_peak(0.02),  # of one thread, in GFLOP/s
        }


def _peak_kilobytes() -> int:
    """The most memory that this process has held so far."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


if __name__ == "__main__":
    main()
