"""A convolution, a batch norm and an activation of Flax Linen as one op, and several in turn."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
from flax import linen as nn
from jax import Array

from resfuse.arguments import Activation
from resfuse.kernel.origin import Made
from resfuse.models import layer
from resfuse.models.geometry import kernel_size
from resfuse.models.support import Weights

__all__ = ["conv_alone", "conv_bn_act", "conv_bn_acts", "conv_bn_relu"]

Layer = tuple[nn.Conv | nn.ConvTranspose, nn.BatchNorm | None, Activation | None]


def conv_bn_act(
    conv: nn.Conv | nn.ConvTranspose,
    bn: nn.BatchNorm | None,
    x: Array,
    *,
    activation: Activation | None = jax.nn.relu,
    residual: Array | None = None,
    use_running_average: bool | None = None,
    implementation: str | None = None,
) -> Array:
    """``activation(bn(conv(x)) + residual)`` as one op, inside a Linen module.

    The result, the variables and the update of the running statistics are those of calling the
    submodules. That is what happens while initializing, with ``implementation="xla"``, and for
    settings that the op cannot express (masks, ``axis_name`` in training, computation in another
    dtype than float32, a transposed convolution with circular padding).

    Args:
        conv: A submodule of the caller, of one to three spatial dimensions, with any strides,
            dilation, groups and padding.
        bn: A submodule of the caller, with as many features; None for no batch norm.
        x: The input, ``(B, [[D,] H,] W, Cin)``, or one without ``B``. Its dtype is promoted as Flax
            does.
        activation: An elementwise function of JAX, as in :func:`resfuse.conv_bn_act`, or a module;
            None for none.
        residual: Added before the activation, of the shape of the output.
        use_running_average: As in ``nn.BatchNorm``: set it here or in ``bn``.
        implementation: ``None`` (the kernel where it runs), ``"ffi"`` or ``"xla"`` (plain Flax).

    Returns:
        The output, ``(B, [[Do,] Ho,] Wo, Cout)``, without ``B`` if ``x`` is.

    Raises:
        ValueError: For an unknown ``implementation``, an activation that is not elementwise, or
            where ``"ffi"`` meets a setting that the op cannot express.
        TypeError: For an activation that is no function.
        flax.errors.ModifyScopeVariableError: In training mode, if ``batch_stats`` is not mutable.

    Example:
        >>> class Up(nn.Module):
        ...     @nn.compact
        ...     def __call__(self, x):
        ...         conv, bn = nn.ConvTranspose(64, (4, 4), strides=(2, 2)), nn.BatchNorm()
        ...         return conv_bn_act(conv, bn, x, activation=nn.silu, use_running_average=True)
        >>> x = jax.numpy.ones((1, 32, 32, 3))
        >>> y, variables = Up().init_with_output(jax.random.key(0), x)
        >>> y.shape
        (1, 64, 64, 64)
    """
    return conv_bn_acts(
        [(conv, bn, activation)],
        x,
        residual=residual,
        use_running_average=use_running_average,
        implementation=implementation,
    )


def conv_bn_acts(
    layers: Sequence[Layer],
    x: Array,
    *,
    residual: Array | None = None,
    use_running_average: bool | None = None,
    implementation: str | None = None,
) -> Array:
    """:func:`conv_bn_act` of several layers, each on what the one before it gives.

    The result and the derivatives are those of calling them one by one. In training the kernel
    keeps less for the backward pass, half of what is between the layers: their convolutions'
    outputs alone, from which it makes what the next layer reads again (Chen et al. 2016, section
    4). That is faster too, for what is kept goes through memory and what is made again stays in
    the caches.

    Args:
        layers: For each the convolution, the batch norm and the activation, as in
            :func:`conv_bn_act`; the latter two may be None.
        x: What the first one takes.
        residual: Added before the last one's activation, of the shape of the output.
        use_running_average: As in :func:`conv_bn_act`, for all of them.
        implementation: Likewise.

    Returns:
        What the last one gives; ``x`` for none.

    Raises:
        ValueError: As :func:`conv_bn_act`.
        TypeError: As :func:`conv_bn_act`.
        flax.errors.ModifyScopeVariableError: As :func:`conv_bn_act`.

    Example:
        >>> class Bottleneck(nn.Module):
        ...     @nn.compact
        ...     def __call__(self, x):
        ...         layers = [(nn.Conv(n, (1, 1)), nn.BatchNorm(), nn.relu) for n in (16, 64)]
        ...         return conv_bn_acts(layers, x, residual=x, use_running_average=True)
        >>> x = jax.numpy.ones((1, 32, 32, 64))
        >>> y, variables = Bottleneck().init_with_output(jax.random.key(0), x)
        >>> y.shape
        (1, 32, 32, 64)
    """
    run = functools.partial(
        _run, use_running_average=use_running_average, implementation=implementation
    )
    return layer.in_turn(run, layers, x, residual)


def _run(
    conv: nn.Conv | nn.ConvTranspose,
    bn: nn.BatchNorm | None,
    x: Made,
    activation: Activation | None,
    residual: Array | None,
    *,
    use_running_average: bool | None,
    implementation: str | None,
    gives_origin: bool,
) -> Made:
    """One layer, on the op where it can express it."""
    average = bn is None or nn.merge_param(
        "use_running_average", bn.use_running_average, use_running_average
    )
    fused = layer.run(
        conv,
        bn,
        _weights(conv, bn, x.y),
        x,
        residual,
        activation=activation,
        training=not average,
        implementation=implementation,
        gives_origin=gives_origin,
    )
    if fused is None:
        y = conv(x.y) if bn is None else bn(conv(x.y), use_running_average)
        return Made(layer.finished(y, residual, activation))
    made, mean, var = fused
    if bn is not None and not average:
        bn.put_variable("batch_stats", "mean", mean)
        bn.put_variable("batch_stats", "var", var)
    return made


def conv_bn_relu(
    conv: nn.Conv | nn.ConvTranspose,
    bn: nn.BatchNorm | None,
    x: Array,
    *,
    residual: Array | None = None,
    relu: bool = True,
    use_running_average: bool | None = None,
    implementation: str | None = None,
) -> Array:
    """:func:`conv_bn_act` with ReLU: ``relu(bn(conv(x)) + residual)``.

    Args:
        conv: As in :func:`conv_bn_act`, and so are all others.
        bn: See there.
        x: See there.
        residual: See there.
        relu: Whether a ReLU ends the layer.
        use_running_average: See there.
        implementation: See there.

    Returns:
        As :func:`conv_bn_act`.

    Raises:
        ValueError: As :func:`conv_bn_act`.
        flax.errors.ModifyScopeVariableError: As :func:`conv_bn_act`.

    Example:
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
    return conv_bn_act(
        conv,
        bn,
        x,
        activation=jax.nn.relu if relu else None,
        residual=residual,
        use_running_average=use_running_average,
        implementation=implementation,
    )


def conv_alone(
    conv: nn.Conv | nn.ConvTranspose, x: Array, *, implementation: str | None = None
) -> Array:
    """``conv(x)`` as one op: :func:`conv_bn_act` without batch norm and activation.

    Args:
        conv: As in :func:`conv_bn_act`, and so are all others.
        x: See there.
        implementation: See there.

    Returns:
        As :func:`conv_bn_act`.

    Raises:
        ValueError: As :func:`conv_bn_act`.

    Example:
        >>> conv = nn.Conv(64, (1, 1), strides=2)
        >>> variables = conv.init(jax.random.key(0), jax.numpy.ones((1, 32, 32, 3)))
        >>> conv_alone(conv.bind(variables), jax.numpy.ones((1, 32, 32, 3))).shape
        (1, 16, 16, 64)
    """
    return conv_bn_act(conv, None, x, activation=None, implementation=implementation)


def _weights(conv: nn.Conv | nn.ConvTranspose, bn: nn.BatchNorm | None, x: Array) -> Weights | None:
    """The variables, if they are there and as Flax would make them."""
    if conv.is_initializing():
        return None
    vector = (conv.features,)
    of_conv = _read(
        (conv, "params", "kernel", _kernel_shape(conv, x.shape[-1])),
        (conv, "params", "bias", vector if conv.use_bias else None),
    )
    of_norm: list[Any] | None = [None] * 4
    if bn is not None:
        of_norm = _read(
            (bn, "params", "scale", vector if bn.use_scale else None),
            (bn, "params", "bias", vector if bn.use_bias else None),
            (bn, "batch_stats", "mean", vector),
            (bn, "batch_stats", "var", vector),
        )
    return None if of_conv is None or of_norm is None else Weights(*of_conv, *of_norm)


def _kernel_shape(conv: nn.Conv | nn.ConvTranspose, channels: int) -> tuple[int, ...]:
    if isinstance(conv, nn.ConvTranspose):
        pair = channels, conv.features
        return (*kernel_size(conv), *(pair[::-1] if conv.transpose_kernel else pair))
    return (*kernel_size(conv), channels // conv.feature_group_count, conv.features)


def _read(*expected: tuple[nn.Module, str, str, tuple[int, ...] | None]) -> list[Any] | None:
    """The variables of those names, if they have those shapes; no shape means switched off."""
    values: list[Any] = [
        None if shape is None else nn.meta.unbox(module.get_variable(collection, name))
        for module, collection, name, shape in expected
    ]
    found = [None if value is None else value.shape for value in values]
    return values if found == [shape for *_, shape in expected] else None
