"""Problems that the tests of the op share, and what they should give, from float64 loops."""

import functools
import re

import jax
import numpy as np

import resfuse
from agreement import EPSILON

OPS = {"inference": resfuse.conv_bn_relu, "training": resfuse.conv_bn_relu_train}


def problem(op="inference", x=(2, 6, 5, 4), kernel=(3, 3, 4, 6), without=(), **geometry):
    """Random arrays, by name, for each argument of ``op`` save those to do ``without``."""
    random = np.random.default_rng(0)
    channels, x = kernel[-1:], random.normal(size=x)
    kernel = random.normal(0, 1 / np.sqrt(max(1, np.prod(kernel[:3]))), kernel)
    names = ("scale", "bias", "conv_bias", *(("mean", "var") if op == "inference" else ()))
    arrays = {name: random.uniform(0.2, 0.9, channels) for name in names}
    arrays["residual"] = random.normal(size=convolved(x, kernel, **geometry).shape)
    arrays = {"x": x, "kernel": kernel} | arrays | dict.fromkeys(without)
    return jax.tree.map(lambda array: jax.numpy.asarray(array, jax.numpy.float32), arrays)


def call(op, arrays, implementation=None, **options):
    return OPS[op](**arrays, implementation=implementation, **options)


def jitted(op, implementation=None, **options):
    """The op under ``jit``, a function of the arrays."""
    return jax.jit(functools.partial(call, op, implementation=implementation, **options))


def kernel_calls(function, *args):
    """The kernel's calls in the program of ``function``, with the types of their operands."""
    text = jax.jit(function).lower(*args).as_text()
    return re.findall(r"custom_call @(resfuse_\w+)\(.*: \((.*)\) ->", text)


def convolved(x, kernel, strides=1, padding="SAME", feature_group_count=1):
    """The convolution in float64, one tap of the kernel after the other."""
    if x.ndim == 3:
        return convolved(x[None], kernel, strides, padding, feature_group_count)[0]
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    strides = (strides, strides) if isinstance(strides, int) else strides
    windows, groups = kernel.shape[:2], feature_group_count
    pads = [
        _pads(*axis, padding) for axis in zip(x.shape[1:3], windows, strides, strict=True)
    ] if isinstance(padding, str) else padding  # fmt: skip
    x = np.pad(x, [(0, 0), *pads, (0, 0)])
    height, width = (
        max(0, (size - window) // stride + 1)
        for size, window, stride in zip(x.shape[1:3], windows, strides, strict=True)
    )
    y = np.zeros((len(x), height, width, groups, kernel.shape[3] // groups))
    x = x.reshape(*x.shape[:3], groups, x.shape[3] // groups)
    kernel = kernel.reshape(*kernel.shape[:3], groups, kernel.shape[3] // groups)
    for i, j in np.ndindex(*windows):
        rows = slice(i, i + height * strides[0], strides[0])
        columns = slice(j, j + width * strides[1], strides[1])
        taps = x[:, rows, columns][:, :height, :width]
        y += np.einsum("bhwgi,igo->bhwgo", taps, kernel[i, j])
    return y.reshape(*y.shape[:3], kernel.shape[3] * kernel.shape[4])


def exact(op, arrays, **options):
    """What ``op`` gives, in float64 by :func:`expected`."""
    results, _ = expected(arrays, **options)
    return results[0] if op == "inference" else results


def _pads(size, window, stride, padding):
    """XLA's "SAME": as many outputs as strides begin inside, the odd pixel of padding last."""
    if padding == "VALID":
        return 0, 0
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
    mean, var = get("mean", y.mean(axes)), get("var", y.var(axes))
    multiplier = scale / np.sqrt(var + epsilon)
    size = convolved(np.abs(x), np.abs(kernel), **geometry) + np.abs(conv_bias) + np.abs(mean)
    size = size * np.abs(multiplier) + np.abs(bias) + np.abs(residual)
    y = (y - mean) * multiplier + bias + residual
    bound = 8 * EPSILON * (np.prod(kernel.shape[:3]) + 8) * size.max(initial=0)
    return (np.maximum(y, 0) if relu else y, mean, var), bound
