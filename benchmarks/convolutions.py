"""Single convolutions of every geometry, with a bias and ReLU, beside plain JAX and PyTorch."""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from options import choose, installed
from resfuse.cli.bench import command
from resfuse.cli.bench.results import OURS, YNN_OFF, Case, Engine, Result, Task
from resfuse.cli.bench.turns import Measurement
from resfuse.cli.ending import refuse

_JAX, _TORCH = "engines.convolution", "engines.torch_convolution"
ENGINES = {
    OURS: Engine("resfuse", OURS, _JAX, "fuse"),
    "xla": Engine("JAX", "JAX", _JAX, "xla"),
    "xla-ynn-off": Engine("JAX, YNN off", "JAX", _JAX, "xla", YNN_OFF),
    "pytorch": Engine("PyTorch", "PyTorch", _TORCH, "", "", ("torch",)),
}
# Winograd's algorithm rounds by about 1e-5 of the largest output.
FORWARD = Task("forward", "call", "outputs", calls=1, tolerance=1e-3, at_least=0.1)
GRADIENTS = Task("gradients", "gradient step", "gradients", calls=1, tolerance=1e-3, at_least=0.1)

Sizes = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Layer:
    """A convolution of images ``(B, ..., Cin)``; a transposed one has ``stride`` in its image.

    ``padding`` is as PyTorch counts it, but for causal windows, which are padded in front only.
    """

    size: Sizes
    channels: tuple[int, int]
    window: Sizes
    batch: int = 1
    stride: int = 1
    dilation: int = 1
    padding: int | None = None  # as many outputs as strides, unless it is given
    groups: int = 1
    transposed: bool = False
    causal: bool = False

    @property
    def pads(self) -> tuple[tuple[int, int], ...]:
        """Before and after each dimension, as ``jax.lax`` has them."""
        spans = [self.dilation * (taps - 1) for taps in self.window]
        if self.transposed:
            pad = self.padding or 0
            return tuple((span - pad, span - pad) for span in spans)
        if self.causal:
            return tuple((span, 0) for span in spans)
        pads = [span // 2 if self.padding is None else self.padding for span in spans]
        return tuple((pad, pad) for pad in pads)

    @property
    def multiply_adds(self) -> int:
        """Without those of taps that fall beyond the image or between its pixels."""
        inputs, outputs = self.channels
        sides = map(self._meetings, self.size, self.window, self.pads)
        return self.batch * inputs // self.groups * outputs * math.prod(sides)

    def _meetings(self, size: int, window: int, pads: tuple[int, int]) -> int:
        """How many pairs of an output and a tap of a side meet a pixel."""
        apart, stride = (self.stride, 1) if self.transposed else (1, self.stride)
        last, span = (size - 1) * apart, (window - 1) * self.dilation
        first = range(-pads[0], last + pads[1] - span + 1, stride)
        places = (place + tap * self.dilation for place in first for tap in range(window))
        return sum(0 <= place <= last and place % apart == 0 for place in places)


LAYERS = {
    "3x3": Layer((64, 64), (64, 64), (3, 3)),
    "dilated 2": Layer((64, 64), (64, 64), (3, 3), dilation=2),
    "dilated 12": Layer((64, 64), (64, 64), (3, 3), dilation=12),
    "DeepLab, rate 6": Layer((33, 33), (256, 256), (3, 3), dilation=6),
    "DeepLab, rate 18": Layer((33, 33), (256, 256), (3, 3), dilation=18),
    "transposed 4x4": Layer((32, 32), (128, 64), (4, 4), stride=2, padding=1, transposed=True),
    "DCGAN's last": Layer((32, 32), (64, 3), (4, 4), batch=8, stride=2, padding=1, transposed=True),
    "WaveNet, dilation 1": Layer((16000,), (64, 64), (3,), causal=True),
    "WaveNet, dilation 16": Layer((16000,), (64, 64), (3,), dilation=16, causal=True),
    "WaveNet, dilation 512": Layer((16000,), (64, 64), (3,), dilation=512, causal=True),
    "Whisper, first": Layer((3000,), (80, 384), (3,)),
    "Whisper, second": Layer((3000,), (384, 384), (3,), stride=2, padding=1),
    # pytorch#120982 tells the sizes of what jax#23783 complains about: a filter bank to samples.
    "filter bank": Layer((224,), (1026, 1), (1024,), stride=256, padding=0, transposed=True),
    "1-D depthwise": Layer((16000,), (256, 256), (3,), dilation=4, groups=256),
    "3x3x3": Layer((16, 56, 56), (64, 64), (3, 3, 3)),
    "3x3x3, 128": Layer((8, 28, 28), (128, 128), (3, 3, 3)),
    "1x3x3": Layer((16, 56, 56), (64, 64), (1, 3, 3)),
    "3-D transposed": Layer((8, 16, 16), (64, 32), (2, 2, 2), stride=2, padding=0, transposed=True),
}


def main(
    layers: Annotated[str, typer.Option(help="Those whose name holds this text.")] = "",
    gradients: Annotated[bool, typer.Option(help="Both gradients and the forward pass.")] = False,
    engines: Annotated[str | None, typer.Option(help="As in xla,pytorch; by default all.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPUs; by default all.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Timings of each engine.")] = 7,
    json: Annotated[Path | None, typer.Option(help="Write every timing to it.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the result into it.")] = None,
) -> None:
    """Measures the layers, each engine in a process of its own."""
    count = threads or command.count_cpus(threads)
    chosen = {name: layer for name, layer in LAYERS.items() if layers in name}
    if not chosen:
        refuse(f"no layer holds {layers!r}; there are {', '.join(LAYERS)}")
    others = choose("--engines", engines, [name for name in ENGINES if name != OURS])
    compared = installed([OURS, *others], ENGINES)
    task, passes = (GRADIENTS, 3) if gradients else (FORWARD, 1)

    def measure(check: command.Check) -> Iterator[Result]:
        here = str(Path(__file__).parent)
        measurement = Measurement(task, compared, rounds, check, here)
        with measurement.start(count) as workers:
            for name, layer in chosen.items():
                case = Case("layers", name, count, 2 * passes * layer.multiply_adds / 1e9)
                yield measurement.measure(case, workers, name, count)

    command.run(measure, len(chosen), json, plot)


if __name__ == "__main__":
    typer.run(main)
