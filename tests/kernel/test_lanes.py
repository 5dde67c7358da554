"""Groups narrower than a vector, which share vectors: exact, and each group on its own."""

import dataclasses
import functools

import numpy as np
import pytest

from covering import covering
from kernel_case import (
    Case,
    assert_exact,
    assert_same_bits,
    compiled_packed,
    in_programs,
    normals,
    on_every_isa,
)

AXES = {
    "width": (1, 2, 4, 8, 16),
    # Panels that are full on some ISA, and that end a group before or after.
    "groups": (2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 65),
    "window": ((3, 3), (5, 5), (7, 7), (1, 1), (2, 4)),
    "strides": ((1, 1), (2, 2), (1, 2)),
    "size": ((1, 1), (4, 5), (7, 6), (13, 12), (25, 3)),
    "padding": ("none", "same", "wide"),
    "batch": (1, 2),
    "residual": (False, True),
    "relu": (False, True),
}
MOST_WORK = 4_000_000
LANES = {"avx512": 16, "avx2": 8, "generic": 4}


def pads(kind, window):
    return {"none": (0, 0), "same": ((window - 1) // 2, window // 2), "wide": (9, 8)}[kind]


def case(row):
    channels = row["width"] * row["groups"]
    padding = tuple(pads(row["padding"], window) for window in row["window"])
    return Case(row["batch"], row["size"], (channels, channels), row["window"], row["strides"],
                padding, row["groups"], row["residual"], row["relu"])  # fmt: skip


@in_programs([case(row) for row in covering(AXES, lambda r: 0 < case(r).work < MOST_WORK)], share=2)
def test_exact(cases):
    assert_exact(*cases)


@in_programs(
    [  # more pixels of a window than one pass takes
        Case(2, (9, 8), (33, 33), (9, 9), padding=((4, 4), (4, 4)), groups=33),
        Case(1, (3, 4), (20, 20), (13, 5), padding=((6, 6), (2, 2)), groups=5),
        Case(1, (2, 70), (18, 18), (1, 67), padding=((0, 0), (33, 33)), groups=9),
    ]
)
def test_many_passes(cases):
    assert_exact(*cases)


def test_more_channels_than_zeros_outside_the_image():
    channels = 10240 + 24
    assert_exact(Case(1, (2, 3), (channels, channels), (3, 2), (1, 1), ((1, 1), (1, 0)), channels))


@pytest.mark.parametrize("width", AXES["width"])
def test_taken_where_groups_fill_vectors(width):
    case = Case(1, (5, 5), (3 * width, 3 * width), (3, 3), groups=3)
    for isa, algorithm in on_every_isa(case.algorithm).items():
        assert algorithm == ("grouped" if width <= LANES[isa] else "direct"), isa


@pytest.mark.parametrize(
    ("inputs", "outputs"), [(1, 2), (2, 1), (4, 8), (3, 3), (6, 6), (12, 12), (32, 32)]
)
def test_other_groups_take_the_general_path(inputs, outputs):
    """A channel multiplier, and groups that cross the end of a vector or are wider."""
    case = Case(2, (5, 6), (inputs * 5, outputs * 5), (3, 3), (2, 1), ((1, 1), (1, 0)), 5)
    assert set(on_every_isa(case.algorithm).values()) == {"direct"}
    assert_exact(case)


# Panels that are cut, on some ISA or on all; of lanes, and of the general path.
NEIGHBOURS = [
    *(Case(1, (3, 4), (channels, channels), (3, 3), padding=((1, 1), (1, 1)), groups=channels)
      for channels in (3, 5, 9, 17, 33)),
    *(Case(1, (3, 3), (width * 5, width * 5), (2, 3), (1, 2), ((1, 0), (1, 1)), 5)
      for width in (2, 4, 8, 3)),
    Case(1, (2, 3), (48, 48), (3, 3), padding=((1, 1), (1, 1)), groups=3),
    Case(1, (3, 4), (9, 11), (3, 3), padding=((1, 1), (1, 1))),
]  # fmt: skip


@pytest.mark.parametrize("case", NEIGHBOURS, ids=repr)
def test_not_finite_numbers_reach_their_windows_and_no_other(case):
    """An image for each number of an image, which is NaN or infinite there."""
    numbers = int(np.prod(case.shapes[0]))
    case = dataclasses.replace(case, batch=numbers, residual=False, relu=False)
    x, kernel, *rest = normals(case)
    x[:] = x[:1]
    here = np.eye(numbers, dtype=bool).reshape(x.shape)
    reached = case.convolve(here, np.ones_like(kernel)) > 0
    run = compiled_packed(case, [x, kernel, *rest], "highest")
    expected = on_every_isa(functools.partial(run, x, kernel, *rest))
    for value in (np.nan, np.inf):
        bad = np.where(here, np.float32(value), x)
        for isa, (unpacked, packed) in on_every_isa(
            functools.partial(run, bad, kernel, *rest)
        ).items():
            assert (np.isfinite(unpacked) == ~reached).all(), f"{value} on {isa}"
            kept = np.where(reached, unpacked, expected[isa][0])
            assert_same_bits(unpacked, kept, f"{value} on {isa}")
            assert_same_bits(packed[isa], unpacked, f"{value} packed on {isa}")


@pytest.mark.parametrize("case", NEIGHBOURS, ids=repr)
def test_not_finite_weights_reach_their_channel_and_no_other(case):
    x, kernel, *rest = normals(case)
    run = compiled_packed(case, [x, kernel, *rest], "highest")
    expected = on_every_isa(functools.partial(run, x, kernel, *rest))
    for channel in {0, case.channels[1] // 2, case.channels[1] - 1}:
        bad = kernel.copy()
        bad[..., channel] = np.nan
        others = np.arange(case.channels[1]) != channel
        for isa, (unpacked, packed) in on_every_isa(functools.partial(run, x, bad, *rest)).items():
            assert np.isnan(unpacked[..., channel]).all(), isa
            for y in (unpacked, packed[isa]):
                assert_same_bits(y[..., others], expected[isa][0][..., others], isa)
