"""Every convolution that Flax has, in Linen and NNX, with any activation, on the kernel."""

import functools

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn
from flax import nnx

import agreement
from resfuse import linen
from resfuse import nnx as rnnx
from sampling import halves, long_but

LINE, PLANE, SPACE = (2, 9, 4), (2, 6, 5, 4), (2, 4, 5, 3, 4)
CONVS = {  # the images' shape, the window, and settings that Linen and NNX share
    "line": (LINE, 3, {}),
    "line, causal": (LINE, (3,), {"padding": "CAUSAL", "kernel_dilation": 3, "strides": 2}),
    "line, circular": (LINE, (4,), {"padding": "CIRCULAR", "kernel_dilation": 2}),
    "line, reflected": (LINE, (3,), {"padding": "REFLECT", "strides": (2,)}),
    "plane, circular": (PLANE, (3, 2), {"padding": "CIRCULAR", "strides": 2}),
    "plane, dilated": (PLANE, (3, 3), {"kernel_dilation": (2, 1), "use_bias": False}),
    "plane, dilated images": (PLANE, (3, 3), {"input_dilation": 2, "padding": ((1, 1), (1, 2))}),
    "plane, cropped": (PLANE, (3, 3), {"padding": ((1, -1), (-1, 0))}),
    "plane, grouped": (PLANE, (3, 3), {"feature_group_count": 2, "kernel_dilation": 2}),
    "plane, unbatched": (PLANE[1:], (3, 3), {"padding": "REFLECT"}),
    "space": (SPACE, (3, 2, 3), {"strides": (1, 2, 1)}),
    "space, circular": (SPACE, (3, 3, 2), {"padding": "CIRCULAR"}),
}
TRANSPOSED = {
    "line": (LINE, (4,), {"strides": (2,)}),
    "plane": (PLANE, (4, 4), {"strides": (2, 2)}),
    "plane, valid": (PLANE, (3, 2), {"strides": (2, 3), "padding": "VALID"}),
    "plane, strides over the window": (PLANE, (2, 2), {"strides": (3, 5)}),
    "plane, in pixels": (PLANE, (3, 3), {"strides": (2, 2), "padding": ((1, 2), (-1, 0))}),
    "plane, dilated": (PLANE, (3, 2), {"strides": (2, 1), "kernel_dilation": (1, 2)}),
    "plane, flipped": (PLANE, (3, 4), {"strides": (2, 2), "transpose_kernel": True}),
    "plane, without strides": (PLANE, (3, 3), {"use_bias": False}),
    "plane, unbatched": (PLANE[1:], (3, 3), {"strides": (2, 2)}),
    "space": (SPACE, (2, 3, 2), {"strides": (2, 1, 2)}),
}
CASES = {
    f"{kind}: {name}": (kind, *case)
    for kind, cases in (("Conv", CONVS), ("ConvTranspose", TRANSPOSED))
    for name, case in cases.items()
}


class Layer(nn.Module):
    """A convolution and a batch norm, by ours or as Flax has it."""

    conv: nn.Module
    bn: nn.Module | None
    activation: object = nn.silu
    ours: bool = True

    @nn.compact
    def __call__(self, x, average=True):
        if self.ours:
            options = {"activation": self.activation, "use_running_average": average}
            return linen.conv_bn_act(self.conv, self.bn, x, implementation="ffi", **options)
        y = self.conv(x)
        y = y if self.bn is None else self.bn(y, average)
        return y if self.activation is None else self.activation(y)


def linen_layers(cases, ours):
    """One program of all cases, with the statistics of the batch and with running ones."""
    layers = {
        name: Layer(getattr(nn, kind)(6, window, **settings), nn.BatchNorm(), ours=ours)
        for name, (kind, _, window, settings) in cases.items()
    }

    def function(variables, images):
        return {
            name: [
                layer.apply(variables[name], images[name], average, mutable=["batch_stats"])
                for average in (False, True)
            ]
            for name, layer in layers.items()
        }

    return layers, jax.jit(function)


KEPT, LEFT_LONG = halves(CASES)


def half(kept):
    return KEPT if kept else LEFT_LONG


@functools.cache
def of_linen(kept):
    """What ours, Flax and Flax in float64 give."""
    images = {name: agreement.images(*shape) for name, (_, shape, *_) in half(kept).items()}
    (layers, theirs), (_, ours) = (linen_layers(half(kept), ours) for ours in (False, True))
    given = {name: agreement.trained(layers[name], x) for name, x in images.items()}, images
    return ours(*given), theirs(*given), agreement.in_float64(theirs, *given)


@pytest.mark.parametrize("name", long_but(KEPT, CASES))
def test_linen(name):
    agreement.assert_as_accurate(*(results[name] for results in of_linen(name in KEPT)))


@functools.cache
def of_nnx(kept):
    """Without batch norm: what ours gives, and Flax."""
    rngs = nnx.Rngs(agreement.key(0))
    convs = {
        name: getattr(nnx, kind)(4, 6, window, **settings, rngs=rngs)
        for name, (kind, _, window, settings) in half(kept).items()
    }

    @nnx.jit
    def both(convs):
        images = {name: agreement.images(*shape) for name, (_, shape, *_) in half(kept).items()}
        return [
            {name: function(conv, images[name]) for name, conv in convs.items()}
            for function in (
                lambda conv, x: rnnx.conv_bn_act(
                    conv, None, x, activation=nnx.gelu, implementation="ffi"
                ),
                lambda conv, x: nnx.gelu(conv(x)),
            )
        ]

    return both(convs)


@pytest.mark.parametrize("name", long_but(KEPT, CASES))
def test_nnx(name):
    agreement.assert_near(*(results[name] for results in of_nnx(name in KEPT)))


def test_linen_modules_as_activation():
    """Whose variables are parameters as any."""
    x = agreement.images(2, 6, 5, 4)
    ours, theirs = (Layer(nn.Conv(6, (3, 3)), None, nn.PReLU(), ours) for ours in (True, False))
    variables = agreement.trained(theirs, x)
    agreement.assert_identical(ours.init(agreement.key(0), x), theirs.init(agreement.key(0), x))
    got, flax = (
        jax.jit(jax.grad(lambda v, layer=layer: (layer.apply(v, x) ** 2).sum()))(variables)
        for layer in (ours, theirs)
    )
    assert "activation" in got["params"]
    agreement.assert_near(got, flax)


def test_nnx_modules_as_activation():
    """Also after their variables change."""
    x, prelu = agreement.images(2, 6, 5, 4), nnx.PReLU()
    conv = nnx.Conv(4, 6, (3, 3), rngs=nnx.Rngs(agreement.key(0)))
    for slope in (0.25, 0.5):
        prelu.negative_slope[...] = jnp.float32(slope)
        y = rnnx.conv_bn_act(conv, None, x, activation=prelu)
        agreement.assert_near(y, jax.nn.leaky_relu(conv(x), slope))


def test_a_residual_without_batch_norm():
    x = agreement.images(2, 6, 5, 4)
    conv = nnx.Conv(4, 4, (3, 3), rngs=nnx.Rngs(agreement.key(0)))
    for implementation in (None, "xla"):
        y = rnnx.conv_bn_relu(conv, None, x, residual=x, implementation=implementation)
        agreement.assert_near(y, nnx.relu(conv(x) + x))


def test_a_convolution_alone():
    x = agreement.images(2, 6, 5, 4)
    conv = nnx.ConvTranspose(4, 6, (3, 3), (2, 2), rngs=nnx.Rngs(agreement.key(0)))
    agreement.assert_near(rnnx.conv_alone(conv, x), conv(x))
