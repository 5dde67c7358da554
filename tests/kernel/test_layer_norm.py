"""Layer norm and RMS norm against float64, within bounds on their roundings; derivatives."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import agreement
from kernel_case import assert_same_bits, on_every_isa
from resfuse.kernel.image_norm import LayerNorm, image_norm

# Around vectors of 4, 8 and 16 lanes, four of them, and the 64 that are added up at a time; of
# any rank; enough for several threads.
CHANNELS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 96, 255, 257, 1023, 1025)
SHAPES = [
    *((2, 3, channels) for channels in CHANNELS),
    *((7, 5), (2, 2, 3, 2, 3, 33), (2, 0, 5), (3, 41, 43, 20), (2, 5000)),
]
EPSILONS = {True: 1e-6, False: 0.125}  # with the mean and without
ROUNDING = agreement.EPSILON / 2


def arrays(shape, ratio=0.0):
    """Images whose means are about ``ratio`` deviations, scale and bias."""
    random = np.random.default_rng(sum(shape))
    x = random.normal(size=shape) + ratio * random.normal(size=(*shape[:-1], 1))
    return [a.astype(np.float32) for a in (x, *random.normal(size=(2, shape[-1])))]


def run(operands):
    """By shape and whether the mean counts, on the ISA in use."""
    return {
        (shape, centred): image_norm(*each, static=LayerNorm(EPSILONS[centred], centred))
        for (shape, each), centred in itertools.product(operands.items(), (True, False))
    }


def exact(x, scale, bias, centred):
    """The result in float64, and a bound on the error of one that is computed in float32.

    The longest path of a mean: 16 additions to each of four sums of 64 vectors of 4 lanes, two that
    join them, one for each 256 channels, two for the lanes, and the division. Its error is a part
    of what the terms' sizes add up to. Squared deviations have two roundings more, of which the
    variance's error is one part; another is the mean's error squared, as the deviations' own sum
    is 0. Of the variance's relative error a root has half; then come two roundings each of
    the root, the division and the products, and the sum's.
    """
    x, scale, bias = (a.astype(np.float64) for a in (x, scale, bias))
    steps = 16 + 2 + -(-x.shape[-1] // 256) + 2 + 1
    mean = x.mean(-1, keepdims=True) if centred else 0.0
    off = steps * ROUNDING * np.abs(x).mean(-1, keepdims=True) if centred else 0.0
    var = np.square(x - mean).mean(-1, keepdims=True) + EPSILONS[centred]
    normal = (x - mean) / np.sqrt(var)
    relative = (steps + 2 + 2) / 2 * ROUNDING + off**2 / var + 6 * ROUNDING
    bound = np.abs(scale) * (off / np.sqrt(var) + np.abs(normal) * relative)
    y = normal * scale + bias
    return y, bound + ROUNDING * (np.abs(normal * scale) + np.abs(bias))


def assert_right(call, operands):
    for isa, found in on_every_isa(lambda: jax.tree.map(np.asarray, call(operands))).items():
        for (shape, centred), y in found.items():
            expected, bound = exact(*operands[shape], centred)
            assert y.shape == shape
            assert (np.abs(y - expected) <= bound).all(), f"{shape}, centred {centred}, on {isa}"


def test_right():
    """Also with means of a thousand deviations, where ``E[x^2] - mean^2`` would lose everything."""
    call = jax.jit(run)
    for ratio in (0.0, 1000.0):
        assert_right(call, {shape: arrays(shape, ratio) for shape in SHAPES})


def on_isas(x, **static):
    """Of ones and zeros, the bits that every ISA gives."""
    ones = np.ones(x.shape[-1], np.float32)
    call = jax.jit(lambda: image_norm(x, ones, 0 * ones, static=LayerNorm(**static)))
    return {isa: np.asarray(y) for isa, y in on_every_isa(call).items()}


def test_a_pixel_does_not_depend_on_others():
    """Not even on NaN and infinity, and wherever it lies."""
    x = np.random.default_rng(0).normal(size=(5, 37)).astype(np.float32)
    spoilt = np.concatenate([x, x[::-1]])
    spoilt[3, 36], spoilt[5, 0] = np.nan, np.inf
    for (isa, alone), y in zip(
        on_isas(x, epsilon=1e-6).items(), on_isas(spoilt, epsilon=1e-6).values(), strict=True
    ):
        bad = np.isnan(y).all(-1)
        assert bad.tolist() == [row in (3, 5) for row in range(10)]
        expected = np.concatenate([alone, alone[::-1]])
        assert_same_bits(y[~bad], expected[~bad], isa)


@pytest.mark.parametrize(("epsilon", "expected"), [(0.0, np.nan), (0.25, 0.0)])
def test_equal_numbers(epsilon, expected):
    """Their deviation is 0 exactly, as that of eighths is, and 0 / 0 is NaN as in JAX."""
    x = np.full((2, 40), 3.125, np.float32)
    for y in on_isas(x, epsilon=epsilon).values():
        np.testing.assert_array_equal(y, np.full_like(x, expected))


def test_in_place():
    """The bits are the same, and what is read afterwards as well is copied before."""
    x = agreement.images(3, 5, 33)
    ones = np.ones(33, np.float32)

    def function(x, in_place):
        y = jnp.sin(x)
        return image_norm(y, ones, ones, static=LayerNorm(1e-6, in_place=in_place)), y

    for isa, (one, other) in on_every_isa(
        lambda: [jax.jit(functools.partial(function, in_place=b))(x) for b in (True, False)]
    ).items():
        jax.tree.map(functools.partial(assert_same_bits, what=isa), one, other)
