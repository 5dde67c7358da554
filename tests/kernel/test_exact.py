"""Bit for bit on integers: sizes around every boundary of the kernel, in any combination of two."""

import numpy as np
import pytest

from covering import covering
from kernel_case import Case, assert_exact, compiled, in_programs, integers, on_every_isa

GEOMETRY = {
    "batch": (1, 2, 5),
    "height": (*range(1, 10), 13, 14, 28),
    "width": (*range(1, 10), 13, 14, 28),
    "kernel_h": (1, 2, 3, 5, 7),
    "kernel_w": (1, 2, 3, 5, 7),
    "stride_h": (1, 2, 3),
    "stride_w": (1, 2, 3),
    "padding_h": ("none", "symmetric", "before", "after", "larger than the image"),
    "padding_w": ("none", "symmetric", "before", "after", "larger than the image"),
    "residual": (False, True),
    "relu": (False, True),
}
# Around vectors of 4, 8 and 16 lanes, two of them, and more.
CHANNELS = (1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 31, 32, 33, 67)
# Each channel's number of inputs and outputs: 1 and 1 is depthwise, 1 and more a multiplier.
GROUPS = {
    "groups": (2, 3, 4, 7, 17, 32),
    "inputs": (1, 2, 3, 5, 8, 16, 17),
    "outputs": (1, 2, 3, 7, 8, 15, 16, 17, 31, 33),
}
# A few milliseconds on the slowest ISA.
MOST_WORK = 4_000_000


def pads(kind, size, window):
    return {
        "none": (0, 0),
        "symmetric": (window // 2, window // 2),
        "before": (window - 1, 0),
        "after": (1, window),
        "larger than the image": (size + window, size + 1),
    }[kind]


def case(row):
    groups = row.get("groups", 1)
    size, window = (row["height"], row["width"]), (row["kernel_h"], row["kernel_w"])
    kinds = row["padding_h"], row["padding_w"]
    padding = tuple(map(pads, kinds, size, window))
    return Case(row["batch"], size, (row["inputs"] * groups, row["outputs"] * groups), window,
                (row["stride_h"], row["stride_w"]), padding, groups,
                row["residual"], row["relu"])  # fmt: skip


def valid(row):
    return 0 < case(row).work <= MOST_WORK


def table(**channels):
    return [case(row) for row in covering(channels | GEOMETRY, valid)]


@in_programs(table(inputs=CHANNELS, outputs=CHANNELS), share=3)
def test_one_group(cases):
    assert_exact(*cases)


@in_programs(table(**GROUPS), share=3)
def test_groups(cases):
    assert_exact(*cases)


@in_programs(
    [
        Case(1, (3, 5), (10300, 17), (1, 1)),
        Case(2, (3, 5), (10240, 3), (1, 1)),
        Case(1, (2, 5), (10241, 3), (1, 1), (1, 2)),
        Case(1, (4, 5), (3500, 33), (3, 3), padding=((1, 1), (2, 1))),
        Case(1, (2, 3), (11000, 2), (2, 2), padding=((1, 0), (1, 1))),
        Case(2, (70, 4), (3, 16), (67, 1), padding=((5, 4), (0, 0))),
        Case(1, (9, 9), (2, 5), (129, 2), padding=((64, 64), (1, 0))),
        Case(1, (9, 8), (1000, 7), (7, 3), (2, 1), ((3, 3), (1, 1))),
        Case(2, (9, 9), (6, 34), (9, 9), padding=((4, 4), (4, 4)), groups=2),
        Case(2, (12, 12), (17, 17), (11, 11), padding=((5, 5), (5, 5)), groups=17),
        Case(1, (3, 4), (20600, 6), (1, 2), padding=((0, 0), (1, 1)), groups=2),
        Case(1, (4, 4), (6000, 4), (3, 3), padding=((1, 1), (1, 1)), groups=2),
    ]
)
def test_windows_in_many_passes(cases):
    assert_exact(*cases)


@in_programs(
    [
        Case(1, (pixels,), (inputs, outputs), (1,), residual=pixels % 2 == 1)
        for pixels in (5, 7, 9, 10, 11, 13, 25, 38, 49)
        for inputs, outputs in ((1, 24), (5, 40), (16, 15), (2, 8), (6, 24), (30, 55), (4, 33))
    ],
    size=21,
)
def test_tiles_that_follow_each_other(cases):
    """Of one or two heights, with a panel that ends inside a tile or a vector's half."""
    assert_exact(*cases)


@pytest.mark.parametrize(
    "case",
    [
        Case(0, (5, 6), (3, 4), (3, 3)),
        Case(2, (2, 6), (3, 4), (3, 3)),
        Case(2, (6, 2), (3, 4), (3, 3), (2, 2), residual=False),
        Case(0, (5, 6), (4, 4), (3, 3), groups=4, relu=False),
    ],
    ids=repr,
)
def test_no_pixels(case):
    """As in the reference: empty images, and statistics of nothing."""
    for y, conv, *statistics in on_every_isa(compiled(case, integers(case))).values():
        assert y.shape == conv.shape == case.shapes[-1]
        assert y.size == 0
        assert np.isnan(statistics).all()
