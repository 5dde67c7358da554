"""Packed weights: the bits of those that they were packed from, on every instruction set."""

import pytest

from covering import covering
from kernel_case import Case, assert_packed, in_programs, on_every_isa

GEOMETRY = {
    "batch": (1, 3),
    "size": ((1, 1), (3, 5), (7, 8), (13, 6), (17, 16)),
    "window": ((1, 1), (2, 3), (3, 3), (5, 1), (7, 7)),
    "strides": ((1, 1), (2, 2), (1, 2)),
    "padded": (False, True),
    "residual": (False, True),
    "relu": (False, True),
}
# Around a vector and a register tile of 4, 8 and 16 lanes.
CHANNELS = {
    "inputs": (1, 3, 4, 16, 17, 32),
    "outputs": (1, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 65),
}
GROUPS = {
    "groups": (2, 3, 5, 8, 17, 33),
    "inputs": (1, 2, 4, 5, 8, 16, 17),
    "outputs": (1, 2, 4, 7, 8, 9, 16, 33),
}
SAME = ((1, 1), (1, 1))
STEM = ((3, 3), (3, 3))
# Weights that are packed first, in the call, from 64 pixels on, and not.
PACKED_FIRST = [
    Case(1, (7, 9), (20, 100), (3, 3), padding=SAME),
    Case(1, (8, 8), (20, 100), (3, 3), padding=SAME),
    Case(3, (7, 3), (48, 48), (3, 3), padding=SAME, groups=3),
    Case(4, (4, 4), (48, 48), (3, 3), padding=SAME, groups=3),
]
# Windows that are gathered, or read where they are, a stride apart, over several blocks of pixels
# and panels, with and without a remainder.
COPIED_OR_STRIDED = [
    Case(1, (14, 14), (1024, 33), (1, 1)),
    Case(2, (7, 7), (2048, 64), (1, 1), relu=False),
    Case(1, (15, 13), (1024, 65), (1, 1), (2, 2)),
    Case(3, (5, 4), (1024, 7), (1, 1), padding=((1, 0), (0, 2))),
    Case(1, (1, 1), (1024, 32), (1, 1)),
    Case(1, (64, 62), (3, 64), (7, 7), (2, 2), STEM, residual=False),
    Case(2, (33, 31), (3, 17), (3, 3), padding=SAME),
    Case(1, (57, 3), (1, 33), (7, 7), padding=STEM),
    Case(2, (30, 28), (1, 33), (7, 7), (2, 2), STEM),
    Case(1, (12, 13), (1, 8), (3, 3)),
    Case(2, (40, 37), (4, 9), (3, 5), (1, 2), ((2, 0), (0, 3))),
]
# One part of the input channels and several, transformed weights that stay and that do not, one
# block of tiles and several; 300 channels are whole vectors of 4 lanes only.
WINOGRAD = [
    Case(1, (8, 16), (32, 32), (3, 3), padding=SAME),
    Case(1, (13, 14), (48, 33), (3, 3), padding=SAME),
    Case(2, (9, 31), (64, 65), (3, 3), (1, 1), ((2, 1), (0, 1))),
    Case(1, (29, 40), (160, 100), (3, 3), padding=SAME),
    Case(11, (7, 10), (128, 72), (3, 3), padding=SAME),
    Case(5, (14, 14), (256, 64), (3, 3), padding=SAME, relu=False),
    Case(1, (18, 15), (300, 40), (3, 3), padding=SAME),
    Case(1, (18, 15), (304, 40), (3, 3), padding=SAME, residual=False),
    Case(2, (31, 33), (64, 72), (3, 3), (2, 2), SAME),
    Case(3, (16, 24), (300, 33), (3, 3), (2, 2), ((0, 1), (0, 1)), residual=False),
]
PASSES = [
    Case(1, (3, 4), (10300, 17), (1, 1)),
    Case(2, (12, 12), (17, 17), (11, 11), padding=((5, 5), (5, 5)), groups=17),
    Case(1, (3, 4), (20600, 6), (1, 2), padding=((0, 0), (1, 1)), groups=2),
    Case(0, (5, 6), (3, 4), (3, 3)),
    Case(2, (2, 6), (4, 4), (3, 3), groups=4),
]
# A few milliseconds on the slowest ISA.
MOST_WORK = 4_000_000


def case(row):
    groups, window = row.get("groups", 1), row["window"]
    padding = tuple((n // 2, n // 2) if row["padded"] else (0, 0) for n in window)
    return Case(row["batch"], row["size"], (row["inputs"] * groups, row["outputs"] * groups),
                window, row["strides"], padding, groups, row["residual"], row["relu"])  # fmt: skip


def table(**channels):
    return [
        case(row) for row in covering(channels | GEOMETRY, lambda r: 0 < case(r).work < MOST_WORK)
    ]


@in_programs(table(**CHANNELS), share=2)
def test_one_group(cases):
    assert_packed(*cases)


@in_programs(table(**GROUPS), share=2)
def test_groups(cases):
    assert_packed(*cases)


@in_programs(PACKED_FIRST)
def test_packed_first(cases):
    assert_packed(*cases)


@in_programs(COPIED_OR_STRIDED)
def test_copied_or_strided_windows(cases):
    assert_packed(*cases)


@pytest.mark.parametrize("case", WINOGRAD, ids=repr)
def test_winograd(case):
    assert "winograd" in on_every_isa(case.algorithm).values()
    assert_packed(case)


@in_programs(PASSES)
def test_many_passes_and_no_pixels(cases):
    assert_packed(*cases)
