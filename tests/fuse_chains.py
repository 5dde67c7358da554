"""What the tests of ``fuse`` share: a convolution, its arrays, the table of ``explain``, a loss."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import resfuse

random = np.random.default_rng(0)
X = jnp.asarray(random.normal(size=(2, 6, 5, 4)), jnp.float32)
KERNEL = jnp.asarray(random.normal(0, 1 / 6, size=(3, 3, 4, 4)), jnp.float32)
A, B = (jnp.asarray(random.uniform(0.2, 0.9, 4), jnp.float32) for _ in range(2))


def conv(x, kernel=KERNEL, strides=(1, 1), padding="SAME", **options):
    dimensions = options.pop("dimension_numbers", ("NHWC", "HWIO", "NHWC"))
    return lax.conv_general_dilated(
        x, kernel.astype(x.dtype), strides, padding, dimension_numbers=dimensions, **options
    )


def cast(function):
    """Lets ``function`` run in float64 too, where closed-over arrays are float32."""
    return jax.numpy_dtype_promotion("standard")(function)


def table(capsys, function, *args):
    resfuse.explain(function, *args)
    header, *rows, summary = capsys.readouterr().out.splitlines()
    column = header.index("fused"), header.index("algorithm")
    return [row[slice(*column)].strip() for row in rows], rows, summary


def loss(function):
    """All outputs count, each differently."""

    def weighted(x):
        leaves = jax.tree.leaves(function(x))
        return sum((y * jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)).sum()
                   for y in leaves)  # fmt: skip

    return weighted
