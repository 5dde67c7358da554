"""The kernel against the machine: its share of one thread's FMA peak, and what a second adds.

The peak is measured right after each timing, so that a change of the clock touches both.
"""

import argparse
import contextlib
import functools
import statistics
from collections.abc import Callable
from pathlib import Path

import jax

import resfuse
from resfuse.cli.bench.turns import Worker
from resfuse.cli.bench.worker import seconds_per_call
from resfuse.kernel import extension

# Of a ResNet, a ResNeXt, and depthwise: size, channels, groups.
DENSE = [(56, 64, 1), (28, 128, 1), (14, 256, 1), (7, 512, 1)]
GROUPED = [(56, 128, 32), (28, 256, 32), (14, 512, 32), (7, 1024, 32)]
DEPTHWISE = [(56, 128, 128), (14, 512, 512)]
SCALING = (8, 56, 64, 1)


def gflop(batch: int, size: int, channels: int, groups: int, *, padding: bool) -> float:
    """Arithmetic of a 3x3 convolution, with or without the taps that fall on the padding."""
    rows = 3 * size if padding else 3 * size - 2
    return 2 * batch * rows**2 * channels**2 / groups / 1e9


@functools.cache
def convolution(
    isa: str, batch: int, size: int, channels: int, groups: int
) -> Callable[[], object]:
    """One compiled 3x3 convolution; ``isa`` only keeps them apart."""
    del isa
    keys = jax.random.split(jax.random.key(0))
    x = jax.random.normal(keys[0], (batch, size, size, channels))
    kernel = jax.random.normal(keys[1], (3, 3, channels // groups, channels))
    ones, zeros = jax.numpy.ones(channels), jax.numpy.zeros(channels)
    # Direct whatever the default may be: nothing else has a share of the peak.
    op = functools.partial(resfuse.conv_bn_relu, implementation="ffi", precision="highest")
    compiled = jax.jit(functools.partial(op, feature_group_count=groups))
    return lambda: compiled(x, kernel, ones, zeros, zeros, ones).block_until_ready()


def time(isa: str, *shape: int) -> tuple[float, float]:
    """Seconds of a call, and the GFLOP/s of one thread's multiply-adds."""
    extension.force_isa(isa)
    call = convolution(isa, *shape)
    seconds_per_call(call, 0.01)  # warms up
    return seconds_per_call(call, 0.05), extension.fma_peak(0.02)


def name(batch: int, size: int, channels: int, groups: int) -> str:
    """As 8x56x56x128/32, with the groups."""
    return f"{batch}x{size}x{size}x{channels}" + (f"/{groups}" if groups > 1 else "")


def print_shares(one: Worker, rounds: int) -> None:
    """Prints the share of the peak, for each instruction set and shape."""
    print("isa      shape                   ms    GFLOP/s  peak   share  without padding")
    stages = DENSE + GROUPED + DEPTHWISE
    for isa in extension.isas():
        for shape in [(batch, *stage) for batch in (1, 8) for stage in stages]:
            timings = [one.ask("run", "kernel:time", isa, *shape) for _ in range(rounds)]
            seconds, peak = (statistics.median(each) for each in zip(*timings, strict=True))
            share = statistics.median(1 / (time * peak) for time, peak in timings)
            every, inside = (gflop(*shape, padding=padding) for padding in (True, False))
            print(
                f"{isa:8} {name(*shape):20} {1e3 * seconds:7.3f} "
                f"{every / seconds:8.1f} {peak:6.1f} {every * share:7.1%} {inside * share:10.1%}",
                flush=True,
            )


def print_scaling(one: Worker, two: Worker, rounds: int) -> None:
    """Prints how many times as fast two threads are, for each instruction set."""
    for isa in extension.isas():
        request = "run", "kernel:time", isa, *SCALING
        pairs = [[engine.ask(*request)[0] for engine in (one, two)] for _ in range(rounds)]
        ratios = [alone / together for alone, together in pairs]
        print(
            f"{isa:8} {name(*SCALING)}: two threads are "
            f"{statistics.median(ratios):.2f} times one ({min(ratios):.2f}-{max(ratios):.2f})"
        )


def main() -> None:
    """Measures in processes of one and of two threads, in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with contextlib.ExitStack() as stack:
        here = str(Path(__file__).parent)
        workers = [Worker("the kernel", threads, folder=here) for threads in (1, 2)]
        one, two = (stack.enter_context(contextlib.closing(worker)) for worker in workers)
        print_shares(one, rounds)
        print_scaling(one, two, rounds)


if __name__ == "__main__":
    main()
