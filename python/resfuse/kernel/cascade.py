"""Convolutions of which each reads what the one before wrote, in one call: a *cascade*.

    y_k = E_k(scale_k * conv(y_{k-1}, kernel_k) + shift_k, *operands_k),        y_0 = x

The kernel computes a few rows of each at a time, where what lies between them would not stay in its
cache otherwise. The bits are those of the convolutions alone, and so are the derivatives.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
from jax import Array

from resfuse import reference
from resfuse.kernel.affine import conv_affine
from resfuse.kernel.call import Attribute, Call
from resfuse.kernel.conv import attributes
from resfuse.kernel.derivatives import bare, refuse_forward_mode
from resfuse.kernel.epilogue import Epilogue
from resfuse.purpose import by_platform
from resfuse.spec import ConvSpec

__all__ = ["MAX_PARTS", "Part", "PartArrays", "cascade", "cascade_on_cpu"]


@dataclasses.dataclass(frozen=True)
class Part:
    """The static half of a convolution and what follows it."""

    spec: ConvSpec
    epilogue: Epilogue


class PartArrays(NamedTuple):
    """Its arrays, as :func:`resfuse.kernel.affine.affine` has them."""

    packed: Array | None  # None among derivatives
    kernel: Array
    scale: Array
    shift: Array
    operands: tuple[Array, ...]

    @property
    def of_call(self) -> Iterator[Any]:
        """What the kernel reads."""
        yield from (self.packed, self.scale, self.shift, *self.operands)


_LETTERS = ("abcde", "fgjkl", "mopqr")  # the factors of each part's packed kernel and output
MAX_PARTS = len(_LETTERS)
"""As many convolutions the extension takes in one call, csrc/ffi/cascade.cc."""

Arrays = tuple[Array, ...]
Parts = tuple[Part, ...]


def cascade(x: Array, *arrays: PartArrays, parts: Parts, in_place: bool = False) -> Arrays:
    """The kernel where this is compiled for a CPU, the reference anywhere else.

    Args:
        x: ``(B, H, W, Cin)``, float32 as all arrays.
        *arrays: of each part. Only operands of the last may have the output's shape.
        parts: two or three, for which :func:`resfuse.ffi.is_cascade` holds; all but the last have
            one output.
        in_place: whether the first output may take the memory of the last operand.

    Returns:
        The outputs of the last part.
    """

    def on_cpu(x: Array, *arrays: PartArrays) -> Arrays:
        return cascade_on_cpu(x, *arrays, parts=parts, in_place=in_place)

    def plain(x: Array, *arrays: PartArrays) -> Arrays:
        outputs: Arrays = (x,)
        for part, (_, kernel, scale, shift, operands) in zip(parts, arrays, strict=True):
            acc = reference.affine(outputs[0], kernel, scale, shift, spec=part.spec)
            outputs = part.epilogue.outputs(acc, *operands)
        return outputs

    return by_platform(x, *arrays, cpu=on_cpu, default=plain)


def cascade_on_cpu(x: Array, *arrays: PartArrays, parts: Parts, in_place: bool = False) -> Arrays:
    """As :func:`cascade`, always the kernel."""
    x, arrays = refuse_forward_mode((x, arrays))
    return bare(_cascade)(parts, in_place, x, *arrays)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _cascade(parts: Parts, in_place: bool, x: Array, *arrays: PartArrays) -> Arrays:
    shape, outputs = x.shape, len(parts[-1].epilogue.program.outputs)
    for part, each in zip(parts, arrays, strict=True):
        shape = part.spec.output_shape(shape, each.kernel.shape)
    rules = [_axes(index, part) for index, part in enumerate(parts)]
    call = Call(
        "conv_cascade",
        f"n h w i, {', '.join(itertools.chain(*rules))} -> "
        + ", ".join([_output(len(parts) - 1)] * outputs),
        sizes={"y": shape[1], "x": shape[2]},
        attributes={"parts": len(parts)} | dict(_attributes(parts, arrays)),
        in_place=in_place and parts[-1].epilogue.program.operands[-1:] == ("tensor",),
    )
    return call(x, *(array for each in arrays for array in each.of_call))


def _output(index: int) -> str:
    """The axes of a part's output."""
    return f"n y x {_LETTERS[index][-1]}"


def _axes(index: int, part: Part) -> Iterator[str]:
    """Of what the call takes for a part, whose packed kernel has four axes."""
    *packed, out = list(_LETTERS[index])
    yield " ".join(packed)
    yield from (out, out)
    yield from part.epilogue.program.rule(_output(index))


def _attributes(parts: Parts, arrays: Sequence[PartArrays]) -> Iterator[tuple[str, Attribute]]:
    """The handler takes those of each part by their names and its number."""
    for index, (part, each) in enumerate(zip(parts, arrays, strict=True)):
        own = attributes(part.spec) | part.epilogue.program.attributes
        own |= {"packed": each.kernel.shape, "operands": len(each.operands)}
        for name, value in own.items():
            yield f"{name}_{index}", value


def _apart(parts: Parts, in_place: bool, x: Array, *arrays: PartArrays) -> Arrays:
    """The convolutions one after the other, whose derivatives are the cascade's."""
    outputs: Arrays = (x,)
    for part, (packed, *rest, operands) in zip(parts, arrays, strict=True):
        replaces = in_place and part is parts[-1]
        outputs = conv_affine(
            part.spec, part.epilogue, replaces, packed, outputs[0], *rest, *operands
        )
    return outputs


def _forward(parts: Parts, in_place: bool, x: Array, *arrays: PartArrays) -> tuple[Arrays, Any]:
    def outputs(x: Array, *arrays: PartArrays) -> Arrays:
        own = (each._replace(packed=packed) for each, packed in zip(arrays, weights, strict=True))
        return _apart(parts, in_place, x, *own)

    weights = [each.packed for each in arrays]
    return jax.vjp(outputs, x, *(each._replace(packed=None) for each in arrays))


def _backward(parts: Parts, in_place: bool, pull: Any, d_outputs: Arrays) -> Any:
    del parts, in_place
    return pull(d_outputs)


_cascade.defvjp(_forward, _backward)
