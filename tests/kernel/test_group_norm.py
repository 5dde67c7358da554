"""Group norm and what follows it against float64, within bounds on its roundings; derivatives."""

import math

import jax
import numpy as np
import pytest

import agreement
from kernel_case import on_every_isa
from resfuse.kernel.gate import Gate
from resfuse.kernel.image_norm import GroupNorm, image_norm
from resfuse.kernel.silu import SILU

# Channels and groups around the widths of vectors; pixels around the 16 that are added up in
# floats, the 64 of the smallest block of sums and the 16 blocks; enough for several threads.
CASES = [
    *(((2, 3, 3, c), g) for c, g in ((1, 1), (3, 1), (4, 2), (8, 8), (15, 5), (16, 4), (17, 1))),
    *(((2, 3, 3, c), g) for c, g in ((18, 6), (32, 2), (33, 33), (64, 32), (515, 103))),
    *(((1, pixels, 6), 2) for pixels in (1, 15, 16, 17, 63, 64, 65, 1024, 1025)),
    ((3, 41, 43, 20), 5),
    ((2, 3, 4, 5, 12), 3),
    ((0, 3, 3, 4), 2),
]
ENDINGS = {
    "nothing": (Gate(), lambda z: z),
    "relu": (Gate((("gt", 0.0),)), lambda z: np.maximum(z, 0)),
    "leaky": (Gate((("ge", 0.0),), 0.25), lambda z: np.where(z >= 0, z, z / 4)),
    "silu": (SILU, lambda z: z / (1 + np.exp(-z))),
}
EPSILON = 1e-5
ROUNDING = agreement.EPSILON / 2


def arrays(shape, ratio=0.0):
    """Images whose means are ``ratio`` deviations, scale and bias."""
    random = np.random.default_rng(sum(shape))
    x = random.normal(size=shape) + ratio
    return [a.astype(np.float32) for a in (x, *random.normal(size=(2, shape[-1])))]


def run(operands):
    """By case and ending, on the ISA in use."""
    return {
        (case, name): image_norm(*operands[case], static=GroupNorm(case[1], EPSILON, ending))
        for at, case in enumerate(CASES)
        for name, (ending, _) in list(ENDINGS.items())[at % 2 :: 2]
    }


def exact(x, scale, bias, groups):
    """The result in float64, and a bound on the error of one that is computed in float32.

    Deviations from the first pixel have a rounding each, their squares three, and 16 pixels'
    sums 15 more; all else is in doubles, but for the mean, the product of scale and root, and
    the last difference, product and sum, of which each is rounded.
    """
    x, scale, bias = (a.astype(np.float64) for a in (x, scale, bias))
    parts = x.reshape(len(x), math.prod(x.shape[1:-1]), groups, x.shape[-1] // groups)
    deviation = parts - parts[:, :1]
    mean = parts.mean((1, 3), keepdims=True)
    var = np.square(parts - mean).mean((1, 3), keepdims=True) + EPSILON
    size = np.abs(deviation).mean((1, 3), keepdims=True)
    shift = np.abs(parts[:, :1] - mean)
    off = 17 * ROUNDING * size + ROUNDING * np.abs(mean)
    crossed = 34 * ROUNDING * (shift * np.abs(deviation)).mean((1, 3), keepdims=True)
    of_var = 18 * ROUNDING * np.square(deviation).mean((1, 3), keepdims=True) + crossed
    normal = (parts - mean) / np.sqrt(var)
    bound = off / np.sqrt(var) + np.abs(normal) * (of_var / var + 4 * ROUNDING)
    normal, bound = (each.reshape(x.shape) for each in (normal, bound))
    y = normal * scale + bias
    return y, np.abs(scale) * bound + 2 * ROUNDING * (np.abs(normal * scale) + np.abs(bias))


def bound_behind(name, z, bound):
    """SiLU has a slope of less than 1.1, and 10 roundings: see ``test_norm.py``."""
    return 1.1 * bound + 10 * ROUNDING * (1 + np.abs(z)) if name == "silu" else bound


def test_right():
    """Also with means of a thousand deviations, where ``E[x^2] - mean^2`` would lose everything."""
    call = jax.jit(run)
    for ratio in (0.0, 1000.0):
        assert_right(call, {case: arrays(case[0], ratio) for case in CASES})


def assert_right(call, operands):
    for isa, found in on_every_isa(lambda: jax.tree.map(np.asarray, call(operands))).items():
        for (case, name), y in found.items():
            z, bound = exact(*operands[case], case[1])
            error = np.abs(y - ENDINGS[name][1](z))
            assert y.shape == case[0]
            assert (error <= bound_behind(name, z, bound)).all(), f"{case}, {name}, on {isa}"


def on_isas(x, groups, epsilon=EPSILON):
    ones = np.ones(x.shape[-1], np.float32)
    static = GroupNorm(groups, epsilon, Gate())
    call = jax.jit(lambda: image_norm(x, ones, 0 * ones, static=static))
    return {isa: np.asarray(y) for isa, y in on_every_isa(call).items()}


def test_a_group_does_not_depend_on_others():
    """Nor an image; not even on NaN and infinity, but for roundings."""
    x = np.random.default_rng(0).normal(size=(3, 5, 4, 36)).astype(np.float32)
    spoilt = x.copy()
    spoilt[0, 0, 0, 35], spoilt[1, 4, 3, 0], spoilt[1, 2, 2, 20] = np.nan, np.inf, 3e38
    spoilt[1, 2, 3, 20] = -3e38
    ones = np.ones(36, np.float32)
    right = exact(x, ones, 0 * ones, 6)
    for isa, found in on_isas(spoilt, 6).items():
        same = np.ones((3, 6), bool)
        same[0, 5] = same[1, 0] = same[1, 3] = False
        y, expected, bound = (each.reshape(3, 20, 6, 6).swapaxes(1, 2) for each in (found, *right))
        assert (np.abs(y - expected) <= bound)[same].all(), isa
        assert np.isnan(y[0, 5]).all()
        assert np.isnan(y[1, 0]).all()
        assert np.isfinite(y[1, 3]).all(), "sums of squares beyond float32"


@pytest.mark.parametrize(("epsilon", "expected"), [(0.0, np.nan), (0.25, 0.0)])
def test_equal_numbers(epsilon, expected):
    """0 / 0 is NaN as in JAX."""
    x = np.full((2, 9, 40), 3.1, np.float32)
    for y in on_isas(x, 8, epsilon).values():
        np.testing.assert_array_equal(y, np.full_like(x, expected))
