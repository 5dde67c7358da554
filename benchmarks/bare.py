"""ResNets in nothing but ``jax.lax``, on the arrays of a file with torchvision's names.

What this takes from file to logits, any network in JAX takes: to trace, lower and compile it.
"""

from collections.abc import Callable, Mapping

import jax
from jax import Array, lax

__all__ = ["resnet"]

Arrays = Mapping[str, Array]
_EPSILON = 1e-5


def resnet(arrays: Arrays, x: Array) -> Array:
    """Maps ``(B, H, W, 3)`` to logits; depths and blocks are those that the names tell."""
    x = jax.nn.relu(_conv_norm(arrays, x, "conv1", "bn1", 2))
    window, strides = (1, 3, 3, 1), (1, 2, 2, 1)
    padding = ((0, 0), (1, 1), (1, 1), (0, 0))
    x = lax.reduce_window(x, -jax.numpy.inf, lax.max, window, strides, padding)
    block = _bottleneck if "layer1.0.conv3.weight" in arrays else _basic
    for stage in range(1, 5):
        number = 0
        while f"layer{stage}.{number}.conv1.weight" in arrays:
            x = _residual(arrays, x, f"layer{stage}.{number}", 1 + (stage > 1 > number), block)
            number += 1
    return x.mean((1, 2)) @ arrays["fc.weight"].T + arrays["fc.bias"]


def _residual(
    arrays: Arrays, x: Array, name: str, strides: int, block: Callable[..., Array]
) -> Array:
    y, skip = block(arrays, x, name, strides), f"{name}.downsample"
    if f"{skip}.0.weight" in arrays:
        x = _conv_norm(arrays, x, f"{skip}.0", f"{skip}.1", strides)
    return jax.nn.relu(y + x)


def _basic(arrays: Arrays, x: Array, name: str, strides: int) -> Array:
    x = jax.nn.relu(_conv_norm(arrays, x, f"{name}.conv1", f"{name}.bn1", strides))
    return _conv_norm(arrays, x, f"{name}.conv2", f"{name}.bn2")


def _bottleneck(arrays: Arrays, x: Array, name: str, strides: int) -> Array:
    x = jax.nn.relu(_conv_norm(arrays, x, f"{name}.conv1", f"{name}.bn1"))
    x = jax.nn.relu(_conv_norm(arrays, x, f"{name}.conv2", f"{name}.bn2", strides))
    return _conv_norm(arrays, x, f"{name}.conv3", f"{name}.bn3")


def _conv_norm(arrays: Arrays, x: Array, conv: str, norm: str, strides: int = 1) -> Array:
    kernel, dimensions = arrays[f"{conv}.weight"], ("NHWC", "OIHW", "NHWC")
    pads = [(size // 2, size // 2) for size in kernel.shape[2:]]
    y = lax.conv_general_dilated(x, kernel, (strides, strides), pads, dimension_numbers=dimensions)
    scale, bias, mean, var = (
        arrays[f"{norm}.{leaf}"] for leaf in ("weight", "bias", "running_mean", "running_var")
    )
    return (y - mean) * (scale * lax.rsqrt(var + _EPSILON)) + bias
