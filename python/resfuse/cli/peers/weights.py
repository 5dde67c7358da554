"""A process that makes a network's weights. It takes part in no measurement."""

from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from resfuse.cli.peers.flax_networks import forward_training, network
from resfuse.cli.peers.prepared import Array, Prepared
from resfuse.cli.turns import serve

_IMAGES = 8  # from which the batch norms get their statistics
_LAST = 0.2  # scales where a skip is added: larger ones make rounding grow from block to block


def write(folder: str) -> None:
    """Writes the weights: He's normal distribution, and batch norms that fit real activations."""
    prepared = Prepared(folder)
    model, x = prepared.model, prepared.images(_IMAGES)
    init = network(model, None).init
    shapes = flatten_dict(jax.eval_shape(init, jax.random.key(0), x), sep="/")
    rng = np.random.default_rng(0)
    flat = {name: _draw(rng, name, shapes[name].shape) for name in sorted(shapes)}
    for name in flat:
        if name.endswith(f"/{model.last_norm}/scale"):
            flat[name] *= np.float32(_LAST)

    def statistics(variables: Any) -> Any:
        return forward_training(model, None)(variables, x)[1]

    # Statistics that are zero become those of the batch, times one minus the momentum.
    seen = flatten_dict(jax.jit(statistics)(unflatten_dict(flat, sep="/")), sep="/")
    flat |= {name: np.asarray(each) / (1 - model.momentum) for name, each in seen.items()}
    prepared.weights = flat


def _draw(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> Array:
    """Initial values by the name of the variable."""
    collection, *_, kind = name.split("/")
    if collection == "batch_stats":
        return np.zeros(shape, np.float32)
    if kind == "scale":
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    deviation = 0.1 if kind == "bias" else (2 / np.prod(shape[:-1])) ** 0.5
    return np.float32(deviation) * rng.standard_normal(shape, np.float32)


if __name__ == "__main__":
    serve(write)
