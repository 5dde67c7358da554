"""The op for JAX: what a user calls, and the way from there to the kernel.

``conv_bn_relu`` checks and chooses, then folds the batch norm into a scale and a shift for the
kernel's call in ``affine.py``. How the kernel goes through ``vmap`` is in
``batching.py``, through sharding in ``sharding.py``; its derivatives are in ``gradients.py``.
"""

import dataclasses
import functools
from typing import Any

import jax
from jax import Array, lax
from jax.typing import ArrayLike

from resfuse import reference
from resfuse.kernel.affine import Options, affine_on_cpu
from resfuse.kernel.dispatch import promote, takes_kernel
from resfuse.kernel.forward_mode import named
from resfuse.kernel.training import Settings, train_on_cpu
from resfuse.spec import (
    ConvSpec,
    PaddingLike,
    PrecisionLike,
    StridesLike,
    as_array,
    as_epsilon,
    check_arrays,
    make_spec,
)

__all__ = ["conv_bn_relu", "conv_bn_relu_train"]

Operands = dict[str, Any]  # arrays by the names of the arguments; None for those left out


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
        precision: None lets the kernel take Winograd's algorithm (Lavin & Gray 2015) where it
            pays: errors of about 1e-5 of the largest output, and NaN or infinity spreads over its
            4x4 tile. ``"highest"`` is direct convolution. In the reference, as in ``jax.lax``.
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
    call = _make_call(arrays, implementation, epsilon, relu, strides=strides, padding=padding,
                      feature_group_count=feature_group_count, precision=precision)  # fmt: skip
    with named():
        return _inference(call, promote(arrays))


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
    call = _make_call(arrays, implementation, epsilon, relu, strides=strides, padding=padding,
                      feature_group_count=feature_group_count, precision=precision)  # fmt: skip
    with named():
        return _training(call, promote(arrays))


@dataclasses.dataclass(frozen=True)
class _Call:
    """The static half of a call."""

    spec: ConvSpec
    epsilon: float
    relu: bool
    kernel: bool  # takes it, where it runs on a CPU


_OPTIONAL = ("scale", "bias", "conv_bias", "residual")


def _as_arrays(**values: Any) -> Operands:
    return {
        name: None if value is None and name in _OPTIONAL else as_array(name, value)
        for name, value in values.items()
    }


def _make_call(
    arrays: Operands, implementation: str | None, epsilon: float, relu: bool, **geometry: Any
) -> _Call:
    spec = make_spec(arrays["x"], arrays["kernel"], **geometry)
    check_arrays(spec, **arrays)
    kernel_runs = takes_kernel(implementation, arrays, spec)
    return _Call(spec, as_epsilon(epsilon), bool(relu), kernel_runs)


def _batched(arrays: Operands) -> Operands:
    """The images with a batch axis."""
    images = {name: arrays[name] for name in ("x", "residual")}
    return arrays | {k: None if v is None else v[None] for k, v in images.items()}


@functools.partial(jax.jit, static_argnums=0, inline=True)
def _inference(call: _Call, arrays: Operands) -> Array:
    if arrays["x"].ndim == 3:
        return _inference(call, _batched(arrays))[0]
    plain = functools.partial(
        reference.conv_bn_relu, spec=call.spec, epsilon=call.epsilon, relu=call.relu
    )
    if not call.kernel:
        return plain(**arrays)

    def fused(
        x: Array,
        kernel: Array,
        scale: Array | None,
        bias: Array | None,
        mean: Array,
        var: Array,
        conv_bias: Array | None,
        residual: Array | None,
    ) -> Array:
        multiplier = lax.rsqrt(var + call.epsilon)
        if scale is not None:
            multiplier = multiplier * scale
        shift = (-mean if conv_bias is None else conv_bias - mean) * multiplier
        if bias is not None:
            shift = shift + bias
        residuals = () if residual is None else (residual,)
        operands = (x, kernel, multiplier, shift, *residuals)
        return affine_on_cpu(Options(call.spec, call.relu), None, *operands)

    return _on_cpu(fused, plain, arrays)


@functools.partial(jax.jit, static_argnums=0, inline=True)
def _training(call: _Call, arrays: Operands) -> tuple[Array, Array, Array]:
    if arrays["x"].ndim == 3:
        y, mean, var = _training(call, _batched(arrays))
        return y[0], mean, var
    plain = functools.partial(
        reference.conv_bn_relu_train, spec=call.spec, epsilon=call.epsilon, relu=call.relu
    )
    if not call.kernel:
        return plain(**arrays)

    def fused(
        x: Array,
        kernel: Array,
        scale: Array | None,
        bias: Array | None,
        conv_bias: Array | None,
        residual: Array | None,
    ) -> tuple[Array, Array, Array]:
        settings = Settings(call.spec, call.epsilon, call.relu)
        y, mean, var = train_on_cpu(settings, x, kernel, scale, bias, residual)
        # The mean takes the convolution's bias away again.
        return y, mean if conv_bias is None else mean + conv_bias, var

    return _on_cpu(fused, plain, arrays)


def _on_cpu(fused: Any, plain: Any, arrays: Operands) -> Any:
    """``fused`` where this is compiled for a CPU, ``plain`` anywhere else."""
    return lax.platform_dependent(
        arrays, cpu=lambda arrays: fused(**arrays), default=lambda arrays: plain(**arrays)
    )
