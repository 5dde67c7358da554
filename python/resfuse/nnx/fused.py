"""A convolution, a batch norm and an activation of Flax NNX as one op, and several in turn."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
from flax import nnx
from jax import Array

from resfuse.arguments import Activation
from resfuse.kernel.origin import Made
from resfuse.models import layer
from resfuse.models.support import Weights

__all__ = ["conv_alone", "conv_bn_act", "conv_bn_acts", "conv_bn_relu"]

Layer = tuple[nnx.Conv | nnx.ConvTranspose, nnx.BatchNorm | None, Activation | None]


def conv_bn_act(
    conv: nnx.Conv | nnx.ConvTranspose,
    bn: nnx.BatchNorm | None,
    x: Array,
    *,
    activation: Activation | None = jax.nn.relu,
    residual: Array | None = None,
    use_running_average: bool | None = None,
    implementation: str | None = None,
) -> Array:
    """``activation(bn(conv(x)) + residual)`` as one op.

    The result and the update of the running statistics, in place, are those of calling the two
    modules. That is what happens with ``implementation="xla"``, and for settings that the op
    cannot express (masks, ``axis_name`` in training, computation in another dtype than float32, a
    transposed convolution with circular padding).

    Args:
        conv: The convolution, of one to three spatial dimensions, with any strides, dilation,
            groups and padding.
        bn: The batch norm, with as many features; None for none.
        x: The input, ``(B, [[D,] H,] W, Cin)``, or one without ``B``. Its dtype is promoted as Flax
            does.
        activation: An elementwise function of JAX, as in :func:`resfuse.conv_bn_act`, or a module
            such as ``nnx.PReLU``; None for none.
        residual: Added before the activation, of the shape of the output.
        use_running_average: ``None`` leaves it to ``bn`` (``model.train()``, ``model.eval()``).
        implementation: ``None`` (the kernel where it runs), ``"ffi"`` or ``"xla"`` (plain Flax).

    Returns:
        The output, ``(B, [[Do,] Ho,] Wo, Cout)``, without ``B`` if ``x`` is.

    Raises:
        ValueError: For an unknown ``implementation``, an activation that is not elementwise, or
            where ``"ffi"`` meets a setting that the op cannot express.
        TypeError: For an activation that is no function.

    Example:
        >>> rngs = nnx.Rngs(0)
        >>> conv = nnx.ConvTranspose(3, 64, (4, 4), strides=(2, 2), rngs=rngs)
        >>> bn, x = nnx.BatchNorm(64, rngs=rngs), jax.numpy.ones((1, 32, 32, 3))
        >>> conv_bn_act(conv, bn, x, activation=nnx.silu).shape
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

    Example:
        >>> rngs = nnx.Rngs(0)
        >>> expand, expand_bn = nnx.Conv(16, 96, (1, 1), rngs=rngs), nnx.BatchNorm(96, rngs=rngs)
        >>> project, project_bn = nnx.Conv(96, 16, (1, 1), rngs=rngs), nnx.BatchNorm(16, rngs=rngs)
        >>> x = jax.numpy.ones((1, 32, 32, 16))
        >>> conv_bn_acts([(expand, expand_bn, nnx.relu), (project, project_bn, None)], x).shape
        (1, 32, 32, 16)
    """
    run = functools.partial(
        _run, use_running_average=use_running_average, implementation=implementation
    )
    return layer.in_turn(run, layers, x, residual)


def _run(
    conv: nnx.Conv | nnx.ConvTranspose,
    bn: nnx.BatchNorm | None,
    x: Made,
    activation: Activation | None,
    residual: Array | None,
    *,
    use_running_average: bool | None,
    implementation: str | None,
    gives_origin: bool,
) -> Made:
    """One layer, on the op where it can express it."""
    average: bool | None = True
    if bn is not None:
        average = bn.use_running_average if use_running_average is None else use_running_average
    fused = layer.run(
        conv,
        bn,
        None if average is None else _weights(conv, bn),  # Flax says that no mode is set.
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
        bn.mean[...] = jax.lax.stop_gradient(mean)
        bn.var[...] = jax.lax.stop_gradient(var)
    return made


def conv_bn_relu(
    conv: nnx.Conv | nnx.ConvTranspose,
    bn: nnx.BatchNorm | None,
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

    Example:
        >>> rngs = nnx.Rngs(0)
        >>> conv, bn = nnx.Conv(3, 64, (7, 7), strides=2, rngs=rngs), nnx.BatchNorm(64, rngs=rngs)
        >>> conv_bn_relu(conv, bn, jax.numpy.ones((1, 32, 32, 3))).shape
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
    conv: nnx.Conv | nnx.ConvTranspose, x: Array, *, implementation: str | None = None
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
        >>> conv = nnx.Conv(3, 64, (1, 1), strides=2, rngs=nnx.Rngs(0))
        >>> conv_alone(conv, jax.numpy.ones((1, 32, 32, 3))).shape
        (1, 16, 16, 64)
    """
    return conv_bn_act(conv, None, x, activation=None, implementation=implementation)


def _weights(conv: nnx.Conv | nnx.ConvTranspose, bn: nnx.BatchNorm | None) -> Weights:
    return Weights(
        conv.kernel[...],
        _value(conv.bias),
        *(_value(getattr(bn, name, None)) for name in ("scale", "bias", "mean", "var")),
    )


def _value(variable: Any) -> Any:
    return None if variable is None else variable[...]
