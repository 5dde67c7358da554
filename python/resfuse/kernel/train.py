"""The kernel's training step: convolution, batch statistics, normalisation, residual and ending.

What ``affine.py`` is for inference.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_derivatives import SymbolicZero

from resfuse.kernel.batch_norm import Ending, Saved, norm_gradients, normalized, pixels
from resfuse.kernel.call import Call, Results
from resfuse.kernel.conv import attributes, axes, gradients, weight_gradient
from resfuse.kernel.derivatives import bare, refuse_forward_mode, varying_like
from resfuse.kernel.fold import fold_of
from resfuse.kernel.gate import Gate
from resfuse.kernel.origin import Made, Origin
from resfuse.reference import per_channel
from resfuse.spec import ConvSpec

__all__ = ["conv_statistics", "pooled_statistics", "train_on_cpu"]

Statistics = tuple[Array, Array, Array]  # an output with mean and variance


def train_on_cpu(
    x: Array,
    kernel: Array,
    scale: Array | None,
    bias: Array | None,
    residual: Array | None,
    origin: Origin | None,
    *,
    spec: ConvSpec,
    epsilon: float,
    ending: Ending,
) -> tuple[Made, Array, Array]:
    """As :func:`resfuse.reference.conv_bn_act_train` without ``conv_bias``, on the kernel.

    Where ``x`` has an ``origin``, it is not kept for the backward pass. The output has one, unless
    a residual was added.
    """
    operands = refuse_forward_mode((x, kernel, scale, bias, residual))
    y, mean, var, conv = bare(_train)(spec, epsilon, ending, *operands, origin)
    if residual is not None:
        return Made(y), mean, var
    of_norm = conv, scale, bias, mean, var
    return Made(y, Origin.of(*of_norm, epsilon=epsilon, ending=ending)), mean, var


_Outputs = tuple[Array, Array, Array, Array]  # y, mean, variance and the convolution's output


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _train(spec: ConvSpec, epsilon: float, ending: Ending, *operands: Any) -> _Outputs:
    return _run(spec, epsilon, ending, *operands)[0]


def _run(
    spec: ConvSpec,
    epsilon: float,
    ending: Ending,
    x: Array,
    kernel: Array,
    scale: Array | None,
    bias: Array | None,
    residual: Array | None,
    origin: Origin | None,
) -> tuple[_Outputs, Saved]:
    del origin  # of the backward pass alone
    conv, mean, var = conv_statistics(spec, x, kernel)
    y = normalized(conv, scale, bias, mean, var, residual, epsilon=epsilon, ending=ending)
    value = None if residual is None or ending == Gate() else y
    return (y, mean, var, conv), Saved(conv, mean, var, scale, bias, value)


def _forward(spec: ConvSpec, epsilon: float, ending: Ending, *primals: Any) -> tuple[Any, Any]:
    operands = jax.tree.map(lambda primal: primal.value, primals)
    outputs, saved = _run(spec, epsilon, ending, *operands)
    # The images of a network's first layer want no cotangent. In a shape, for it is static; JAX may
    # take the structure from another trace.
    images = jnp.zeros(1 if primals[0].perturbed else 0, bool)
    x, *others, origin = operands
    return outputs, ((x if origin is None else origin, *others), saved, images)


def _backward(
    spec: ConvSpec, epsilon: float, ending: Ending, residuals: Any, cotangents: Any
) -> tuple[Array | None, ...]:
    (x, kernel, *others), saved, images = residuals
    d_y, d_mean, d_var = map(_array, cotangents, (saved.conv, saved.mean, saved.var))
    by_norm = norm_gradients(
        saved,
        (d_y, d_mean, d_var),
        epsilon=epsilon,
        ending=ending,
        residual=others[-1] is not None,
    )
    d_conv = _added(by_norm.conv, cotangents[-1])
    x = x.again(d_conv) if isinstance(x, Origin) else x
    if images.size:
        d_x, d_kernel = gradients(spec, x, kernel, d_conv)
    else:
        d_x, d_kernel = None, weight_gradient(spec, kernel.shape[:-2], x, d_conv)
    pairs = zip((x, kernel, *others), (d_x, d_kernel, *by_norm[1:]), strict=True)
    found = (None if o is None or c is None else varying_like(c, o) for o, c in pairs)
    return *found, None


def _array(cotangent: Any, like: Array) -> Array:
    return jnp.zeros_like(like) if isinstance(cotangent, SymbolicZero) else cotangent


def _added(cotangent: Array, other: Any) -> Array:
    return cotangent if isinstance(other, SymbolicZero) else cotangent + other


_train.defvjp(_forward, _backward, symbolic_zeros=True)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def conv_statistics(spec: ConvSpec, x: Array, kernel: Array) -> Statistics:
    """``conv(x, kernel)`` with the mean and the biased variance of each of its channels."""
    channels, shape = kernel.shape[-1], spec.output_shape(x.shape, kernel.shape)
    fold = fold_of(spec, kernel.shape)
    if fold and fold.is_whole(shape):
        y, mean, var = _gather(channels, fold.spec, x, fold.kernel(kernel))
        return fold.unfolded(y, shape), mean, var
    return _gather(channels, spec, x, kernel)


def _gather(channels: int, spec: ConvSpec, x: Array, kernel: Array) -> Statistics:
    """The call itself, to which every ``channels``-th channel of the kernel is the same."""
    name = axes(spec)
    call = Call(
        "conv_statistics",
        f"{name.x}, {name.kernel} -> {name.y}, c, c",
        sizes=name.of_y(spec.output_shape(x.shape, kernel.shape)) | {"c": channels},
        attributes=attributes(spec),
        combine=pooled_statistics,
    )
    y, mean, var = call(x, kernel)
    return y, mean, var


def pooled_statistics(results: Results, devices: tuple[str, ...]) -> Results:
    """Of parts of equal size: the mean of their variances plus the variance of their means."""
    y, mean, var = results
    parts = lax.psum(1, devices)

    def average(values: Array) -> Array:
        return lax.psum(values / parts, devices)  # whose sum may be too large for float32

    whole = average(mean)
    return y, whole, average(var + (mean - whole) ** 2)


def _statistics_forward(spec: ConvSpec, x: Array, kernel: Array) -> tuple[Any, Any]:
    conv, mean, var = conv_statistics(spec, x, kernel)
    return (conv, mean, var), (x, kernel, conv, mean)


def _statistics_backward(spec: ConvSpec, saved: Any, cotangents: Any) -> tuple[Array, Array]:
    """``d mean / d conv = 1 / n`` and ``d var / d conv = 2 (conv - mean) / n``; ``n`` pixels."""
    x, kernel, conv, mean = saved
    d_conv, d_mean, d_var = cotangents
    mean, d_mean, d_var = (per_channel(each, conv) for each in (mean, d_mean, d_var))
    d_conv = d_conv + (d_mean + 2 * (conv - mean) * d_var) / pixels(conv)
    d_x, d_kernel = gradients(spec, x, kernel, d_conv)
    return varying_like(d_x, x), varying_like(d_kernel, kernel)


conv_statistics.defvjp(_statistics_forward, _statistics_backward)
