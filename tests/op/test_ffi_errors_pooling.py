"""Bad calls of pooling are errors, and not crashes."""

import contextlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from agreement import images
from ffi_calls import MAX_POOL, POOL_GRADIENT, POOLINGS, SUM_POOL, X, call, refuses, taking_turns

POOLS = {  # what is wrong, and what the error says
    "x of rank 2": ({"operands": [(4, 4)]}, "x must have rank 3 to 5"),
    "x of rank 3": ({"operands": [(5, 4, 4)]}, "window must have length 1 for x of rank 3"),
    "x of rank 6": ({"operands": [(1, *X, 1)]}, "x must have rank 3 to 5"),
    "x of rank 0": ({"operands": [()]}, "x must have rank 3 to 5"),
    "empty images": ({"operands": [(2, 0, 4, 4)]}, "is empty"),
    "no channels": ({"operands": [(2, 5, 4, 0)]}, "is empty"),
    "batch": ({"operands": [(1, 5, 4, 4)]}, "y has shape"),
    "channels": ({"operands": [(2, 5, 4, 5)]}, "y has shape"),
    "two operands": ({"operands": [X, X]}, "got 2 operands, expected no more than x"),
}
POOL_ATTRIBUTES = {  # an attribute, and what the error says
    "one window": ({"window": (3,)}, r"window must have length 2 for x of rank 4, got \(3,\)"),
    "three windows": ({"window": (3, 3, 3)}, "window must have length 2"),
    "window 0": ({"window": (0, 3)}, r"window must be in \[1, 2\^31\], got \(0, 3\)"),
    "negative window": ({"window": (3, -3)}, r"window must be in \[1, 2\^31\]"),
    "huge window": ({"window": (2**62, 3)}, r"window must be in \[1, 2\^31\]"),
    "larger window": ({"window": (4, 3)}, r"has shape .* expected \(2, 4, 4, 4\)"),
    "cropping": ({"padding": (1, -1, 1, 1)}, r"has shape .* expected \(2, 3, 4, 4\)"),
    "cropping all": ({"padding": (-9, 1, 1, 1)}, r"has shape .* expected \(2, 0, 4, 4\)"),
    "huge cropping": ({"padding": (-(2**62), 0, 0, 0)}, r"padding must be in \[-2\^31, 2\^31\]"),
    "one dilation": ({"window_dilation": (1,)}, "window_dilation must have length 2"),
    "dilation 0": ({"window_dilation": (0, 1)}, r"window_dilation must be in \[1, 2\^31\]"),
    "dilation": ({"window_dilation": (2, 1)}, r"has shape .* expected \(2, 3, 4, 4\)"),
    "huge dilation": ({"window_dilation": (2**62, 1)}, r"window_dilation must be in \[1, 2\^31\]"),
}


@pytest.mark.parametrize("target", [MAX_POOL, SUM_POOL])
@pytest.mark.parametrize(("bad", "message"), POOLS.values(), ids=POOLS)
def test_pooling(target, bad, message):
    refuses(message, target, **bad)


@pytest.mark.parametrize(("target", "name"), taking_turns(POOLINGS, POOL_ATTRIBUTES))
def test_attributes_of_pooling(target, name):
    bad, message = POOL_ATTRIBUTES[name]
    refuses(message, target, **bad)


def test_a_pool_of_2_to_the_64_comparisons():
    """In a process of its own, which must not be killed."""
    assert subprocess.run([sys.executable, __file__], check=False).returncode == 0


def huge_pool():
    """One pixel in three windows of padding: right, or refused."""
    for window, pads in [((2**32 - 1, 2**32 + 1), 2**31), ((2**31 - 1, 2**31), 2**30)]:
        geometry = {"window": window, "padding": (pads,) * 4}
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            (y,) = call(MAX_POOL, [(1, 1, 1, 1)], [(1, 3, 2, 1)], **geometry)
            assert (y == images(1, 1, 1, 1)).all()
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            shapes = [(1, 1, 1, 1), (1, 3, 2, 1)]
            (d_x,) = call(POOL_GRADIENT, shapes, [(1, 1, 1, 1)], **geometry)
            np.testing.assert_allclose(d_x, images(1, 3, 2, 1).sum(), rtol=1e-6)


if __name__ == "__main__":
    huge_pool()
