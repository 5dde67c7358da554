"""Control flow around chains: the same loop, branch or derivative rule, with new bodies."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from resfuse import jax_compat
from resfuse.fusion.graph import Graph, Node, Value

__all__ = ["rebuild"]

Environment = dict[Value, Any]
Run = Callable[[Graph, Environment, Sequence[Any]], list[Any]]


def rebuild(node: Node, run: Run, env: Environment, operands: Sequence[Any]) -> list[Any]:
    """The outputs of ``node``; ``run`` computes one of its bodies."""
    return list(_RULES[node.name](node, run, env, operands))


def _call(node: Node, run: Run, env: Environment, operands: Sequence[Any]) -> Sequence[Any]:
    del env
    (graph,) = node.bodies
    jaxpr = jax.make_jaxpr(lambda *operands: run(graph, {}, operands))(*operands)
    return jax_compat.call_again(node.eqn, jaxpr, operands)


def _scan(node: Node, run: Run, env: Environment, operands: Sequence[Any]) -> Sequence[Any]:
    (graph,) = node.bodies
    _, fixed, carried, options = jax_compat.scanned(node.params)
    constants = list(operands[:fixed])

    def body(carry: list[Any], x: list[Any]) -> tuple[list[Any], list[Any]]:
        outputs = run(graph, env, [*constants, *carry, *x])
        return outputs[:carried], outputs[carried:]

    start, over = list(operands[fixed:][:carried]), list(operands[fixed + carried :])
    carry, y = lax.scan(body, start, over, **options)
    return [*carry, *y]


def _while(node: Node, run: Run, env: Environment, operands: Sequence[Any]) -> Sequence[Any]:
    condition, body = node.bodies
    _, _, first, second = jax_compat.while_parts(node.params)
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


def _checkpoint(node: Node, run: Run, env: Environment, operands: Sequence[Any]) -> Sequence[Any]:
    (graph,), parts = node.bodies, jax_compat.checkpointed(node.params)
    assert parts is not None  # it has a body
    return jax.checkpoint(lambda *operands: run(graph, env, operands), **parts[1])(*operands)


def _custom_jvp(node: Node, run: Run, env: Environment, operands: Sequence[Any]) -> Sequence[Any]:
    """The value from the kernel, the derivative from the equation as it was."""
    (graph,) = node.bodies
    function = jax.custom_jvp(lambda *operands: run(graph, env, operands))

    def rule(primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        moving = [not _is_zero(tangent) for tangent in tangents]
        partial = _partial(node, moving, primals)
        return jax.jvp(partial, _chosen(moving, primals), _chosen(moving, tangents))

    function.defjvp(rule, symbolic_zeros=True)
    return function(*operands)


def _custom_vjp(node: Node, run: Run, env: Environment, operands: Sequence[Any]) -> Sequence[Any]:
    """The same; here JAX must be given what the body closes over."""
    (graph,) = node.bodies
    known = [value for value in env if value.known]

    def forward(_: list[Any], *primals: Any) -> tuple[Any, Any]:
        moving = [primal.perturbed for primal in primals]
        values = [primal.value for primal in primals]
        y, pull = jax.vjp(_partial(node, moving, values), *_chosen(moving, values))
        nothing = [None] * len(values)
        return y, jax.tree_util.Partial(lambda p, ct: _merge(moving, nothing, p(ct)), pull)

    def backward(pull: Any, cotangent: Any) -> tuple[Any, ...]:
        return None, *pull(jax.tree.map(_number, cotangent, is_leaf=_is_zero))

    @jax.custom_vjp
    def function(closed: list[Any], *operands: Any) -> list[Any]:
        return run(graph, dict(zip(known, closed, strict=True)), operands)

    function.defvjp(forward, backward, symbolic_zeros=True)
    return function([env[value] for value in known], *operands)


def _partial(node: Node, moving: Sequence[bool], values: Sequence[Any]) -> Callable[..., list[Any]]:
    """The equation as it was, as a function of the operands that are differentiated.

    Of the others it may have constants, which JAX does not let it differentiate.
    """
    return lambda *moved: node.run(_merge(moving, values, moved))


def _is_zero(value: Any) -> bool:
    return isinstance(value, SymbolicZero)


def _number(cotangent: Any) -> Any:
    return jnp.zeros(cotangent.shape, cotangent.dtype) if _is_zero(cotangent) else cotangent


def _chosen(chosen: Sequence[bool], values: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(value for value, c in zip(values, chosen, strict=True) if c)


def _merge(chosen: Sequence[bool], values: Sequence[Any], others: Iterable[Any]) -> list[Any]:
    """``values``, with ``others`` in the places that are chosen."""
    rest = iter(others)
    return [next(rest) if c else value for c, value in zip(chosen, values, strict=True)]


_RULES: dict[str, Callable[[Node, Run, Environment, Sequence[Any]], Sequence[Any]]] = {
    **dict.fromkeys(jax_compat.CALLS, _call),
    "scan": _scan,
    "while": _while,
    "cond": _cond,
    jax_compat.CHECKPOINT: _checkpoint,
    "custom_jvp_call": _custom_jvp,
    "custom_vjp_call": _custom_vjp,
}
