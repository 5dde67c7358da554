"""What the tests of the NNX networks have in common."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import agreement
import torch_weights
from resfuse.weights.schemes import scheme_of
from resfuse.weights.variables import by_path
from resfuse.weights.variables import filled as filled_by_path


def steady(architecture):
    """Without dropout, which needs more than one key."""
    names = {field.name for field in dataclasses.fields(architecture)}
    rates = names & {"dropout", "stochastic_depth"}
    return dataclasses.replace(architecture, **dict.fromkeys(rates, 0.0))


def abstract(network, architecture, *args, **options):
    """A network without values."""
    steadied = steady(architecture)
    return nnx.eval_shape(lambda: network(steadied, *args, **options, rngs=agreement.same_key()))


def filled(network, architecture, *args, **options):
    """A network for inference in which every variable counts, without its initial values."""
    key = agreement.key(0)
    shapes = nnx.eval_shape(lambda: network(architecture, *args, **options, rngs=nnx.Rngs(key)))
    graph, draws, rest = nnx.split(shapes, nnx.RngState, ...)
    draws = jax.tree.map(
        lambda leaf: key if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else jnp.uint32(0),
        draws,
    )
    model = nnx.merge(graph, draws, agreement.filled(rest))
    model.eval()
    return model


def assert_parameters_and_channels(model, parameters, channels, first=2):
    """Their number, and the channels of the feature maps.

    Of ``first`` pixels and, for each further map, twice as many on each side, one is made.
    """
    model.eval()
    params = jax.tree.leaves(nnx.state(model, nnx.Param))
    assert sum(leaf.size for leaf in params) == parameters
    x = jax.ShapeDtypeStruct((1, 64, 96, 3), jnp.float32)
    maps = nnx.eval_shape(lambda model, x: model.features(x), model, x)
    assert [y.shape for y in maps] == [
        (1, 64 // (first << i), 96 // (first << i), count) for i, count in enumerate(channels)
    ]


def assert_torch_logits(model, library, logits, size=(37, 30)):
    """Of one image, with the weights of ``torch_weights`` under the library's names."""
    graph, state = nnx.split(model)
    pure = nnx.to_pure_dict(state)
    shapes = {path: leaf.shape for path, leaf in by_path(pure).items()}
    places = scheme_of(library, type(model).__name__).places(shapes)
    values = {
        path: jnp.asarray(place.to_ours(torch_weights.value(place.name, place.shape)))
        for path, place in places.items()
    }
    nnx.replace_by_pure_dict(state, filled_by_path(pure, values))
    model = nnx.merge(graph, state)
    model.eval()
    ours = jax.jit(model)(torch_weights.image(1, *size, 3))
    agreement.assert_near(ours[0], np.asarray(logits))
