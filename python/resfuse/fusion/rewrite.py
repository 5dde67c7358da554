"""Runs a graph with its chains on the kernel; everything else as it stands.

This is what ``jax.jit`` traces, once for a shape.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import Array, lax

from resfuse.fusion import calls, control, geometry, pooling, slices
from resfuse.fusion.fold import combine
from resfuse.fusion.graph import Graph, Node, Value
from resfuse.fusion.match import Chain

__all__ = ["Environment", "Plan", "run"]

Environment = dict[Value, Any]


class Plan:
    """A graph and its chains, and which nodes remain to be run."""

    def __init__(self, graph: Graph, chains: Sequence[Chain], sliced: bool) -> None:
        self.graph = graph
        self.chains = {chain.nodes[-1]: chain for chain in chains}
        self.inside = {node for chain in chains for node in chain.nodes} - set(self.chains)
        self.live: set[Node] = set()
        self.needed: set[Value] = set()
        self._mark(graph)
        self.slices = slices.find(graph, self.live, self.chains) if sliced else None

    def _mark(self, graph: Graph) -> None:
        """From the end: what an output, an effect or a node that is marked already needs."""
        self.needed.update(graph.outputs)
        for node in reversed(graph.nodes):
            wanted = node.eqn.effects or not self.needed.isdisjoint(node.outputs)
            if node in self.inside or not wanted:
                continue
            self.live.add(node)
            chain = self.chains.get(node)
            self.needed.update(chain.reads if chain else node.inputs)
            for body in node.bodies:
                self._mark(body)


def run(plan: Plan, graph: Graph, outside: Environment, arrays: Sequence[Any]) -> list[Any]:
    """The outputs of a graph of the plan for ``arrays``.

    Args:
        plan: what to do.
        graph: the plan's, or the body of one of its nodes.
        outside: the values that the graph closes over.
        arrays: its inputs.
    """
    env = outside | dict(zip(graph.inputs, arrays, strict=True))
    sliced = plan.slices if graph is plan.graph else None
    step = functools.partial(_step, plan)
    for node in graph.nodes:
        if node not in plan.live:
            continue
        if sliced is None or node not in sliced.nodes:
            step(node, env)
        elif node is sliced.nodes[-1]:
            env[sliced.output] = slices.run(sliced, step, env)
    return [_read(env, value) for value in graph.outputs]


def _read(env: Environment, value: Value) -> Any:
    return value.array if value.given and value not in env else env[value]


def _step(plan: Plan, node: Node, env: Environment) -> None:
    """Adds what the node computes to ``env``."""
    read = functools.partial(_read, env)
    if (chain := plan.chains.get(node)) is not None:
        env[chain.output] = _fused(chain, read)
        return
    operands = list(map(read, node.inputs))
    if pooling.takes(node):
        outputs = [pooling.run(node, *operands)]
    elif node.bodies:
        outputs = control.rebuild(node, functools.partial(run, plan), env, operands)
    else:
        outputs = node.run(operands)
    env.update(zip(node.outputs, outputs, strict=True))


def _fused(chain: Chain, read: Callable[[Value], Any]) -> Any:
    x = lax.transpose(read(chain.x), geometry.images_order(chain.conv))
    kernel = lax.transpose(read(chain.kernel), geometry.kernel_order(chain.conv))
    packed = None if chain.packed is None else read(chain.packed)
    folded = map(read, chain.folded) if chain.folded else combine(chain, read)
    operands = [packed, x, kernel, *folded]
    if chain.residual is not None and chain.residual_layout is not None:
        operands.append(chain.residual_layout.undo(read(chain.residual)))
    if chain.relu == "maximum":
        y = calls.affine_then_maximum(chain.spec, *operands)
    else:
        y = calls.affine(chain.spec, chain.relu == "relu", _in_place(chain), *operands)
    return _typed(chain.layout.apply(y), chain.output.aval)


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


def _typed(y: Array, aval: Any) -> Any:
    if jax.typeof(y).weak_type == aval.weak_type:
        return y
    return lax.convert_element_type_p.bind(
        y, new_dtype=aval.dtype, weak_type=aval.weak_type, sharding=None
    )
