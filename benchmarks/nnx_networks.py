"""Networks of ``resfuse.nnx`` as functions of their variables, as Linen's modules are."""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import Array

from resfuse.kernel import pool
from resfuse.nnx import conv_bn_act, conv_bn_acts, layers
from resfuse.nnx.unfilled import Unfilled, unfilled

_COLLECTIONS = {"params": nnx.Param, "batch_stats": nnx.BatchStat}


class Functional:
    """A network, with the ``init`` and ``apply`` of a Linen module.

    Args:
        make: Makes the network, given ``rngs``.
        implementation: ``None`` for the kernel where it runs, ``"xla"`` for plain Flax.
        training: Whether batch norms take the statistics of the batch. Nothing is dropped.
        momentum: Of their running statistics, as Flax counts it.

    Attributes:
        network: The network itself; its variables have shapes and no values.
    """

    def __init__(
        self,
        make: Callable[..., nnx.Module],
        implementation: str | None,
        *,
        training: bool,
        momentum: float,
    ) -> None:
        self.network = nnx.merge(*unfilled(lambda: make(rngs=Unfilled(0))))
        self.network.eval()
        self.network.set_attributes(
            nnx.BatchNorm,
            use_running_average=not training,
            momentum=momentum,
            raise_if_not_found=False,
        )
        self.implementation = implementation

    def init(self, key: Array, x: Array) -> Any:
        """Zeros for each variable: only their shapes are of use."""
        del key, x
        return {
            name: jax.tree.map(
                lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), _nested(self.network, kind)
            )
            for name, kind in _COLLECTIONS.items()
        }

    def apply(self, variables: Any, x: Array, mutable: Any = ()) -> Any:
        """Maps variables and images to logits; if some are mutable, to the new statistics too."""
        values: dict[str, Any] = {}
        for collection in variables.values():
            values |= flatten_dict(collection, sep="/")
        # What dropout would draw from is there as well.
        graph, *states = nnx.split(self.network, nnx.RngState, ...)
        flat = [
            (path, each.replace(values[_name(path)])) for path, each in nnx.to_flat_state(states[1])
        ]
        network = nnx.merge(graph, states[0], nnx.from_flat_state(flat))
        with _implemented(self.implementation):
            logits = network(x)
        if not mutable:
            return logits
        return logits, {"batch_stats": _nested(network, nnx.BatchStat)}


@contextlib.contextmanager
def _implemented(implementation: str | None) -> Iterator[None]:
    """Inside, the layers of ``resfuse.nnx`` are these: the networks themselves offer no choice."""
    with (
        mock.patch.object(layers, "conv_bn_act", _as(conv_bn_act, implementation)),
        mock.patch.object(layers, "conv_bn_acts", _as(conv_bn_acts, implementation)),
        mock.patch.object(pool, "max_pool", _as(pool.max_pool, implementation)),
    ):
        yield


def _as(function: Callable[..., Any], implementation: str | None) -> Callable[..., Any]:
    return functools.partial(function, implementation=implementation)


def _name(path: Iterable[Any]) -> str:
    return "/".join(map(str, path))


def _nested(network: nnx.Module, kind: type[nnx.Variable[Any]]) -> Any:
    """The variables of a kind as Linen has them: in dictionaries whose keys are all strings."""
    flat = nnx.to_flat_state(nnx.state(network, kind))
    return unflatten_dict({_name(path): each.get_value() for path, each in flat}, sep="/")
