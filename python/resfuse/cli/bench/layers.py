"""``resfuse bench``: the op and the basic block of well-known networks against plain Flax."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
from flax import nnx

import resfuse
from resfuse.cli.bench import command
from resfuse.cli.bench.results import OURS, YNN_OFF, Case, Engine, Result, Task
from resfuse.cli.bench.turns import Measurement
from resfuse.cli.ending import refuse
from resfuse.nnx import BasicBlock

TASK = Task("layer", "call", "results", calls=1, tolerance=1e-3, at_least=0.03)
ENGINES = {
    OURS: Engine(OURS, OURS, __name__, ""),
    "xla": Engine("xla", "Flax", __name__, "xla"),
    "xla, YNN off": Engine("xla, YNN off", "Flax", __name__, "xla", YNN_OFF),
}


class Layer(NamedTuple):
    """A 3x3 convolution with its epilogue (``op``), or a basic block, on square images."""

    kind: str
    batch: int
    size: int
    channels: int

    @property
    def shape(self) -> str:
        """``8x56x56x64``: that of the input."""
        return f"{self.batch}x{self.size}x{self.size}x{self.channels}"

    @property
    def gflop(self) -> float:
        """Arithmetic of the direct convolutions, a multiply-add counting as two.

        Only weights that fall on the image count, not those on its padding: nobody has to
        multiply by those zeros, and on 2x2 images they are more than half.
        """
        rows = min(3 * self.size - 2, self.size * self.size)
        convolution = 2 * self.batch * rows**2 * self.channels**2
        return convolution * (2 if self.kind == "block" else 1) / 1e9


_RESNET = [(56, 64), (28, 128), (14, 256), (7, 512)]
_CIFAR = [(32, 64), (16, 128), (8, 256), (4, 512)]
_SHAPES = [
    *((batch, *stage) for batch in (1, 8) for stage in _RESNET),
    *((32, *stage) for stage in _CIFAR),
    (32, 2, 512),
    (1, 4, 3),  # the textbook's
]
LAYERS = [Layer(kind, *shape) for kind in ("op", "block") for shape in _SHAPES]


def run(
    threads: int | None,
    rounds: int,
    text: str,
    json_file: Path | None,
    plot_file: Path | None,
) -> None:
    """Measures the cases whose name holds ``text``, prints tables and writes the files."""
    cpus = command.count_cpus(threads)
    count = threads or cpus
    cases = {Case(each.kind, each.shape, count, each.gflop): each for each in LAYERS}
    chosen = {case: layer for case, layer in cases.items() if text in case.name}
    if not chosen:
        refuse(f"no case holds {text!r}; there are {'; '.join(case.name for case in cases)}")

    def measure(check: command.Check) -> Iterator[Result]:
        measurement = Measurement(TASK, ENGINES, rounds, check)
        with measurement.start(count) as workers:
            for case, layer in chosen.items():
                yield measurement.measure(case, workers, *layer)

    command.run(measure, len(chosen), json_file, plot_file)


def start() -> None:
    """Wakes the runtime."""
    jax.numpy.zeros(1).block_until_ready()


def layer(implementation: str, *shape: Any) -> Callable[[], jax.Array]:
    """The layer as a call; images and weights are arguments, so nothing is folded beforehand."""
    case = Layer(*shape)
    build = _op if case.kind == "op" else _block
    function, arguments = build(case, implementation or None)
    compiled = jax.jit(function)
    return lambda: compiled(*arguments).block_until_ready()


def _op(
    case: Layer, implementation: str | None
) -> tuple[Callable[..., jax.Array], list[jax.Array]]:
    x, key = _images(case)
    channels = (case.channels,)
    kernel = 0.05 * jax.random.normal(key, (3, 3, *channels, *channels))
    scale, bias, mean = (jax.random.normal(jax.random.fold_in(key, i), channels) for i in range(3))
    function = functools.partial(resfuse.conv_bn_relu, implementation=implementation)
    return function, [x, kernel, scale, bias, mean, jax.numpy.ones(channels)]


def _block(
    case: Layer, implementation: str | None
) -> tuple[Callable[..., jax.Array], list[jax.Array]]:
    block = BasicBlock(case.channels, implementation=implementation, rngs=nnx.Rngs(0))
    block.eval()
    graph, state = nnx.split(block)
    leaves, tree = jax.tree.flatten(state)

    def function(x: jax.Array, *leaves: jax.Array) -> jax.Array:
        y: jax.Array = nnx.merge(graph, jax.tree.unflatten(tree, leaves))(x)
        return y

    return function, [_images(case)[0], *leaves]


def _images(case: Layer) -> tuple[jax.Array, jax.Array]:
    """Random images, and a key for the weights."""
    images, weights = jax.random.split(jax.random.key(0))
    return jax.random.normal(images, (case.batch, case.size, case.size, case.channels)), weights
