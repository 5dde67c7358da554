"""Convolutions of which each reads what the one before wrote, in one call: a *cascade*.

    y_k = E_k(scale_k * conv(y_{k-1}, kernel_k) + shift_k, *operands_k),        y_0 = x

The kernel computes a few rows of each at a time, where what lies between them would not stay in its
cache otherwise. The bits are those of the convolutions alone, and so are the derivatives.

A *squeeze* is a cascade on the sums over all pixels of each image, ``y_0 = x.sum((1, 2))``: squeeze
and excitation up to its gate (Hu et al. 2017, eq. 2 and 3), or a network's head. It is worth a call
because its layers, of a single pixel each, take no longer than calls.
"""

import dataclasses
import functools
import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax import Array

from resfuse import reference
from resfuse.kernel.affine import conv_affine
from resfuse.kernel.call import Attribute, Call
from resfuse.kernel.conv import attributes
from resfuse.kernel.derivatives import bare, refuse_forward_mode
from resfuse.kernel.epilogue import Epilogue
from resfuse.kernel.packed import Packed, Weights
from resfuse.kernel.pool import Pooling, pool_on_cpu
from resfuse.purpose import by_platform
from resfuse.spec import ConvSpec

__all__ = ["MAX_PARTS", "Cascade", "Part", "PartArrays", "cascade", "cascade_on_cpu", "plain"]


@dataclasses.dataclass(frozen=True)
class Part:
    """The static half of a convolution and what follows it."""

    spec: ConvSpec
    epilogue: Epilogue


class PartArrays(NamedTuple):
    """Its arrays, as :func:`resfuse.kernel.affine.affine` has them."""

    packed: Packed | None  # None among derivatives
    kernel: Any  # of whose weights the call itself needs only the type
    scale: Array
    shift: Array
    operands: tuple[Array, ...]


_LETTERS = ("abcde", "fgjkl", "mopqr")  # the factors of each part's packed kernel and output
MAX_PARTS = len(_LETTERS)
"""As many convolutions the extension takes in one call, csrc/ffi/cascade.cc.

Of six, MobileNetV2's first two blocks, nothing was left of what they would gain."""

Arrays = tuple[Array, ...]
Parts = tuple[Part, ...]


@dataclasses.dataclass(frozen=True)
class Cascade:
    """The static half of a call.

    Attributes:
        parts: up to three. All but the last have one output.
        in_place: whether the first output may take the memory of the last operand.
        squeeze: whether the first part reads the sums over all pixels of each image, as an image of
            a single pixel, in as many dimensions as each part has. Otherwise there are two
            parts or three, for which :func:`resfuse.ffi.is_cascade` holds.
        sums_rows: whether the sums over the pixels of each row of the first output follow it,
            ``(B, Ho, Cout)``, for a squeeze of it: they are at hand when a row has been computed.
    """

    parts: Parts
    in_place: bool = False
    squeeze: bool = False
    sums_rows: bool = False


def cascade(x: Array, *arrays: PartArrays, static: Cascade) -> Arrays:
    """The kernel where this is compiled for a CPU, the reference anywhere else.

    Args:
        x: ``(B, H, W, Cin)``, float32 as all arrays.
        *arrays: of each part. Only operands of the last may have the output's shape.
        static: all else.

    Returns:
        The outputs of the last part.
    """

    def on_cpu(x: Array, *arrays: PartArrays) -> Arrays:
        return cascade_on_cpu(x, *arrays, static=static)

    return by_platform(x, *arrays, cpu=on_cpu, default=functools.partial(plain, static))


def plain(static: Cascade, x: Array, *arrays: PartArrays) -> Arrays:
    """As :func:`cascade`, always the reference."""

    def run(part: Part, x: Array, each: PartArrays) -> Arrays:
        acc = reference.affine(x, each.kernel, each.scale, each.shift, spec=part.spec)
        return part.epilogue.outputs(acc, *each.operands)

    return _one_by_one(static, x, arrays, lambda x: x.sum((1, 2)), run)


def cascade_on_cpu(x: Array, *arrays: PartArrays, static: Cascade) -> Arrays:
    """As :func:`cascade`, always the kernel."""
    x, arrays = refuse_forward_mode((x, arrays))
    return bare(_cascade)(static, x, *arrays)


def _one_by_one(
    static: Cascade,
    x: Array,
    arrays: Sequence[PartArrays],
    total: Callable[[Array], Array],
    run: Callable[[Part, Array, PartArrays], Arrays],
) -> Arrays:
    """What the call means: ``total(x)`` adds up pixels, ``run`` a part's convolution."""
    outputs: Arrays = (total(x) if static.squeeze else x,)
    for part, each in zip(static.parts, arrays, strict=True):
        y = outputs[0]
        if static.squeeze:  # a dense layer's single pixel lies along one dimension
            y = y.reshape(y.shape[0], *(1 for _ in part.spec.strides), y.shape[-1])
        outputs = run(part, y, each)
    return (outputs[0], outputs[0].sum(2), *outputs[1:]) if static.sums_rows else outputs


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _cascade(static: Cascade, x: Array, *arrays: PartArrays) -> Arrays:
    if not static.squeeze:
        return _call(static, x.shape, x, *arrays)
    parts = tuple(map(_on_plane, static.parts))
    pixel = (x.shape[0], 1, 1, x.shape[-1])
    outputs = _call(dataclasses.replace(static, parts=parts), pixel, x, *map(_of_plane, arrays))
    ones = (1 for _ in static.parts[-1].spec.strides)
    shape = (x.shape[0], *ones, outputs[0].shape[-1])
    return tuple(y.reshape(shape) for y in outputs)


def _call(static: Cascade, shape: tuple[int, ...], x: Array, *arrays: PartArrays) -> Arrays:
    """The call; the first part reads images of that shape."""
    parts, y = static.parts, _output(len(static.parts) - 1)
    for part, each in zip(parts, arrays, strict=True):
        shape = part.spec.output_shape(shape, each.kernel.shape)
    results = [y] * len(parts[-1].epilogue.program.outputs)
    if static.sums_rows:
        results.insert(1, f"n y {y[-1]}")
    whole = list(map(_of_part, itertools.count(), parts, arrays))
    call = Call(
        "conv_cascade",
        f"n h w i, {', '.join(each.rule for each in whole)} -> {', '.join(results)}",
        sizes={"y": shape[1], "x": shape[2], y[-1]: shape[-1]},
        attributes=functools.reduce(
            operator.or_,
            (each.attributes for each in whole),
            {"parts": len(parts), "squeeze": static.squeeze, "sums_rows": static.sums_rows},
        ),
        in_place=parts[-1].epilogue.replaced(static.in_place),
    )
    return call(x, *itertools.chain.from_iterable(each.operands for each in whole))


def _on_plane(part: Part) -> Part:
    """The part on a single pixel of two dimensions, whatever dimensions it had."""
    ones = (1, 1)
    spec = ConvSpec(ones, ((0, 0), (0, 0)), ones, ones, 1, part.spec.precision)
    return dataclasses.replace(part, spec=spec)


def _of_plane(arrays: PartArrays) -> PartArrays:
    shape = 1, 1, *arrays.kernel.shape[-2:]
    return arrays._replace(kernel=jax.ShapeDtypeStruct(shape, arrays.kernel.dtype))


def _output(index: int) -> str:
    """The axes of a part's output."""
    return f"n y x {_LETTERS[index][-1]}"


class _PartOfCall(NamedTuple):
    rule: str
    attributes: dict[str, Attribute]
    operands: Arrays


def _of_part(index: int, part: Part, arrays: PartArrays) -> _PartOfCall:
    """What a part adds to the call; the handler takes attributes by their names and its number."""
    letters, out = _LETTERS[index][:-1], _LETTERS[index][-1]
    assert arrays.packed is not None
    weights = Weights.packed(arrays.packed, arrays.scale, arrays.shift, letters, out)
    rule = *weights.rule, *part.epilogue.program.rule(_output(index))
    own = attributes(part.spec) | part.epilogue.program.attributes | weights.attributes
    own |= {"packed": arrays.kernel.shape, "operands": len(arrays.operands)}
    named = {f"{name}_{index}": value for name, value in own.items()}
    return _PartOfCall(", ".join(rule), named, (*weights.operands, *arrays.operands))


def _apart(static: Cascade, x: Array, *arrays: PartArrays) -> Arrays:
    """The convolutions one after the other, whose derivatives are the cascade's."""

    def total(x: Array) -> Array:
        return pool_on_cpu(Pooling("sum", x.shape[1:3], (1, 1), ((0, 0),) * 2, (1, 1)), x)

    def run(part: Part, x: Array, each: PartArrays) -> Arrays:
        packed, *rest, operands = each
        replaces = static.in_place and part is static.parts[-1]
        return conv_affine(part.spec, part.epilogue, replaces, packed, x, *rest, *operands)

    return _one_by_one(static, x, arrays, total, run)


def _forward(static: Cascade, x: Array, *arrays: PartArrays) -> tuple[Arrays, Any]:
    def outputs(x: Array, *arrays: PartArrays) -> Arrays:
        own = (each._replace(packed=packed) for each, packed in zip(arrays, weights, strict=True))
        return _apart(static, x, *own)

    weights = [each.packed for each in arrays]
    return jax.vjp(outputs, x, *(each._replace(packed=None) for each in arrays))


def _backward(static: Cascade, pull: Any, d_outputs: Arrays) -> Any:
    del static
    return pull(d_outputs)


_cascade.defvjp(_forward, _backward)
