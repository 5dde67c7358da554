"""Lowering: what a chain, a cascade or a norm computes, by one call of the kernel."""

import functools
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax

from resfuse.fusion import weight_gradient
from resfuse.fusion.cascades import Cascade
from resfuse.fusion.chain import Chain, Norm
from resfuse.fusion.graph import Value
from resfuse.fusion.operands import Operand
from resfuse.fusion.steps import fold
from resfuse.fusion.symbolic.formulas import MEAN, VAR
from resfuse.fusion.symbolic.image_norms import ImageNorm
from resfuse.fusion.symbolic.polynomial import Polynomial, number
from resfuse.jax_compat import with_weak_type
from resfuse.kernel import affine, cascade
from resfuse.kernel.cascade import Part, PartArrays
from resfuse.kernel.epilogue import IDENTITY, Epilogue
from resfuse.kernel.image_norm import GroupNorm, LayerNorm, image_norm
from resfuse.kernel.origin import Made
from resfuse.kernel.packed import Packed, Rows
from resfuse.kernel.prologue import Prologue
from resfuse.ops import train_layer
from resfuse.purpose import Purpose, purpose
from resfuse.spec import ConvSpec

__all__ = ["FusedCall", "compute", "compute_cascade", "compute_norm"]

FusedCall = Chain | Cascade | ImageNorm
Read = Callable[[Value], Any]
_Function = TypeVar("_Function", bound=Callable[..., Any])


def compute(chain: Chain, read: Read, wanted: Container[Value]) -> dict[Value, Any]:
    """The chain's images, and of its statistics those that are ``wanted``."""
    if weight_gradient.takes(chain.geometry):
        y = weight_gradient.convolve(chain.geometry, read(chain.x), read(chain.kernel))
        return _images(chain, (y,))
    operands = [_operand(chain, operand, read) for operand in chain.operands]
    if chain.norm is not None:
        origin = None if chain.origin_of_x is None else read(chain.origin_of_x)
        x = Made(chain.geometry.images_from(read(chain.x)), origin)
        kernel = chain.geometry.kernel.undo(read(chain.kernel))
        return _with_statistics(chain, chain.norm, read, wanted, x, (kernel, *operands))
    prologue = chain.head.prologue if chain.head else None
    static = chain.spec, _epilogue(chain), _in_place(chain), prologue
    packed, *weights = _weights(chain, read)
    outputs = _affine(*static, packed, _before(chain, read), *weights, *operands)
    return _images(chain, outputs)


def _weights(chain: Chain, read: Read) -> tuple[Packed | None, Any, Any, Any]:
    """The packed weights, the kernel, scale and shift; of what only runs the kernel's type."""
    packed = chain.packed
    if packed is None or purpose() is not Purpose.RUNNING:
        kernel = chain.geometry.kernel.undo(read(chain.kernel))
        own = None if packed is None else read(packed.value)
        return own, kernel, *_scale_and_shift(chain, read)
    kernel = jax.ShapeDtypeStruct(chain.geometry.kernel.start, jnp.float32)
    rows = Rows(read(packed.together), packed.first_row, packed.has_numbers)
    numbers = (None, None) if packed.has_numbers else _scale_and_shift(chain, read)
    return rows, kernel, *numbers


def _before(chain: Chain, read: Read) -> tuple[Array, ...]:
    """The images, or the arrays of the head's prologue."""
    if chain.head is None:
        return (chain.geometry.images_from(read(chain.x)),)
    numbers = map(read, chain.before) if chain.before else chain.head.arrays(read)
    return (*map(read, chain.head.parts), *numbers)


def compute_cascade(found: Cascade, read: Read, computed: Container[Value]) -> dict[Value, Any]:
    """The images of its last chain; ``computed`` are values that there are already."""
    last = found.chains[-1]
    parts = tuple(Part(chain.spec, _epilogue(chain)) for chain in found.chains)
    arrays = [_arrays(chain, read) for chain in found.chains]
    in_place = _in_place(last) and last.operands[-1].value is not found.x
    sums = found.row_sums if found.squeezed is None else None
    static = cascade.Cascade(parts, in_place, found.squeezed is not None, sums is not None)
    y, *others = _cascade(static, _images_of(found, read, computed), *arrays)
    of_rows = {} if sums is None else {sums: others.pop(0)}
    return _images(last, (y, *others)) | of_rows


def compute_norm(norm: ImageNorm, read: Read) -> dict[Value, Any]:
    """Its result."""
    channels, meaning = norm.x.aval.shape[-1], norm.affine
    deviation, both = meaning.deviation, (meaning.scale, meaning.bias)
    numbers = (_per_channel(each, meaning.inputs, channels, read) for each in both)
    static = (
        LayerNorm(deviation.epsilon, deviation.centred, norm.in_place)
        if norm.groups is None
        else GroupNorm(norm.groups, deviation.epsilon, norm.ending)
    )
    return _images(norm, (_image_norm(static, read(norm.x), *numbers),))


def _per_channel(
    polynomial: Polynomial, inputs: Mapping[int, Value], channels: int, read: Read
) -> Array:
    """Its value, ``(C,)``."""
    if not polynomial.terms:
        return jnp.zeros(channels, jnp.float32)
    array = polynomial.evaluate(lambda index: jnp.reshape(read(inputs[index]), -1))
    return jnp.broadcast_to(array, (channels,))


def _images_of(found: Cascade, read: Read, computed: Container[Value]) -> Array:
    """What its call reads: of a squeeze the sums of rows, as narrow images, if there are any."""
    if found.squeezed is None:
        return found.chains[0].geometry.images_from(read(found.x))
    if found.row_sums is not None and found.row_sums in computed:
        return jnp.expand_dims(read(found.row_sums), 2)
    x = read(found.squeezed)
    return x.reshape(*x.shape[:2], -1, x.shape[-1])


def _arrays(chain: Chain, read: Read) -> PartArrays:
    operands = (_operand(chain, operand, read) for operand in chain.operands)
    return PartArrays(*_weights(chain, read), tuple(operands))


def _scale_and_shift(chain: Chain, read: Read) -> tuple[Any, Any]:
    if chain.folded is None:
        return fold(chain.steps, chain.channels, read)
    scale, shift = chain.folded
    return read(scale), read(shift)


def _epilogue(chain: Chain) -> Epilogue:
    return chain.tail.epilogue if chain.tail else IDENTITY


def _operand(chain: Chain, operand: Operand, read: Read) -> Array:
    prepared = chain.prepared.get(operand)
    return operand.for_kernel(read(operand.value)) if prepared is None else read(prepared)


def _with_statistics(
    chain: Chain,
    norm: Norm,
    read: Read,
    wanted: Container[Value],
    x: Made,
    arrays: Sequence[Array],
) -> dict[Value, Any]:
    made, mean, var = _batch_norm(chain, norm, read, x, *arrays)
    found = _images(chain, (made.y,))
    if chain.origin is not None:
        found[chain.origin] = made.origin
    for value, (polynomial, axis) in norm.statistics.items():
        if value in wanted:
            array = polynomial.evaluate({MEAN: mean, VAR: var}.__getitem__)
            array = lax.broadcast_in_dim(array, value.aval.shape, (axis,))
            found[value] = with_weak_type(array, value.aval.weak_type)
    return found


def _batch_norm(
    chain: Chain, norm: Norm, read: Read, x: Made, kernel: Array, residual: Array | None = None
) -> tuple[Made, Array, Array]:
    def per_channel(polynomial: Polynomial) -> Array:
        return _per_channel(polynomial, meaning.inputs, chain.channels, read)

    meaning = norm.affine
    return train_layer(
        x,
        kernel,
        None if meaning.scale == number(1) else per_channel(meaning.scale),
        None if meaning.bias == number(0) else per_channel(meaning.bias),
        conv_bias=fold(chain.steps, chain.channels, read)[1] if chain.steps else None,
        residual=residual,
        strides=chain.spec.strides,
        padding=chain.spec.padding,
        input_dilation=chain.spec.input_dilation,
        kernel_dilation=chain.spec.kernel_dilation,
        feature_group_count=chain.spec.feature_group_count,
        precision=chain.spec.precision,
        epsilon=meaning.deviation.epsilon,
        activation=None if chain.tail is None else chain.tail.epilogue.gate,
        implementation=None,
        gives_origin=chain.origin is not None,
    )


def _in_place(chain: Chain) -> bool:
    tail = chain.tail
    return tail is not None and tail.in_place and tail.operands[-1].value not in chain.images


def _images(call: Chain | ImageNorm, arrays: Sequence[Array]) -> dict[Value, Any]:
    """The call's images as the program has them."""
    return {
        value: with_weak_type(lies.apply(array), value.aval.weak_type)
        for (value, lies), array in zip(call.results, arrays, strict=True)
    }


def _once(function: _Function, static: int) -> _Function:
    """The function, traced once for all chains of the same sizes; the first arguments are static.

    Without any rules it is so little to trace that JAX would take longer to find it.
    """
    traced = jax.jit(function, static_argnums=range(static), inline=True)

    def call(*arguments: Any) -> Any:
        chosen = function if purpose() is Purpose.RUNNING else traced
        return chosen(*arguments)

    return call  # type: ignore[return-value]


@functools.partial(_once, static=4)
def _affine(
    spec: ConvSpec,
    epilogue: Epilogue,
    in_place: bool,
    prologue: Prologue | None,
    packed: Packed | None,
    images: tuple[Array, ...],
    *operands: Array,
) -> tuple[Array, ...]:
    """As :func:`resfuse.kernel.affine.affine`."""
    outputs = affine.affine(
        images,
        *operands,
        spec=spec,
        epilogue=epilogue,
        packed=packed,
        in_place=in_place,
        prologue=prologue,
    )
    return outputs if isinstance(outputs, tuple) else (outputs,)


@functools.partial(_once, static=1)
def _cascade(static: cascade.Cascade, x: Array, *arrays: PartArrays) -> tuple[Array, ...]:
    """As :func:`resfuse.kernel.cascade.cascade`."""
    return cascade.cascade(x, *arrays, static=static)


@functools.partial(_once, static=1)
def _image_norm(static: LayerNorm | GroupNorm, x: Array, scale: Array, bias: Array) -> Array:
    """As :func:`resfuse.kernel.image_norm.image_norm`."""
    return image_norm(x, scale, bias, static=static)
