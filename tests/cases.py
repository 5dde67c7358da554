"""Problems that the tests of the op share, and what they should give, from float64 loops."""

import functools
import re

import jax
import numpy as np

import resfuse
from agreement import EPSILON, on_device

OPS = {"inference": resfuse.conv_bn_relu, "training": resfuse.conv_bn_relu_train}
ACTIVATED = {"inference": resfuse.conv_bn_act, "training": resfuse.conv_bn_act_train}


def problem(op="inference", x=(2, 6, 5, 4), kernel=(3, 3, 4, 6), without=(), **geometry):
    """Random arrays, by name, for each argument of ``op`` save those to do ``without``."""
    random = np.random.default_rng(0)
    channels, x = kernel[-1:], random.normal(size=x)
    kernel = random.normal(0, 1 / np.sqrt(max(1, np.prod(kernel[:-1]))), kernel)
    names = ("scale", "bias", "conv_bias", *(("mean", "var") if op == "inference" else ()))
    arrays = {name: random.uniform(0.2, 0.9, channels) for name in names}
    arrays["residual"] = random.normal(size=convolved(x, kernel, **geometry).shape)
    arrays = {"x": x, "kernel": kernel} | arrays | dict.fromkeys(without)
    return jax.tree.map(on_device, arrays)


def call(op, arrays, implementation=None, **options):
    """The op; with ReLU, unless an ``activation`` is among the options."""
    function = (ACTIVATED if "activation" in options else OPS)[op]
    return function(**arrays, implementation=implementation, **options)


def jitted(op, implementation=None, **options):
    """The op under ``jit``, a function of the arrays."""
    return jax.jit(functools.partial(call, op, implementation=implementation, **options))


def kernel_calls(function, *args):
    """The kernel's calls in the program of ``function``, with the types of their operands."""
    text = jax.jit(function).lower(*args).as_text()
    return re.findall(r"custom_call @(resfuse_\w+)\(.*: \((.*)\) ->", text)


def convolved(
    x,
    kernel,
    strides=1,
    padding="SAME",
    input_dilation=1,
    kernel_dilation=1,
    feature_group_count=1,
):
    """The convolution in float64, one tap of the kernel after the other, in any dimensions."""
    if x.ndim < kernel.ndim:
        geometry = strides, padding, input_dilation, kernel_dilation, feature_group_count
        return convolved(x[None], kernel, *geometry)[0]
    window = kernel.shape[:-2]
    strides, input_dilation, kernel_dilation = (
        (each,) * len(window) if isinstance(each, int) else each
        for each in (strides, input_dilation, kernel_dilation)
    )
    x = spread(np.asarray(x, np.float64), input_dilation)
    if isinstance(padding, str):
        extents = (d * (size - 1) + 1 for d, size in zip(kernel_dilation, window, strict=True))
        axes = zip(x.shape[1:-1], extents, strides, strict=True)
        padding = [_pads(*axis, padding) for axis in axes]
    x, kernel = (by_group(a, feature_group_count) for a in (padded(x, padding), kernel))
    y = sum_of_taps(x, kernel.astype(np.float64), strides, kernel_dilation)
    return y.reshape(*y.shape[:-2], y.shape[-2] * y.shape[-1])


def sum_of_taps(x, kernel, strides, dilation):
    """Without padding; the channels are ``(groups, channels of one)``."""
    sizes = [
        max(0, (size - d * (taps - 1) - 1) // stride + 1)
        for size, taps, stride, d in zip(
            x.shape[1:-2], kernel.shape[:-3], strides, dilation, strict=True
        )
    ]
    y = np.zeros((len(x), *sizes, *kernel.shape[-2:]))
    for tap in np.ndindex(*kernel.shape[:-3]):
        steps = zip(tap, dilation, strides, sizes, strict=True)
        pixels = x[:, *(slice(i * d, i * d + s * n, s) for i, d, s, n in steps)]
        y += np.einsum("b...gi,igo->b...go", pixels, kernel[tap])
    return y


def spread(x, dilation):
    """``x`` with zeros between its pixels."""
    sizes = zip(dilation, x.shape[1:-1], strict=True)
    zeros = np.zeros((len(x), *(max(0, d * (size - 1) + 1) for d, size in sizes), x.shape[-1]))
    zeros[:, *(slice(None, None, d) for d in dilation)] = x
    return zeros


def padded(x, padding):
    """``x`` with zeros around it, and without what negative padding crops."""
    x = np.pad(x, [(0, 0), *((max(0, a), max(0, b)) for a, b in padding), (0, 0)])
    sizes = zip(x.shape[1:-1], padding, strict=True)
    return x[:, *(slice(max(0, -a), size - max(0, -b)) for size, (a, b) in sizes)]


def by_group(array, groups):
    """The last axis as ``(groups, channels of one)``."""
    return array.reshape(*array.shape[:-1], groups, array.shape[-1] // groups)


def exact(op, arrays, **options):
    """What ``op`` gives, in float64 by :func:`expected`."""
    results, _ = expected(arrays, **options)
    return results[0] if op == "inference" else results


def _pads(size, window, stride, padding):
    """XLA's "SAME": as many outputs as strides begin inside, the odd pixel of padding last."""
    if padding == "VALID":
        return 0, 0
    if padding.upper() == "CAUSAL":
        return window - 1, 0
    total = max(0, (-(-size // stride) - 1) * stride + window - size)
    return total // 2, total - total // 2


def expected(arrays, epsilon=1e-5, relu=True, **geometry):
    """``(y, mean, var)`` in float64, and the bound on the rounding error of ``y`` in float32.

    With given statistics, each of the K products and of the few operations after them rounds once,
    by at most ``EPSILON / 2`` of the sum of absolute values: ``K + 8`` of ``EPSILON`` is ample.
    Winograd spreads that over its tile, and its constants, up to 8, cost three bits on top.
    """
    get = {name: np.asarray(a, np.float64) for name, a in arrays.items() if a is not None}.get
    x, kernel = get("x"), get("kernel")
    conv_bias, scale, bias, residual = (
        get("conv_bias", 0), get("scale", 1), get("bias", 0), get("residual", 0)
    )  # fmt: skip
    y = convolved(x, kernel, **geometry) + conv_bias
    axes = tuple(range(y.ndim - 1))
    # Statistics that are given as None are none; those that nobody gave are the batch's.
    mean = get("mean", 0 if "mean" in arrays else y.mean(axes))
    var = get("var", 1 - epsilon if "var" in arrays else y.var(axes))
    multiplier = scale / np.sqrt(var + epsilon)
    size = convolved(np.abs(x), np.abs(kernel), **geometry) + np.abs(conv_bias) + np.abs(mean)
    size = size * np.abs(multiplier) + np.abs(bias) + np.abs(residual)
    y = (y - mean) * multiplier + bias + residual
    bound = 8 * EPSILON * (np.prod(kernel.shape[:-1]) + 8) * size.max(initial=0)
    return (np.maximum(y, 0) if relu else y, mean, var), bound
