"""Answers with a network of your own, plain and through `fuse`, and compares the time."""

import itertools
import timeit
from collections.abc import Callable

import jax
from flax import nnx

import resfuse


class Network(nnx.Module):
    """A small convolutional network, in plain Flax."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        widths = [3, 64, 128, 256]
        self.convs = nnx.List(
            nnx.Conv(inputs, outputs, (3, 3), strides=2, use_bias=False, rngs=rngs)
            for inputs, outputs in itertools.pairwise(widths)
        )
        self.norms = nnx.List(nnx.BatchNorm(width, rngs=rngs) for width in widths[1:])
        self.head = nnx.Linear(widths[-1], 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Images to logits."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = nnx.silu(norm(conv(x)))
        return self.head(x.mean((1, 2)))


def milliseconds(function: Callable[[jax.Array], jax.Array], images: jax.Array) -> float:
    """The least time of a call."""
    function(images)  # compiles
    times = timeit.repeat(lambda: function(images).block_until_ready(), number=3, repeat=5)
    return 1e3 * min(times) / 3


def main() -> None:
    """Prints what was accelerated, both times, and the largest difference."""
    model = Network(nnx.Rngs(0))
    model.eval()
    images = jax.random.normal(jax.random.key(0), (8, 128, 128, 3))
    plain = jax.jit(lambda images: model(images))
    fast = resfuse.fuse(lambda images: model(images))
    resfuse.explain(fast, images)
    print(f"plain: {milliseconds(plain, images):.1f} ms")
    print(f"fused: {milliseconds(fast, images):.1f} ms")
    print(f"largest difference: {abs(plain(images) - fast(images)).max():.1e}")


if __name__ == "__main__":
    main()
