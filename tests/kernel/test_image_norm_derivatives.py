"""The derivatives of layer norm, RMS norm and group norm: those of the reference."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import agreement
from resfuse.kernel.gate import Gate
from resfuse.kernel.image_norm import GroupNorm, LayerNorm, image_norm
from resfuse.kernel.silu import SILU

NORMS = {
    "layer norm": LayerNorm(1e-6),
    "layer norm in place": LayerNorm(1e-6, in_place=True),
    "RMS norm": LayerNorm(0.125, centred=False),
    "group norm": GroupNorm(3, 1e-5, Gate()),
    "group norm, ReLU": GroupNorm(3, 1e-5, Gate((("gt", 0.0),))),
    "group norm, SiLU": GroupNorm(9, 1e-5, SILU),
}


def arrays():
    """A batch of batches of images, scale and bias."""
    random = np.random.default_rng(0)
    return [random.normal(size=shape).astype(np.float32) for shape in ((3, 2, 4, 9), (9,), (9,))]


@pytest.mark.parametrize("static", NORMS.values(), ids=NORMS)
def test_derivatives(static):
    """By all operands."""

    def both(call):
        def function(x, scale, bias):
            y, pull = jax.vjp(call, x, scale, bias)
            return y, pull(jnp.cos(y))

        return jax.jit(jax.vmap(function, (0, None, None)))

    ours = both(functools.partial(image_norm, static=static))(*arrays())
    theirs = both(static.plain)(*arrays())
    exact = agreement.in_float64(both(static.plain), *arrays())
    agreement.assert_as_accurate(ours, theirs, exact)


@pytest.mark.parametrize("static", NORMS.values(), ids=NORMS)
def test_forward_mode_is_refused(static):
    x, *numbers = arrays()
    with pytest.raises(TypeError, match="forward mode"):
        jax.jvp(lambda x: image_norm(x, *numbers, static=static), (x[0],), (x[0],))
