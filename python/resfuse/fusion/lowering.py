"""What a chain computes, by one call of the kernel's."""

from collections.abc import Callable, Container
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from resfuse.fusion import calls, layout
from resfuse.fusion.fold import combine
from resfuse.fusion.graph import Value
from resfuse.fusion.match import Chain, Norm
from resfuse.fusion.symbolic.formulas import MEAN, VAR
from resfuse.fusion.symbolic.polynomial import Polynomial, number

__all__ = ["compute"]

Read = Callable[[Value], Any]


def compute(chain: Chain, read: Read, wanted: Container[Value]) -> dict[Value, Any]:
    """The chain's output, and of its statistics those that are ``wanted``."""
    x = lax.transpose(read(chain.x), layout.images_order(chain.conv))
    kernel = lax.transpose(read(chain.kernel), layout.kernel_order(chain.conv))
    residual = None
    if chain.residual is not None and chain.residual_layout is not None:
        residual = chain.residual_layout.undo(read(chain.residual))
    if chain.norm is not None:
        return _with_statistics(chain, chain.norm, read, wanted, (x, kernel, residual))
    return {chain.output: _output(chain, _affine(chain, read, x, kernel, residual))}


def _affine(chain: Chain, read: Read, x: Array, kernel: Array, residual: Array | None) -> Array:
    packed = None if chain.packed is None else read(chain.packed)
    folded = map(read, chain.folded) if chain.folded else combine(chain, read)
    operands = [packed, x, kernel, *folded, *([] if residual is None else [residual])]
    if chain.relu == "maximum":
        return calls.affine_then_maximum(chain.spec, *operands)
    return calls.affine(chain.spec, chain.relu == "relu", _in_place(chain), *operands)


def _with_statistics(
    chain: Chain,
    norm: Norm,
    read: Read,
    wanted: Container[Value],
    images: tuple[Array, Array, Array | None],
) -> dict[Value, Any]:
    x, kernel, residual = images

    def per_channel(polynomial: Polynomial) -> Array:
        array = polynomial.evaluate(lambda index: jnp.reshape(read(norm.inputs[index]), -1))
        return jnp.broadcast_to(array, (chain.channels,))

    y, mean, var = calls.batch_norm(
        chain.spec,
        x,
        kernel,
        None if norm.scale == number(1) else per_channel(norm.scale),
        None if norm.bias == number(0) else per_channel(norm.bias),
        conv_bias=combine(chain, read)[1] if chain.steps else None,
        residual=residual,
        epsilon=norm.epsilon,
        relu=chain.relu is not None,
    )
    found = {chain.output: _output(chain, y)}
    for value, (polynomial, axis) in norm.statistics.items():
        if value in wanted:
            array = polynomial.evaluate({MEAN: mean, VAR: var}.__getitem__)
            array = lax.broadcast_in_dim(array, value.aval.shape, (axis,))
            found[value] = _typed(array, value.aval)
    return found


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
    return _typed(chain.layout.apply(y), chain.output.aval)


def _typed(y: Array, aval: Any) -> Any:
    if jax.typeof(y).weak_type == aval.weak_type:
        return y
    return lax.convert_element_type_p.bind(
        y, new_dtype=aval.dtype, weak_type=aval.weak_type, sharding=None
    )
