"""Control flow around chains: the same loop, branch or derivative rule, with new bodies."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax

from resfuse.fusion.graph import Graph, Node, Value

__all__ = ["rebuild"]

Environment = dict[Value, Any]
Run = Callable[[Graph, Environment, Sequence[Any]], list[Any]]


def rebuild(node: Node, run: Run, env: Environment, operands: Sequence[Any]) -> list[Any]:
    """The outputs of ``node``; ``run`` computes one of its bodies."""
    return list(_RULES[node.name](node, run, env, operands))


def _scan(node: Node, run: Run, env: Environment, operands: Sequence[Any]) -> Sequence[Any]:
    params, (graph,) = node.params, node.bodies
    fixed, carried = params["num_consts"], params["num_carry"]
    constants = list(operands[:fixed])

    def body(carry: list[Any], x: list[Any]) -> tuple[list[Any], list[Any]]:
        outputs = run(graph, env, [*constants, *carry, *x])
        return outputs[:carried], outputs[carried:]

    carry, y = lax.scan(
        body,
        list(operands[fixed:][:carried]),
        list(operands[fixed + carried :]),
        length=params["length"],
        reverse=params["reverse"],
        unroll=params["unroll"],
        _split_transpose=params.get("_split_transpose", False),
    )
    return [*carry, *y]


def _while(node: Node, run: Run, env: Environment, operands: Sequence[Any]) -> Sequence[Any]:
    condition, body = node.bodies
    first, second = node.params["cond_nconsts"], node.params["body_nconsts"]
    tests, constants = operands[:first], operands[first:][:second]
    return lax.while_loop(
        lambda carry: run(condition, env, [*tests, *carry])[0],
        lambda carry: run(body, env, [*constants, *carry]),
        list(operands[first + second :]),
    )


def _cond(node: Node, run: Run, env: Environment, operands: Sequence[Any]) -> Sequence[Any]:
    index, *rest = operands
    branches = [lambda graph=graph: run(graph, env, rest) for graph in node.bodies]
    return lax.switch(index, branches)


def _remat(node: Node, run: Run, env: Environment, operands: Sequence[Any]) -> Sequence[Any]:
    (graph,), params = node.bodies, node.params

    function = jax.checkpoint(
        lambda *operands: run(graph, env, operands),
        prevent_cse=params["prevent_cse"],
        policy=params["policy"],
    )
    return function(*operands)


def _custom_jvp(node: Node, run: Run, env: Environment, operands: Sequence[Any]) -> Sequence[Any]:
    """The value from the kernel, the derivative from the equation as it was."""
    (graph,), original = node.bodies, _original(node)
    function = jax.custom_jvp(lambda *operands: run(graph, env, operands))
    function.defjvp(lambda primals, tangents: jax.jvp(original, primals, tangents))
    return function(*operands)


def _custom_vjp(node: Node, run: Run, env: Environment, operands: Sequence[Any]) -> Sequence[Any]:
    (graph,), original = node.bodies, _original(node)
    function = jax.custom_vjp(lambda *operands: run(graph, env, operands))
    function.defvjp(
        lambda *operands: jax.vjp(original, *operands), lambda pull, cotangent: pull(cotangent)
    )
    return function(*operands)


def _original(node: Node) -> Callable[..., list[Any]]:
    return lambda *operands: node.run(operands)


_RULES: dict[str, Callable[[Node, Run, Environment, Sequence[Any]], Sequence[Any]]] = {
    "scan": _scan,
    "while": _while,
    "cond": _cond,
    "checkpoint": _remat,
    "remat": _remat,
    "remat2": _remat,
    "custom_jvp_call": _custom_jvp,
    "custom_vjp_call": _custom_vjp,
    "custom_vjp_call_jaxpr": _custom_vjp,
}
