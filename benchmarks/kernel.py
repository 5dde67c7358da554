"""The kernel against the machine: its share of one thread's FMA peak, and what a second adds.

Depthwise convolutions do too little arithmetic for that alone: they are held against the time, too,
in which the machine copies as many bytes as they read and write. The peaks are measured right after
each timing, so that a change of the clock touches both.
"""

import argparse
import contextlib
import functools
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

import resfuse
from resfuse.cli import timing
from resfuse.cli.bench.turns import Worker
from resfuse.cli.bench.worker import seconds_per_call
from resfuse.kernel import extension


class Layer(NamedTuple):
    """A convolution of square images, padded to as many outputs as "SAME" has."""

    size: int
    inputs: int
    outputs: int
    window: int = 3
    stride: int = 1
    groups: int = 1
    batch: int = 1

    @property
    def output_size(self) -> int:
        """Of an edge."""
        return -(-self.size // self.stride)

    @property
    def gflop(self) -> float:
        """Arithmetic, of the taps that fall on the padding too."""
        products = self.window**2 * self.inputs // self.groups * self.outputs
        return 2e-9 * self.batch * self.output_size**2 * products

    @property
    def inside(self) -> float:
        """The share of a 3x3 window's taps that do not fall on the padding, with stride 1."""
        return ((3 * self.size - 2) / (3 * self.size)) ** 2

    @property
    def floats(self) -> int:
        """Of the image and of the output."""
        pixels = self.size**2 * self.inputs + self.output_size**2 * self.outputs
        return self.batch * pixels

    def __str__(self) -> str:
        """As 8x56x56x128/32 3x3/1 to 256: image, groups, window, stride, outputs."""
        groups = f"/{self.groups}" if 1 < self.groups < self.inputs else ""
        outputs = f" to {self.outputs}" if self.outputs != self.inputs else ""
        image = f"{self.batch}x{self.size}x{self.size}x{self.inputs}"
        return f"{image}{groups} {self.window}x{self.window}/{self.stride}{outputs}"


def depthwise(size: int, channels: int, window: int, stride: int) -> Layer:
    """Every channel by itself."""
    return Layer(size, channels, channels, window, stride, channels)


# By the names of --only: the 3x3 layers of a ResNet and a ResNeXt; the first layers of ResNets, of
# one channel too, of VGGs, of MobileNets and EfficientNets, and of ConvNeXts; 1x1 layers of a
# ResNet-50 and of a MobileNetV2; 3x3 ones that go by Winograd's algorithm, which does less
# arithmetic than is counted here; and those of MobileNets, an EfficientNet and a ConvNeXt.
LAYERS = {
    "stages": [
        Layer(56, 64, 64),
        Layer(28, 128, 128),
        Layer(14, 256, 256),
        Layer(7, 512, 512),
        Layer(56, 128, 128, groups=32),
        Layer(28, 256, 256, groups=32),
        Layer(14, 512, 512, groups=32),
        Layer(7, 1024, 1024, groups=32),
    ],
    "stems": [
        Layer(224, 3, 64, 7, 2),
        Layer(224, 1, 64, 7, 2),
        Layer(224, 3, 64, 3, 1),
        Layer(224, 3, 16, 3, 2),
        Layer(224, 3, 32, 3, 2),
        Layer(224, 3, 64, 3, 2),
        Layer(224, 3, 96, 4, 4),
    ],
    "pointwise": [
        Layer(56, 64, 256, 1),
        Layer(56, 256, 64, 1),
        Layer(28, 128, 512, 1),
        Layer(28, 512, 1024, 1, 2),
        Layer(14, 256, 1024, 1),
        Layer(14, 1024, 256, 1),
        Layer(7, 512, 2048, 1),
        Layer(7, 2048, 512, 1),
        Layer(112, 16, 96, 1),
        Layer(112, 32, 16, 1),
        Layer(56, 24, 144, 1),
        Layer(56, 144, 24, 1),
        Layer(28, 32, 192, 1),
        Layer(14, 64, 384, 1),
    ],
    "winograd": [
        Layer(56, 64, 64),
        Layer(28, 128, 128),
        Layer(14, 256, 256),
        Layer(7, 512, 512),
        Layer(56, 128, 128, 3, 2),
        Layer(28, 256, 256, 3, 2),
    ],
    "depthwise": [
        depthwise(112, 32, 3, 1),
        depthwise(112, 96, 3, 2),
        depthwise(56, 144, 3, 1),
        depthwise(28, 192, 3, 1),
        depthwise(28, 240, 5, 1),
        depthwise(14, 200, 3, 1),
        depthwise(14, 672, 5, 2),
        depthwise(7, 960, 3, 1),
        depthwise(56, 96, 7, 1),
        depthwise(14, 384, 7, 1),
    ],
}
SCALING = Layer(56, 64, 64, batch=8)


@functools.cache
def convolution(isa: str, layer: Layer, precision: str) -> Callable[[], object]:
    """One compiled convolution, whose output takes the memory of the last one.

    New memory's pages would take as long as a stem, several times as long if it is depthwise.
    ``isa`` only keeps them apart.
    """
    del isa
    keys = jax.random.split(jax.random.key(0))
    x = jax.random.normal(keys[0], (layer.batch, layer.size, layer.size, layer.inputs))
    shape = layer.window, layer.window, layer.inputs // layer.groups, layer.outputs
    kernel = jax.random.normal(keys[1], shape)
    ones, zeros = jax.numpy.ones(layer.outputs), jax.numpy.zeros(layer.outputs)

    def run(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return resfuse.conv_bn_relu(
            x, kernel, ones, zeros, zeros, ones, strides=layer.stride,
            feature_group_count=layer.groups, implementation="ffi", precision=precision,
        )  # fmt: skip

    call = timing.in_place(run, [x, kernel])
    return lambda: jax.block_until_ready(call())


@functools.cache
def copy_of(floats: int) -> Callable[[], object]:
    """A copy of so many floats, between arrays that are kept: from the cache that holds both."""
    source, target = np.ones(floats, np.float32), np.empty(floats, np.float32)
    return lambda: np.copyto(target, source)


def time(isa: str, layer: Sequence[int], precision: str) -> tuple[float, float, float]:
    """Seconds of a call, of its multiply-adds, and of copying as many bytes as it moves."""
    extension.force_isa(isa)
    of = Layer(*layer)
    call, copy = convolution(isa, of, precision), copy_of(of.floats // 2)
    for each in (call, copy):
        seconds_per_call(each, 0.01)  # warms up
    seconds, peak = seconds_per_call(call, 0.05), extension.fma_peak(0.02)
    return seconds, of.gflop / peak, seconds_per_call(copy, 0.02)


class Timing(NamedTuple):
    """Of a layer: medians in seconds, and the median share of each bound."""

    isa: str
    layer: Layer
    seconds: float
    of_products: float
    copying: float
    share: float
    share_of_both: float


def timings(one: Worker, kind: str, rounds: int) -> Iterator[Timing]:
    """Of each instruction set and layer; directly, unless Winograd's algorithm is the subject."""
    precision = "default" if kind == "winograd" else "highest"
    for isa in extension.isas():
        for layer in [layer._replace(batch=batch) for batch in (1, 8) for layer in LAYERS[kind]]:
            runs = [one.ask("run", "kernel:time", isa, layer, precision) for _ in range(rounds)]
            seconds, products, copying = map(statistics.median, zip(*runs, strict=True))
            share = statistics.median(run[1] / run[0] for run in runs)
            both = statistics.median(max(run[1:]) / run[0] for run in runs)
            yield Timing(isa, layer, seconds, products, copying, share, both)


def print_stages(found: Iterator[Timing]) -> None:
    """Prints the share of the peak, with the taps on the padding and without."""
    print("isa      stages                           ms    GFLOP/s   share  without padding")
    for isa, layer, seconds, _, _, share, _ in found:
        print(
            f"{isa:8} {layer!s:28} {1e3 * seconds:7.3f} {layer.gflop / seconds:8.1f} "
            f"{share:9.1%} {layer.inside * share:10.1%}",
            flush=True,
        )


def print_depthwise(found: Iterator[Timing]) -> None:
    """Prints the share of the tighter of both bounds."""
    print(
        "isa      depthwise                        us   copy, us  multiply-adds, us   share of both"
    )
    for isa, layer, seconds, products, copying, _, both in found:
        print(
            f"{isa:8} {layer!s:28} {1e6 * seconds:8.1f} {1e6 * copying:10.1f} "
            f"{1e6 * products:12.1f} {both:14.1%}",
            flush=True,
        )


def print_layers(kind: str, found: Iterator[Timing]) -> None:
    """Prints the share of the multiply-adds."""
    print(f"isa      {kind:28}       us  multiply-adds, us   share")
    for isa, layer, seconds, products, _, share, _ in found:
        print(
            f"{isa:8} {layer!s:28} {1e6 * seconds:8.1f} {1e6 * products:12.1f} {share:13.1%}",
            flush=True,
        )


def print_scaling(one: Worker, two: Worker, rounds: int) -> None:
    """Prints how many times as fast two threads are, for each instruction set."""
    for isa in extension.isas():
        request = "run", "kernel:time", isa, SCALING, "highest"
        pairs = [[engine.ask(*request)[0] for engine in (one, two)] for _ in range(rounds)]
        ratios = [alone / together for alone, together in pairs]
        print(
            f"{isa:8} {SCALING}: two threads are "
            f"{statistics.median(ratios):.2f} times one ({min(ratios):.2f}-{max(ratios):.2f})"
        )


def main() -> None:
    """Measures in processes of one and of two threads, in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", choices=LAYERS, help="these layers alone")
    args = parser.parse_args()
    printers = {"stages": print_stages, "depthwise": print_depthwise}
    with contextlib.ExitStack() as stack:
        here = str(Path(__file__).parent)
        workers = [Worker("the kernel", threads, folder=here) for threads in (1, 2)]
        one, two = (stack.enter_context(contextlib.closing(worker)) for worker in workers)
        for kind in [args.only] if args.only else LAYERS:
            show = printers.get(kind, functools.partial(print_layers, kind))
            show(timings(one, kind, args.rounds))
        if not args.only:
            print_scaling(one, two, args.rounds)


if __name__ == "__main__":
    main()
