"""Winograd's algorithm in both gradients: taken where it pays, and within its error bounds."""

import functools

import numpy as np
import pytest

import oracle
import winograd_oracle
from gradient_case import (
    NAMES,
    assert_nearest_integers,
    compiled_together,
    expected,
    integers,
    normals,
)
from kernel_case import Case, assert_same_bits, in_programs, on_every_isa

SAME, WIDE, NONE = ((1, 1), (1, 1)), ((2, 2), (2, 2)), ((0, 0), (0, 0))
# Both gradients take F(4x4), or that by the inputs F(5x5): whole tiles and cut ones; tiles of
# several images in a block, blocks cut, chunks of them; parts and slabs of 64 channels, whole and
# cut.
LARGE = [
    Case(2, (16, 16), (32, 32), (3, 3), padding=SAME),
    Case(3, (15, 17), (48, 80), (3, 3), padding=SAME),
    Case(1, (23, 30), (64, 32), (3, 3), padding=NONE),
    Case(2, (13, 19), (32, 64), (3, 3), padding=WIDE),
    Case(1, (32, 32), (160, 144), (3, 3), padding=SAME),
    Case(2, (19, 21), (48, 64), (3, 3), padding=((0, 2), (2, 1))),
    Case(2, (75, 67), (32, 48), (3, 3), padding=SAME),
    Case(1, (20, 23), (64, 272), (3, 3), padding=SAME),
]
# Both take F(3x3).
MEDIUM = [
    Case(4, (6, 6), (32, 32), (3, 3), padding=SAME),
    Case(17, (3, 3), (64, 48), (3, 3), padding=SAME),
    Case(9, (2, 9), (32, 64), (3, 3), padding=SAME),
    Case(3, (7, 6), (80, 32), (3, 3), padding=SAME),
    Case(5, (5, 6), (48, 160), (3, 3), padding=((0, 2), (2, 0))),
    Case(70, (3, 3), (32, 80), (3, 3), padding=SAME),
    Case(2, (19, 23), (144, 64), (3, 3), padding=NONE),
]
# Windows that are lines, along the width or the height: in blocks of up to 256 tiles.
ROW, COLUMN = ((0, 0), (1, 1)), ((1, 1), (0, 0))
LINES = [
    Case(2, (1, 67), (32, 48), (1, 3), padding=ROW),
    Case(1, (5, 230), (80, 48), (1, 3), padding=ROW),
    Case(3, (9, 17), (64, 32), (1, 3), padding=((0, 0), (2, 1))),
    Case(2, (40, 7), (48, 80), (3, 1), padding=COLUMN),
    Case(1, (33, 12), (144, 64), (3, 1), padding=NONE),
]
# Dilated windows, and windows with a depth: shallow images and deep ones, part of the depth at a
# time, a line along the depth alone.
ALL = ((1, 1), (1, 1), (1, 1))
GEOMETRY = [
    Case(1, (24, 26), (32, 48), (3, 3), padding=WIDE, dilation=(2, 2)),
    Case(1, (17, 40), (80, 32), (3, 3), padding=((3, 2), (5, 7)), dilation=(3, 5)),
    Case(1, (40, 23), (48, 32), (3, 3), padding=((-1, 2), (0, 1)), dilation=(1, 4)),
    Case(2, (200,), (32, 48), (3,), padding=((14, 0),), dilation=(7,)),
    Case(1, (6, 12, 13), (32, 48), (3, 3, 3), padding=ALL),
    Case(1, (40, 6, 7), (32, 32), (3, 3, 3), padding=ALL),
    Case(2, (2, 14, 15), (48, 80), (3, 3, 3), padding=ALL),
    Case(4, (1, 9, 8), (64, 32), (3, 3, 3), padding=ALL),
    Case(1, (11, 8, 9), (48, 32), (4, 3, 3), padding=((3, 1), (1, 1), (0, 1)), dilation=(2, 1, 1)),
    Case(1, (20, 5, 6), (32, 48), (3, 1, 1), padding=((1, 1), (0, 0), (0, 0))),
    Case(1, (4, 9, 30), (32, 32), (2, 1, 3), padding=((0, 1), (0, 0), (1, 1))),
]
# Windows of two.
PAIRS = [
    Case(2, (17, 18), (48, 80), (2, 2), padding=((0, 1), (1, 0))),
    Case(1, (5, 9, 10), (32, 32), (2, 2, 2), padding=((1, 0), (0, 1), (1, 1))),
    Case(8, (70,), (32, 48), (2,), dilation=(3,), padding=((3, 0),)),
]
TAKEN = [*LARGE, *MEDIUM, *LINES, *GEOMETRY, *PAIRS]
# Of what has a stride or zeros between its pixels, one gradient has phases that are such windows.
PHASES = {
    Case(2, (16, 15), (32, 48), (4, 4), padding=WIDE, image_dilation=(2, 2)): "d_kernel",
    Case(1, (3, 70), (64, 32), (1, 6), padding=((0, 0), (2, 3)), image_dilation=(1, 2)): "d_kernel",
    Case(2, (16, 15), (32, 48), (4, 4), (2, 2), padding=SAME): "d_x",
}
# The weight gradient takes F(2x2).
SMALL = [
    Case(16, (2, 2), (32, 48), (3, 3), padding=SAME),
    Case(33, (2, 2), (64, 33), (3, 3), padding=SAME),
    Case(20, (4, 4), (48, 100), (3, 3), padding=NONE),
    Case(17, (1, 1), (32, 40), (3, 3), padding=((2, 1), (1, 2))),
]
# Only if forced: few tiles, few channels.
FORCED = [
    Case(1, (4, 4), (16, 16), (3, 3), padding=SAME),
    Case(1, (1, 1), (32, 16), (3, 3), padding=SAME),
    Case(3, (1, 1), (16, 48), (3, 3), padding=WIDE),
    Case(1, (3, 3), (16, 16), (3, 3)),
    Case(2, (5, 6), (48, 16), (3, 3), padding=((2, 0), (0, 2))),
    Case(2, (2, 9), (160, 80), (3, 3), padding=SAME),
    Case(1, (1, 9), (16, 48), (1, 3), padding=ROW),
    Case(2, (2, 3), (32, 16), (3, 1), padding=COLUMN),
]
# Each breaks one condition: window, stride, groups, channels of both sides.
LEFT = [
    Case(2, (16, 16), (32, 32), (5, 5), padding=WIDE),
    Case(2, (32, 32), (32, 32), (3, 3), (3, 3), SAME),
    Case(2, (16, 16), (64, 64), (3, 3), padding=SAME, groups=2),
    Case(2, (16, 16), (33, 33), (3, 3), padding=SAME),
    Case(2, (16, 16), (16, 16), (3, 3), padding=SAME),
    Case(3, (2, 2), (32, 32), (3, 3), padding=SAME),
]


def magnitudes(case, operands):
    """What each gradient adds up, all of it counted as positive, in the largest of the tilings."""
    x, kernel, d_y = operands
    sides = tuple(range(len(case.window)))
    flipped = np.flip(kernel, sides).swapaxes(-2, -1)
    reach = [(taps - 1) * d for taps, d in zip(case.window, case.dilation, strict=True)]
    padding = tuple(
        (size - before, size - after)
        for size, (before, after) in zip(reach, case.padding, strict=True)
    )
    by_x = [
        winograd_oracle.magnitude(d_y, flipped, padding, n, case.strides, case.dilation)
        for n in ((2, 4) if case in PAIRS else (2, 3, 4, 5))
    ]
    by_kernel = [
        winograd_oracle.weight_magnitude(x, d_y, case.window, case.padding, n, case.dilation)
        for n in ((2, 4) if case in PAIRS else (2, 3, 4))
    ]
    return np.max(by_x, 0).reshape(x.shape), np.max(by_kernel, 0)


def bounds(case):
    """Relative errors of those sums, over channels and over tiles, not more than outputs.

    Whatever their order (Higham 2002, section 3.1).
    """
    depth = case.window[0] if len(case.window) == 3 else 1
    lengths = depth * case.channels[1], np.prod(case.shapes[2][:-1])
    return [oracle.EPSILON / 2 * (length + winograd_oracle.ROUNDINGS) for length in lengths]


@functools.cache
def program(cases, precision=None):
    """For :func:`normals`, which several tests run: of all ``cases`` together."""
    return compiled_together(cases, list(map(normals, cases)), precision)


def run(cases, precision=None):
    """``(case, isa, name of a gradient, it, it in float64)`` for each."""
    for isa, together in on_every_isa(program(cases, precision)).items():
        for case, results in zip(cases, together, strict=True):
            for name, ours, exact in zip(NAMES, results, truth_of(case), strict=True):
                yield case, isa, name, ours, exact


def both_ways(cases):
    """Likewise, with that of direct convolution at the end."""
    for direct, free in zip(run(cases, "highest"), run(cases), strict=True):
        yield *free, direct[3]


@functools.cache
def truth_of(case):
    return expected(case, normals(case))


@in_programs([*TAKEN, *SMALL, *PHASES], share=2)
def test_accuracy(cases):
    for case, isa, name, ours, exact, other in both_ways(cases):
        what = f"{name} of {case} on {isa}"
        if case in TAKEN or name == PHASES.get(case, "d_kernel"):
            assert (ours != other).any(), f"{what} did not take Winograd"
        error = np.abs(ours - exact).max()
        assert error <= winograd_oracle.TOLERANCE * np.abs(exact).max(), what


@functools.cache
def limits(case):
    magnitude = magnitudes(case, normals(case))
    return {n: b * m for n, b, m in zip(NAMES, bounds(case), magnitude, strict=True)}


@in_programs([*TAKEN, *SMALL], share=2)
def test_within_the_bound_on_its_roundings(cases, force):
    force("winograd")
    assert_within_limits(cases)


@in_programs(FORCED)
def test_within_the_bound_where_it_does_not_pay(cases, force):
    force("winograd")
    assert_within_limits(cases)


def assert_within_limits(cases):
    for case, isa, name, ours, exact in run(cases):
        assert (np.abs(ours - exact) <= limits(case)[name]).all(), f"{name} of {case} on {isa}"


@pytest.mark.parametrize("algorithm", ["fastest", "winograd"])
@in_programs([*TAKEN, *SMALL, *PHASES, *FORCED], share=2)
def test_integers(cases, algorithm, force):
    force(algorithm)
    assert_nearest_integers(*cases)


@in_programs(SMALL)
def test_small_tiles_are_exact_on_integers(cases):
    """Their constants are powers of two."""
    operands = list(map(integers, cases))
    results = on_every_isa(compiled_together(cases, operands, None))
    for at, (case, each) in enumerate(zip(cases, operands, strict=True)):
        _, truth = expected(case, each)
        for isa, together in results.items():
            assert_same_bits(together[at][1], truth.astype(np.float32), f"{case} on {isa}")


@in_programs([LARGE[1], MEDIUM[1], SMALL[1]])
def test_direct_if_forced(cases, force):
    force("direct")
    assert_direct(cases)


@in_programs(LEFT)
def test_direct_where_it_does_not_pay(cases):
    assert_direct(cases)


def assert_direct(cases):
    for case, isa, name, ours, _, direct in both_ways(cases):
        assert_same_bits(ours, direct, f"{name} of {case} on {isa}")
