"""Tiles of neighbours in a row of outputs, by a pointer for each run: exact at all their ends."""

import dataclasses

import pytest

from covering import covering
from kernel_case import (
    Case,
    assert_exact,
    assert_padding_is_zeros,
    in_programs,
    on_every_isa,
)
from resfuse import _ext

# Tiles have up to 12 pixels or 6; rows of so many outputs are cut into one to three of them.
AXES = {
    "width": (3, 4, 5, 6, 7, 11, 12, 13, 23, 24, 25, 37),
    "channels": (1, 2, 3, 4, 8, 17),
    "outputs": (4, 8, 16, 17, 33),
    "window": ((1, 2), (3, 3), (2, 5), (7, 7), (4, 4), (3, 1)),
    "stride": (1, 2, 3, 4),
    "dilation": (1, 2),
    "padding": ("none", "same", "left", "right", "cropped"),
    "residual": (False, True),
}


def case(row):
    window, stride, dilation = row["window"], row["stride"], row["dilation"]
    extent = (window[1] - 1) * dilation + 1
    low, high = {
        "none": (0, 0),
        "same": ((extent - 1) // 2, extent // 2),
        "left": (extent + 1, 0),  # more than a window
        "right": (0, 2 * extent),
        "cropped": (-2, -1),
    }[row["padding"]]
    size = max(1, (row["width"] - 1) * stride + extent - low - high)
    return Case(1, (5, size), (row["channels"], row["outputs"]), window, (1, stride),
                ((1, window[0] - 1), (low, high)), residual=row["residual"],
                dilation=(1, dilation))  # fmt: skip


def inputs(case):
    """Where the tiles of each phase find them, on the ISA in use."""
    image, kernel, _ = case.shapes
    pads = [pixels for pair in case.padding for pixels in pair]
    made = _ext.plans_in_full(
        image, kernel, case.strides, pads, case.image_dilation, case.dilation, case.groups, False
    )
    return {phase["inputs"] for phase in made}


def test_taken():
    """By stems whatever their rows, by wide layers where rows are whole tiles, nearly."""
    stem = Case(1, (224, 224), (3, 64), (7, 7), (2, 2), ((3, 3), (3, 3)))
    wide = Case(1, (3, 60), (128, 64), (3, 3), padding=((1, 1), (1, 1)), dilation=(1, 2))
    narrow = dataclasses.replace(wide, size=(20, 9))
    long = dataclasses.replace(wide, channels=(4096, 8))
    for one, expected in ((stem, {"strided"}), (wide, {"strided"}), (long, {"windows"})):
        for isa, got in on_every_isa(lambda one=one: inputs(one)).items():
            assert got == expected, (one, isa)
    assert "shared" in set().union(*on_every_isa(lambda: inputs(narrow)).values())


@in_programs([case(row) for row in covering(AXES, lambda row: case(row).work > 0)], 40, share=2)
def test_exact(cases):
    assert_exact(*cases)


def test_phases_depth_and_batches():
    """Outputs that are scattered; windows of several planes; panels of several blocks."""
    assert_exact(
        Case(1, (4, 13), (3, 20), (4, 4), None, ((2, 2), (2, 2)), image_dilation=(2, 2)),
        Case(2, (3, 4, 19), (4, 19), (2, 3, 3), (1, 1, 2), ((1, 0), (1, 1), (1, 1))),
        Case(3, (17, 26), (1, 40), (5, 5), None, ((2, 2), (2, 2))),
        Case(2, (200,), (5, 33), (9,), (2,), ((4, 0),), dilation=(3,)),
    )


@pytest.mark.parametrize("stride", [1, 2])
def test_padding_has_the_bits_of_zeros_in_the_image(stride):
    cases = []
    for window, width in ((3, 13), (7, 25), (4, 5)):
        pads = ((1, 1), (window // 2, window // 2))
        cases.append(Case(1, (6, width), (3, 24), (3, window), (1, stride), pads))
    assert_padding_is_zeros(cases)
