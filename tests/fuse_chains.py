"""What the tests of ``fuse`` share: a convolution, its arrays, ``explain``, results."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import agreement
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
    """The column "fused", the rows, and the line that sums up."""
    (header, *rows, summary), _ = explained(capsys, function, *args)
    column = header.index("fused"), header.index("algorithm")
    return [row[slice(*column)].strip() for row in rows], rows, summary


def explained(capsys, function, *args):
    """The lines of the table, and those below it, of what stayed outside."""
    resfuse.explain(function, *args)
    lines = capsys.readouterr().out.splitlines()
    below = [line for line in lines if line.startswith("left to XLA: ")]
    return lines[: len(lines) - len(below)], below


def loss(function):
    """All outputs count, each differently."""

    def weighted(x):
        leaves = jax.tree.leaves(function(x))
        return sum((y * jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)).sum()
                   for y in leaves)  # fmt: skip

    return weighted


def results(functions, x=X, transform=None, no_gradients=()):
    """Values and gradients of all by name: those of ``fuse``, and their own in float64.

    They are one program each, because XLA takes long for a program, however short.

    Args:
        functions: by name.
        x: their argument.
        transform: such as ``jax.vmap``, of values and gradients.
        no_gradients: names of functions of which only values are wanted.
    """

    def together(functions):
        every = {name: [function] for name, function in functions.items()}
        for name in functions.keys() - set(no_gradients):
            every[name].append(jax.grad(loss(functions[name])))

        def all_of_them(x):
            return {name: [f(x) for f in every[name]] for name in sorted(every)}

        return jax.jit(transform(all_of_them) if transform else all_of_them)

    ours = together({name: resfuse.fuse(function) for name, function in functions.items()})
    return ours(x), agreement.in_float64(together(functions), x)
