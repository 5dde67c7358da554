"""Bad calls of cascades and squeezes are errors, and not crashes."""

import math

import pytest

from ffi_calls import (
    CASCADE,
    CHANNELS,
    CONV,
    KERNEL,
    NEXT,
    PROGRAM,
    X,
    Y,
    call,
    of_part,
    packed_shape,
    refuses,
)

POINT, AFTER = (1, 1, 4, 6), (2, 1, 1, 6)
UNPADDED = CONV | {"padding": (0, 0, 0, 0)}
SQUEEZE = {
    "operands": [X, packed_shape(POINT), CHANNELS, CHANNELS],
    "outputs": [AFTER],
    "parts": 1,
    "squeeze": True,
} | of_part(0, **UNPADDED, packed=POINT)
SQUEEZE |= dict.fromkeys(of_part(1, **CONV, **PROGRAM, packed=NEXT, operands=0))
BAD_SQUEEZES = {  # what differs, and what the error says
    "no part": ({"parts": 0}, r"parts must be in \[1, 3\], got 0"),
    "four parts": ({"parts": 4}, r"parts must be in \[1, 3\], got 4"),
    "a sound": ({"operands": [(2, 5, 4), *SQUEEZE["operands"][1:]]}, "for x of rank 3"),
    "a number": ({"operands": [(), *SQUEEZE["operands"][1:]]}, "x must have rank"),
    "no pixels": ({"operands": [(2, 0, 4, 4), *SQUEEZE["operands"][1:]]}, "is empty|window"),
    "other channels": ({"operands": [(2, 5, 4, 3), *SQUEEZE["operands"][1:]]}, "do not fit x"),
    "an image": ({"outputs": [Y]}, r"y has shape .* expected \(2, 1, 1, 6\)"),
}
ROWS = {"outputs": [Y, (2, 5, 6)], "sums_rows": True}
BAD_ROWS = {
    "none": ({"outputs": [Y]}, "row_sums is missing"),
    "pixels": ({"outputs": [Y, Y]}, r"row_sums has shape .* expected \(2, 5, 6\)"),
    "columns": ({"outputs": [Y, (2, 4, 6)]}, r"row_sums has shape .* expected \(2, 5, 6\)"),
    "not asked for": ({"sums_rows": False}, "got 2 results"),
}


def test_right_calls_work():
    assert [y.shape for y in call(CASCADE, **SQUEEZE)] == SQUEEZE["outputs"]
    assert [y.shape for y in call(CASCADE, **ROWS)] == ROWS["outputs"]


def test_one_convolution_alone_is_no_cascade():
    refuses(r"parts must be in \[2, 3\], got 1", CASCADE, **SQUEEZE | {"squeeze": False})


@pytest.mark.parametrize(("bad", "message"), BAD_SQUEEZES.values(), ids=BAD_SQUEEZES)
def test_squeezes(bad, message):
    refuses(message, CASCADE, **SQUEEZE | bad)


@pytest.mark.parametrize(("bad", "message"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_sums_of_rows(bad, message):
    refuses(message, CASCADE, **ROWS | bad)


def test_a_kernel_is_that_of_a_part():
    refuses("packed weights have shape", CASCADE,
            **SQUEEZE | {"operands": [X, packed_shape(KERNEL), CHANNELS, CHANNELS]})  # fmt: skip


def test_weights_in_rows_of_one_array():
    """Of both parts, each by its own attribute."""
    sizes = [math.prod(packed_shape(kernel)[:-1]) for kernel in (KERNEL, NEXT)]
    weights = sum(sizes), packed_shape()[-1]
    operands = [X, *[weights, CHANNELS, CHANNELS] * 2]
    apart = of_part(0, has_numbers=False) | of_part(1, has_numbers=False)
    call(CASCADE, operands, row_0=0, row_1=sizes[0], **apart)
    message = f"begin in row {sizes[0] + 1}"
    refuses(message, CASCADE, operands=operands, row_0=0, row_1=sizes[0] + 1, **apart)
