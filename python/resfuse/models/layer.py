"""``conv -> batch norm -> (+ residual) -> activation`` layers: what Linen and NNX share."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen, nnx
from jax import Array

from resfuse import ops
from resfuse.arguments import Activation
from resfuse.kernel.origin import Made
from resfuse.models import geometry
from resfuse.models.support import Weights, fusible

__all__ = ["Layer", "check_channels", "finished", "in_turn", "projects", "run"]

Layer = tuple[Any, Any, Activation | None]  # a convolution, its batch norm or None, what follows


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
    x: Made,
    residual: Array | None,
    *,
    activation: Activation | None,
    training: bool,
    implementation: str | None,
    gives_origin: bool,
) -> tuple[Made, Array | None, Array | None] | None:
    """Runs the layer through the op: the output, and the running mean and variance after it.

    ``None`` means that the layer is Flax's: the op cannot express it, ``implementation`` is "xla",
    or ``weights`` is ``None``, where only Flax can make them or say what is wrong with them.
    """
    supported = fusible(
        conv, bn, weights, x.y, residual, training=training, implementation=implementation
    )
    if weights is None or not supported:
        return None
    weights, x, residual = jax.tree.map(_float32, (weights, x, residual))
    kernel, conv_bias, scale, bias, mean, var = weights
    images, kernel, options = geometry.arguments(conv, x.y, kernel)
    is_module = isinstance(activation, linen.Module | nnx.Module)  # it has variables of its own
    options |= {
        "activation": None if is_module else activation,
        "conv_bias": conv_bias,
        "residual": residual,
        "epsilon": 0.0 if bn is None else bn.epsilon,
        "precision": conv.precision,
        "implementation": implementation,
    }
    if training:
        # A padding of its own makes other images of them.
        made = Made(images, x.origin if images is x.y else None)
        options["gives_origin"] = gives_origin and not is_module
        y, *batch = ops.train_layer(made, kernel, scale, bias, **options)
        mean, var = (
            bn.momentum * old + (1 - bn.momentum) * new
            for old, new in zip((mean, var), batch, strict=True)
        )
    else:
        y = Made(ops.conv_bn_act(images, kernel, scale, bias, mean, var, **options))
    return Made(finished(y.y, None, activation)) if is_module else y, mean, var


def in_turn(
    layer: Callable[..., Made], layers: Sequence[Layer], x: Array, residual: Array | None
) -> Array:
    """Runs each on what the one before it gives, the last with the residual.

    ``layer`` runs one of them, and is told whether another one follows.
    """
    made = Made(x)
    for count, (conv, bn, activation) in enumerate(layers, 1):
        is_last = count == len(layers)
        added = residual if is_last else None
        made = layer(conv, bn, made, activation, added, gives_origin=not is_last)
    return made.y


def _float32(array: Any) -> Array:
    """As ``jnp.asarray``, which takes a while to find that there is nothing to do."""
    as_it_is = isinstance(array, Array) and array.dtype == jnp.float32
    return array if as_it_is else jnp.asarray(array, jnp.float32)


def finished(y: Array, residual: Array | None, activation: Activation | None) -> Array:
    """The end of a layer, where the op has not come to it."""
    y = y if residual is None else y + residual
    return y if activation is None else activation(y)
