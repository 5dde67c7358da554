"""Strides and padding far beyond the image: few outputs, and products that no integer holds."""

import numpy as np
import pytest

import gradient_case
from kernel_case import Case, assert_exact, assert_same_bits, on_every_isa
from resfuse import _ext
from resfuse.kernel.pool import Pooling, pool_gradient, pool_on_cpu

STRIDES = (6, 65537, 2**31, 2**32 + 1, 2**63 - 1)
FAR = ((70000, 0), (1, 1))  # all of a window lies in the padding, or none
CASES = [
    *(Case(2, (5, 5), (8, 8), (3, 3), (stride, stride), groups=8) for stride in STRIDES),
    Case(1, (5, 6), (20, 33), (3, 2), (2**31, 2**63 - 1)),
    Case(1, (4, 5), (32, 32), (1, 1), (1, 2**62)),
    Case(1, (5, 5), (16, 16), (3, 3), (2**62, 2), ((1, 1), (1, 1)), groups=4),
    Case(1, (5, 5), (8, 8), (3, 3), (66000, 2), FAR, groups=8),
    Case(2, (5, 5), (4, 20), (3, 3), (66000, 2), FAR),
]


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_convolution(case):
    assert_exact(case)


@pytest.mark.parametrize("case", CASES[2::2], ids=repr)
def test_gradients(case):
    gradient_case.assert_exact(case)


@pytest.mark.parametrize("stride", STRIDES)
def test_max_pool(stride):
    x = np.random.default_rng(0).normal(size=(2, 5, 7, 19)).astype(np.float32)
    pooling = Pooling("max", (3, 4), (stride, 2**63 - 1), ((1, 0), (0, 2**31)), (1, 1))
    y = x[:, :2, :4].max((1, 2), keepdims=True)
    d_x = (x == y).astype(np.float32)
    d_x[:, 2:] = d_x[:, :, 4:] = 0
    for isa, got in on_every_isa(lambda: pool_on_cpu(pooling, x)).items():
        assert_same_bits(np.asarray(got), y, isa)
    d_y = np.ones_like(y)
    for isa, got in on_every_isa(lambda: pool_gradient(pooling, x, d_y)).items():
        assert_same_bits(np.asarray(got), d_x, isa)


LIMIT = 2**63 - 1
REFUSED = {  # x, kernel, strides, padding and groups, and what the error says
    "image": ((1, 2**40, 2**40, 8), (3, 3, 8, 8), (1, 1), (0, 0, 0, 0), 1, "more than 2"),
    "largest image": ((LIMIT,) * 4, (3, 3, LIMIT, 8), (1, 1), (0, 0, 0, 0), 1, "kernel sizes|more"),
    "batch": ((LIMIT, 4, 4, 8), (3, 3, 8, 8), (1, 1), (0, 0, 0, 0), 1, "more than 2"),
    "empty batch": ((0, LIMIT, 4, 8), (3, 3, 8, 8), (1, 1), (9, 0, 0, 0), 1, "more than 2"),
    "kernel": ((1, 4, 4, 2**20), (2**31, 2**31, 2**20, 1), (1, 1), (0, 0, 0, 0), 1, "more than 2"),
    "output": ((2**20, 1, 1, 1), (1, 1, 1, 2**31), (1, 1), (0, 0, 0, 0), 1, "output .* more than"),
    "padded output": ((1, 4, 4, 8), (1, 1, 8, 8), (1, 1), (2**31,) * 4, 1, "output .* more than"),
    "padded rows": ((1, 1, 2**26, 64), (1, 1, 64, 8), (9, 9), (2**31, 0, 0, 0), 1, "padding"),
    "padding": ((1, 4, 4, 8), (3, 3, 8, 8), (1, 1), (LIMIT, 0, 0, 0), 1, "padding must be in"),
    "negative size": ((1, -4, 4, 8), (3, 3, 8, 8), (1, 1), (0, 0, 0, 0), 1, "at least 0"),
    "groups": ((1, 4, 4, 8), (3, 3, 8, 8), (1, 1), (0, 0, 0, 0), LIMIT, "groups must be in"),
}


@pytest.mark.parametrize(
    ("arguments", "message"), [(a, m) for *a, m in REFUSED.values()], ids=REFUSED
)
def test_refuses_what_no_memory_holds(arguments, message):
    *geometry, groups = arguments
    for plan in (_ext.plan, _ext.plans_in_full, _ext.weight_plans_in_full):
        with pytest.raises(ValueError, match=message):
            plan(*geometry, (1, 1), (1, 1), groups, True)
