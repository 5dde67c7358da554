"""The two gradients of one convolution for the kernel's tests, as ``kernel_case.py`` has it."""

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
    run = compiled_together([case], [operands], precision)
    return lambda: run()[0]


def compiled_together(cases, operands, precision="highest"):
    """:func:`compiled` of each case, in one program for all."""

    def both(case, x, kernel, d_y):
        spec = case.spec(x, kernel, precision)
        d_x = input_gradient(spec, case.size, d_y, kernel)
        return d_x, weight_gradient(spec, case.window, x, d_y)

    program = jax.jit(lambda operands: [both(c, *o) for c, o in zip(cases, operands, strict=True)])
    return lambda: jax.tree.map(np.asarray, program(operands))


def expected(case, operands):
    """Both in float64."""
    x, kernel, d_y = operands
    return (
        oracle.input_gradient(d_y, kernel, case.size, *case.geometry),
        oracle.weight_gradient(x, d_y, case.window, *case.geometry),
    )


def assert_exact(*cases, seed=0):
    """Holds both against the oracle on integers, bit for bit, on every ISA."""

    def check(got, exact, what):
        assert_same_bits(got, exact.astype(np.float32), what)

    _assert_on_integers(cases, seed, "highest", check)


def assert_nearest_integers(*cases, seed=0):
    """Likewise at the default precision: Winograd's errors are far below 1/2 here."""

    def check(got, exact, what):
        assert (np.rint(got) == exact).all(), what

    _assert_on_integers(cases, seed, None, check)


def _assert_on_integers(cases, seed, precision, check):
    operands = [integers(case, seed) for case in cases]
    results = on_every_isa(compiled_together(cases, operands, precision))
    for at, (case, each) in enumerate(zip(cases, operands, strict=True)):
        truth = expected(case, each)
        for isa, together in results.items():
            for name, got, exact in zip(NAMES, together[at], truth, strict=True):
                check(got, exact, f"{name} of {case} on {isa}")
