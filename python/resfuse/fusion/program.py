"""A function's program for one set of shapes: traced, matched, prepared and compiled once."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from resfuse import jax_compat
from resfuse.fusion import graph, match, rewrite
from resfuse.fusion.graph import Value
from resfuse.fusion.prepare import Packs, prepare
from resfuse.fusion.symbolic.batch_norm import with_statistics

__all__ = ["Program", "trace"]


class Program:
    """Callable with the leaves of the arguments."""

    def __init__(self, jaxpr: Any, out_tree: Any, packs: Packs | None, sliced: bool) -> None:
        self.out_tree = out_tree
        self.graph = graph.build(jaxpr)
        self.chains = with_statistics(match.chains(self.graph))
        self.portable = _portable(jaxpr)
        if packs is not None:
            prepare(self.chains, packs)
        self._plan = rewrite.Plan(self.graph, self.chains, sliced)
        self._closed = list(filter(self._plan.needed.__contains__, self._given()))
        self._arrays = [_uncommitted(value.array) for value in self._closed]
        # Inside another program inline: in the functions of a program, XLA leaves convolutions (of
        # gradients) in orders of axes that it has no fast code for.
        self._jitted = jax.jit(self._run, inline=True)

    def _given(self) -> list[Value]:
        """The arrays at hand. As arguments they are not copied into the compiled program."""
        prepared = [(*(chain.folded or ()), chain.packed) for chain in self.chains]
        return [*self.graph.constants, *(v for values in prepared for v in values if v)]

    def _run(self, closed: Sequence[Any], leaves: Sequence[Any]) -> Any:
        outside = dict(zip(self._closed, closed, strict=True))
        return rewrite.run(self._plan, self.graph, outside, leaves)

    def __call__(self, leaves: Sequence[Any]) -> Any:
        """The outputs, in the function's structure."""
        outputs = self._jitted(self._arrays, leaves)
        return jax.tree.unflatten(self.out_tree, outputs)


def trace(
    function: Callable[..., Any],
    tree: Any,
    leaves: Sequence[Any],
    packs: Packs | None,
    sliced: bool,
) -> Program:
    """The program of ``function`` for arguments of the shapes of ``leaves``.

    Without ``packs`` nothing is packed. ``sliced`` allows to run the batch a few images at a time,
    which must not be spread over devices.
    """

    def flat(*leaves: Any) -> Any:
        args, kwargs = jax.tree.unflatten(tree, leaves)
        return function(*args, **kwargs)

    jaxpr, shapes = jax.make_jaxpr(flat, return_shape=True)(*leaves)
    return Program(jaxpr, jax.tree.structure(shapes), packs, sliced)


def _portable(jaxpr: Any) -> bool:
    """Whether it means the same outside the transformations under which it was traced."""
    tracers = any(isinstance(array, jax.core.Tracer) for array in jaxpr.consts)
    return not (tracers or jax_compat.has_axis_names(jaxpr))


def _uncommitted(array: Any) -> Any:
    """The same array, free to go where the arguments are, as ``jit`` treats what it closes over."""
    if not isinstance(array, jax.Array) or isinstance(array, jax.core.Tracer):
        return array
    if len(array.devices()) > 1 or not array.committed:
        return array
    return jax.device_put(np.asarray(array)) if array.dtype != jax.dtypes.float0 else array
