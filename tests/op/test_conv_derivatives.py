"""The derivatives of a convolution and of its gradients: each other, exact on integers.

Higher derivatives are made of these.
"""

import jax
import numpy as np
import pytest

import oracle
from gradient_case import integers
from kernel_case import Case
from resfuse.kernel import conv as on_kernel

SAME = ((1, 1), (1, 1))
CASES = {
    "plain": Case(2, (5, 6), (4, 5), (3, 3), padding=((1, 1), (1, 1))),
    "uneven": Case(2, (7, 6), (3, 9), (2, 3), (2, 1), ((1, 0), (0, 2))),
    "strided 1x1": Case(2, (5, 6), (17, 4), (1, 1), (2, 2)),
    "groups": Case(1, (6, 5), (6, 12), (3, 3), (3, 2), ((1, 1), (1, 1)), 3),
    "lanes": Case(2, (5, 4), (20, 20), (3, 3), padding=((1, 1), (1, 1)), groups=5),
    "no pixels": Case(2, (2, 4), (3, 4), (3, 3)),
    "a row": Case(2, (9,), (3, 5), (3,), (2,), ((4, 1),), dilation=(2,)),
    "transposed": Case(2, (4, 3), (4, 5), (4, 4), None, SAME, image_dilation=(2, 3)),
    "a volume": Case(1, (4, 5, 3), (6, 4), (2, 3, 1), (1, 2, 1), ((1, 0), (-1, 2), (0, -1)), 2),
}
ALL = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


class Exact:
    """The three functions in float64."""

    def __init__(self, case):
        self.case, self.geometry = case, case.geometry

    def conv(self, x, kernel):
        return oracle.convolve(x, kernel, *self.geometry)

    def by_x(self, d_y, kernel):
        return oracle.input_gradient(d_y, kernel, self.case.size, *self.geometry)

    def by_kernel(self, x, d_y):
        return oracle.weight_gradient(x, d_y, self.case.window, *self.geometry)


def assert_equal(function, operands, cotangents, value, derivatives):
    got, pull = jax.vjp(function, *operands)
    for ours, theirs in zip(
        jax.tree.leaves((got, pull(cotangents))), [*value, *derivatives], strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def arrays(case):
    """Input, kernel and output, and a cotangent like each; and the oracle."""
    return *integers(case), *integers(case, seed=1), Exact(case)


@ALL
def test_conv(case):
    x, kernel, _, _, _, d_y, exact = arrays(case)
    assert_equal(
        lambda x, kernel: on_kernel.conv(case.spec(x, kernel), x, kernel),
        (x, kernel),
        d_y,
        [exact.conv(x, kernel)],
        [exact.by_x(d_y, kernel), exact.by_kernel(x, d_y)],
    )


@ALL
def test_input_gradient(case):
    x, kernel, y, d_x, _, _, exact = arrays(case)
    spec = case.spec(x, kernel)
    assert_equal(
        lambda y, kernel: on_kernel.input_gradient(spec, case.size, y, kernel),
        (y, kernel),
        d_x,
        [exact.by_x(y, kernel)],
        [exact.conv(d_x, kernel), exact.by_kernel(d_x, y)],
    )


@ALL
def test_weight_gradient(case):
    x, kernel, y, _, d_kernel, _, exact = arrays(case)
    spec = case.spec(x, kernel)
    assert_equal(
        lambda x, y: on_kernel.weight_gradient(spec, case.window, x, y),
        (x, y),
        d_kernel,
        [exact.by_kernel(x, y)],
        [exact.by_x(y, d_kernel), exact.conv(x, d_kernel)],
    )


@ALL
def test_both_gradients_in_one_call(case):
    x, kernel, y, d_x, d_kernel, _, exact = arrays(case)
    assert_equal(
        lambda x, kernel, y: on_kernel.gradients(case.spec(x, kernel), x, kernel, y),
        (x, kernel, y),
        (d_x, d_kernel),
        [exact.by_x(y, kernel), exact.by_kernel(x, y)],
        [
            exact.by_x(y, d_kernel),
            exact.by_kernel(d_x, y),
            exact.conv(d_x, kernel) + exact.conv(x, d_kernel),
        ],
    )
