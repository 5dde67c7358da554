"""Lowering: what a chain computes, by one call of the kernel."""

import functools
from collections.abc import Callable, Container
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from resfuse.fusion import weight_gradient
from resfuse.fusion.graph import Value
from resfuse.fusion.match import Chain, Norm
from resfuse.fusion.prepare import fold
from resfuse.fusion.symbolic.formulas import MEAN, VAR
from resfuse.fusion.symbolic.polynomial import Polynomial, number
from resfuse.jax_compat import with_weak_type
from resfuse.kernel import affine
from resfuse.kernel.epilogue import ADD, ADD_RELU, IDENTITY, RELU
from resfuse.ops import conv_bn_relu_train
from resfuse.spec import ConvSpec

__all__ = ["compute"]

Read = Callable[[Value], Any]
Images = tuple[Array, Array, Array | None]  # x, kernel and residual


def compute(chain: Chain, read: Read, wanted: Container[Value]) -> dict[Value, Any]:
    """The chain's output, and of its statistics those that are ``wanted``."""
    if weight_gradient.takes(chain.geometry):
        y = weight_gradient.convolve(chain.geometry, read(chain.x), read(chain.kernel))
        return {chain.output: _output(chain, y)}
    x = chain.geometry.images_from(read(chain.x))
    kernel = chain.geometry.kernel.undo(read(chain.kernel))
    residual = None
    if chain.residual is not None and chain.residual_layout is not None:
        residual = chain.residual_layout.undo(read(chain.residual))
    if chain.norm is not None:
        return _with_statistics(chain, chain.norm, read, wanted, (x, kernel, residual))
    return {chain.output: _output(chain, _without_statistics(chain, read, (x, kernel, residual)))}


def _without_statistics(chain: Chain, read: Read, images: Images) -> Array:
    x, kernel, residual = images
    packed = None if chain.packed is None else read(chain.packed)
    folded = map(read, chain.folded) if chain.folded else fold(chain, read)
    operands = [packed, x, kernel, *folded, *([] if residual is None else [residual])]
    if chain.relu == "maximum":
        return _affine_then_maximum(chain.spec, *operands)
    return _affine(chain.spec, chain.relu == "relu", _in_place(chain), *operands)


def _with_statistics(
    chain: Chain, norm: Norm, read: Read, wanted: Container[Value], images: Images
) -> dict[Value, Any]:
    y, mean, var = _batch_norm(chain, norm, read, images)
    found = {chain.output: _output(chain, y)}
    for value, (polynomial, axis) in norm.statistics.items():
        if value in wanted:
            array = polynomial.evaluate({MEAN: mean, VAR: var}.__getitem__)
            array = lax.broadcast_in_dim(array, value.aval.shape, (axis,))
            found[value] = with_weak_type(array, value.aval.weak_type)
    return found


def _batch_norm(chain: Chain, norm: Norm, read: Read, images: Images) -> tuple[Array, Array, Array]:
    def per_channel(polynomial: Polynomial) -> Array:
        array = polynomial.evaluate(lambda index: jnp.reshape(read(norm.inputs[index]), -1))
        return jnp.broadcast_to(array, (chain.channels,))

    x, kernel, residual = images
    return conv_bn_relu_train(
        x,
        kernel,
        None if norm.scale == number(1) else per_channel(norm.scale),
        None if norm.bias == number(0) else per_channel(norm.bias),
        conv_bias=fold(chain, read)[1] if chain.steps else None,
        residual=residual,
        strides=chain.spec.strides,
        padding=chain.spec.padding,
        input_dilation=chain.spec.input_dilation,
        kernel_dilation=chain.spec.kernel_dilation,
        feature_group_count=chain.spec.feature_group_count,
        precision=chain.spec.precision,
        epsilon=norm.epsilon,
        relu=chain.relu is not None,
    )


def _in_place(chain: Chain) -> bool:
    """Whether the residual is computed here, and needed by nothing else then or later."""
    residual = chain.residual
    return (
        residual is not None
        and residual is not chain.x
        and residual.producer is not None
        and residual.producer.scope is chain.conv.scope
        and residual.users[-1] in chain.nodes
    )


def _output(chain: Chain, y: Array) -> Any:
    return with_weak_type(chain.layout.apply(y), chain.output.aval.weak_type)


@functools.partial(jax.jit, static_argnums=(0, 1, 2), inline=True)
def _affine(
    spec: ConvSpec, relu: bool, in_place: bool, packed: Array | None, *operands: Array
) -> Array:
    """As :func:`resfuse.kernel.affine.affine`, traced once for all chains of the same sizes."""
    adds = len(operands) == 5
    epilogue = (ADD_RELU if relu else ADD) if adds else (RELU if relu else IDENTITY)
    y: Array = affine.affine(
        *operands, spec=spec, epilogue=epilogue, packed=packed, in_place=in_place
    )
    return y


@functools.partial(jax.jit, static_argnums=0, inline=True)
def _affine_then_maximum(spec: ConvSpec, packed: Array | None, *operands: Array) -> Array:
    """``jnp.maximum(affine, 0)``: where that is 0, half a derivative; ``jax.nn.relu`` has none."""
    return _maximum(spec, packed, *operands)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _maximum(spec: ConvSpec, packed: Array | None, *operands: Array) -> Array:
    return _affine(spec, True, False, packed, *operands)


def _forward(spec: ConvSpec, packed: Array | None, *operands: Array) -> tuple[Any, Any]:
    def function(*operands: Array) -> Array:
        return lax.max(_affine(spec, False, False, packed, *operands), jnp.float32(0))

    return jax.vjp(function, *operands)


def _backward(spec: ConvSpec, pull: Any, cotangent: Array) -> tuple[Any, ...]:
    del spec
    return None, *pull(cotangent)


_maximum.defvjp(_forward, _backward)
