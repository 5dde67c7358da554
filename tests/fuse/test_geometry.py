"""``fuse`` and the geometry of convolutions: dimensions, their order, dilation, groups."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding

import agreement
import resfuse
from fuse_chains import cast, results, table
from sampling import halves, long_but
from two_devices import BATCH, mesh

random = np.random.default_rng(0)


def normal(*shape):
    return agreement.on_device(random.normal(size=shape))


LINE, IMAGE, VOLUME, MORE = (
    normal(4, *sizes, 4) for sizes in ((9,), (6, 5), (4, 3, 5), (2, 3, 2, 4))
)
TAPS = {x.ndim: normal(*[3] * (x.ndim - 2), 4, 6) / 6 for x in (LINE, IMAGE, VOLUME, MORE)}
BIAS = normal(6)


def conv(x, orders, kernel=None, **settings):
    """Convolves images with channels last, which are brought to those orders of axes first."""
    images, weights, _ = orders.split()
    letters = images.replace("N", "").replace("C", "")
    kernel = TAPS[x.ndim] if kernel is None else kernel
    moved = jnp.einsum(f"N{letters}C->{images}", x)
    kernel = jnp.einsum(f"{letters}IO->{weights}", kernel).astype(x.dtype)
    settings = {"window_strides": (1,) * len(letters), "padding": "SAME"} | settings
    return lax.conv_general_dilated(moved, kernel, dimension_numbers=orders.split(), **settings)


def with_bias(y, channels):
    return jax.nn.relu(y + along(BIAS, y, channels))


def normalized(y, channels):
    """Batch norm with the statistics of the batch."""
    axes = [axis for axis in range(y.ndim) if axis != channels]
    mean, var = y.mean(axes), y.var(axes)
    y = (y - along(mean, y, channels)) * along(lax.rsqrt(var + 1e-5), y, channels)
    return with_bias(y, channels)


def along(vector, y, channels):
    shape = [1] * y.ndim
    shape[channels] = -1
    return vector[: y.shape[channels]].reshape(shape)


def case(x, orders, end=with_bias, **settings):
    channels = orders.split()[2].index("C")
    return x, lambda x: end(conv(x, orders, **settings), channels)


NWC, NHWC, NDHWC = "NWC WIO NWC", "NHWC HWIO NHWC", "NDHWC DHWIO NDHWC"
CASES = {
    "one dimension": case(LINE, NWC, window_strides=(2,)),
    "channels first in one dimension": case(LINE, "NCW OIW NCW"),
    "causal": case(LINE, NWC, padding=((4, 0),), rhs_dilation=(2,)),
    "dilated window": case(IMAGE, NHWC, rhs_dilation=(2, 1)),
    "transposed": case(IMAGE, NHWC, lhs_dilation=(2, 2), padding=((2, 1), (1, 2))),
    "transposed with channels first": case(
        IMAGE, "NCHW IOHW NCHW", lhs_dilation=(2, 1), padding=((1, 1), (1, 1))
    ),
    "both dilated": case(
        IMAGE, NHWC, lhs_dilation=(2, 3), rhs_dilation=(3, 2), padding=((3, 3), (3, 3))
    ),
    "cropped": case(IMAGE, NHWC, padding=((-1, 1), (2, -1))),
    "other orders": case(IMAGE, "CHNW OHIW WNCH"),
    "three dimensions": case(VOLUME, NDHWC, window_strides=(1, 2, 1)),
    "channels first in three dimensions": case(VOLUME, "NCDHW OIDHW NCDHW", rhs_dilation=(1, 2, 1)),
    "a plane in three dimensions": case(VOLUME, NDHWC, kernel=TAPS[4][None]),
    "a line in three dimensions": case(VOLUME, NDHWC, kernel=TAPS[3][:, None, None]),
    "a pixel in three dimensions": case(VOLUME, NDHWC, kernel=TAPS[3][:1, None, None]),
    "four dimensions": case(MORE, "NABWHC ABWHIO NABWHC", kernel=TAPS[5][None]),
    "a plane in four dimensions": case(
        MORE, "NCABWH OIABWH NCABWH", kernel=TAPS[4][:, :, None, None]
    ),
    "groups": case(LINE, NWC, kernel=TAPS[3][:, :2], feature_group_count=2),
    "depthwise": case(VOLUME, NDHWC, kernel=TAPS[5][:, :, :, :1, :4], feature_group_count=4),
    "batch groups": case(IMAGE, NHWC, batch_group_count=2),
    "norm in one dimension": case(LINE, NWC, normalized, rhs_dilation=(2,)),
    "norm of a transposed one": case(
        IMAGE, NHWC, normalized, lhs_dilation=(2, 2), padding=((2, 1), (1, 2))
    ),
    "norm in three dimensions": case(VOLUME, "NCDHW OIDHW NCDHW", normalized),
    "batch groups in one dimension": case(LINE, "CNW IWO NCW", batch_group_count=2),
}  # fmt: skip


KEPT, LEFT_LONG = halves(CASES)


@functools.cache
def compared(rank, kept):
    """All that take the same images make one program."""
    some = [(name, *case) for name, case in (KEPT if kept else LEFT_LONG).items()]
    x = next(x for _, x, _ in some if x.ndim == rank)
    return results({name: cast(function) for name, of, function in some if of.ndim == rank}, x)


@pytest.mark.parametrize("name", CASES)
def test_is_taken_with_what_follows(name, capsys):
    x, function = CASES[name]
    found, _, summary = table(capsys, function, x)
    assert found == ["bn(batch)+relu" if name.startswith("norm") else "bias+relu"]
    assert summary.startswith("1 of 1 convolutions on the kernel")


@pytest.mark.parametrize("name", long_but(KEPT, CASES))
def test_values_and_gradients(name):
    found = compared(CASES[name][0].ndim, name in KEPT)
    agreement.assert_near(*(each[name] for each in found))


LEFT = {
    "more than three dimensions": (MORE, lambda x: conv(x, "NABWHC ABWHIO NABWHC"), "4 spatial"),
    "no dimensions": (LINE[:, 0], lambda x: conv(x, "NC IO NC", LINE[0, :4]), "no spatial"),
    "precision": (
        IMAGE, lambda x: conv(x, NHWC, precision=lax.DotAlgorithmPreset.F32_F32_F32), "precision"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LEFT)
def test_is_left_to_xla(name, capsys):
    x, function, reason = LEFT[name]
    _, (row,), _ = table(capsys, function, x)
    assert f"XLA: {reason}" in row


MAPPED = {"images": (0, None), "weights": (None, 0), "both": (0, 0)}


@pytest.mark.parametrize("x", [LINE, IMAGE, VOLUME], ids=lambda x: f"rank {x.ndim}")
def test_mapped(x, capsys):
    """Over images, over weights, and over both, which JAX writes as groups."""
    orders = {each.ndim: name for each, name in ((LINE, NWC), (IMAGE, NHWC), (VOLUME, NDHWC))}
    kernels = jnp.stack([TAPS[x.ndim], TAPS[x.ndim] / 2])

    def mapped(axes):
        def function(x):
            arrays = (jnp.stack([x, x[::-1]]), kernels)
            pair = [
                array[0] if axis is None else array
                for array, axis in zip(arrays, axes, strict=True)
            ]
            return jax.vmap(lambda x, k: conv(x, orders[x.ndim], k), axes)(*pair)

        return cast(function)

    cases = {name: mapped(axes) for name, axes in MAPPED.items()}
    agreement.assert_near(*results(cases, x, no_gradients=cases))
    for function in cases.values():
        _, _, summary = table(capsys, function, x)
        assert summary.startswith("1 of 1 convolutions on the kernel")


def test_on_an_explicit_mesh(capsys):
    """The batch may be split, but for what would take its parts from several devices."""
    both = mesh(AxisType.Explicit)
    x = jax.device_put(VOLUME, NamedSharding(both, BATCH))
    plane = TAPS[4][None]

    def function(x):
        return conv(x, NDHWC), conv(x, NDHWC, plane), conv(x, NDHWC, batch_group_count=2)

    with jax.set_mesh(both):
        agreement.assert_near(
            jax.device_get(jax.jit(resfuse.fuse(function))(x)),
            agreement.in_float64(cast(function), VOLUME),
        )
        _, rows, summary = table(capsys, function, x)
    assert summary.startswith("2 of 3")
    assert "XLA: sharded over other axes than the batch" in rows[2]
