"""Prologues that Python does not ask for: each is an error that says what is wrong."""

import pytest

from ffi_calls import AFFINE, CHANNELS, X, call, refuses
from resfuse.kernel.prologue import MAX_PARTS

POINT, POINTS, GATES, ALL = (1, 1, 4, 6), (1, 1, 8, 6), (2, 8), (8,)
# Right: two parts, with a scale for each image and a shift, ahead of one 1x1 window.
RIGHT = {
    "operands": [X, X, GATES, ALL, POINTS, CHANNELS, CHANNELS],
    "padding": (0, 0, 0, 0),
    "prologue": (2, 3),
}
WRONG = {  # what differs, and what the error says
    "one number": ({"prologue": (2,)}, r"must be \(parts, kind\) with one to 26 parts"),
    "three numbers": ({"prologue": (2, 3, 0)}, r"a kind from 0 to 3, got \(2, 3, 0\)"),
    "no parts": ({"prologue": (0, 3)}, r"got \(0, 3\)"),
    "many parts": ({"prologue": (MAX_PARTS + 1, 0)}, r"got \(27, 0\)"),
    "negative parts": ({"prologue": (-1, 0)}, r"got \(-1, 0\)"),
    "unknown kind": ({"prologue": (2, 4)}, r"got \(2, 4\)"),
    "negative kind": ({"prologue": (2, -1)}, r"got \(2, -1\)"),
    "more parts than operands": ({"prologue": (9, 0)}, "part has shape|part is missing"),
    "fewer pixels": (
        {"operands": [X, (2, 5, 3, 4), GATES, ALL, POINTS, CHANNELS, CHANNELS]},
        r"part has shape \(2, 5, 3, 4\), expected \(2, 5, 4, 4\)",
    ),
    "a flat part": (
        {"operands": [X, (), GATES, ALL, POINTS, CHANNELS, CHANNELS]},
        "part has no channels",
    ),
    "no image at all": ({"operands": [(), X, GATES, ALL, POINTS, CHANNELS, CHANNELS]}, "x has"),
    "scales of other images": (
        {"operands": [X, X, (3, 8), ALL, POINTS, CHANNELS, CHANNELS]},
        r"prologue_scale has shape \(3, 8\), expected \(2, 8\)",
    ),
    "scales of one part": (
        {"operands": [X, X, (4,), ALL, POINTS, CHANNELS, CHANNELS]},
        r"prologue_scale has shape \(4,\), expected \(8,\)",
    ),
    "shifts of each image": (
        {"operands": [X, X, ALL, GATES, POINTS, CHANNELS, CHANNELS]},
        r"prologue_shift has shape \(2, 8\), expected \(8,\)",
    ),
    "a kernel for one part": (
        {"operands": [X, X, GATES, ALL, POINT, CHANNELS, CHANNELS]},
        r"do not fit x \(2, 5, 4, 8\)",
    ),
    "padding": (
        {"padding": (0, 1, 0, 0), "outputs": [(2, 6, 4, 6)]},
        "a prologue takes windows of single pixels within the image",
    ),
    "a wide window": (
        {
            "operands": [X, X, GATES, ALL, (3, 1, 8, 6), CHANNELS, CHANNELS],
            "outputs": [(2, 3, 4, 6)],
        },
        "a prologue takes windows of single pixels",
    ),
    "groups": (
        {"operands": [X, X, GATES, ALL, POINT, CHANNELS, CHANNELS], "groups": 2},
        "and no groups",
    ),
    "an image with gaps": (
        {"image_dilation": (2, 1), "outputs": [(2, 9, 4, 6)]},
        "a prologue takes windows of single pixels",
    ),
}


@pytest.mark.parametrize(("bad", "message"), WRONG.values(), ids=WRONG)
def test_prologues(bad, message):
    refuses(message, AFFINE, **RIGHT | bad)


def test_cropped_and_skipping_works():
    (y,) = call(AFFINE, **RIGHT | {"padding": (-1, 0, -1, -1), "strides": (2, 2)},
                outputs=[(2, 2, 1, 6)])  # fmt: skip
    assert y.shape == (2, 2, 1, 6)
