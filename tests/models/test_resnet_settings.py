"""What can be set in the ResNets of both APIs: shapes, initial values, modes, refusals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import agreement
import network_case
import torchvision_names
from agreement import images
from resfuse import linen
from resfuse import nnx as rnnx
from resfuse.linen import Architecture

BASIC = Architecture("basic", (1, 1), features=8)
BOTTLENECK = Architecture("bottleneck", (2, 1), features=4)


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({}, (56, 28, 14, 7)),
        ({"cifar_stem": True}, (224, 112, 56, 28)),
        ({"replace_stride_with_dilation": (False, True, True)}, (56, 28, 28, 28)),
    ],
)
def test_feature_maps(options, sizes):
    architecture = Architecture("bottleneck", (1, 1, 1, 1))
    shapes = [(1, size, size, 256 * 2**i) for i, size in enumerate(sizes)]
    x = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    model = linen.ResNet(architecture, **options)
    init = functools.partial(model.init_with_output, method="features")
    maps, _ = jax.eval_shape(init, agreement.key(0), x)
    assert [y.shape for y in maps] == shapes
    make = functools.partial(rnnx.ResNet, architecture, **options)
    maps = jax.eval_shape(lambda x: make(rngs=agreement.same_key()).features(x), x)
    assert [y.shape for y in maps] == shapes


@pytest.mark.parametrize(("api", "zero"), [("linen", False), ("nnx", True)])
def test_initial_values(api, zero):
    """Of a convolution the deviation, of the head the bounds, of the last scales 0 or 1."""
    architecture = Architecture("bottleneck", (2,), features=32)
    if api == "linen":
        init = linen.ResNet(architecture, zero_init_residual=zero).init
        variables = jax.jit(init)(agreement.key(0), images(1, 8, 8, 3))
    else:
        make = functools.partial(rnnx.ResNet, architecture, zero_init_residual=zero)
        variables = jax.jit(lambda: nnx.state(make(rngs=agreement.same_key())))()
    values = torchvision_names.export(variables)
    deviation = values["layer1.1.conv2.weight"].std()
    np.testing.assert_allclose(deviation, np.sqrt(2 / (32 * 3 * 3)), rtol=0.05)
    for name in ("fc.weight", "fc.bias"):
        np.testing.assert_allclose(np.abs(values[name]).max(), 128**-0.5, rtol=0.01)
    for index in (0, 1):
        assert (values[f"layer1.{index}.bn3.weight"] == (0 if zero else 1)).all()
        assert (values[f"layer1.{index}.bn2.weight"] == 1).all()
    assert (values["layer1.0.downsample.1.weight"] == 1).all()


def test_nnx_in_channels_and_modes():
    model = network_case.filled(rnnx.ResNet, BASIC, 5, in_channels=1)
    run = nnx.jit(lambda model, x: model(x))
    x, before = images(2, 18, 15, 1), model.bn1.mean[...]
    assert run(model, x).shape == (2, 5)
    np.testing.assert_array_equal(model.bn1.mean[...], before)
    model.train()
    run(model, x)
    assert (model.bn1.mean[...] != before).all()


@pytest.mark.parametrize(
    ("architecture", "options", "message"),
    [
        (BASIC, {"replace_stride_with_dilation": (True,)}, "basic blocks do not dilate"),
        (BOTTLENECK, {"replace_stride_with_dilation": (True,) * 3}, "must be None or 1 booleans"),
        (BASIC, {"implementation": "cuda"}, 'must be None, "ffi" or "xla", got .cuda.'),
    ],
)
def test_wrong_options(architecture, options, message):
    x = jax.ShapeDtypeStruct((2, 18, 15, 3), jnp.float32)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(linen.ResNet(architecture, **options).init, agreement.key(0), x)
    with pytest.raises(ValueError, match=message):
        rnnx.ResNet(architecture, **options, rngs=nnx.Rngs(agreement.key(0)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("wide", (1, 1)), 'must be "basic" or "bottleneck", got .wide.'),
        (("basic", ()), "one positive number a stage"),
        (("basic", (2, 0)), "one positive number a stage"),
        (("basic", (1, 1), 2), "basic blocks have groups=1"),
        (("basic", (1, 1), 1, 128), "basic blocks have groups=1"),
    ],
)
def test_wrong_architectures(settings, message):
    with pytest.raises(ValueError, match=message):
        Architecture(*settings)
