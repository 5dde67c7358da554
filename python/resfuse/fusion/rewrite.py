"""Runs a graph with its chains on the kernel; everything else as it stands.

This is what ``jax.jit`` traces, once for a shape. To put another equation on an operation of ours,
give it a rule in ``_RULES``.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax import Array, lax

from resfuse.fusion import calls, control, geometry
from resfuse.fusion.fold import combine
from resfuse.fusion.graph import Graph, Node, Value
from resfuse.fusion.match import Chain

__all__ = ["Environment", "Plan", "Prepared", "run"]

Environment = dict[Value, Any]
Prepared = dict[str, Any]  # of a chain: "packed", or "scale" and "shift", or both, or nothing


class Plan:
    """A graph and its chains, and which nodes remain to be run."""

    def __init__(self, graph: Graph, chains: Sequence[Chain], ready: Mapping[Chain, Any]) -> None:
        """``ready`` says which chains need their scale and shift no more."""
        self.graph = graph
        self.chains = {chain.nodes[-1]: chain for chain in chains}
        self.inside = {node for chain in chains for node in chain.nodes} - set(self.chains)
        self.live: set[Node] = set()
        self._mark(graph, set(), ready)

    def _mark(self, graph: Graph, needed: set[Value], ready: Mapping[Chain, Any]) -> None:
        """From the end: what an output, an effect or a node that is marked already needs."""
        needed.update(graph.outputs)
        for node in reversed(graph.nodes):
            if node in self.inside or not (node.eqn.effects or not needed.isdisjoint(node.outputs)):
                continue
            self.live.add(node)
            if (chain := self.chains.get(node)) is not None:
                residual = () if chain.residual is None else (chain.residual,)
                folded = () if "scale" in ready[chain] else chain.operands
                needed.update((chain.x, chain.kernel, *residual, *folded))
                continue
            needed.update(node.inputs)
            for body in node.bodies:
                self._mark(body, needed, ready)


def run(
    plan: Plan, prepared: Mapping[Chain, Prepared], closed: Environment, arrays: Sequence[Any]
) -> list[Any]:
    """The outputs of the plan's graph for ``arrays``, with ``closed`` for what it closes over."""
    return _run(plan, prepared, plan.graph, closed, arrays)


def _run(
    plan: Plan,
    prepared: Mapping[Chain, Prepared],
    graph: Graph,
    outside: Environment,
    arrays: Sequence[Any],
) -> list[Any]:
    env = outside | dict(zip(graph.inputs, arrays, strict=True))

    def read(value: Value) -> Any:
        return value.array if value.given and value not in env else env[value]

    for node in graph.nodes:
        if node not in plan.live:
            continue
        if (chain := plan.chains.get(node)) is not None:
            env[chain.output] = _fused(chain, prepared[chain], read)
            continue
        operands = list(map(read, node.inputs))
        if node.bodies:
            inner = functools.partial(_run, plan, prepared)
            outputs = control.rebuild(node, inner, env, operands)
        else:
            outputs = node.run(operands)
        env.update(zip(node.outputs, outputs, strict=True))
    return list(map(read, graph.outputs))


def _fused(chain: Chain, prepared: Prepared, read: Any) -> Any:
    x = lax.transpose(read(chain.x), geometry.images_order(chain.conv))
    kernel = lax.transpose(read(chain.kernel), geometry.kernel_order(chain.conv))
    if "scale" in prepared:
        scale, shift = prepared["scale"], prepared["shift"]
    else:
        scale, shift = combine(chain.steps, kernel.shape[-1], read)
    operands = [prepared.get("packed"), x, kernel, scale, shift]
    if chain.residual is not None and chain.residual_layout is not None:
        operands.append(chain.residual_layout.undo(read(chain.residual)))
    if chain.relu == "maximum":
        y = calls.affine_then_maximum(chain.spec, *operands)
    else:
        y = calls.affine(chain.spec, chain.relu == "relu", *operands)
    return _typed(chain.layout.apply(y), chain.output.aval)


def _typed(y: Array, aval: Any) -> Any:
    if jax.typeof(y).weak_type == aval.weak_type:
        return y
    return lax.convert_element_type_p.bind(
        y, new_dtype=aval.dtype, weak_type=aval.weak_type, sharding=None
    )
