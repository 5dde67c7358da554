"""Convolutions whose weights come packed, small, for each way to read them."""

import numpy as np

from agreement import images
from kernel_case import Case
from resfuse import ffi

SAME = ((1, 1), (1, 1))
CASES = {
    "direct": Case(4, (6, 5), (4, 6), (3, 3), padding=SAME),
    "groups": Case(4, (6, 5), (4, 12), (3, 2), (2, 1), SAME, groups=2),
    "lanes": Case(4, (6, 5), (6, 6), (3, 3), padding=SAME, groups=6),
    "winograd": Case(4, (8, 8), (32, 33), (3, 3), padding=SAME),
    "gathered": Case(4, (3, 3), (1024, 9), (1, 1)),
}


def operands(case):
    """``x, kernel, scale, shift, residual``, all as large as in a network."""
    image, kernel, out = case.shapes
    weights = images(*kernel) / np.sqrt(np.prod(kernel[:3]))
    return images(*image), weights, images(*out[-1:]), images(*out[-1:]), images(*out)


def spec_of(case):
    """Its call, with weights that are packed."""
    return case.spec(*map(np.empty, case.shapes[:2]), precision=None)


def pack(case):
    """The weights of :func:`operands`, packed."""
    return ffi.pack(operands(case)[1], spec_of(case))
