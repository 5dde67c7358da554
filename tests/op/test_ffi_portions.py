"""Calls on a portion of whole batches: which images they read and write, and what is refused."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import images
from ffi_calls import AFFINE, CALLS, CHANNELS, KERNEL, X, Y, as_attribute, refuses

BATCH, IMAGES = 6, 2
WHOLE_X, WHOLE_Y = (BATCH, *X[1:]), (BATCH, *Y[1:])
PORTION = {"portion_images": IMAGES, "portion_reads": True, "portion_writes": True}


def convolve(x, y_shape, *last, aliases=None, **portion):
    attributes = {k: as_attribute(v) for k, v in (CALLS[AFFINE][2] | portion).items()}
    result = jax.ShapeDtypeStruct(y_shape, np.float32)
    function = jax.ffi.ffi_call(AFFINE, result, input_output_aliases=aliases)
    ones = jnp.ones(CHANNELS)
    arrays = (x, images(*KERNEL), ones, ones, *last)
    return np.asarray(jax.jit(functools.partial(function, **attributes))(*arrays))


def on_portion(index, reads=True, writes=True):
    """The call's result, and the array that it was written into."""
    x, into = images(*WHOLE_X), jnp.arange(np.prod(WHOLE_Y), dtype=jnp.float32).reshape(WHOLE_Y)
    portion = slice(index * IMAGES, (index + 1) * IMAGES)
    arguments = (x if reads else x[portion], WHOLE_Y if writes else Y)
    last = [*[into] * writes, jnp.int32(index)]
    attributes = PORTION | {"portion_reads": reads, "portion_writes": writes}
    y = convolve(*arguments, *last, aliases={4: 0} if writes else None, **attributes)
    return y, np.asarray(into)


@pytest.mark.parametrize(("reads", "writes"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("index", range(BATCH // IMAGES))
def test_the_portion_is_read_and_written(index, reads, writes):
    y, into = on_portion(index, reads, writes)
    expected = convolve(images(*WHOLE_X), WHOLE_Y)
    portion = np.arange(BATCH) // IMAGES == index
    np.testing.assert_array_equal(y[portion] if writes else y, expected[portion])
    if writes:
        np.testing.assert_array_equal(y[~portion], into[~portion])


@pytest.mark.parametrize("index", [-1, BATCH // IMAGES, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize(("reads", "writes"), [(True, True), (True, False), (False, True)])
def test_there_is_no_portion_of_that_number(index, reads, writes):
    x = images(*(WHOLE_X if reads else X))
    last = [*[jnp.ones(WHOLE_Y)] * writes, jnp.int32(index)]
    attributes = PORTION | {"portion_reads": reads, "portion_writes": writes}
    with pytest.raises(jax.errors.JaxRuntimeError, match="no portion of that number"):
        convolve(x, WHOLE_Y if writes else Y, *last, **attributes)


WRONG = {  # the shapes of x, of what is written into and of y, attributes, and what the error says
    "none": (WHOLE_X, WHOLE_Y, WHOLE_Y, {"portion_images": 0}, "portion_images must be positive"),
    "negative": (WHOLE_X, WHOLE_Y, WHOLE_Y, {"portion_images": -1}, "must be positive, got -1"),
    "uneven": (
        WHOLE_X,
        WHOLE_Y,
        WHOLE_Y,
        {"portion_images": 4},
        r"x has shape \(6, 5, 4, 4\), expected a multiple of 4 images",
    ),
    "of rank 0": ((), WHOLE_Y, WHOLE_Y, {}, "x has shape .*, expected a multiple of 2 images"),
    "others in x": ((2, *X[1:]), WHOLE_Y, WHOLE_Y, {}, "y has 3 portions, expected 1"),
    "others in y": (WHOLE_X, Y, Y, {}, "y has 1 portions, expected 3"),
    "into another": (WHOLE_X, Y, WHOLE_Y, {}, r"written into an array of \(2, .* the result's"),
    "x is whole": (WHOLE_X, WHOLE_Y, WHOLE_Y, {"portion_reads": False}, "y has shape"),
}


@pytest.mark.parametrize(("x", "into", "y", "bad", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_portion(x, into, y, bad, message):
    operands = [x, KERNEL, CHANNELS, CHANNELS, into, ()]
    dtype = [*[np.float32] * 5, np.int32]
    refuses(message, AFFINE, operands=operands, outputs=[y], dtype=dtype, **PORTION | bad)


@pytest.mark.parametrize(
    ("shape", "kind"), [*itertools.product([(1,), (2, 2)], [np.int32]), ((), np.float32)]
)
def test_a_wrong_number(shape, kind):
    operands = [WHOLE_X, KERNEL, CHANNELS, CHANNELS, WHOLE_Y, shape]
    dtype = [*[np.float32] * 5, kind]
    message = "portion must be one number of S32"
    refuses(message, AFFINE, operands=operands, outputs=[WHOLE_Y], dtype=dtype, **PORTION)


def test_operands_that_are_missing():
    refuses("needs an operand", AFFINE, operands=[WHOLE_X], outputs=[WHOLE_Y], **PORTION)
