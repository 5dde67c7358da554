"""The op for JAX: what a user calls, with its arguments checked.

Long for its documentation, which stands where it is read; what it does is in ``dispatch``.
"""

from typing import Any, TypedDict, Unpack

import jax
from jax import Array
from jax.typing import ArrayLike

from resfuse import dispatch
from resfuse.arguments import (
    Activation,
    PrecisionLike,
    StridesLike,
    as_activation,
    as_array,
    as_epsilon,
)
from resfuse.kernel.origin import Made
from resfuse.spec import PaddingLike, make_spec

__all__ = [
    "conv_bn_act",
    "conv_bn_act_train",
    "conv_bn_relu",
    "conv_bn_relu_train",
    "train_layer",
]


class Options(TypedDict, total=False):
    """What :func:`conv_bn_relu` and :func:`conv_bn_relu_train` pass on."""

    conv_bias: ArrayLike | None
    residual: ArrayLike | None
    strides: StridesLike
    padding: PaddingLike
    input_dilation: StridesLike
    kernel_dilation: StridesLike
    feature_group_count: int
    epsilon: float
    precision: PrecisionLike
    implementation: str | None


def conv_bn_act(
    x: ArrayLike,
    kernel: ArrayLike,
    scale: ArrayLike | None,
    bias: ArrayLike | None,
    mean: ArrayLike | None,
    var: ArrayLike | None,
    *,
    activation: Activation | None = jax.nn.relu,
    conv_bias: ArrayLike | None = None,
    residual: ArrayLike | None = None,
    strides: StridesLike = 1,
    padding: PaddingLike = "SAME",
    input_dilation: StridesLike = 1,
    kernel_dilation: StridesLike = 1,
    feature_group_count: int = 1,
    epsilon: float = 1e-5,
    precision: PrecisionLike = None,
    implementation: str | None = None,
) -> Array:
    """Convolution, batch norm with given statistics, residual add and activation, in one pass.

    ``y = activation(scale * (conv(x, kernel) + conv_bias - mean) / sqrt(var + epsilon) + bias
    + residual)``: batch norm at inference (Ioffe & Szegedy 2015, algorithm 2), and the shortcut
    added before the activation (He et al. 2015, equation 1 and figure 2). There may be one to three
    spatial dimensions: (W), (H, W) or (D, H, W).

    Args:
        x: images, ``(B, [[D,] H,] W, Cin)``, or one without ``B``. The kernel takes float32; arrays
            of other dtypes promote together and take the reference.
        kernel: ``([[kd,] kh,] kw, Cin / feature_group_count, Cout)``.
        scale: ``(Cout,)``, or None for 1.
        bias: ``(Cout,)``, or None for 0.
        mean: ``(Cout,)``, or None for 0.
        var: ``(Cout,)``, or None to divide by nothing: with ``mean=None``, no batch norm.
        activation: any function of JAX that maps each number by itself, such as those of
            ``jax.nn``; None for none. The kernel computes it where it has its operations, XLA
            otherwise. It is static, and the same if it is the same object: under ``jit`` and in
            eager calls a lambda made for each call is compiled for each.
        conv_bias: the convolution's own bias, ``(Cout,)``, or None for 0.
        residual: what to add before the activation, of the output's shape, or None.
        strides: in pixels, one integer or one for each spatial dimension.
        padding: ``"SAME"`` or ``"VALID"`` as in XLA; ``"CAUSAL"`` in one dimension, where no output
            sees what comes after it; or pixels before and after each dimension, such as ``((top,
            bottom), (left, right))``, of which negative ones crop. Pixels only with
            ``input_dilation``.
        input_dilation: the distance of the pixels of ``x``, with zeros between them, one integer or
            one for each spatial dimension: the stride of a transposed convolution.
        kernel_dilation: the distance of the kernel's taps, likewise.
        feature_group_count: how many groups the channels fall into.
        epsilon: added to the variance.
        precision: None is ``jax.default_matmul_precision``. ``"default"`` lets the kernel take
            Winograd's algorithm (Lavin & Gray 2015) where it pays: errors of about 1e-5 of the
            largest output, and NaN or infinity spreads over its tile. Anything above, such as
            ``"highest"``, is direct convolution. In the reference, as in ``jax.lax``.
        implementation: None takes the kernel on a CPU for what it supports and XLA otherwise;
            ``"ffi"`` insists on the kernel; ``"xla"`` is the reference.

    Returns:
        ``(B, [[Do,] Ho,] Wo, Cout)``, without ``B`` if ``x`` is. But for Winograd, NaN and infinity
        spread pixel by pixel as in the reference. The bits do not depend on the threads.

    Raises:
        ValueError: a shape, stride, padding, dilation, group count, epsilon, precision or
            implementation is wrong, the activation is not element by element, or ``"ffi"`` cannot
            be had; the message says which, and what was expected.
        TypeError: an argument has the wrong type, or ``"ffi"`` does not take its dtype.

    Example:
        >>> x = jnp.ones((8, 56, 56, 64))
        >>> kernel, ones, zeros = jnp.ones((3, 3, 64, 64)), jnp.ones(64), jnp.zeros(64)
        >>> silu = jax.nn.silu
        >>> resfuse.conv_bn_act(x, kernel, ones, zeros, zeros, ones, activation=silu).shape
        (8, 56, 56, 64)

        A transposed convolution with stride 2, and a causal one over time, without batch norm:

        >>> bare = {"scale": None, "bias": zeros, "mean": None, "var": None}
        >>> pads = (2, 2), (2, 2)
        >>> resfuse.conv_bn_act(
        ...     x, jnp.ones((4, 4, 64, 64)), **bare, input_dilation=2, padding=pads
        ... ).shape
        (8, 112, 112, 64)
        >>> resfuse.conv_bn_act(
        ...     x[0], jnp.ones((3, 64, 64)), **bare, kernel_dilation=8, padding="CAUSAL"
        ... ).shape
        (56, 56, 64)
    """
    arrays = dispatch.as_arrays(x=x, kernel=kernel, scale=scale, bias=bias, mean=mean, var=var,
                                conv_bias=conv_bias, residual=residual)  # fmt: skip
    spec = make_spec(arrays["x"], arrays["kernel"], strides=strides, padding=padding,
                     input_dilation=input_dilation, kernel_dilation=kernel_dilation,
                     feature_group_count=feature_group_count, precision=precision)  # fmt: skip
    return dispatch.inference(
        arrays, spec, implementation, as_epsilon(epsilon), as_activation(activation)
    )


def conv_bn_act_train(
    x: ArrayLike,
    kernel: ArrayLike,
    scale: ArrayLike | None,
    bias: ArrayLike | None,
    *,
    activation: Activation | None = jax.nn.relu,
    conv_bias: ArrayLike | None = None,
    residual: ArrayLike | None = None,
    strides: StridesLike = 1,
    padding: PaddingLike = "SAME",
    input_dilation: StridesLike = 1,
    kernel_dilation: StridesLike = 1,
    feature_group_count: int = 1,
    epsilon: float = 1e-5,
    precision: PrecisionLike = None,
    implementation: str | None = None,
) -> tuple[Array, Array, Array]:
    """:func:`conv_bn_act` with the statistics of the batch (Ioffe & Szegedy 2015, algorithm 1).

    The kernel gathers them while it convolves; they are at least as accurate as Flax's, also where
    the mean is far larger than the deviation. Updating running averages is the caller's business.

    Args:
        x: images, as in :func:`conv_bn_act`, and so are all that follow.
        kernel: see there.
        scale: ``(Cout,)``, or None for 1.
        bias: ``(Cout,)``, or None for 0.
        activation: see there. The kernel computes ReLU, leaky ReLU and clipping such as ReLU6; XLA
            any other.
        conv_bias: see there.
        residual: see there.
        strides: see there.
        padding: see there.
        input_dilation: see there.
        kernel_dilation: see there.
        feature_group_count: see there.
        epsilon: see there.
        precision: see there.
        implementation: see there.

    Returns:
        ``(y, mean, var)``: the output as in :func:`conv_bn_act`, and of ``conv + conv_bias`` the
        mean and the biased variance over every axis but the last, both ``(Cout,)``. With the batch
        sharded over devices under ``jit`` they are those of the whole batch; under ``shard_map``
        and ``vmap`` each part has its own.

    Raises:
        ValueError: as :func:`conv_bn_act`.
        TypeError: as :func:`conv_bn_act`.

    Example:
        >>> x, kernel = jnp.ones((8, 4, 4, 3)), jnp.ones((3, 3, 3, 3))
        >>> y, mean, var = resfuse.conv_bn_act_train(
        ...     x, kernel, jnp.ones(3), jnp.zeros(3), activation=jax.nn.silu
        ... )
        >>> running_mean = 0.99 * jnp.zeros(3) + 0.01 * mean
    """
    made, mean, var = train_layer(
        Made(as_array("x", x)), kernel, scale, bias, activation=activation, conv_bias=conv_bias,
        residual=residual, epsilon=epsilon, implementation=implementation, strides=strides,
        padding=padding, input_dilation=input_dilation, kernel_dilation=kernel_dilation,
        feature_group_count=feature_group_count, precision=precision)  # fmt: skip
    return made.y, mean, var


def train_layer(
    x: Made,
    kernel: ArrayLike,
    scale: ArrayLike | None,
    bias: ArrayLike | None,
    *,
    activation: Activation | None,
    conv_bias: ArrayLike | None,
    residual: ArrayLike | None,
    epsilon: float,
    implementation: str | None,
    gives_origin: bool = False,
    **geometry: Any,
) -> tuple[Made, Array, Array]:
    """:func:`conv_bn_act_train` where one layer follows another.

    Images that are given with what they were made from are not kept for the backward pass, which
    makes them again. With ``gives_origin`` the output says what it was made from, if it can.
    """
    arrays = dispatch.as_arrays(x=x.y, kernel=kernel, scale=scale, bias=bias,
                                conv_bias=conv_bias, residual=residual)  # fmt: skip
    spec = make_spec(arrays["x"], arrays["kernel"], **geometry)
    return dispatch.training(
        arrays,
        spec,
        implementation,
        as_epsilon(epsilon),
        as_activation(activation),
        x.origin,
        gives_origin,
    )


def conv_bn_relu(
    x: ArrayLike,
    kernel: ArrayLike,
    scale: ArrayLike | None,
    bias: ArrayLike | None,
    mean: ArrayLike | None,
    var: ArrayLike | None,
    *,
    relu: bool = True,
    **options: Unpack[Options],
) -> Array:
    """:func:`conv_bn_act` with ReLU.

    ``y = relu(scale * (conv(x, kernel) + conv_bias - mean) / sqrt(var + epsilon) + bias
    + residual)``.

    Args:
        x: as in :func:`conv_bn_act`, and so are all arrays.
        kernel: see there.
        scale: see there.
        bias: see there.
        mean: see there.
        var: see there.
        relu: whether to apply the ReLU.
        **options: ``conv_bias``, ``residual``, ``strides``, ``padding``, ``input_dilation``,
            ``kernel_dilation``, ``feature_group_count``, ``epsilon``, ``precision`` and
            ``implementation``: see there.

    Returns:
        As :func:`conv_bn_act`.

    Raises:
        ValueError: as :func:`conv_bn_act`.
        TypeError: as :func:`conv_bn_act`.

    Example:
        >>> x = jnp.ones((8, 56, 56, 64))
        >>> kernel, ones, zeros = jnp.ones((3, 3, 64, 64)), jnp.ones(64), jnp.zeros(64)
        >>> resfuse.conv_bn_relu(x, kernel, ones, zeros, zeros, ones, residual=x).shape
        (8, 56, 56, 64)
    """
    activation = jax.nn.relu if relu else None
    return conv_bn_act(x, kernel, scale, bias, mean, var, activation=activation, **options)


def conv_bn_relu_train(
    x: ArrayLike,
    kernel: ArrayLike,
    scale: ArrayLike | None,
    bias: ArrayLike | None,
    *,
    relu: bool = True,
    **options: Unpack[Options],
) -> tuple[Array, Array, Array]:
    """:func:`conv_bn_act_train` with ReLU.

    Args:
        x: as in :func:`conv_bn_act`, and so are all arrays.
        kernel: see there.
        scale: see there.
        bias: see there.
        relu: whether to apply the ReLU.
        **options: as in :func:`conv_bn_relu`.

    Returns:
        As :func:`conv_bn_act_train`.

    Raises:
        ValueError: as :func:`conv_bn_act`.
        TypeError: as :func:`conv_bn_act`.

    Example:
        >>> x, kernel = jnp.ones((8, 4, 4, 3)), jnp.ones((3, 3, 3, 3))
        >>> y, mean, var = resfuse.conv_bn_relu_train(x, kernel, jnp.ones(3), jnp.zeros(3))
        >>> running_mean = 0.99 * jnp.zeros(3) + 0.01 * mean
    """
    activation = jax.nn.relu if relu else None
    return conv_bn_act_train(x, kernel, scale, bias, activation=activation, **options)
