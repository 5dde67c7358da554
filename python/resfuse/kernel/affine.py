"""The kernel's main operation: ``relu(scale * conv(x, kernel) + shift + residual)``.

``conv_bn_relu`` in ``ops.py`` folds its batch norm into ``scale`` and ``shift``; ``fuse`` does so
for any function. Weights that do not change may come packed as well, see :func:`resfuse.ffi.pack`.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from resfuse import reference
from resfuse.kernel.call import Call
from resfuse.kernel.conv import attributes, axes, conv, input_gradient, weight_gradient
from resfuse.kernel.derivatives import refuse_forward_mode, varying_like
from resfuse.kernel.fold import fold_of
from resfuse.spec import ConvSpec

__all__ = ["affine", "affine_on_cpu"]


def affine(
    x: Array,
    kernel: Array,
    scale: Array,
    shift: Array,
    *residual: Array,
    spec: ConvSpec,
    relu: bool,
    packed: Array | None = None,
    in_place: bool = False,
) -> Array:
    """The kernel where this is compiled for a CPU, the reference anywhere else.

    Args:
        x: ``(B, [[D,] H,] W, Cin)``, float32 as all of them.
        kernel: ``([[kd,] kh,] kw, Cin/groups, Cout)``.
        scale: ``(Cout,)``.
        shift: ``(Cout,)``.
        *residual: at most one array of the output's shape.
        spec: strides, padding, groups and precision.
        relu: whether to apply ReLU.
        packed: ``ffi.pack(kernel, spec)``, which the kernel then reads in place of ``kernel``;
            derivatives are still those by ``kernel``.
        in_place: whether the output may take the residual's memory: worth it where the residual is
            a value of the program that nothing else needs.

    Returns:
        ``(B, [[Do,] Ho,] Wo, Cout)``.
    """

    def on_cpu(packed: Array | None, *operands: Array) -> Array:
        return affine_on_cpu(*operands, spec=spec, relu=relu, packed=packed, in_place=in_place)

    def plain(packed: Array | None, *operands: Array) -> Array:
        del packed
        y = reference.affine(*operands, spec=spec)
        return jax.nn.relu(y) if relu else y

    operands = (x, kernel, scale, shift, *residual)
    return lax.platform_dependent(packed, *operands, cpu=on_cpu, default=plain)


def affine_on_cpu(
    *operands: Array,
    spec: ConvSpec,
    relu: bool,
    packed: Array | None = None,
    in_place: bool = False,
) -> Array:
    """As :func:`affine`, always the kernel."""
    return conv_affine(spec, relu, in_place, packed, *map(refuse_forward_mode, operands))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def conv_affine(
    spec: ConvSpec,
    relu: bool,
    in_place: bool,
    packed: Array | None,
    x: Array,
    kernel: Array,
    scale: Array,
    shift: Array,
    *residual: Array,
) -> Array:
    """The call itself; the arguments are those of :func:`affine`."""
    if fold := fold_of(spec, kernel.shape):
        folded = fold.spec, fold.kernel(kernel)
        shape = folded[0].output_shape(x.shape, folded[1].shape)
        rest = (fold.operand(each, shape) for each in (scale, shift, *residual))
        y = conv_affine(folded[0], relu, False, packed, x, folded[1], *rest)
        return fold.unfolded(y, spec.output_shape(x.shape, kernel.shape)[-2])
    name = axes(spec)
    weights, factors = (kernel, name.kernel) if packed is None else (packed, "a b c e")
    call = Call(
        "conv_affine",
        f"{name.x}, {factors}, o, o{f', {name.y}' * len(residual)} -> {name.y}",
        sizes=name.of_y(spec.output_shape(x.shape, kernel.shape)),
        attributes=attributes(spec)
        | {"relu": relu, "packed": () if packed is None else kernel.shape},
        in_place=in_place and bool(residual),
    )
    return call(x, weights, scale, shift, *residual)[0]


def _forward(
    spec: ConvSpec, relu: bool, in_place: bool, packed: Array | None, *operands: Array
) -> tuple[Array, tuple[tuple[Array, ...], Array | None]]:
    y = conv_affine(spec, relu, in_place, packed, *operands)
    return y, (operands, y > 0 if relu else None)


def _backward(
    spec: ConvSpec, relu: bool, in_place: bool, saved: Any, d_y: Array
) -> tuple[Array | None, ...]:
    del relu, in_place
    (x, kernel, scale, _, *residual), active = operands, _ = saved
    if active is not None:
        d_y = jnp.where(active, d_y, 0)
    axes = tuple(range(d_y.ndim - 1))
    # The convolution's value serves only the gradient by the scale; unused, it is never computed.
    d_scale = (d_y * conv(spec, x, kernel)).sum(axes)
    d_conv = d_y * reference.per_channel(scale, d_y)
    d_x = input_gradient(spec, x.shape[1:-1], d_conv, kernel)  # unused, likewise
    d_kernel = weight_gradient(spec, kernel.shape[:-2], x, d_conv)
    cotangents = (d_x, d_kernel, d_scale, d_y.sum(axes), *[d_y] * len(residual))
    return None, *map(varying_like, cotangents, operands)


conv_affine.defvjp(_forward, _backward)
