"""Runs a graph with its chains and norms on the kernel; everything else as it stands.

This is what ``jax.jit`` traces, once for a shape.
"""

import functools
from collections.abc import Sequence
from typing import Any

from resfuse.fusion import cascades, control_flow, lowering, pooling, slices
from resfuse.fusion.cascades import Cascade
from resfuse.fusion.chain import Chain
from resfuse.fusion.graph import Graph, Node, Value
from resfuse.fusion.lowering import FusedCall
from resfuse.fusion.prepare import array_of
from resfuse.fusion.symbolic.image_norms import ImageNorm
from resfuse.purpose import Purpose

__all__ = ["Environment", "Plan", "run"]

Environment = dict[Value, Any]


class Plan:
    """A graph, its chains and its norms, and which nodes remain to be run.

    ``needed`` are the values that they read, and ``run_needs`` those where nothing but the calls
    themselves will run.
    """

    def __init__(
        self, graph: Graph, chains: Sequence[Chain], norms: Sequence[ImageNorm], sliced: bool
    ) -> None:
        self.graph = graph
        self.cascades = cascades.find(chains)
        within = {chain for cascade in self.cascades for chain in cascade.chains}
        calls: list[Chain | ImageNorm] = [*chains, *norms]
        self.calls: dict[Node, FusedCall] = {
            call.nodes[-1]: call for call in calls if call not in within
        } | {cascade.chains[-1].nodes[-1]: cascade for cascade in self.cascades}
        self.inside = {node for call in calls for node in call.nodes} - set(self.calls)
        self.live: set[Node] = set()
        self.needed: set[Value] = set()
        self.run_needs: set[Value] = set()
        self._mark(graph)
        self.pools = pooling.find(graph, {value for chain in chains for value in chain.outputs})
        pools = self.pools & self.live
        self.slices = slices.find(graph, self.live, self.calls, pools) if sliced else None

    def _mark(self, graph: Graph) -> None:
        """Marks, from the end, what an output, an effect or a marked node needs."""
        self.needed.update(graph.outputs)
        self.run_needs.update(graph.outputs)
        for node in reversed(graph.nodes):
            call = self.calls.get(node)
            outputs = call.outputs if call else node.outputs
            wanted = node.eqn.effects or not self.needed.isdisjoint(outputs)
            if node in self.inside or not wanted:
                continue
            self.live.add(node)
            self.needed.update(call.reads if call else node.inputs)
            self.run_needs.update(call.reads_for(Purpose.RUNNING) if call else node.inputs)
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
    return array_of(value) if value.given and value not in env else env[value]


def _step(plan: Plan, node: Node, env: Environment) -> None:
    """Adds what the node computes to ``env``."""
    read = functools.partial(_read, env)
    call = plan.calls.get(node)
    if isinstance(call, Cascade):
        env.update(lowering.compute_cascade(call, read, env))
        return
    if isinstance(call, ImageNorm):
        env.update(lowering.compute_norm(call, read))
        return
    if call is not None:
        env.update(lowering.compute(call, read, plan.needed))
        return
    operands = list(map(read, node.inputs))
    if node in plan.pools:
        outputs = [pooling.run(node, *operands)]
    elif node.bodies:
        outputs = control_flow.rebuild(node, functools.partial(run, plan), env, operands)
    else:
        outputs = node.run(operands)
    env.update(zip(node.outputs, outputs, strict=True))
