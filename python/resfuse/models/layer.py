"""One ``conv -> batch norm -> (+ residual) -> ReLU`` layer: what Linen and NNX have in common."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax.linen.linear import canonicalize_padding
from jax import Array

from resfuse import ops
from resfuse.models.support import Weights, fusible

__all__ = ["add_relu", "check_channels", "projects", "run"]


def check_channels(x: Array, features: int, advice: str) -> None:
    """Raises where adding ``x`` to ``features`` channels would fail, or would broadcast."""
    if x.shape[-1] != features:
        raise ValueError(
            f"the skip has {x.shape[-1]} channels (input of shape {x.shape}) "
            f"and the block gives {features}; {advice}"
        )


def projects(in_features: int, features: int, strides: int | Sequence[int]) -> bool:
    """Whether a block changes the shape of its input, so that the skip needs a projection."""
    pair = (strides,) if isinstance(strides, int) else strides
    return in_features != features or any(stride != 1 for stride in pair)


def run(
    conv: Any,
    bn: Any,
    weights: Weights | None,
    x: Array,
    residual: Array | None,
    *,
    relu: bool,
    training: bool,
    implementation: str | None,
) -> tuple[Array, Array, Array] | None:
    """Runs the layer through the op: the output, and the running mean and variance after it.

    ``None`` means that the layer is Flax's: the op cannot express it, ``implementation`` is "xla",
    or ``weights`` is ``None``, where only Flax can make them or say what is wrong with them.
    ``bn`` is ``None`` for a convolution alone, which has a mean of 0 and a variance of 1.
    """
    supported = fusible(
        conv, bn, weights, x, residual, training=training, implementation=implementation
    )
    if weights is None or not supported:
        return None
    to_float32 = functools.partial(jnp.asarray, dtype=jnp.float32)
    weights, x, residual = jax.tree.map(to_float32, (weights, x, residual))
    kernel, conv_bias, scale, bias, mean, var = weights
    options: dict[str, Any] = {
        "conv_bias": conv_bias,
        "residual": residual,
        "strides": conv.strides or 1,
        "padding": canonicalize_padding(conv.padding, 2),
        "feature_group_count": conv.feature_group_count,
        "epsilon": 0.0 if bn is None else bn.epsilon,
        "relu": relu,
        "precision": conv.precision,
        "implementation": implementation,
    }
    if not training:
        return ops.conv_bn_relu(x, kernel, scale, bias, mean, var, **options), mean, var
    y, *batch = ops.conv_bn_relu_train(x, kernel, scale, bias, **options)
    mean, var = (
        bn.momentum * old + (1 - bn.momentum) * new
        for old, new in zip((mean, var), batch, strict=True)
    )
    return y, mean, var


def add_relu(y: Array, residual: Array | None, relu: bool) -> Array:
    """The end of a layer that Flax ran."""
    y = y if residual is None else y + residual
    return jax.nn.relu(y) if relu else y
