"""Winograd's algorithm, which the kernel takes where it pays, unless told not to."""

import functools

import numpy as np
import pytest

import oracle
import winograd_oracle
from kernel_case import (
    Case,
    assert_same_bits,
    compiled_packed,
    compiled_packed_together,
    compiled_together,
    in_programs,
    integers,
    normals,
    on_every_isa,
)
from resfuse import _ext
from winograd_cases import FORCED, LEFT, PHASES, SAME, SMALL, STRIDED_SMALL, TAKEN, TRANSPOSED


@functools.cache
def program(cases, precision=None):
    """For :func:`normals`, which several tests run: of all ``cases`` together."""
    return compiled_together(cases, list(map(normals, cases)), precision)


def run(cases, precision=None):
    """``(case, isa, its results)`` for each of both."""
    for isa, together in on_every_isa(program(cases, precision)).items():
        for case, results in zip(cases, together, strict=True):
            yield case, isa, results


def both_ways(cases):
    """``(case, isa, results of direct convolution, results where Winograd is allowed)``."""
    for direct, free in zip(run(cases, "highest"), run(cases), strict=True):
        yield *direct, free[-1]


def same(results, others):
    return all((a == b).all() for a, b in zip(results, others, strict=True))


@functools.cache
def truth_of(case):
    """What :func:`normals` give: ``(y, conv)``."""
    x, kernel, *rest = normals(case)
    conv = case.convolve(x, kernel)
    return oracle.affine(conv, *rest, relu=case.relu), conv


def test_tiles_take_the_least_work():
    for case, output in TAKEN.items():
        image, kernel, _ = case.shapes
        pads = [pixels for pair in case.padding for pixels in pair]
        sides = case.strides, pads, case.image_dilation, case.dilation
        (made,) = _ext.plans_in_full(image, kernel, *sides, case.groups, True)
        assert max(made["tiling"][0][1:]) == output, case


@in_programs([*TAKEN, *PHASES], share=2)
def test_accuracy(cases):
    for case, isa, direct, free in both_ways(cases):
        what = f"of {case} on {isa}"
        for name, ours, other, exact in zip(
            ("y", "conv"), free, direct, truth_of(case), strict=False
        ):
            assert (ours != other).any(), f"{name} {what} did not take Winograd"
            error = np.abs(ours - exact).max()
            assert error <= winograd_oracle.TOLERANCE * np.abs(exact).max(), f"{name} {what}"


@in_programs([*TAKEN, *PHASES], share=2)
def test_statistics(cases):
    """Of the numbers that the transforms gave, as accurate as those of direct convolution."""
    for case, isa, (_, conv, *got) in run(cases):
        truth = oracle.statistics(conv)
        tolerances = oracle.statistics_tolerance(conv, winograd_oracle.TILE)
        for ours, exact, tolerance in zip(got, truth, tolerances, strict=True):
            assert (np.abs(ours - exact) <= tolerance).all(), f"{case} on {isa}"


@in_programs(LEFT)
def test_direct_where_it_does_not_pay(cases):
    for case, isa, direct, free in both_ways(cases):
        assert same(free, direct), f"{case} on {isa}"


def expected(case, operands):
    return oracle.affine(case.convolve(*operands[:2]), *operands[2:], relu=case.relu)


def winograd_magnitude(case, operands, output):
    """Of what is added up for each output of ``operands`` in tiles of ``output`` a side."""
    x, kernel, *rest = operands
    size = winograd_oracle.magnitude(
        x, kernel, case.padding, output, case.strides, case.dilation
    ).reshape(case.shapes[2])
    return oracle.affine(size, *map(np.abs, rest), relu=False)


def winograd_bound(case):
    """The relative error of a sum of magnitudes, whatever its order (Higham 2002, section 3.1)."""
    depth = case.window[0] if len(case.window) == 3 else 1
    return oracle.EPSILON / 2 * (depth * case.channels[0] + winograd_oracle.ROUNDINGS)


def assert_right_integers(cases):
    """Errors are far below 1/2 here, so the nearest integers are exact whatever the rounding."""
    operands = [integers(case) for case in cases]
    for each in operands:
        each[2] = np.ones_like(each[2])
    run, truths = compiled_packed_together(cases, operands), list(map(expected, cases, operands))
    for isa, results in on_every_isa(lambda: run(operands)).items():
        for case, y, (unpacked, packed) in zip(cases, truths, results, strict=True):
            assert (np.rint(unpacked) == y).all(), f"{case} on {isa}"
            assert (np.rint(packed[isa]) == y).all(), f"{case} packed on {isa}"


@in_programs([*TAKEN, *PHASES], share=2)
def test_integers(cases):
    assert_right_integers(cases)


@in_programs([*FORCED, *TRANSPOSED])
def test_where_it_does_not_pay(cases, force):
    for case in cases:
        assert set(on_every_isa(case.algorithm).values()) == {"direct"}
    force("winograd")
    for case in cases:
        assert set(on_every_isa(case.algorithm).values()) == {"winograd"}
    assert_right_integers(cases)


@functools.cache
def limit(case):
    magnitude = winograd_magnitude(case, normals(case), TAKEN.get(case, 4))
    return winograd_bound(case) * magnitude


@in_programs([*TAKEN, *PHASES], share=2)  # as above, whose programs it runs
def test_within_the_bound_on_its_roundings(cases):
    assert_within_limits(cases)


@in_programs(FORCED)
def test_within_the_bound_where_it_does_not_pay(cases, force):
    force("winograd")
    assert_within_limits(cases)


def assert_within_limits(cases):
    for case, isa, (y, *_) in run(cases):
        if case not in PHASES:
            assert (np.abs(y - truth_of(case)[0]) <= limit(case)).all(), f"{case} on {isa}"


@in_programs([*SMALL, *STRIDED_SMALL])
def test_small_tiles_are_exact_on_integers(cases):
    """Their constants are powers of two."""
    operands = list(map(integers, cases))
    run = compiled_packed_together(cases, operands)
    results = on_every_isa(lambda: run(operands))
    for at, (case, each) in enumerate(zip(cases, operands, strict=True)):
        sums = expected(case, each).astype(np.float32)
        for in_use, together in results.items():
            unpacked, packed = together[at]
            assert_same_bits(unpacked, sums, f"{case} on {in_use}")
            for isa, y in packed.items():
                assert_same_bits(y, sums, f"{case} packed for {isa} with {in_use} in use")


# The stride and the size; where a pixel lies that is not finite, and the rows and columns of the
# tiles that read it.
SPREAD = {
    "5x5": (1, 25, (5, 11), slice(0, 10), slice(10, 15)),
    "4x4": (1, 16, (5, 5), slice(4, 8), slice(4, 8)),
    "3x3": (1, 6, (1, 3), slice(0, 3), slice(0, 6)),
    "2x2": (1, 4, (0, 3), slice(0, 2), slice(2, 4)),
    "4x4 strided": (2, 32, (9, 14), slice(4, 8), slice(4, 8)),
    "2x2 strided": (2, 28, (3, 14), slice(0, 4), slice(6, 8)),
}


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", SPREAD)
def test_not_finite_stays_in_the_tiles_that_read_it(name, value):
    stride, size, (i, j), rows, columns = SPREAD[name]
    strides = stride, stride
    case = Case(1, (size, size), (64, 32), (3, 3), strides, SAME, residual=False, relu=False)
    x, *weights = normals(case)
    run = compiled_packed(case, [x, *weights])
    _, before = run(x, *weights)
    x[0, i, j] = value
    _, after = run(x, *weights)
    outside = np.ones(case.shapes[2], bool)
    outside[:, rows, columns] = False
    top, bottom, left, right = (n // stride for n in (i + stride - 2, i + 1, j + stride - 2, j + 1))
    for isa in before:
        near = after[isa][:, max(top, 0) : bottom + 1, max(left, 0) : right + 1]
        assert not np.isfinite(near).any(), isa
        assert_same_bits(after[isa][outside], before[isa][outside], isa)
