"""Networks without values: their structure, and the shapes of the variables that they will have."""

import copy
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from flax import nnx

__all__ = ["Parts", "Unfilled", "resized", "shape_alone", "unfilled"]


class Unfilled(nnx.Rngs):
    """In place of ``nnx.Rngs`` where a network's shapes are asked for: no values are drawn.

    The network is in evaluation mode, into which to put it later takes a walk through all of it.

    To trace the initial values of a network takes longer than all the rest, and so does, within a
    trace, a count of the keys, whose time is quadratic in their number.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        key = jax.random.key(seed)
        self.params = lambda: key


def shape_alone(key: Any, shape: Any, dtype: Any, out_sharding: Any = None) -> Any:
    """In place of an initializer, only what it would return an array of."""
    del key, out_sharding
    return jax.ShapeDtypeStruct(shape, dtype)


def resized(layer: Any, sizes: Mapping[str, int]) -> Any:
    """A layer of Flax's with variables of its own, like another but for these of its arguments.

    Flax checks each attribute that is set, of which a layer has twenty.
    """
    made = copy.copy(layer)
    attributes = vars(made)
    attributes |= sizes
    out = sizes.get("out_features", sizes.get("num_features"))
    if "kernel" in attributes:
        inside = sizes["in_features"] // attributes.get("feature_group_count", 1)
        kernel = *attributes.get("kernel_size", ()), inside, out
        attributes |= {"kernel_shape": kernel} if "kernel_shape" in attributes else {}
    for name in ("kernel", "bias", "scale", "mean", "var"):
        if (variable := attributes.get(name)) is not None:
            shape = kernel if name == "kernel" else (out,)
            attributes[name] = variable.replace(jax.ShapeDtypeStruct(shape, variable.dtype))
    return made


class Parts(NamedTuple):
    """A network without values: its structure, and the shapes of what it draws from and holds."""

    graph: Any
    draws: Any
    state: Any


def unfilled(build: Callable[[], nnx.Module]) -> Parts:
    """The same as ``nnx.eval_shape``, which takes the network apart and together twice more."""
    found: dict[str, Any] = {}

    def split() -> Any:
        found["graph"], *(draws, state) = nnx.split(build(), nnx.RngState, ...)
        # Most are no arrays to begin with, which a trace could not return.
        found["state"] = jax.tree.map(
            lambda each: jax.ShapeDtypeStruct(each.shape, each.dtype), state
        )
        return draws

    return Parts(draws=jax.eval_shape(split), **found)
