"""The op for JAX: ``conv_bn_relu`` and ``conv_bn_relu_train``."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from resfuse import reference
from resfuse.spec import PaddingLike, PrecisionLike, StridesLike, check_arrays, make_spec

__all__ = ["conv_bn_relu", "conv_bn_relu_train"]


def conv_bn_relu(
    x: ArrayLike,
    kernel: ArrayLike,
    scale: ArrayLike | None,
    bias: ArrayLike | None,
    mean: ArrayLike,
    var: ArrayLike,
    *,
    conv_bias: ArrayLike | None = None,
    residual: ArrayLike | None = None,
    strides: StridesLike = 1,
    padding: PaddingLike = "SAME",
    feature_group_count: int = 1,
    epsilon: float = 1e-5,
    relu: bool = True,
    precision: PrecisionLike = None,
    implementation: str | None = None,
) -> Array:
    """Scaffolding until the kernel is bound: the reference."""
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    spec = make_spec(x, kernel, strides=strides, padding=padding,
                     feature_group_count=feature_group_count, precision=precision)
    check_arrays(spec, x, kernel, residual)
    batched = x.ndim == 4
    y = reference.conv_bn_relu(x if batched else x[None], kernel, scale, bias, mean, var, conv_bias,
        residual if batched or residual is None else residual[None], spec=spec, epsilon=epsilon, relu=relu)
    return y if batched else y[0]


def conv_bn_relu_train(
    x: ArrayLike,
    kernel: ArrayLike,
    scale: ArrayLike | None,
    bias: ArrayLike | None,
    *,
    conv_bias: ArrayLike | None = None,
    residual: ArrayLike | None = None,
    strides: StridesLike = 1,
    padding: PaddingLike = "SAME",
    feature_group_count: int = 1,
    epsilon: float = 1e-5,
    relu: bool = True,
    precision: PrecisionLike = None,
    implementation: str | None = None,
) -> tuple[Array, Array, Array]:
    """Scaffolding until the kernel is bound: the reference."""
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    spec = make_spec(x, kernel, strides=strides, padding=padding,
                     feature_group_count=feature_group_count, precision=precision)
    check_arrays(spec, x, kernel, residual)
    batched = x.ndim == 4
    y, mean, var = reference.conv_bn_relu_train(x if batched else x[None], kernel, scale, bias, conv_bias,
        residual if batched or residual is None else residual[None], spec=spec, epsilon=epsilon, relu=relu)
    return (y if batched else y[0]), mean, var
