"""The kernel's call as chains make it: traced once for layers of the same sizes."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from resfuse.kernel import affine as op
from resfuse.ops import conv_bn_relu_train
from resfuse.spec import ConvSpec

__all__ = ["affine", "affine_then_maximum", "batch_norm"]


@functools.partial(jax.jit, static_argnums=(0, 1, 2), inline=True)
def affine(
    spec: ConvSpec, relu: bool, in_place: bool, packed: Array | None, *operands: Array
) -> Array:
    """As :func:`resfuse.kernel.affine.affine`."""
    return op.affine(*operands, spec=spec, relu=relu, packed=packed, in_place=in_place)


def batch_norm(spec: ConvSpec, *operands: Array | None, **options: Any) -> Any:
    """As :func:`resfuse.conv_bn_relu_train`."""
    return conv_bn_relu_train(
        *operands,  # type: ignore[arg-type]
        strides=spec.strides,
        padding=spec.padding,
        feature_group_count=spec.feature_group_count,
        precision=spec.precision,
        **options,
    )


@functools.partial(jax.jit, static_argnums=0, inline=True)
def affine_then_maximum(spec: ConvSpec, packed: Array | None, *operands: Array) -> Array:
    """``jnp.maximum(affine, 0)``: where that is 0, half a derivative; ``jax.nn.relu`` has none."""
    return _maximum(spec, packed, *operands)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _maximum(spec: ConvSpec, packed: Array | None, *operands: Array) -> Array:
    return affine(spec, True, False, packed, *operands)


def _forward(spec: ConvSpec, packed: Array | None, *operands: Array) -> tuple[Any, Any]:
    def function(*operands: Array) -> Array:
        return lax.max(affine(spec, False, False, packed, *operands), jnp.float32(0))

    return jax.vjp(function, *operands)


def _backward(spec: ConvSpec, pull: Any, cotangent: Array) -> tuple[Any, ...]:
    del spec
    return None, *pull(cotangent)


_maximum.defvjp(_forward, _backward)
