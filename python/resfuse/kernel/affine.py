"""The kernel's main call: ``relu(scale * conv(x, kernel) + shift + residual)``, with derivatives.

``conv_bn_relu`` in ``ops.py`` folds its batch norm into ``scale`` and ``shift``; ``fuse`` does so
for any function. Weights that do not change may come packed as well, see :func:`resfuse.ffi.pack`.
"""

import functools
from typing import Any, NamedTuple

import jax
from jax import Array, lax

from resfuse import reference
from resfuse.kernel import batching, gradients
from resfuse.kernel.forward_mode import refuse_forward_mode
from resfuse.spec import ConvSpec

__all__ = ["Options", "affine", "affine_on_cpu"]


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
        x: ``(B, H, W, Cin)``, float32 as all of them.
        kernel: ``(kh, kw, Cin/groups, Cout)``.
        scale: ``(Cout,)``.
        shift: ``(Cout,)``.
        *residual: at most one array of the output's shape.
        spec: strides, padding, groups and precision.
        relu: whether to apply ReLU.
        packed: ``ffi.pack(kernel, spec)``, which the kernel then reads in place of ``kernel``;
            derivatives are still those by ``kernel``.
        in_place: whether the output may take the residual's memory: worth it where the residual is
            a value of the program that nothing else needs.
    """

    def plain(packed: Array | None, *operands: Array) -> Array:
        del packed
        y = reference.affine(*operands, spec=spec)
        return jax.nn.relu(y) if relu else y

    return lax.platform_dependent(
        packed,
        *(x, kernel, scale, shift, *residual),
        cpu=functools.partial(affine_on_cpu, Options(spec, relu, in_place)),
        default=plain,
    )


class Options(NamedTuple):
    """The static half of a call."""

    spec: ConvSpec
    relu: bool
    in_place: bool = False


def affine_on_cpu(options: Options, packed: Array | None, *operands: Array) -> Array:
    """As :func:`affine`, always the kernel."""
    return _affine(options, packed, *map(refuse_forward_mode, operands))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _affine(options: Options, packed: Array | None, *operands: Array) -> Array:
    return batching.conv_affine(packed, *operands, **options._asdict())


def _forward(options: Options, packed: Array | None, *operands: Array) -> tuple[Any, Any]:
    y = _affine(options, packed, *operands)
    return y, (operands, y > 0 if options.relu else None)


def _backward(options: Options, saved: Any, cotangent: Array) -> tuple[Any, ...]:
    operands, active = saved
    return None, *gradients.affine_gradients(options.spec, operands, active, cotangent)


_affine.defvjp(_forward, _backward)
