"""The C++ side trusts nobody: each bad call to a target is an error, and not a crash.

Most of this is tables: what is wrong, for which targets, and the words that say so.
"""

import numpy as np
import pytest

from ffi_calls import (
    AFFINE,
    CALLS,
    GRADIENTS,
    NAMES,
    POOLINGS,
    STATISTICS,
    Y,
    as_attribute,
    call,
    refuses,
    taking_turns,
)
from sampling import long_but

ATTRIBUTES = {  # an attribute, and what the error says
    "one stride": ({"strides": (1,)}, r"strides must have length 2 for x of rank 4, got \(1,\)"),
    "no strides": ({"strides": ()}, r"strides must have length 2 for x of rank 4, got \(\)"),
    "stride 0": ({"strides": (0, 1)}, r"strides must be at least 1, got \(0, 1\)"),
    "huge stride": ({"strides": (1, 2**62)}, r"has shape .* expected \(2, 5, 1, [46]\)"),
    "three pads": (
        {"padding": (1, 1, 1)},
        r"padding must have length 4 for x of rank 4, got \(1, 1, 1\)",
    ),
    "huge padding": ({"padding": (2**62, 0, 0, 0)}, r"padding must be in \[-2\^31, 2\^31\]"),
    "other padding": ({"padding": (0, 0, 0, 0)}, r"has shape .* expected \(2, 3, 2, [46]\)"),
    "no output": ({"strides": (9, 9)}, r"has shape .* expected \(2, 1, 1, [46]\)"),
}
DILATIONS = {
    "one of the image": ({"image_dilation": (1,)}, "image_dilation must have length 2"),
    "three of the window": ({"window_dilation": (1, 1, 1)}, "window_dilation must have length 2"),
    "no pixels apart": ({"image_dilation": (0, 1)}, r"image_dilation must be in \[1, 2\^31\], got"),
    "negative": ({"window_dilation": (1, -1)}, r"window_dilation must be in \[1, 2\^31\], got"),
    "huge": ({"window_dilation": (2**32, 1)}, r"window_dilation must be in \[1, 2\^31\], got"),
    "largest": ({"image_dilation": (2**63 - 1,) * 2}, r"image_dilation must be in \[1, 2\^31\]"),
    "of a smaller output": (
        {"window_dilation": (2, 1)},
        r"has shape .* expected \(2, 3, 4, [46]\)",
    ),
    "of no output": (
        {"window_dilation": (2**31, 2**31)},
        r"has shape .* expected \(2, 0, 0, [46]\)",
    ),
    "of a larger output": ({"image_dilation": (1, 2)}, r"has shape .* expected \(2, 5, 7, [46]\)"),
    "of 2^60 outputs": ({"image_dilation": (2**31,) * 2}, "more than 2"),
    "of many phases": ({"image_dilation": (2**7, 2**8)}, "more than 2.14 phases"),
}
GROUPS = {
    "no groups": ({"groups": 0}, r"groups must be in \[1, 2\^31\], got 0"),
    "negative groups": ({"groups": -1}, r"groups must be in \[1, 2\^31\], got -1"),
    "groups that do not divide": ({"groups": 3}, "groups=3 do not fit x"),
    "too many groups": ({"groups": 2}, "groups=2 do not fit x"),
}
OPERANDS = {  # the shapes of x and kernel, and what the error says
    "x of rank 3": ((5, 4, 4), (3, 3, 4, 6), "differ in rank"),
    "x of rank 0": ((), (3, 3, 4, 6), "x must have rank 3 to 5"),
    "x of rank 6": ((1,) * 6, (3, 3, 4, 6), "x must have rank 3 to 5"),
    "both of rank 3": ((2, 4, 4), (3, 4, 6), "strides must have length 1 for x of rank 3"),
    "kernel of rank 2": ((2, 5, 4, 4), (4, 6), "kernel must have rank 3 to 5"),
    "kernel of rank 5": ((2, 5, 4, 4), (1, 3, 3, 4, 6), "differ in rank"),
    "input channels": ((2, 5, 4, 3), (3, 3, 4, 6), "do not fit x"),
    "output channels": ((2, 5, 4, 4), (3, 3, 4, 7), "y has shape"),
    "batch": ((1, 5, 4, 4), (3, 3, 4, 6), "y has shape"),
    "empty images": ((2, 0, 4, 4), (3, 3, 4, 6), "is empty"),
    "empty kernel": ((2, 5, 4, 4), (0, 3, 4, 6), "is empty"),
}
AFFINE_OPERANDS = {  # the shapes after x and kernel
    "scale": (((5,), (6,)), r"scale has shape \(5,\), expected \(6,\)"),
    "scale of rank 2": (((6, 1), (6,)), r"scale has shape \(6, 1\), expected \(6,\)"),
    "shift": (((6,), ()), r"shift has shape \(\), expected \(6,\)"),
    "a tensor": (((6,), (6,), (2, 5, 4, 1)), r"operand_0 has shape .* expected \(2, 5, 4, 6\)"),
    "a channel": (((6,), (6,), (6,), (5,)), r"operand_1 has shape \(5,\), expected \(6,\)"),
    "an image": (((6,), (6,), (6, 2)), r"operand_0 has shape \(6, 2\), expected \(2, 6\)"),
    "of rank 0": (((6,), (6,), ()), r"operand_0 has shape \(\), expected \(2, 5, 4, 6\)"),
    "nine": (((6,),) * 11, "got 13 operands, expected no more than x, kernel, scale, shift, op"),
    "no shift": (((6,),), "shift is missing"),
}
OUTPUTS = {  # of the statistics
    "mean": (((2, 5, 4, 6), (5,), (6,)), "mean has shape"),
    "var": (((2, 5, 4, 6), (6,), ()), "var has shape"),
    "no var": (((2, 5, 4, 6), (6,)), "var is missing"),
}
# Each array and each attribute of each call.
ARRAYS = [
    (target, index, name.strip("[]"))
    for target, names in NAMES.items()
    for index, name in enumerate(" ".join(names).split())
]
NAMED_ATTRIBUTES = [(target, name) for target, call in CALLS.items() for name in call[2]]


def with_options(target):
    """The right call with whatever it can take and give: images like its output."""
    operands, outputs, attributes = CALLS[target]
    more = [[Y] * names.count("[") for names in NAMES[target]]
    return [*operands, *more[0]], [*outputs, *more[1]], attributes


@pytest.mark.parametrize("target", CALLS)
def test_a_right_call_works(target):
    assert [y.shape for y in call(target)] == CALLS[target][1]


@pytest.mark.parametrize("target", [t for t in CALLS if with_options(t) != CALLS[t]])
def test_a_right_call_with_all_options_works(target):
    operands, outputs, _ = with_options(target)
    assert [y.shape for y in call(target, operands, outputs)] == outputs


@pytest.mark.parametrize(
    ("target", "name"), taking_turns([AFFINE, STATISTICS, *GRADIENTS, *POOLINGS], ATTRIBUTES)
)
def test_attributes(target, name):
    bad, message = ATTRIBUTES[name]
    refuses(message, target, **bad)


@pytest.mark.parametrize(
    ("target", "name"), taking_turns([AFFINE, STATISTICS, *GRADIENTS], DILATIONS)
)
def test_dilations(target, name):
    bad, message = DILATIONS[name]
    refuses(message, target, **bad)


@pytest.mark.parametrize(("target", "name"), taking_turns([AFFINE, STATISTICS, *GRADIENTS], GROUPS))
def test_groups(target, name):
    bad, message = GROUPS[name]
    refuses(message, target, **bad)


@pytest.mark.parametrize("target", [AFFINE, STATISTICS])
@pytest.mark.parametrize(("x", "kernel", "message"), OPERANDS.values(), ids=OPERANDS)
def test_operands(target, x, kernel, message):
    refuses(message, target, operands=[x, kernel, *[(6,), (6,)] * (target == AFFINE)])


@pytest.mark.parametrize(("rest", "message"), AFFINE_OPERANDS.values(), ids=AFFINE_OPERANDS)
def test_operands_of_the_epilogue(rest, message):
    refuses(message, AFFINE, operands=[(2, 5, 4, 4), (3, 3, 4, 6), *rest])


@pytest.mark.parametrize(("outputs", "message"), OUTPUTS.values(), ids=OUTPUTS)
def test_outputs_of_the_statistics(outputs, message):
    refuses(message, STATISTICS, outputs=outputs)


@pytest.mark.parametrize(("target", "index", "name"), ARRAYS)
def test_an_array_of_another_dtype(target, index, name):
    """Each is named, among right ones."""
    operands, outputs, _ = with_options(target)
    dtypes = [np.float32] * (len(operands) + len(outputs))
    dtypes[index] = np.int32 if index % 2 else np.float16
    got = "S32" if index % 2 else "F16"
    refuses(f"{name} has dtype {got}, expected F32", target, operands=operands, outputs=outputs,
            dtype=dtypes[: len(operands)], output_dtype=dtypes[len(operands) :])  # fmt: skip


@pytest.mark.parametrize(("target", "name"), long_but(NAMED_ATTRIBUTES[::2], NAMED_ATTRIBUTES))
def test_an_attribute_of_another_type(target, name):
    right = as_attribute(CALLS[target][2][name])
    other = right.astype(np.float32 if right.dtype == np.int64 else np.int64)
    refuses(f"the attribute {name} has another type", target, **{name: other})


# Every other one of another type, and the ones between missing; each call has some of both.
@pytest.mark.parametrize(("target", "name"), long_but(NAMED_ATTRIBUTES[1::2], NAMED_ATTRIBUTES))
def test_an_attribute_that_is_missing(target, name):
    refuses(f"the attribute {name} is missing", target, **{name: None})


@pytest.mark.parametrize("target", CALLS)
def test_an_attribute_that_the_call_does_not_take(target):
    refuses("got the attribute dilation, which the call does not take", target, dilation=2)
