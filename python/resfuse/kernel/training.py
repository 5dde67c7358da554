"""The kernel's training call: convolution, batch statistics, normalisation, residual and ReLU.

What ``affine.py`` is for inference. Its derivatives are in ``gradients.py``.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero

from resfuse.kernel import batching, gradients
from resfuse.kernel.bilinear import varying_like
from resfuse.kernel.forward_mode import refuse_forward_mode
from resfuse.kernel.norm import Saved, normalize
from resfuse.spec import ConvSpec

__all__ = ["Settings", "train_on_cpu"]


class Settings(NamedTuple):
    """The static half of a call."""

    spec: ConvSpec
    epsilon: float
    relu: bool


class Operands(NamedTuple):
    """The arrays of a call; None for those left out."""

    x: Array
    kernel: Array
    scale: Array | None
    bias: Array | None
    residual: Array | None


def train_on_cpu(settings: Settings, *operands: Array | None) -> tuple[Array, Array, Array]:
    """``(y, mean, var)`` of ``x, kernel, scale, bias, residual``; the mean is without a bias."""
    return _train(settings, Operands(*jax.tree.map(refuse_forward_mode, operands)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _train(settings: Settings, operands: Operands) -> tuple[Array, Array, Array]:
    return _run(settings, operands)[0]


def _run(settings: Settings, operands: Operands) -> tuple[tuple[Array, Array, Array], Saved]:
    spec, epsilon, relu = settings
    x, kernel, scale, bias, residual = operands
    conv, mean, var = _statistics(spec, x, kernel)
    y = normalize(conv, scale, bias, mean, var, residual, epsilon=epsilon, relu=relu)
    return (y, mean, var), Saved(conv, mean, var, scale, y if relu else None)


def _forward(settings: Settings, primals: Any) -> tuple[Any, Any]:
    operands = jax.tree.map(lambda primal: primal.value, primals)
    outputs, saved = _run(settings, operands)
    # The images of a network's first layer want no cotangent. In a shape, for it is static; JAX may
    # take the structure from another trace.
    images = jnp.zeros(1 if primals.x.perturbed else 0)
    return outputs, (operands, saved, images)


def _backward(settings: Settings, residuals: Any, cotangents: Any) -> Any:
    operands, saved, images = residuals
    d_y, d_mean, d_var = cotangents
    by_all = gradients.training_gradients(
        settings.spec,
        operands.x,
        operands.kernel,
        saved,
        (_array(d_y, saved.conv), _array(d_mean, saved.mean), _array(d_var, saved.var)),
        epsilon=settings.epsilon,
        residual=operands.residual is not None,
        images=images.size > 0,
    )
    pairs = zip(operands, by_all, strict=True)
    return (
        Operands._make(None if o is None or c is None else varying_like(c, o) for o, c in pairs),
    )


def _array(cotangent: Any, like: Array) -> Array:
    return jnp.zeros_like(like) if isinstance(cotangent, SymbolicZero) else cotangent


_train.defvjp(_forward, _backward, symbolic_zeros=True)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _statistics(spec: ConvSpec, x: Array, kernel: Array) -> tuple[Array, Array, Array]:
    """Has derivatives for those of :func:`_train`'s own."""
    return batching.conv_statistics(x, kernel, spec=spec)


def _statistics_forward(spec: ConvSpec, x: Array, kernel: Array) -> tuple[Any, Any]:
    conv, mean, var = _statistics(spec, x, kernel)
    return (conv, mean, var), (x, kernel, conv, mean)


def _statistics_backward(spec: ConvSpec, saved: Any, cotangents: Any) -> Any:
    return gradients.statistics_gradients(spec, saved, cotangents)


_statistics.defvjp(_statistics_forward, _statistics_backward)
