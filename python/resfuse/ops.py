"""The op for JAX: what a user calls, checked, and sent to the kernel or to the reference."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from resfuse import reference
from resfuse.jax_compat import default_platform, naming_forward_mode
from resfuse.kernel.affine import affine_on_cpu
from resfuse.kernel.conv import unsupported
from resfuse.kernel.derivatives import FORWARD_MODE
from resfuse.kernel.epilogue import ADD, ADD_RELU, IDENTITY, RELU
from resfuse.kernel.train import train_on_cpu
from resfuse.spec import (
    ConvSpec,
    PaddingLike,
    PrecisionLike,
    StridesLike,
    as_array,
    as_epsilon,
    check_arrays,
    check_implementation,
    make_spec,
)

__all__ = ["conv_bn_relu", "conv_bn_relu_train"]

Arrays = dict[str, Any]  # by the names of the arguments; None for those left out


def conv_bn_relu(
    x: ArrayLike,
    kernel: ArrayLike,
    scale: ArrayLike | None,
    bias: ArrayLike | None,
    mean: ArrayLike,
    var: ArrayLike,
    *,
    conv_bias: ArrayLike | None = None,
    residual: ArrayLike | None = None,
    strides: StridesLike = 1,
    padding: PaddingLike = "SAME",
    feature_group_count: int = 1,
    epsilon: float = 1e-5,
    relu: bool = True,
    precision: PrecisionLike = None,
    implementation: str | None = None,
) -> Array:
    """Convolution, batch norm with given statistics, residual add and ReLU, in one pass.

    ``y = relu(scale * (conv(x, kernel) + conv_bias - mean) / sqrt(var + epsilon) + bias
    + residual)``: batch norm at inference (Ioffe & Szegedy 2015, algorithm 2), and the shortcut
    added before the ReLU (He et al. 2015, equation 1 and figure 2).

    Args:
        x: images, ``(B, H, W, Cin)`` or ``(H, W, Cin)``. The kernel takes float32; arrays of other
            dtypes promote together and take the reference.
        kernel: ``(kh, kw, Cin / feature_group_count, Cout)``.
        scale: ``(Cout,)``, or None for 1.
        bias: ``(Cout,)``, or None for 0.
        mean: ``(Cout,)``.
        var: ``(Cout,)``.
        conv_bias: the convolution's own bias, ``(Cout,)``, or None for 0.
        residual: what to add before the ReLU, of the output's shape, or None.
        strides: in pixels, one integer or ``(height, width)``.
        padding: ``"SAME"`` or ``"VALID"`` as in XLA, or pixels ``((top, bottom), (left, right))``.
        feature_group_count: how many groups the channels fall into.
        epsilon: added to the variance.
        relu: whether to apply the ReLU.
        precision: None is ``jax.default_matmul_precision``. ``"default"`` lets the kernel take
            Winograd's algorithm (Lavin & Gray 2015) where it pays: errors of about 1e-5 of the
            largest output, and NaN or infinity spreads over its tile. Anything above, such as
            ``"highest"``, is direct convolution. In the reference, as in ``jax.lax``.
        implementation: None takes the kernel on a CPU for what it supports and XLA otherwise;
            ``"ffi"`` insists on the kernel; ``"xla"`` is the reference.

    Returns:
        ``(B, Ho, Wo, Cout)``, or ``(Ho, Wo, Cout)`` for unbatched ``x``. But for Winograd, NaN and
        infinity spread pixel by pixel as in the reference. The bits do not depend on the threads.

    Raises:
        ValueError: a shape, stride, padding, group count, epsilon, precision or implementation is
            wrong, or ``"ffi"`` cannot be had; the message says which, and what was expected.
        TypeError: an argument has the wrong type, or ``"ffi"`` does not take its dtype.

    Example:
        >>> x = jnp.ones((8, 56, 56, 64))
        >>> kernel, ones, zeros = jnp.ones((3, 3, 64, 64)), jnp.ones(64), jnp.zeros(64)
        >>> resfuse.conv_bn_relu(x, kernel, ones, zeros, zeros, ones, residual=x).shape
        (8, 56, 56, 64)
    """
    arrays = _as_arrays(x=x, kernel=kernel, scale=scale, bias=bias, mean=mean, var=var,
                        conv_bias=conv_bias, residual=residual)  # fmt: skip
    spec = make_spec(arrays["x"], arrays["kernel"], strides=strides, padding=padding,
                     feature_group_count=feature_group_count, precision=precision)  # fmt: skip
    arrays, native = _checked(arrays, implementation, spec)
    with naming_forward_mode(FORWARD_MODE):
        return _inference(arrays, native, spec, as_epsilon(epsilon), bool(relu))


def conv_bn_relu_train(
    x: ArrayLike,
    kernel: ArrayLike,
    scale: ArrayLike | None,
    bias: ArrayLike | None,
    *,
    conv_bias: ArrayLike | None = None,
    residual: ArrayLike | None = None,
    strides: StridesLike = 1,
    padding: PaddingLike = "SAME",
    feature_group_count: int = 1,
    epsilon: float = 1e-5,
    relu: bool = True,
    precision: PrecisionLike = None,
    implementation: str | None = None,
) -> tuple[Array, Array, Array]:
    """:func:`conv_bn_relu` with the statistics of the batch (Ioffe & Szegedy 2015, algorithm 1).

    The kernel gathers them while it convolves; they are at least as accurate as Flax's, also where
    the mean is far larger than the deviation. Updating running averages is the caller's business.

    Args:
        x: images, ``(B, H, W, Cin)`` or ``(H, W, Cin)``.
        kernel: ``(kh, kw, Cin / feature_group_count, Cout)``.
        scale: ``(Cout,)``, or None for 1.
        bias: ``(Cout,)``, or None for 0.
        conv_bias: as in :func:`conv_bn_relu`, and so are all that follow.
        residual: see there.
        strides: see there.
        padding: see there.
        feature_group_count: see there.
        epsilon: see there.
        relu: see there.
        precision: see there.
        implementation: see there.

    Returns:
        ``(y, mean, var)``: the output as in :func:`conv_bn_relu`, and of ``conv + conv_bias`` the
        mean and the biased variance over every axis but the last, both ``(Cout,)``. With the batch
        sharded over devices under ``jit`` they are those of the whole batch; under ``shard_map``
        and ``vmap`` each part has its own.

    Raises:
        ValueError: as :func:`conv_bn_relu`.
        TypeError: as :func:`conv_bn_relu`.

    Example:
        >>> x, kernel = jnp.ones((8, 4, 4, 3)), jnp.ones((3, 3, 3, 3))
        >>> y, mean, var = resfuse.conv_bn_relu_train(x, kernel, jnp.ones(3), jnp.zeros(3))
        >>> running_mean = 0.99 * jnp.zeros(3) + 0.01 * mean
    """
    arrays = _as_arrays(x=x, kernel=kernel, scale=scale, bias=bias,
                        conv_bias=conv_bias, residual=residual)  # fmt: skip
    spec = make_spec(arrays["x"], arrays["kernel"], strides=strides, padding=padding,
                     feature_group_count=feature_group_count, precision=precision)  # fmt: skip
    arrays, native = _checked(arrays, implementation, spec)
    with naming_forward_mode(FORWARD_MODE):
        return _training(arrays, native, spec, as_epsilon(epsilon), bool(relu))


_OPTIONAL = ("scale", "bias", "conv_bias", "residual")


def _as_arrays(**values: Any) -> Arrays:
    return {
        name: None if value is None and name in _OPTIONAL else as_array(name, value)
        for name, value in values.items()
    }


def _checked(arrays: Arrays, implementation: str | None, spec: ConvSpec) -> tuple[Arrays, bool]:
    """The arrays in one dtype, and whether the kernel computes this where it runs on a CPU.

    The dtype is their common inexact one, as Flax's ``promote_dtype`` has it.
    """
    check_arrays(spec, **arrays)
    given = {name: array for name, array in arrays.items() if array is not None}
    if check_implementation(implementation) == "ffi":
        _insist(given, spec)
    dtype = jnp.result_type(*given.values())
    dtype = dtype if jnp.issubdtype(dtype, jnp.inexact) else jnp.dtype(jnp.float32)
    native = implementation != "xla" and _why_not(given, dtype, spec) is None
    return arrays | {name: array.astype(dtype) for name, array in given.items()}, native


def _why_not(given: Arrays, dtype: Any, spec: ConvSpec) -> str | None:
    return unsupported(given["x"].shape, given["kernel"].shape, dtype, spec)


def _insist(given: Arrays, spec: ConvSpec) -> None:
    """Raises where the kernel cannot be had."""
    for name, array in given.items():
        if array.dtype != jnp.float32:
            raise TypeError(f'implementation="ffi" needs float32, got {name} of {array.dtype}')
    reason = _why_not(given, jnp.float32, spec) or _elsewhere(given)
    if reason:
        raise ValueError(f'implementation="ffi" cannot be had: {reason}')


def _elsewhere(given: Arrays) -> str | None:
    """Why this would not run on a CPU, as far as can be told before it is compiled."""
    for name, array in given.items():
        if isinstance(array, jax.core.Tracer):
            continue
        platform = next(iter(array.devices())).platform
        if array.committed and platform != "cpu":
            return f"{name} is on {platform}, the kernel runs on a CPU"
    platform = default_platform()
    return None if platform == "cpu" else f"it would run on {platform}, the kernel runs on a CPU"


def _batched(arrays: Arrays) -> Arrays:
    """The images with a batch axis."""
    images = {name: arrays[name] for name in ("x", "residual")}
    return arrays | {k: None if v is None else v[None] for k, v in images.items()}


_jitted = functools.partial(jax.jit, static_argnums=(1, 2, 3, 4), inline=True)


@_jitted
def _inference(arrays: Arrays, native: bool, spec: ConvSpec, epsilon: float, relu: bool) -> Array:
    if arrays["x"].ndim == 3:
        return _inference(_batched(arrays), native, spec, epsilon, relu)[0]

    def on_cpu(arrays: Arrays) -> Array:
        multiplier, shift = _scale_and_shift(arrays, epsilon)
        operands = (arrays["x"], arrays["kernel"], multiplier, shift)
        residual = () if arrays["residual"] is None else (arrays["residual"],)
        epilogue = (ADD_RELU if relu else ADD) if residual else (RELU if relu else IDENTITY)
        y: Array = affine_on_cpu(*operands, *residual, spec=spec, epilogue=epilogue)
        return y

    def plain(arrays: Arrays) -> Array:
        return reference.conv_bn_relu(**arrays, spec=spec, epsilon=epsilon, relu=relu)

    if not native:
        return plain(arrays)
    return lax.platform_dependent(arrays, cpu=on_cpu, default=plain)


def _scale_and_shift(arrays: Arrays, epsilon: float) -> tuple[Array, Array]:
    """Batch norm with given statistics, and the convolution's bias, as one scale and shift."""
    scale, bias, conv_bias = arrays["scale"], arrays["bias"], arrays["conv_bias"]
    multiplier = lax.rsqrt(arrays["var"] + epsilon)
    if scale is not None:
        multiplier = multiplier * scale
    shift = (-arrays["mean"] if conv_bias is None else conv_bias - arrays["mean"]) * multiplier
    return multiplier, shift if bias is None else shift + bias


@_jitted
def _training(
    arrays: Arrays, native: bool, spec: ConvSpec, epsilon: float, relu: bool
) -> tuple[Array, Array, Array]:
    if arrays["x"].ndim == 3:
        y, mean, var = _training(_batched(arrays), native, spec, epsilon, relu)
        return y[0], mean, var

    def on_cpu(arrays: Arrays) -> tuple[Array, Array, Array]:
        operands = {name: array for name, array in arrays.items() if name != "conv_bias"}
        y, mean, var = train_on_cpu(**operands, spec=spec, epsilon=epsilon, relu=relu)
        # The mean takes the convolution's bias away again.
        conv_bias = arrays["conv_bias"]
        return y, mean if conv_bias is None else mean + conv_bias, var

    def plain(arrays: Arrays) -> tuple[Array, Array, Array]:
        return reference.conv_bn_relu_train(**arrays, spec=spec, epsilon=epsilon, relu=relu)

    # Of nothing there are no statistics: what derives from them is up to the reference.
    if not native or 0 in spec.output_shape(arrays["x"].shape, arrays["kernel"].shape):
        return plain(arrays)
    return lax.platform_dependent(arrays, cpu=on_cpu, default=plain)
