"""The two gradients of one convolution for the kernel's tests, as ``kernel_case.py`` has it."""

import functools

import jax
import numpy as np

import oracle
from kernel_case import assert_same_bits, on_every_isa
from resfuse.kernel.conv import input_gradient, weight_gradient

NAMES = ("d_x", "d_kernel")


def integers(case, seed=0):
    """Input, kernel and the output's cotangent; every sum is exact in float32, in any order."""
    random = np.random.default_rng(seed)
    return [random.integers(-4, 5, shape).astype(np.float32) for shape in case.shapes]


def normals(case, seed=0):
    """Likewise, such as a network has them."""
    random = np.random.default_rng(seed)
    return [random.normal(size=shape).astype(np.float32) for shape in case.shapes]


def compiled(case, operands, precision="highest"):
    """Both gradients as one program.

    Returns a function without arguments, for ``(d_x, d_kernel)`` on the ISA in use.
    """
    spec = case.spec(*operands[:2], precision=precision)

    def both(x, kernel, d_y):
        d_x = input_gradient(spec, case.size, d_y, kernel)
        return d_x, weight_gradient(spec, case.window, x, d_y)

    call = functools.partial(jax.jit(both), *operands)
    return lambda: [np.asarray(result) for result in call()]


def expected(case, operands):
    """Both in float64."""
    x, kernel, d_y = operands
    geometry = case.strides, case.padding, case.groups
    return (
        oracle.input_gradient(d_y, kernel, case.size, *geometry),
        oracle.weight_gradient(x, d_y, case.window, *geometry),
    )


def assert_exact(case, seed=0):
    """Holds both against the oracle on integers, bit for bit, on every ISA."""
    operands = integers(case, seed)
    truth = expected(case, operands)
    for isa, results in on_every_isa(compiled(case, operands)).items():
        for name, got, exact in zip(NAMES, results, truth, strict=True):
            assert_same_bits(got, exact.astype(np.float32), f"{name} of {case} on {isa}")


def assert_nearest_integers(case, seed=0):
    """Likewise at the default precision: Winograd's errors are far below 1/2 here."""
    operands = integers(case, seed)
    truth = expected(case, operands)
    for isa, results in on_every_isa(compiled(case, operands, None)).items():
        for name, got, exact in zip(NAMES, results, truth, strict=True):
            assert (np.rint(got) == exact).all(), f"{name} of {case} on {isa}"
