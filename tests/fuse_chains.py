"""What the tests of ``fuse`` share: a convolution, its arrays, ``explain``, results."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import agreement
import resfuse
from sampling import halves

random = np.random.default_rng(0)
X = agreement.on_device(random.normal(size=(2, 6, 5, 4)))
KERNEL = agreement.on_device(random.normal(0, 1 / 6, size=(3, 3, 4, 4)))
A, B = (agreement.on_device(random.uniform(0.2, 0.9, 4)) for _ in range(2))


def conv(x, kernel=KERNEL, strides=(1, 1), padding="SAME", **options):
    dimensions = options.pop("dimension_numbers", ("NHWC", "HWIO", "NHWC"))
    return lax.conv_general_dilated(
        x, kernel.astype(x.dtype), strides, padding, dimension_numbers=dimensions, **options
    )


def cast(function):
    """Lets ``function`` run in float64 too, where closed-over arrays are float32."""
    return jax.numpy_dtype_promotion("standard")(function)


def program_of(fused, *args):
    """The program for these arguments, which need not have run."""
    return fused._program(*jax.tree.flatten((args, {})))


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
    return lambda x: weighted(function(x))


def weighted(tree):
    return sum((y * jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)).sum()
               for y in jax.tree.leaves(tree))  # fmt: skip


def value_and_gradient(function):
    """Of the value and of its :func:`loss`, each by itself, as ``fuse`` has two ways for them."""
    return lambda x: [function(x), jax.grad(loss(function))(x)]


def value_with_gradient(function):
    """The same of one pass, which is traced and compiled in less time."""

    def weighted_and_plain(x):
        y = function(x)
        return weighted(y), y

    return lambda x: jax.grad(weighted_and_plain, has_aux=True)(x)[::-1]


def halved(cases):
    """Every other of ``cases``; and what gives a case's two :func:`results`, by its name.

    All of a half are one program.
    """
    kept, rest = halves(cases)

    @functools.cache
    def of_half(is_kept):
        return results(kept if is_kept else rest)

    return kept, lambda name: [each[name] for each in of_half(name in kept)]


def results(functions, x=X, transform=None, no_gradients=()):
    """Values and gradients of all by name: those of ``fuse``, and their own in float64.

    They are one program each, because XLA takes long for a program, however short.

    Args:
        functions: by name.
        x: their argument.
        transform: such as ``jax.vmap``, of values and gradients.
        no_gradients: names of functions of which only values are wanted.
    """

    def together(functions, both):
        def all_of_them(x):
            return {
                name: [function(x)] if name in no_gradients else list(both(function)(x))
                for name, function in sorted(functions.items())
            }

        return jax.jit(transform(all_of_them) if transform else all_of_them)

    fused = {name: resfuse.fuse(function) for name, function in functions.items()}
    theirs = agreement.in_float64(together(functions, value_with_gradient), x)
    return together(fused, value_and_gradient)(x), theirs
