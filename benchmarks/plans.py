"""Plans, layer by layer: how busy they keep many threads, and whether other blocks are faster.

``busy`` measures nothing: it plays the queue of units, for machines with more cores than this one.
``blocks`` runs each layer with the plans for other sizes of L2, from which the sizes of blocks
follow, and says how far those for this machine fall behind the fastest.
"""

import functools
import heapq
import itertools
import math
import statistics
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import jax
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

import resfuse
from models import Convolution, convolutions
from networks import COMPARISON
from options import choose, parse_batches
from resfuse import _ext
from resfuse.cli.bench.worker import seconds_per_call
from resfuse.kernel import extension

THREADS = (2, 4, 8, 16, 32, 64)
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of this machine's L2
NETWORK, BATCH, ROUNDS = "ResNet50", "1,8", 10

app = typer.Typer(add_completion=False, help=__doc__)
Models = Annotated[str, typer.Option(help="Networks, as networks.py names them.")]
Batches = Annotated[str, typer.Option(help="Batch sizes.")]


def layers(models: str, batches: str) -> Iterator[tuple[str, int, Mapping[Convolution, int]]]:
    """Each network at each batch size, and how often it has each convolution."""
    for name in choose("--models", models, list(COMPARISON.models)):
        for batch in parse_batches(batches):
            yield name, batch, convolutions(COMPARISON.models[name], batch)


def title(layer: Convolution) -> str:
    """As 56x56x64 to 256, 1x1; stride 2; 32 groups."""
    window = "x".join(map(str, layer.kernel[:2]))
    parts = [f"{'x'.join(map(str, layer.x[1:]))} to {layer.kernel[-1]}, {window}"]
    parts += [f"stride {layer.strides[0]}"] if layer.strides[0] > 1 else []
    parts += [f"{layer.groups} groups"] if layer.groups > 1 else []
    return "; ".join(parts)


def plan(layer: Convolution, threads: int) -> Mapping[str, Any]:
    """With packed weights, as ``fuse`` calls it."""
    padding = [pixels for side in layer.padding for pixels in side]
    ones = [1] * len(layer.strides)
    (made,) = _ext.plans_in_full(
        layer.x, layer.kernel, layer.strides, padding, ones, ones, layer.groups, True,
        packed=True, threads=threads,
    )  # fmt: skip
    return made


def work(layer: Convolution, made: Mapping[str, Any]) -> float:
    """The multiply-adds of a panel's channel with one of the pieces that blocks are cut from.

    Those are pixels, each with the whole window, or Winograd's tiles, each with its points. What
    the transforms take is left out: it is shared out in the same units.
    """
    reduction = math.prod(layer.kernel[:-1])
    if made["algorithm"] != "winograd":
        return reduction
    sides = zip(made["tiling"][0][1:], layer.kernel[:2], layer.strides, strict=True)
    points = (outputs * s + (2 if s == 1 else 1) if taps == 3 else 1 for outputs, taps, s in sides)
    return math.prod(points) * layer.kernel[2]


def unit_costs(layer: Convolution, made: Mapping[str, Any]) -> list[float]:
    """The work of each unit, in their order."""
    size, blocks = made["blocks"]
    pieces = made["pixels"]
    if made["algorithm"] == "winograd":
        pieces = layer.x[0] * math.prod(made["tiling"][1])
    assert blocks * size >= pieces
    each, columns = work(layer, made), made["tile"][1]

    def cost(first_panel: int, last_panel: int, first: int, last: int) -> float:
        channels = min(last_panel * columns, layer.kernel[-1]) - first_panel * columns
        return each * channels * (min(last * size, pieces) - first * size)

    return list(itertools.starmap(cost, made["units"]))


def busy_time(layer: Convolution, threads: int) -> tuple[float, float]:
    """The work of all units, and when the last thread is done with its own and what it took over.

    As in ``csrc/base/parallel.h``: first those of its own share, then the last of the fullest.
    """
    made = plan(layer, threads)
    costs, count = unit_costs(layer, made), made["threads"]
    cuts = [len(costs) * i // count for i in range(count + 1)]
    shares = [deque(costs[first:last]) for first, last in itertools.pairwise(cuts)]
    ends = [(0.0, thread) for thread in range(count)]
    for _ in costs:
        end, thread = ends[0]
        own = shares[thread]
        cost = own.popleft() if own else max(shares, key=len).pop()
        heapq.heapreplace(ends, (end + cost, thread))
    return sum(costs), max(ends)[0]


@app.command()
def busy(models: Models = NETWORK, batches: Batches = BATCH) -> None:
    """Prints the share of the time in which each of P threads has work, by their plans."""
    console = Console()
    for name, batch, counts in layers(models, batches):
        table = Table("layer", "times", *(f"{threads} threads" for threads in THREADS))
        table.title = f"{name}, batch {batch}, {extension.isa()}"
        totals = dict.fromkeys(THREADS, 0.0)
        everything = 0.0
        for layer, count in counts.items():
            shares = []
            for threads in THREADS:
                total, end = busy_time(layer, threads)
                totals[threads] += count * end
                shares.append(f"{total / (threads * end):.2f}")
            everything += count * total
            table.add_row(title(layer), str(count), *shares)
        whole = (f"{everything / (threads * totals[threads]):.2f}" for threads in THREADS)
        table.add_section()
        table.add_row("all, by their work", "", *whole)
        console.print(table)


@functools.cache
def compiled(isa: str, layer: Convolution) -> Callable[[], object]:
    """The convolution with ReLU, through ``fuse``, which packs its weights for one ``isa``."""
    del isa
    draw = np.random.default_rng(0).standard_normal
    kernel = draw(layer.kernel, np.float32)
    ones, zeros = np.ones(layer.kernel[-1], np.float32), np.zeros(layer.kernel[-1], np.float32)
    x = jax.numpy.asarray(draw(layer.x, np.float32))

    @jax.jit
    @resfuse.fuse
    def run(x: jax.Array) -> jax.Array:
        return resfuse.conv_bn_relu(
            x, kernel, ones, zeros, zeros, ones, strides=layer.strides, padding=layer.padding,
            feature_group_count=layer.groups,
        )  # fmt: skip

    return lambda: run(x).block_until_ready()


def times(layer: Convolution, rounds: int) -> dict[float, list[float]]:
    """Seconds with the plans for each size of L2, in turn."""
    l1d, l2, l3 = _ext.machine()
    call = compiled(extension.isa(), layer)
    found: dict[float, list[float]] = {factor: [] for factor in FACTORS}
    try:
        for _ in range(rounds):
            for factor in FACTORS:
                _ext.use_machine(l1d, int(l2 * factor), l3)
                call()
                found[factor].append(seconds_per_call(call, 0.01))
    finally:
        _ext.use_machine(l1d, l2, l3)
    return found


def behind(found: Mapping[float, Sequence[float]]) -> tuple[float, float]:
    """The fastest factor, and the time of this machine's plans over that of its.

    The odd rounds choose and the even ones compare: the least of several noisy times would flatter
    whichever was lucky.
    """
    chosen = min(found, key=lambda factor: statistics.median(found[factor][1::2]))
    pairs = zip(found[1.0][::2], found[chosen][::2], strict=True)
    return chosen, statistics.median(own / best for own, best in pairs)


@app.command()
def blocks(models: Models = NETWORK, batches: Batches = BATCH, rounds: int = ROUNDS) -> None:
    """Prints how far each layer's plan falls behind the best that other sizes of L2 would give."""
    console = Console()
    for isa in extension.isas():
        extension.force_isa(isa)
        for name, batch, counts in layers(models, batches):
            table = Table("layer", "ms", "fastest with L2 of", "time over the fastest")
            table.title = f"{name}, batch {batch}, {isa}; L2 {_ext.machine()[1] >> 10} KiB"
            for layer in counts:
                found = times(layer, rounds)
                factor, ratio = behind(found)
                own = 1e3 * statistics.median(found[1.0])
                table.add_row(title(layer), f"{own:.3f}", f"{factor:g} times", f"{ratio:.2f}")
            console.print(table)


if __name__ == "__main__":
    app()
