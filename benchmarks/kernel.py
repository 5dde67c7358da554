"""The kernel against the machine: its share of one thread's FMA peak, and what a second adds.

Depthwise convolutions do too little arithmetic for that alone: they are held against the time, too,
in which the machine copies as many bytes as they read and write. The peaks are measured right after
each timing, so that a change of the clock touches both.
"""

import argparse
import contextlib
import functools
import itertools
import statistics
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

import resfuse
from resfuse.cli import timing
from resfuse.cli.bench.turns import Worker
from resfuse.cli.bench.worker import seconds_per_call
from resfuse.kernel import extension

# Of a ResNet and a ResNeXt: size, channels, groups.
DENSE = [(56, 64, 1), (28, 128, 1), (14, 256, 1), (7, 512, 1)]
GROUPED = [(56, 128, 32), (28, 256, 32), (14, 512, 32), (7, 1024, 32)]
# Of MobileNets, an EfficientNet and a ConvNeXt: size, channels, window, stride.
DEPTHWISE = [
    (112, 32, 3, 1),
    (112, 96, 3, 2),
    (56, 144, 3, 1),
    (28, 192, 3, 1),
    (28, 240, 5, 1),
    (14, 200, 3, 1),
    (14, 672, 5, 2),
    (7, 960, 3, 1),
    (56, 96, 7, 1),
    (14, 384, 7, 1),
]
# Convolutions by size, input and output channels, window and stride. The first layers of ResNets,
# of one channel too, of VGGs, of MobileNets and EfficientNets, and of ConvNeXts; 1x1 layers of a
# ResNet-50 and of a MobileNetV2; and 3x3 ones that go by Winograd's algorithm, which does less
# arithmetic than is counted here.
LAYERS = {
    "stems": [
        (224, 3, 64, 7, 2),
        (224, 1, 64, 7, 2),
        (224, 3, 64, 3, 1),
        (224, 3, 16, 3, 2),
        (224, 3, 32, 3, 2),
        (224, 3, 64, 3, 2),
        (224, 3, 96, 4, 4),
    ],
    "pointwise": [
        (56, 64, 256, 1, 1),
        (56, 256, 64, 1, 1),
        (28, 128, 512, 1, 1),
        (28, 512, 1024, 1, 2),
        (14, 256, 1024, 1, 1),
        (14, 1024, 256, 1, 1),
        (7, 512, 2048, 1, 1),
        (7, 2048, 512, 1, 1),
        (112, 16, 96, 1, 1),
        (112, 32, 16, 1, 1),
        (56, 24, 144, 1, 1),
        (56, 144, 24, 1, 1),
        (28, 32, 192, 1, 1),
        (14, 64, 384, 1, 1),
    ],
    "winograd": [
        (56, 64, 64, 3, 1),
        (28, 128, 128, 3, 1),
        (14, 256, 256, 3, 1),
        (7, 512, 512, 3, 1),
        (56, 128, 128, 3, 2),
        (28, 256, 256, 3, 2),
    ],
}
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


@functools.cache
def in_place(
    isa: str,
    batch: int,
    size: int,
    inputs: int,
    outputs: int,
    window: int,
    stride: int,
    groups: int,
    precision: str = "highest",
) -> Callable[[], object]:
    """One compiled convolution, whose output takes the memory of the last one.

    New memory's pages would take as long as a stem, several times as long if it is depthwise.
    """
    del isa
    keys = jax.random.split(jax.random.key(0))
    x = jax.random.normal(keys[0], (batch, size, size, inputs))
    kernel = jax.random.normal(keys[1], (window, window, inputs // groups, outputs))
    ones, zeros = jax.numpy.ones(outputs), jax.numpy.zeros(outputs)

    def layer(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return resfuse.conv_bn_relu(
            x, kernel, ones, zeros, zeros, ones, strides=stride, feature_group_count=groups,
            implementation="ffi", precision=precision,
        )  # fmt: skip

    call = timing.in_place(layer, [x, kernel])
    return lambda: jax.block_until_ready(call())


@functools.cache
def copy_of(floats: int) -> Callable[[], object]:
    """A copy of so many floats, between arrays that are kept: from the cache that holds both."""
    source, target = np.ones(floats, np.float32), np.empty(floats, np.float32)
    return lambda: np.copyto(target, source)


def depthwise_floats(batch: int, size: int, channels: int, stride: int) -> tuple[int, int]:
    """Of the image and of the output."""
    return batch * size**2 * channels, batch * (-(-size // stride)) ** 2 * channels


def time_depthwise(
    isa: str, batch: int, size: int, channels: int, window: int, stride: int
) -> tuple[float, float, float]:
    """Seconds of a call, of copying as many bytes as it moves, and of its multiply-adds."""
    extension.force_isa(isa)
    call = in_place(isa, batch, size, channels, channels, window, stride, channels)
    read, written = depthwise_floats(batch, size, channels, stride)
    copy = copy_of((read + written) // 2)
    for each in (call, copy):
        seconds_per_call(each, 0.01)  # warms up
    seconds, copying = seconds_per_call(call, 0.05), seconds_per_call(copy, 0.02)
    return seconds, copying, 2e-9 * window**2 * written / extension.fma_peak(0.02)


def time_layer(
    isa: str, kind: str, batch: int, layer: tuple[int, int, int, int, int]
) -> tuple[float, float]:
    """Seconds of a call, and of its multiply-adds, those on the padding included."""
    size, inputs, outputs, window, stride = layer
    extension.force_isa(isa)
    precision = "default" if kind == "winograd" else "highest"
    call = in_place(isa, batch, *layer, 1, precision)
    seconds_per_call(call, 0.01)  # warms up
    products = batch * (-(-size // stride) * window) ** 2 * inputs * outputs
    return seconds_per_call(call, 0.05), 2e-9 * products / extension.fma_peak(0.02)


def name(batch: int, size: int, channels: int, groups: int) -> str:
    """As 8x56x56x128/32, with the groups."""
    return f"{batch}x{size}x{size}x{channels}" + (f"/{groups}" if groups > 1 else "")


def print_shares(one: Worker, rounds: int) -> None:
    """Prints the share of the peak, for each instruction set and shape."""
    print("isa      shape                   ms    GFLOP/s  peak   share  without padding")
    stages = DENSE + GROUPED
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


def print_depthwise(one: Worker, rounds: int) -> None:
    """Prints the share of the tighter of both bounds, for each instruction set and shape."""
    print("isa      depthwise                    us   copy, us  multiply-adds, us   share of both")
    for isa in extension.isas():
        for batch, (size, channels, window, stride) in itertools.product((1, 8), DEPTHWISE):
            shape = batch, size, channels, window, stride
            timings = [one.ask("run", "kernel:time_depthwise", isa, *shape) for _ in range(rounds)]
            call, copy, fma = (1e6 * statistics.median(each) for each in zip(*timings, strict=True))
            share = statistics.median(max(bounds) / seconds for seconds, *bounds in timings)
            label = f"{name(batch, size, channels, 1)} {window}x{window}/{stride}"
            print(
                f"{isa:8} {label:24} {call:8.1f} {copy:10.1f} {fma:12.1f} {share:14.1%}", flush=True
            )


def print_layers(one: Worker, kind: str, rounds: int) -> None:
    """Prints the share of the multiply-adds, for each instruction set and layer of that kind."""
    print(f"isa      {kind:28}       us  multiply-adds, us   share")
    for isa in extension.isas():
        for batch, layer in itertools.product((1, 8), LAYERS[kind]):
            request = "run", "kernel:time_layer", isa, kind, batch, layer
            timings = [one.ask(*request) for _ in range(rounds)]
            call, fma = (1e6 * statistics.median(each) for each in zip(*timings, strict=True))
            share = statistics.median(bound / seconds for seconds, bound in timings)
            size, inputs, outputs, window, stride = layer
            label = f"{name(batch, size, inputs, 1)} {window}x{window}/{stride} to {outputs}"
            print(f"{isa:8} {label:28} {call:8.1f} {fma:12.1f} {share:13.1%}", flush=True)


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
    parser.add_argument("--only", choices=(*LAYERS, "depthwise"), help="these layers alone")
    args = parser.parse_args()
    rounds = args.rounds
    with contextlib.ExitStack() as stack:
        here = str(Path(__file__).parent)
        workers = [Worker("the kernel", threads, folder=here) for threads in (1, 2)]
        one, two = (stack.enter_context(contextlib.closing(worker)) for worker in workers)
        if not args.only:
            print_shares(one, rounds)
        for kind in LAYERS:
            if args.only in (None, kind):
                print_layers(one, kind, rounds)
        if args.only in (None, "depthwise"):
            print_depthwise(one, rounds)
        if not args.only:
            print_scaling(one, two, rounds)


if __name__ == "__main__":
    main()
