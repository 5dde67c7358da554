"""The arithmetic of a network, counted from the equations of its plain form."""

import math
from collections.abc import Iterator
from typing import Any

import jax
from jax.extend.core import JaxprEqn

from resfuse.cli.peers.flax_networks import forward, network
from resfuse.cli.peers.models import Model


def gflop(model: Model, batch: int, *, trains: bool) -> float:
    """Of convolutions and dense layers, a multiply-add counting as two.

    Only weights that fall on the image count, not those on its padding. Training does each layer
    three times, forwards and for two derivatives; the first needs none by the images.
    """
    layers = list(_multiply_adds(model))
    count = 3 * sum(layers) - layers[0] if trains else sum(layers)
    return 2 * batch * count / 1e9


def _multiply_adds(model: Model) -> Iterator[int]:
    """Those of each layer, for one image."""
    x = jax.ShapeDtypeStruct((1, model.size, model.size, model.channels), jax.numpy.float32)
    variables = jax.eval_shape(network(model, "xla").init, jax.random.key(0), x)
    # In training mode too it is this: batch norms are no multiply-adds of its layers.
    for eqn in jax.make_jaxpr(forward(model, "xla"))(variables, x).eqns:
        if eqn.primitive.name == "conv_general_dilated":
            yield _convolution(eqn)
        elif eqn.primitive.name == "dot_general":
            yield math.prod(_shape(eqn.invars[1]))


def _convolution(eqn: JaxprEqn) -> int:
    """Of a convolution without dilation."""
    layouts, (x, kernel), (y,) = eqn.params["dimension_numbers"], eqn.invars, eqn.outvars
    count = math.prod(_shape(kernel)[axis] for axis in layouts.rhs_spec[:2])
    axes = zip(layouts.lhs_spec[2:], layouts.rhs_spec[2:], layouts.out_spec[2:], strict=True)
    for (i, k, o), stride, (low, _) in zip(
        axes, eqn.params["window_strides"], eqn.params["padding"], strict=True
    ):
        size, window = _shape(x)[i], _shape(kernel)[k]
        starts = (stride * each - low for each in range(_shape(y)[o]))
        count *= sum(min(start + window, size) - max(start, 0) for start in starts)
    return count


def _shape(variable: Any) -> tuple[int, ...]:
    return tuple(variable.aval.shape)
