"""Forward-mode differentiation: the kernel refuses it by name, and the reference does it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cases import OPS, call, problem


def scanned(function):
    """Two steps of ``function`` inside ``lax.scan``."""
    return lambda value: jax.lax.scan(lambda carry, _: (carry, function(carry)), value, length=2)[1]


TRANSFORMS = {
    "jvp": lambda f, value: jax.jvp(f, (value,), (value,))[1],
    "jacfwd": lambda f, value: jax.jacfwd(f)(value),
    "hessian": lambda f, value: jax.hessian(lambda v: f(v).sum())(value),
    "linearize": lambda f, value: jax.linearize(f, value)[1](value),
    "jvp of jit": lambda f, value: jax.jvp(jax.jit(f), (value,), (value,))[1],
    "jit of jvp": lambda f, value: jax.jit(lambda v: jax.jvp(f, (v,), (v,))[1])(value),
    "jvp of scan": lambda f, value: jax.jvp(scanned(f), (value,), (value,))[1],
    "jvp of vmap": lambda f, value: jax.jvp(jax.vmap(f), (value[None],), (value[None],))[1],
}


def by(name, op, implementation=None):
    """The output as a function of the argument ``name``, and a value for it."""
    arrays = problem(op, x=(1, 2, 2, 4), without=("residual",))

    def function(value):
        return jax.tree.leaves(call(op, arrays | {name: value}, implementation))[0]

    return function, arrays[name]


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_the_kernel_refuses(op, transform):
    with pytest.raises(TypeError, match=r'forward mode .* implementation="xla"'):
        transform(*by("x", op))


def test_the_kernel_refuses_where_it_was_insisted_on():
    with pytest.raises(TypeError, match='implementation="xla"'):
        TRANSFORMS["jvp"](*by("x", "inference", "ffi"))


@pytest.mark.parametrize("name", ["kernel", "scale", "bias", "conv_bias", "mean", "var"])
def test_by_each_argument(name):
    with pytest.raises(TypeError, match='implementation="xla"'):
        TRANSFORMS["jvp"](*by(name, "inference"))


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_the_reference_differentiates(transform):
    """How, is up to JAX: it is enough to trace it."""
    function, x = by("x", "training", "xla")
    assert jax.eval_shape(lambda x: transform(function, x), x).dtype == x.dtype


def test_the_reference_is_right():
    """Along one direction, by the rule of the linear convolution: far from ReLU's kink."""
    function, x = by("x", "inference", "xla")
    step, tangent = 2.0**-7, jnp.ones_like(x)
    _, got = jax.jvp(function, (x,), (tangent,))
    slope = (function(x + step * tangent) - function(x - step * tangent)) / (2 * step)
    np.testing.assert_allclose(got, slope, rtol=1e-3, atol=1e-3)
