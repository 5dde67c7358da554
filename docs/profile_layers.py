"""The time of each of a network's convolutions, for the page on the kernel."""

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from IPython.display import SVG

from drawings import bars
from resfuse import ffi
from resfuse.cli.bench.worker import seconds_per_call

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import plans
from models import Convolution

Row = tuple[str, float, str, bool]
THREADS = len(os.sched_getaffinity(0))  # as many as XLA's pool has


def profile(network: str, batch: int) -> SVG:
    """Milliseconds of each layer, all of its kind together, and its share of the FMA peak."""
    ((_, _, counts),) = plans.layers(network, str(batch))
    rows = [_row(layer, count) for layer, count in counts.items()]
    return bars(
        rows, f"{network}, batch {batch}", f"milliseconds ({ffi.isa()}, threads: {THREADS})"
    )


def _row(layer: Convolution, count: int) -> Row:
    seconds = _seconds(layer)
    share = 2 * _multiply_adds(layer) / seconds / (THREADS * ffi.fma_peak(0.01) * 1e9)
    winograd = plans.plan(layer, THREADS)["algorithm"] == "winograd"
    times = f"{count} x " if count > 1 else ""
    return times + plans.title(layer), 1e3 * count * seconds, f"{share:.0%}", winograd


def _seconds(layer: Convolution) -> float:
    """The least of three, for whatever else runs on the machine only adds to it."""
    call = plans.compiled(ffi.isa(), layer)
    call()
    return min(seconds_per_call(call, 0.01) for _ in range(3))


def _multiply_adds(layer: Convolution) -> int:
    """Those of the direct sum, padding included, as is usual."""
    return layer.x[0] * math.prod(_output(layer)) * math.prod(layer.kernel)


def _output(layer: Convolution) -> Iterator[int]:
    sides = zip(layer.x[1:3], layer.kernel[:2], layer.strides, layer.padding, strict=True)
    for size, window, stride, padding in sides:
        yield (size + sum(padding) - window) // stride + 1
