"""Bad calls with packed weights, and of what packs them, are errors, and not crashes."""

import math

import pytest

from ffi_calls import AFFINE, KERNEL, PACK, X, call, packed_shape, refuses
from kernel_case import on_every_isa

PACKED = {  # the kernel's shape as the attribute says, and the shape of the weights
    "weights that are not packed": (KERNEL, KERNEL, "packed weights have shape"),
    "of another window": (KERNEL, packed_shape((1, 3, 4, 6)), "packed weights have shape"),
    "of fewer channels": (KERNEL, packed_shape((3, 3, 3, 6)), "packed weights have shape"),
    "of more panels": (KERNEL, packed_shape((3, 3, 4, 99)), "packed weights have shape"),
    "of no panels": (KERNEL, (0, *packed_shape()[1:]), "packed weights have shape"),
    "of rank 0": (KERNEL, (), "packed weights have shape"),
    "shape of rank 3": ((3, 3, 6), packed_shape(), "differ in rank"),
    "shape of rank 5": ((*KERNEL, 1), packed_shape(), "differ in rank"),
    "shape that is empty": ((3, 3, 4, 0), packed_shape(), "is empty"),
    "shape of other inputs": ((3, 3, 5, 6), packed_shape(), "do not fit x"),
    "shape of more outputs": ((3, 3, 4, 7), packed_shape(), "y has shape"),
    "shape with negative outputs": ((3, 3, 4, -6), packed_shape(), "y has shape|kernel"),
}
PACKS = {  # the shapes of kernel and output, the groups, and what the error says
    "kernel of rank 3": ((3, 4, 6), packed_shape(), 1, "image_dilation must have length 1"),
    "kernel of rank 0": ((), packed_shape(), 1, "kernel must have rank 3 to 5"),
    "empty kernel": ((3, 3, 0, 6), packed_shape(), 1, "is empty"),
    "kernel of no channels": ((3, 3, 4, 0), packed_shape(), 1, "is empty"),
    "output of the kernel's shape": (KERNEL, KERNEL, 1, "packed weights have shape"),
    "output of rows": (KERNEL, (9 * 4, 32), 1, "packed weights have shape"),
    "output of rank 1": (KERNEL, (9 * 4 * 32,), 1, "packed weights have shape"),
    "output of another window": (KERNEL, packed_shape((3, 2, 4, 6)), 1, "packed weights have"),
    "no groups": (KERNEL, packed_shape(), 0, r"groups must be in \[1, 2\^31\], got 0"),
    "negative groups": (KERNEL, packed_shape(), -1, r"groups must be in \[1, 2\^31\], got -1"),
    "groups that do not divide": (KERNEL, packed_shape(), 4, "groups=4 do not fit"),
    "groups beyond the integers": (
        KERNEL,
        packed_shape(),
        2**62,
        r"groups must be in \[1, 2\^31\]",
    ),
}


def test_right_packed_weights_work():
    """Of every instruction set, whichever is in use."""
    for shape in on_every_isa(packed_shape).values():
        call(AFFINE, operands=[X, shape, (6,), (6,)], packed=KERNEL)


def rows_of(shape, more):
    """An array of two axes with the rows of packed weights of this shape, and so many more."""
    return math.prod(shape[:-1]) + more, shape[-1]


def test_rows_of_packed_weights_work():
    """From the first to the last that leave room."""
    for shape in on_every_isa(packed_shape).values():
        for first in (0, 3, 7):
            call(
                AFFINE,
                operands=[X, rows_of(shape, 7), (6,), (6,)],
                packed=KERNEL,
                row=first,
                has_numbers=False,
            )


def test_numbers_that_follow_packed_weights():
    """Scale and shift, of 6 channels each; with 8 lanes or more a row each."""
    for shape in on_every_isa(packed_shape).values():
        given = {"operands": [X, rows_of(shape, 2)], "packed": KERNEL, "has_numbers": True}
        call(AFFINE, **given, row=0)
        refuses("and begin in row 1", AFFINE, **given, row=1)


@pytest.mark.parametrize(
    ("more", "attributes", "message"),
    [
        (7, {"row": 8}, "packed weights have shape .* and begin in row 8, expected .* of its rows"),
        (7, {"row": -1}, "begin in row -1"),
        (7, {"row": 2**63 - 1}, "begin in row 9223372036854775807"),
        (-1, {"row": 0}, "packed weights have shape .* and begin in row 0"),
        (7, {}, "the attribute row is missing"),
        (7, {"row": (0,)}, "the attribute row has another type"),
        (7, {"row": 0, "has_numbers": None}, "the attribute has_numbers is missing"),
    ],
)
def test_rows_that_are_not_there(more, attributes, message):
    shape = rows_of(packed_shape(), more)
    attributes = {"has_numbers": False} | attributes
    refuses(message, AFFINE, operands=[X, shape, (6,), (6,)], packed=KERNEL, **attributes)


def test_rows_of_no_instruction_set():
    refuses("begin in row 0", AFFINE, operands=[X, (10_000, 5), (6,), (6,)], packed=KERNEL, row=0,
            has_numbers=False)  # fmt: skip


def test_rows_of_weights_that_are_not_in_rows():
    refuses("does not take", AFFINE, operands=[X, packed_shape(), (6,), (6,)], packed=KERNEL, row=0)


@pytest.mark.parametrize(("kernel", "weights", "message"), PACKED.values(), ids=PACKED)
def test_packed_weights(kernel, weights, message):
    refuses(message, AFFINE, operands=[X, weights, (6,), (6,)], packed=kernel)


@pytest.mark.parametrize(
    ("window", "pads", "size"),
    {
        "negative": ((-3, -3), 1, (11, 10)),
        "of 2^64 pixels": ((2**32, 2**32), 2**31, (6, 5)),
    }.values(),
)
def test_packed_windows_that_only_their_product_makes_right(window, pads, size):
    """9 and 0 pixels, as many as the packed weights have."""
    taps = 9 if window[0] < 0 else 0
    weights = (packed_shape()[0], taps, *packed_shape()[2:])
    refuses("kernel", AFFINE, operands=[X, weights, (6,), (6,)], outputs=[(2, *size, 6)],
            packed=(*window, 4, 6), padding=(pads,) * 4)  # fmt: skip


@pytest.mark.parametrize(("kernel", "packed", "groups", "message"), PACKS.values(), ids=PACKS)
def test_packing(kernel, packed, groups, message):
    refuses(message, PACK, operands=[kernel], outputs=[packed], groups=groups)
