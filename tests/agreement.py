"""How the tests of the models hold two networks against each other."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

# Where None takes the kernel, "ffi" is the same way to it.
IMPLEMENTATIONS = (None, "xla", pytest.param("ffi", marks=pytest.mark.long))

# Ours adds the same products as Flax's in another order, so its error against float64 is another
# draw of the same size: a factor of 4 is ample for the largest of a few hundred values. Winograd's
# transforms cost three bits on top (their constants reach 8). A wrong formula is off by thousands.
ACCURACY = 4 * 8
EPSILON = np.finfo(np.float32).eps


def on_device(array, dtype=np.float32):
    """An array of NumPy's as one of JAX's, cast by NumPy: JAX compiles a program for each shape."""
    return jnp.asarray(np.asarray(array, dtype))


def images(*shape):
    return on_device(np.random.default_rng(0).normal(size=shape))


def key(seed):
    """Of a generator that compiles in a fraction of the default's time."""
    return jax.random.key(seed, impl="rbg")


def same_key():
    """In place of ``nnx.Rngs`` where an NNX model's shapes are asked for, not its values.

    Those count their keys, and counting in a trace takes time with the square of its length.
    """
    one = key(0)
    return types.SimpleNamespace(params=lambda: one)


@jax.numpy_dtype_promotion("standard")
def trained(model, x):
    """Variables of a Linen model in which none is 0 or 1, so that each counts in the output."""
    return filled(jax.eval_shape(model.init, key(0), x))


def filled(shapes, seed=1):
    """Kernels that keep the size of their input; 0.1 to 0.9 for everything else."""
    random = np.random.default_rng(seed)

    def fill(leaf):
        if len(leaf.shape) == 1:
            return on_device(random.uniform(0.1, 0.9, leaf.shape), leaf.dtype)
        size = 1 / np.sqrt(np.prod(leaf.shape[:-1]))
        return on_device(random.normal(0, size, leaf.shape), leaf.dtype)

    return jax.tree.map(fill, shapes)


def in_float64(function, *trees):
    """What ``function`` gives in float64, where Flax mixes in float32 statistics."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        cast = jax.tree.map(lambda leaf: on_device(leaf, np.float64), trees)
        return jax.tree.map(np.asarray, function(*cast))


def assert_identical(ours, theirs):
    """The same names, shapes, dtypes and bits."""
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(_assert_same_bits, ours, theirs)


def _assert_same_bits(ours, theirs):
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


def assert_as_accurate(ours, theirs, exact):
    """The same tree, and errors of the size of Flax's own; ``exact`` comes from float64."""
    assert jax.tree.structure(ours) == jax.tree.structure(theirs) == jax.tree.structure(exact)
    scale = max(np.abs(leaf).max() for leaf in jax.tree.leaves(exact))

    def check(ours, theirs, exact):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        error, flax_error = (np.abs(np.asarray(y) - exact).max() for y in (ours, theirs))
        assert error <= ACCURACY * max(flax_error, EPSILON * scale)

    jax.tree.map(check, ours, theirs, exact)


def assert_near(ours, exact):
    """The same tree, in float32, and errors of some roundings of the largest value.

    For sums of a few hundred products, whose rounding is like that of a walk of as many steps.
    """
    rounded = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), exact)
    assert_as_accurate(ours, rounded, exact)


def record_calls(monkeypatch, module, *names):
    """A list to which each later call of those functions adds its name."""
    called = []

    def recording(name, function):
        def wrapper(*args, **kwargs):
            called.append(name)
            return function(*args, **kwargs)

        return wrapper

    for name in names:
        monkeypatch.setattr(module, name, recording(name, getattr(module, name)))
    return called
