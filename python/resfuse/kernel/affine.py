"""The kernel's main operation: ``E(scale * conv(x, kernel) + shift, *operands)``.

``E`` is an :class:`Epilogue`, elementwise. ``ops.py`` folds its batch norm into ``scale`` and
``shift``; ``fuse`` does so for any function. Weights that do not change may come packed as well,
see :func:`resfuse.ffi.pack`.
"""

import functools
from typing import Any

import jax
from jax import Array, lax

from resfuse import reference
from resfuse.kernel.call import Call
from resfuse.kernel.conv import attributes, axes, conv, input_gradient, weight_gradient
from resfuse.kernel.derivatives import refuse_forward_mode, varying_like
from resfuse.kernel.epilogue import Epilogue, Kind
from resfuse.kernel.fold import fold_of
from resfuse.spec import ConvSpec

__all__ = ["affine", "affine_on_cpu"]

Arrays = tuple[Array, ...]


def affine(
    x: Array,
    kernel: Array,
    scale: Array,
    shift: Array,
    *operands: Array,
    spec: ConvSpec,
    epilogue: Epilogue,
    packed: Array | None = None,
    in_place: bool = False,
) -> Any:
    """The kernel where this is compiled for a CPU, the reference anywhere else.

    Args:
        x: ``(B, [[D,] H,] W, Cin)``, float32 as all of them.
        kernel: ``([[kd,] kh,] kw, Cin/groups, Cout)``.
        scale: ``(Cout,)``.
        shift: ``(Cout,)``.
        *operands: those of the epilogue, ``(Cout,)``, ``(B, Cout)`` or of the output's shape.
        spec: strides, padding, groups and precision.
        epilogue: what follows element by element.
        packed: ``ffi.pack(kernel, spec)``, which the kernel then reads in place of ``kernel``;
            derivatives are still those by ``kernel``.
        in_place: whether the output may take the memory of the last operand, if that has the
            output's shape: worth it where it is a value of the program that nothing else needs.

    Returns:
        ``(B, [[Do,] Ho,] Wo, Cout)``; as many of them as the epilogue has outputs, a tuple of
        several.
    """

    def on_cpu(packed: Array | None, *arrays: Array) -> Any:
        return affine_on_cpu(
            *arrays, spec=spec, epilogue=epilogue, packed=packed, in_place=in_place
        )

    def plain(packed: Array | None, *arrays: Array) -> Any:
        del packed
        x, kernel, scale, shift, *operands = arrays
        acc = reference.affine(x, kernel, scale, shift, spec=spec)
        return _unpacked(epilogue.outputs(acc, *operands))

    arrays = (x, kernel, scale, shift, *operands)
    return lax.platform_dependent(packed, *arrays, cpu=on_cpu, default=plain)


def affine_on_cpu(
    *arrays: Array,
    spec: ConvSpec,
    epilogue: Epilogue,
    packed: Array | None = None,
    in_place: bool = False,
) -> Any:
    """As :func:`affine`, always the kernel."""
    return _unpacked(conv_affine(spec, epilogue, in_place, packed, *refuse_forward_mode(arrays)))


def _unpacked(outputs: Arrays) -> Any:
    return outputs if len(outputs) > 1 else outputs[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def conv_affine(
    spec: ConvSpec,
    epilogue: Epilogue,
    in_place: bool,
    packed: Array | None,
    x: Array,
    kernel: Array,
    scale: Array,
    shift: Array,
    *operands: Array,
) -> Arrays:
    """The call itself, which returns a tuple always; the arguments are those of :func:`affine`."""
    if fold := fold_of(spec, kernel.shape):
        folded = fold.spec, fold.kernel(kernel)
        shape = folded[0].output_shape(x.shape, folded[1].shape)
        rest = (fold.operand(each, shape) for each in (scale, shift, *operands))
        outputs = conv_affine(folded[0], epilogue, False, packed, x, folded[1], *rest)
        width = spec.output_shape(x.shape, kernel.shape)[-2]
        return tuple(fold.unfolded(y, width) for y in outputs)
    name, program = axes(spec), epilogue.program
    weights, factors = (kernel, name.kernel) if packed is None else (packed, "a b c e")
    factors_of: dict[Kind, str] = {"channel": "o", "image": "n o", "tensor": name.y}
    rule = [name.x, factors, "o", "o", *(factors_of[kind] for kind in program.operands)]
    call = Call(
        "conv_affine",
        f"{', '.join(rule)} -> {', '.join([name.y] * len(program.outputs))}",
        sizes=name.of_y(spec.output_shape(x.shape, kernel.shape)),
        attributes=attributes(spec)
        | program.attributes
        | {"packed": () if packed is None else kernel.shape},
        in_place=in_place and program.operands[-1:] == ("tensor",),
    )
    return call(x, weights, scale, shift, *operands)


def _forward(
    spec: ConvSpec, epilogue: Epilogue, in_place: bool, packed: Array | None, *arrays: Array
) -> tuple[Arrays, tuple[Arrays, Array | None]]:
    """Saves where the gate is open, or without one the accumulator, a further output."""
    if epilogue.gate is not None:
        outputs = conv_affine(spec, epilogue, in_place, packed, *arrays)
        return outputs, (arrays, epilogue.gate.opened(outputs[0]))
    outputs = conv_affine(spec, epilogue.with_accumulator(), in_place, packed, *arrays)
    return outputs[: len(epilogue.program.outputs)], (arrays, outputs[-1])


def _backward(
    spec: ConvSpec, epilogue: Epilogue, in_place: bool, saved: Any, d_outputs: Arrays
) -> tuple[Array | None, ...]:
    del in_place
    (x, kernel, scale, _, *operands), kept = arrays, _ = saved
    d_acc, *d_operands = _of_epilogue(epilogue, kept, operands, d_outputs)
    leading = tuple(range(d_acc.ndim - 1))
    # The convolution's value serves only the gradient by the scale; unused, it is never computed.
    d_scale = (d_acc * conv(spec, x, kernel)).sum(leading)
    d_conv = d_acc * reference.per_channel(scale, d_acc)
    d_x = input_gradient(spec, x.shape[1:-1], d_conv, kernel)  # unused, likewise
    d_kernel = weight_gradient(spec, kernel.shape[:-2], x, d_conv)
    cotangents = (d_x, d_kernel, d_scale, d_acc.sum(leading), *d_operands)
    return None, *map(varying_like, cotangents, arrays)


def _of_epilogue(
    epilogue: Epilogue, kept: Any, operands: list[Array], d_outputs: Arrays
) -> tuple[Array, ...]:
    """The cotangents of the accumulator and of the operands."""
    if epilogue.gate is None:
        cotangents: Arrays = jax.vjp(epilogue.outputs, kept, *operands)[1](d_outputs)
        return cotangents
    d_sum = epilogue.gate.pull(kept, d_outputs[0])
    kinds = epilogue.program.operands
    return d_sum, *(d_sum.sum(_summed(kind, d_sum.ndim)) for kind in kinds)


def _summed(kind: Kind, rank: int) -> range:
    """The axes that an operand lacks."""
    return {"channel": range(rank - 1), "image": range(1, rank - 1), "tensor": range(0)}[kind]


conv_affine.defvjp(_forward, _backward)
