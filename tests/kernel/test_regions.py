"""Dilated windows of which a part meets nothing but padding: that part is left out."""

import numpy as np
import pytest

import gradient_case
from kernel_case import Case, assert_exact, assert_packed, compiled, normals, on_every_isa
from resfuse import _ext


def pad(*sides):
    return tuple((pixels, pixels) for pixels in sides)


# Both sides or one, even and odd windows, strides, cropped images, padding on one end, one
# dimension and three; outputs of a single tap, of the middle one only, and of none.
CASES = [
    Case(2, (9, 11), (32, 33), (3, 3), padding=pad(6, 5), dilation=(6, 5)),
    Case(1, (7, 7), (48, 16), (3, 3), padding=pad(9, 9), dilation=(9, 9), relu=False),
    Case(1, (13, 12), (32, 40), (3, 4), (2, 1), pad(7, 6), dilation=(7, 4), residual=False),
    Case(3, (21,), (64, 8), (3,), padding=((32, 0),), dilation=(16,)),
    Case(1, (20, 3), (33, 65), (5, 3), padding=((14, 13), (1, 1)), dilation=(7, 1)),
    Case(1, (3, 5, 6), (32, 16), (3, 3, 3), padding=pad(4, 4, 4), dilation=(4, 4, 4)),
    Case(1, (12, 10), (32, 17), (3, 2), padding=((-2, 8), (6, -1)), dilation=(4, 6)),
    Case(2, (3,), (32, 8), (2,), padding=pad(20), dilation=(30,)),
]


def jobs(case):
    image, kernel, _ = case.shapes
    spec = case.spec(None, None)
    sides = spec.strides, spec.pixels, spec.input_dilation, spec.kernel_dilation
    return _ext.plans_in_full(image, kernel, *sides, case.groups, False)


def test_taken():
    for case in CASES:
        met = sum(job["pixels"] * job["taps"] for job in jobs(case))
        assert met < np.prod(case.window) * np.prod(case.shapes[2][:-1]), case


def test_exact():
    assert_exact(*CASES)


def test_packed():
    assert_packed(*CASES[::3])


def test_gradients():
    gradient_case.assert_exact(*CASES)


@pytest.mark.parametrize("case", CASES[:1], ids=repr)
def test_accuracy(case):
    """A sum in another order, of fewer passes."""
    operands = normals(case)
    exact = case.convolve(*operands[:2])
    for isa, (_, got, *_) in on_every_isa(compiled(case, operands)).items():
        depth = np.prod(case.window) * case.channels[0]
        limit = depth * 2.0**-24 * case.convolve(*map(np.abs, operands[:2]))
        assert (np.abs(got - exact) <= limit).all(), isa
