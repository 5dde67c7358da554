"""A convolution and a batch norm of Flax Linen as one op."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from resfuse.models import layer
from resfuse.models.support import Weights

__all__ = ["conv_alone", "conv_bn_relu"]


def conv_bn_relu(
    conv: nn.Conv,
    bn: nn.BatchNorm,
    x: Array,
    *,
    residual: Array | None = None,
    relu: bool = True,
    use_running_average: bool | None = None,
    implementation: str | None = None,
) -> Array:
    """``relu(bn(conv(x)) + residual)`` as one op, inside a Linen module.

    The result, the variables and the update of the running statistics are those of calling the
    submodules. That is what happens while initializing, with ``implementation="xla"``, and for
    settings that the op cannot express (dilation, masks, circular padding, ``axis_name`` in
    training, computation in another dtype than float32).

    Args:
        conv: A submodule of the caller.
        bn: A submodule of the caller, with as many features.
        x: The input, ``(B, H, W, Cin)`` or ``(H, W, Cin)``. Its dtype is promoted as Flax does.
        residual: Added before the ReLU, of the shape of the output.
        relu: Whether a ReLU ends the layer.
        use_running_average: As in ``nn.BatchNorm``: set it here or in ``bn``.
        implementation: ``None`` (the kernel where it runs), ``"ffi"`` or ``"xla"`` (plain Flax).

    Returns:
        The output, ``(B, Ho, Wo, Cout)`` or ``(Ho, Wo, Cout)``.

    Raises:
        ValueError: For an unknown ``implementation``, or where ``"ffi"`` meets a setting that the
            op cannot express.
        flax.errors.ModifyScopeVariableError: In training mode, if ``batch_stats`` is not mutable.

    Example:
        >>> import jax
        >>> class Stem(nn.Module):
        ...     @nn.compact
        ...     def __call__(self, x):
        ...         conv, bn = nn.Conv(64, (7, 7), strides=2), nn.BatchNorm()
        ...         return conv_bn_relu(conv, bn, x, use_running_average=True)
        >>> x = jax.numpy.ones((1, 32, 32, 3))
        >>> y, variables = Stem().init_with_output(jax.random.key(0), x)
        >>> y.shape
        (1, 16, 16, 64)
    """
    average = nn.merge_param("use_running_average", bn.use_running_average, use_running_average)
    fused = layer.run(
        conv,
        bn,
        _weights(conv, bn, x),
        x,
        residual,
        relu=relu,
        training=not average,
        implementation=implementation,
    )
    if fused is None:
        return layer.add_relu(bn(conv(x), use_running_average), residual, relu)
    y, mean, var = fused
    if not average:
        bn.put_variable("batch_stats", "mean", mean)
        bn.put_variable("batch_stats", "var", var)
    return y


def conv_alone(conv: nn.Conv, x: Array, *, implementation: str | None = None) -> Array:
    """``conv(x)`` as one op, for the few convolutions that no batch norm follows.

    Args:
        conv: A submodule of the caller.
        x: The input, ``(B, H, W, Cin)`` or ``(H, W, Cin)``.
        implementation: ``None`` (the kernel where it runs), ``"ffi"`` or ``"xla"`` (plain Flax).

    Returns:
        The output, ``(B, Ho, Wo, Cout)`` or ``(Ho, Wo, Cout)``.

    Raises:
        ValueError: As :func:`conv_bn_relu`.

    Example:
        >>> import jax
        >>> conv = nn.Conv(64, (1, 1), strides=2)
        >>> variables = conv.init(jax.random.key(0), jax.numpy.ones((1, 32, 32, 3)))
        >>> conv_alone(conv.bind(variables), jax.numpy.ones((1, 32, 32, 3))).shape
        (1, 16, 16, 64)
    """
    fused = layer.run(
        conv,
        None,
        _weights(conv, None, x),
        x,
        None,
        relu=False,
        training=False,
        implementation=implementation,
    )
    return conv(x) if fused is None else fused[0]


def _weights(conv: nn.Conv, bn: nn.BatchNorm | None, x: Array) -> Weights | None:
    """The variables, if they are there and as Flax would make them."""
    if conv.is_initializing():
        return None
    size = (conv.kernel_size,) if isinstance(conv.kernel_size, int) else tuple(conv.kernel_size)
    vector = (conv.features,)
    kernel = (*size, x.shape[-1] // conv.feature_group_count, *vector)
    of_conv = _read(
        (conv, "params", "kernel", kernel),
        (conv, "params", "bias", vector if conv.use_bias else None),
    )
    if bn is None:
        of_norm: list[Any] | None = [None, None, jnp.zeros(vector), jnp.ones(vector)]
    else:
        of_norm = _read(
            (bn, "params", "scale", vector if bn.use_scale else None),
            (bn, "params", "bias", vector if bn.use_bias else None),
            (bn, "batch_stats", "mean", vector),
            (bn, "batch_stats", "var", vector),
        )
    return None if of_conv is None or of_norm is None else Weights(*of_conv, *of_norm)


def _read(*expected: tuple[nn.Module, str, str, tuple[int, ...] | None]) -> list[Any] | None:
    """The variables of those names, if they have those shapes; no shape means switched off."""
    values: list[Any] = [
        None if shape is None else nn.meta.unbox(module.get_variable(collection, name))
        for module, collection, name, shape in expected
    ]
    found = [None if value is None else value.shape for value in values]
    return values if found == [shape for *_, shape in expected] else None
