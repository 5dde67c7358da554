"""``fuse`` and explicit padding before a convolution, which joins it."""

import re

import jax
import jax.numpy as jnp
import pytest
from jax import lax

import agreement
import resfuse
from fuse_chains import B, X, cast, conv, halved
from sampling import long_but

CHANNELS_FIRST = "NCHW", "HWIO", "NHWC"


def padded(x, *config, number=0.0):
    """``lax.pad`` of height and width."""
    return lax.pad(x, jnp.asarray(number, x.dtype), ((0, 0, 0), *config, (0, 0, 0)))


def around(x, order="NHWC"):
    """A pixel of zeros on each side."""
    return jnp.pad(x, [(int(axis in "HW"),) * 2 for axis in order])


def valid(x, **settings):
    return conv(x, padding="VALID", **settings) + B


NONE = (0, 0, 0)
JOINED = {
    "jnp.pad": lambda x: valid(jnp.pad(x, ((0, 0), (1, 1), (0, 2), (0, 0)))),
    "as well as padding": lambda x: conv(padded(x, (1, 0, 0), (2, 1, 0)), strides=(2, 2)),
    "two": lambda x: valid(padded(padded(x, (1, 0, 0), NONE), (0, 2, 0), (1, 1, 0))),
    "cropping": lambda x: valid(padded(x, (-2, 1, 0), (1, -1, 0))),
    "cropping what was padded": lambda x: valid(
        padded(padded(x, (3, 2, 0), NONE), (-1, 0, 0), NONE)
    ),
    "padding that is cropped": lambda x: conv(
        padded(x, (3, 2, 0), (2, 2, 0)), padding=((-1, 0), (0, -1))
    ),
    "between pixels": lambda x: valid(padded(x, (1, 2, 1), (2, 2, 0))),
    "between pixels, twice": lambda x: conv(
        padded(x, (1, 2, 1), NONE), lhs_dilation=(2, 1), padding=((1, 1), (1, 1))
    ),
    "dilated window": lambda x: valid(padded(x, (2, 2, 0), (4, 0, 0)), rhs_dilation=(2, 2)),
    "channels first": lambda x: valid(
        around(x.transpose(0, 3, 1, 2), "NCHW"), dimension_numbers=CHANNELS_FIRST
    ),
    "then brought to another order": lambda x: valid(
        around(x).transpose(0, 3, 1, 2), dimension_numbers=CHANNELS_FIRST
    ),
    "of each image": jax.vmap(lambda x: valid(around(x, "HWC")[None])[0]),
    "in a loop": lambda x: lax.scan(lambda x, _: (valid(around(x)), None), x, length=2)[0],
    "batch groups": lambda x: valid(around(x), batch_group_count=2),
}  # fmt: skip

STAYS = {
    "another number": lambda x: valid(padded(x, (1, 1, 0), (1, 1, 0), number=1)),
    "padding of what was cropped": lambda x: conv(padded(x, (-1, 0, 0), (0, -1, 0))),
    "of channels": lambda x: valid(jnp.pad(x[..., :2], ((0, 0), (1, 1), (1, 1), (1, 1)))),
    "of the batch": lambda x: valid(jnp.pad(x[:1], ((1, 0), (1, 1), (1, 1), (0, 0)))),
    "of nothing": lambda x: valid(jnp.pad(x[:, :0], ((0, 0), (3, 1), (1, 1), (0, 0)))),
    "of pixels in one axis": lambda x: valid(
        jnp.pad(x.reshape(2, 30, 4), ((0, 0), (0, 5), (0, 0))).reshape(2, 7, 5, 4)
    ),
    "outside of a loop": lambda x: outside(around(x)),
}  # fmt: skip


def outside(x):
    return lax.scan(lambda total, _: (total + valid(x), None), jnp.zeros_like(valid(x)), length=2)[
        0
    ]


CASES = {name: cast(function) for name, function in {**JOINED, **STAYS}.items()}


KEPT, compared = halved(CASES)


@pytest.mark.parametrize("name", long_but(KEPT, CASES))
def test_values_and_gradients(name):
    agreement.assert_near(*compared(name))


@pytest.mark.parametrize("name", CASES)
def test_joins_where_it_can(name):
    """Only kernels, in which a fold lays out its taps anew, are padded then."""
    text = jax.jit(resfuse.fuse(CASES[name])).lower(X).as_text()
    of_images = re.search(r"stablehlo.pad .*: \(tensor<[12]x", text)
    assert bool(of_images) == (name in STAYS)
    assert "stablehlo.convolution" not in text


def test_what_else_reads_the_padded_images():
    def function(x):
        y = around(x)
        return valid(y), jnp.cumsum(y, 1)

    agreement.assert_near(resfuse.fuse(function)(X), agreement.in_float64(cast(function), X))
