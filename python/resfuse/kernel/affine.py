"""The kernel's main operation: ``E(scale * conv(x, kernel) + shift, *operands)``.

``E`` is an :class:`Epilogue`, elementwise, and ``x`` may be what a :class:`Prologue` makes of other
arrays. ``ops.py`` folds its batch norm into ``scale`` and ``shift``; ``fuse`` does so for any
function. Weights that do not change may come packed as well, see :func:`resfuse.ffi.pack`.
"""

import functools
from typing import Any

import jax
from jax import Array

from resfuse import reference
from resfuse.kernel.call import Call
from resfuse.kernel.conv import attributes, axes, conv, input_gradient, weight_gradient
from resfuse.kernel.derivatives import bare, refuse_forward_mode, varying_like
from resfuse.kernel.epilogue import Epilogue, Kind
from resfuse.kernel.fold import fold_of
from resfuse.kernel.packed import Packed, Weights
from resfuse.kernel.prologue import Prologue
from resfuse.purpose import by_platform
from resfuse.spec import ConvSpec

__all__ = ["affine", "affine_on_cpu"]

Arrays = tuple[Array, ...]


def affine(
    x: Array | Arrays,
    kernel: Array,
    scale: Array,
    shift: Array,
    *operands: Array,
    spec: ConvSpec,
    epilogue: Epilogue,
    packed: Packed | None = None,
    in_place: bool = False,
    prologue: Prologue | None = None,
) -> Any:
    """The kernel where this is compiled for a CPU, the reference anywhere else.

    Args:
        x: ``(B, [[D,] H,] W, Cin)``, float32 as all of them; with a prologue its arrays.
        kernel: ``([[kd,] kh,] kw, Cin/groups, Cout)``.
        scale: ``(Cout,)``.
        shift: ``(Cout,)``.
        *operands: those of the epilogue, ``(Cout,)``, ``(B, Cout)`` or of the output's shape.
        spec: strides, padding, groups and precision.
        epilogue: what follows element by element.
        packed: ``ffi.pack(kernel, spec)``, which the kernel then reads in place of ``kernel``;
            derivatives are still those by ``kernel``, of which otherwise the shape suffices.
        in_place: whether the output may take the memory of the last operand, if that has the
            output's shape: worth it where it is a value of the program that nothing else needs.
        prologue: what comes before; in one group, and where it is more than parts, only of windows
            that are single pixels of the image.

    Returns:
        ``(B, [[Do,] Ho,] Wo, Cout)``; as many of them as the epilogue has outputs, a tuple of
        several.
    """
    call = functools.partial(
        affine_on_cpu, spec=spec, epilogue=epilogue, in_place=in_place, prologue=prologue
    )

    def on_cpu(packed: Packed | None, *arrays: Array) -> Any:
        return call(*arrays, packed=packed)

    def plain(packed: Packed | None, *arrays: Array) -> Any:
        del packed
        x, kernel, scale, shift, *operands = _transformed(prologue, arrays)
        acc = reference.affine(x, kernel, scale, shift, spec=spec)
        return _unpacked(epilogue.outputs(acc, *operands))

    images = x if isinstance(x, tuple) else (x,)
    arrays = (*images, kernel, scale, shift, *operands)
    return by_platform(packed, *arrays, cpu=on_cpu, default=plain)


def affine_on_cpu(
    *arrays: Array,
    spec: ConvSpec,
    epilogue: Epilogue,
    packed: Packed | None = None,
    in_place: bool = False,
    prologue: Prologue | None = None,
) -> Any:
    """As :func:`affine`, always the kernel; the prologue's arrays lead."""
    arrays = refuse_forward_mode(arrays)
    if prologue is not None:
        return _unpacked(
            bare(_prologue_affine)(prologue, spec, epilogue, in_place, packed, *arrays)
        )
    return _unpacked(bare(conv_affine)(spec, epilogue, in_place, packed, *arrays))


def _transformed(prologue: Prologue | None, arrays: Arrays) -> Arrays:
    """The arrays with ``x`` in place of those of the prologue."""
    if prologue is None:
        return arrays
    return prologue(*arrays[: prologue.count]), *arrays[prologue.count :]


def _unpacked(outputs: Arrays) -> Any:
    return outputs if len(outputs) > 1 else outputs[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def conv_affine(
    spec: ConvSpec,
    epilogue: Epilogue,
    in_place: bool,
    packed: Packed | None,
    x: Array,
    kernel: Array,
    scale: Array,
    shift: Array,
    *operands: Array,
) -> Arrays:
    """The call itself, which returns a tuple always; the arguments are those of :func:`affine`."""
    if fold := fold_of(spec, kernel.shape):
        folded: Any = fold.kernel(kernel) if packed is None else fold.type_of(kernel)
        shape = fold.spec.output_shape(x.shape, folded.shape)
        rest = (fold.operand(each, shape) for each in (scale, shift, *operands))
        outputs = _call(None, fold.spec, epilogue, False, packed, x, folded, *rest)
        unfolded = spec.output_shape(x.shape, kernel.shape)
        return tuple(fold.unfolded(y, unfolded) for y in outputs)
    return _call(None, spec, epilogue, in_place, packed, x, kernel, scale, shift, *operands)


def _call(
    prologue: Prologue | None,
    spec: ConvSpec,
    epilogue: Epilogue,
    in_place: bool,
    packed: Packed | None,
    *arrays: Array,
) -> Arrays:
    """The call; the prologue's arrays lead, or else ``x``."""
    count = 1 if prologue is None else prologue.count
    images, (kernel, scale, shift, *operands) = arrays[:count], arrays[count:]
    name, program = axes(spec), epilogue.program
    weights = Weights((kernel, scale, shift), (name.kernel, "o", "o"), {})
    if packed is not None:
        weights = Weights.packed(packed, scale, shift, "abce", "o")
    before = [name.x] if prologue is None else prologue.rule(name.x)
    rule = [*before, *weights.rule, *program.rule(name.y)]
    x = *images[0].shape[:-1], kernel.shape[-2] * spec.feature_group_count
    y = spec.output_shape(x, kernel.shape)
    call = Call(
        "conv_affine",
        f"{', '.join(rule)} -> {', '.join([name.y] * len(program.outputs))}",
        sizes=name.of_y(y) | {"o": y[-1]},
        attributes=attributes(spec)
        | program.attributes
        | {"packed": () if packed is None else kernel.shape}
        | weights.attributes
        | {"prologue": () if prologue is None else prologue.attribute},
        in_place=epilogue.replaced(in_place),
    )
    return call(*images, *weights.operands, *operands)


def _forward(
    spec: ConvSpec, epilogue: Epilogue, in_place: bool, packed: Packed | None, *arrays: Array
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


_prologue_affine = jax.custom_vjp(_call, nondiff_argnums=(0, 1, 2, 3))
"""The call with a prologue; differentiated, the prologue is plain JAX in front of the other."""


def _prologue_forward(
    prologue: Prologue,
    spec: ConvSpec,
    epilogue: Epilogue,
    in_place: bool,
    packed: Packed | None,
    *arrays: Array,
) -> tuple[Arrays, Any]:
    def plain(*arrays: Array) -> Arrays:
        x, *rest = _transformed(prologue, arrays)
        return conv_affine(spec, epilogue, in_place, packed, x, *rest)

    return jax.vjp(plain, *arrays)


def _prologue_backward(
    prologue: Prologue,
    spec: ConvSpec,
    epilogue: Epilogue,
    in_place: bool,
    pull: Any,
    d_outputs: Arrays,
) -> tuple[Array | None, ...]:
    del prologue, spec, epilogue, in_place
    return None, *pull(d_outputs)


_prologue_affine.defvjp(_prologue_forward, _prologue_backward)
