"""One convolution with a bias and ReLU in JAX: ``fuse``, on resfuse's kernel, or ``xla``, as is.

Forward, weights do not change and are packed once; for gradients they are arguments.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import Array, lax

import resfuse
from convolutions import LAYERS, Layer


def start() -> None:
    """Wakes the runtime."""
    jax.numpy.zeros(1).block_until_ready()


def forward(variant: str, name: str, threads: int) -> Callable[[], Any]:
    """The layer as a call on its images."""
    del threads  # XLA takes what CPUs the process has
    layer = LAYERS[name]
    x, kernel, bias = map(jax.numpy.asarray, arrays(layer))

    def function(x: Array) -> Array:
        return _layer(layer, x, kernel, bias)

    compiled = resfuse.fuse(function) if variant == "fuse" else jax.jit(function)
    return lambda: compiled(x).block_until_ready()


def gradients(variant: str, name: str, threads: int) -> Callable[[], Any]:
    """A call that returns the gradients of the sum of squares by images, kernel and bias."""
    del threads
    layer = LAYERS[name]
    operands = tuple(map(jax.numpy.asarray, arrays(layer)))

    def function(*operands: Array) -> Array:
        return _layer(layer, *operands)

    inner = resfuse.fuse(function) if variant == "fuse" else function
    compiled = jax.jit(jax.grad(lambda *each: (inner(*each) ** 2).sum() / 2, argnums=(0, 1, 2)))

    def call() -> Any:
        results = jax.block_until_ready(compiled(*operands))
        return SideBySide(lambda: results)

    return call


class SideBySide:
    """Arrays side by side, made and put together only where they are looked at."""

    def __init__(self, results: Callable[[], Any]) -> None:
        self._results = results

    def __array__(self, *_: Any, **__: Any) -> Any:
        return np.concatenate([np.ravel(each) for each in self._results()])


def arrays(layer: Layer) -> list[Any]:
    """Images, kernel and bias, always the same."""
    rng = np.random.default_rng(0)
    inputs, outputs = layer.channels
    kernel = rng.standard_normal((*layer.window, inputs // layer.groups, outputs), np.float32)
    kernel *= np.float32((np.prod(layer.window) * inputs // layer.groups) ** -0.5)
    x = rng.standard_normal((layer.batch, *layer.size, inputs), np.float32)
    return [x, kernel, rng.standard_normal(outputs, np.float32)]


def _layer(layer: Layer, x: Array, kernel: Array, bias: Array) -> Array:
    spatial = "DHW"[-len(layer.size) :]
    each, ones = (layer.stride,) * len(layer.size), (1,) * len(layer.size)
    y = lax.conv_general_dilated(
        x,
        kernel,
        window_strides=ones if layer.transposed else each,
        padding=layer.pads,
        lhs_dilation=each if layer.transposed else ones,
        rhs_dilation=(layer.dilation,) * len(layer.size),
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
        feature_group_count=layer.groups,
    )
    return jax.nn.relu(y + bias)
