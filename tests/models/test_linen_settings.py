"""Settings of ``nn.Conv`` and ``nn.BatchNorm`` that the blocks do not use, and other dtypes."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

import agreement
from agreement import images
from resfuse import linen, ops
from sampling import some


class Layer(nn.Module):
    conv: nn.Module
    bn: nn.Module
    implementation: Any = None

    @nn.compact
    def __call__(self, x, average=False):
        return linen.conv_bn_relu(
            self.conv, self.bn, x, use_running_average=average, implementation=self.implementation
        )


class PlainLayer(nn.Module):
    conv: nn.Module
    bn: nn.Module

    @nn.compact
    def __call__(self, x, average=False):
        return nn.relu(self.bn(self.conv(x), average))


@jax.numpy_dtype_promotion("standard")
def run(layer, average, variables, x):
    """Under an axis that ``axis_name`` may name; in Flax some of these settings mix dtypes."""
    apply = functools.partial(layer.apply, mutable=["batch_stats"])
    return jax.vmap(lambda x: apply(variables, x, average), axis_name="devices")(x)


def halved(lhs, rhs, *args, **kwargs):
    return lax.conv_general_dilated(lhs, rhs, *args, **kwargs) / 2


CONV = functools.partial(nn.Conv, 4, (3, 3))
MASK = np.arange(3 * 3 * 4 * 4).reshape(3, 3, 4, 4) % 2
LEFT_TO_FLAX = {
    "x of shape": (nn.Conv(4, (3,)), nn.BatchNorm()),  # which has two axes of batches
    "ConvTranspose.padding": (nn.ConvTranspose(4, (3, 3), padding="CIRCULAR"), nn.BatchNorm()),
    "Conv.mask": (CONV(mask=MASK), nn.BatchNorm()),
    "Conv.precision": (CONV(precision=("high", "high")), nn.BatchNorm()),
    "Conv.conv_general_dilated": (CONV(conv_general_dilated=halved), nn.BatchNorm()),
    "ConvLocal": (nn.ConvLocal(4, (3, 3)), nn.BatchNorm()),
    "computation in bfloat16": (CONV(dtype=jnp.bfloat16), nn.BatchNorm()),
    "BatchNorm.dtype": (CONV(), nn.BatchNorm(dtype=jnp.bfloat16)),
    "BatchNorm.axis": (CONV(), nn.BatchNorm(axis=1)),
    "BatchNorm.axis_name": (CONV(), nn.BatchNorm(axis_name="devices")),
    "BatchNorm.use_fast_variance": (CONV(), nn.BatchNorm(use_fast_variance=False)),
}


@pytest.mark.parametrize("name", some(6, LEFT_TO_FLAX))
def test_what_the_op_cannot_express_is_left_to_flax(name):
    conv, bn = LEFT_TO_FLAX[name]
    x = images(2, 3, 6, 7, 4)
    variables = agreement.trained(PlainLayer(conv, bn), x[0])
    ours, theirs = (run(layer(conv, bn), False, variables, x) for layer in (Layer, PlainLayer))
    agreement.assert_identical(ours, theirs)
    with pytest.raises(ValueError, match=f"'ffi' does not support {name}"):
        run(Layer(conv, bn, "ffi"), False, variables, x)


@pytest.mark.parametrize("name", ["axis_name", "use_fast_variance"])
def test_how_statistics_are_made_does_not_matter_once_they_are_there(monkeypatch, name):
    conv, bn = LEFT_TO_FLAX[f"BatchNorm.{name}"]
    x = images(2, 3, 6, 7, 4)
    variables = agreement.trained(PlainLayer(conv, bn), x[0])
    called = agreement.record_calls(monkeypatch, ops, "conv_bn_act")
    run(Layer(conv, bn), True, variables, x)
    assert called == ["conv_bn_act"]


@pytest.mark.parametrize(
    ("conv", "bn"),
    [
        (CONV(strides=None, dtype=jnp.float32), nn.BatchNorm(dtype=jnp.float32)),
        (CONV(precision="highest"), nn.BatchNorm(use_scale=False)),
        (CONV(padding="valid", feature_group_count=2), nn.BatchNorm(use_bias=False)),
        (CONV(input_dilation=(2, 1), padding=1, kernel_dilation=(1, 2)), nn.BatchNorm()),
    ],
)
@pytest.mark.parametrize("average", [False, True])
def test_what_the_op_can_express(monkeypatch, conv, bn, average):
    x = images(2, 3, 6, 7, 4)
    variables = agreement.trained(PlainLayer(conv, bn), x[0])
    plain = functools.partial(run, PlainLayer(conv, bn), average)
    float64 = PlainLayer(conv.clone(dtype=None), bn.clone(dtype=None))
    exact = agreement.in_float64(functools.partial(run, float64, average), variables, x)
    called = agreement.record_calls(monkeypatch, ops, "conv_bn_act", "train_layer")
    ours = run(Layer(conv, bn), average, variables, x)
    assert len(called) == 1
    agreement.assert_as_accurate(ours, plain(variables, x), exact)


@pytest.mark.parametrize(
    ("x_dtype", "param_dtype", "dtype"),
    [
        ("bfloat16", "float32", "float32"),
        ("uint8", "float32", "float32"),
        ("float32", "bfloat16", "float32"),
        ("bfloat16", "bfloat16", "bfloat16"),
    ],
)
def test_dtypes_promote_as_in_flax(x_dtype, param_dtype, dtype):
    conv, bn = CONV(param_dtype=param_dtype), nn.BatchNorm(param_dtype=param_dtype)
    x = (10 + images(2, 3, 6, 7, 4)).astype(x_dtype)
    variables = agreement.trained(PlainLayer(conv, bn), x[0])
    ours, theirs = (run(layer(conv, bn), True, variables, x) for layer in (Layer, PlainLayer))
    exact = agreement.in_float64(functools.partial(run, PlainLayer(conv, bn), True), variables, x)
    assert ours[0].dtype == dtype
    agreement.assert_as_accurate(ours, theirs, exact)


@pytest.mark.parametrize(("mode", "argument"), [(None, None), (True, True)])
def test_mode_is_set_once(mode, argument):
    x = images(3, 6, 7, 4)
    layer = Layer(CONV(), nn.BatchNorm(use_running_average=mode))
    with pytest.raises(ValueError, match="use_running_average"):
        jax.eval_shape(layer.init, agreement.key(0), x, argument)


def test_partitioned_variables_are_unboxed():
    init = nn.with_partitioning(nn.initializers.constant(0.1), (None, None, None, "model"))
    conv, bn = CONV(kernel_init=init), nn.BatchNorm()
    x = images(1, 3, 6, 7, 4)
    variables = PlainLayer(conv, bn).init(agreement.key(0), x[0])
    ours, theirs = (run(layer(conv, bn), True, variables, x) for layer in (Layer, PlainLayer))
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-5)
