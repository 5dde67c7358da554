"""One engine of the benchmark: a process that times the case that it is asked for.

The answer has the seconds of a call, and the FMA peak of one thread, measured right after, if the
engine is resfuse. A new case is compiled first.
"""

import functools
import sys
from collections.abc import Callable

import jax
from flax import nnx

import resfuse
from resfuse.cli.cases import Case
from resfuse.cli.timing import seconds_per_call
from resfuse.cli.turns import serve
from resfuse.kernel import extension
from resfuse.nnx import BasicBlock


def main() -> None:
    """Serves standard input until it ends. The argument is the implementation."""
    implementation = None if sys.argv[1] == "default" else sys.argv[1]
    # The processes take turns on a case until it is done with, so that one is kept.
    compiled = functools.lru_cache(maxsize=1)(_compiled)
    serve(lambda *case: _timed(compiled(Case(*case), implementation), implementation is None))


def _timed(call: Callable[[], object], with_peak: bool) -> dict[str, float | None]:
    seconds_per_call(call, 0.005)  # fills the caches that the engine before has emptied
    seconds = seconds_per_call(call)
    return {"seconds": seconds, "peak": extension.fma_peak(0.02) if with_peak else None}


def _compiled(case: Case, implementation: str | None) -> Callable[[], object]:
    """The case as a call; images and weights are arguments, so nothing is folded beforehand."""
    build = _op if case.layer == "op" else _block
    function, arguments = build(case, implementation)
    compiled = jax.jit(function)
    compiled(*arguments).block_until_ready()
    return lambda: compiled(*arguments).block_until_ready()


def _op(case: Case, implementation: str | None) -> tuple[Callable[..., jax.Array], list[jax.Array]]:
    x, key = _images(case)
    channels = (case.channels,)
    kernel = 0.05 * jax.random.normal(key, (3, 3, *channels, *channels))
    scale, bias, mean = (jax.random.normal(jax.random.fold_in(key, i), channels) for i in range(3))
    function = functools.partial(resfuse.conv_bn_relu, implementation=implementation)
    return function, [x, kernel, scale, bias, mean, jax.numpy.ones(channels)]


def _block(
    case: Case, implementation: str | None
) -> tuple[Callable[..., jax.Array], list[jax.Array]]:
    block = BasicBlock(case.channels, implementation=implementation, rngs=nnx.Rngs(0))
    block.eval()
    graph, state = nnx.split(block)
    leaves, tree = jax.tree.flatten(state)

    def function(x: jax.Array, *leaves: jax.Array) -> jax.Array:
        y: jax.Array = nnx.merge(graph, jax.tree.unflatten(tree, leaves))(x)
        return y

    return function, [_images(case)[0], *leaves]


def _images(case: Case) -> tuple[jax.Array, jax.Array]:
    """Random images, and a key for the weights."""
    images, weights = jax.random.split(jax.random.key(0))
    return jax.random.normal(images, (case.batch, case.size, case.size, case.channels)), weights


if __name__ == "__main__":
    main()
