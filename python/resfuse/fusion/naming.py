"""Short names for what a chain computes: ``bn+add+relu``, ``bias+silu``."""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from resfuse.kernel.epilogue import Program, Register, compile_elementwise
from resfuse.kernel.program import COMMUTATIVE

__all__ = ["affine_name", "name_of"]

_ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "relu": lambda x: jnp.maximum(x, 0),
    "relu6": jax.nn.relu6,
    "leaky_relu": jax.nn.leaky_relu,
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "celu": jax.nn.celu,
    "silu": jax.nn.silu,
    "hard_swish": jax.nn.hard_swish,
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "hard_tanh": jax.nn.hard_tanh,
    "sigmoid": jax.nn.sigmoid,
    "log_sigmoid": jax.nn.log_sigmoid,
    "gelu": jax.nn.gelu,
    "gelu(exact)": functools.partial(jax.nn.gelu, approximate=False),
    "softplus": jax.nn.softplus,
    "mish": jax.nn.mish,
    "squareplus": jax.nn.squareplus,
    "soft_sign": jax.nn.soft_sign,
}
_SHIFTS, _SCALES = {"add", "add_any", "sub"}, {"mul", "div", "neg"}

Tree = tuple[Any, ...] | str | int
"""An expression: ``"x"``, the kind of an operand, the bits of a constant, or an operation."""


def affine_name(kinds: Iterable[str]) -> str:
    """What additions and multiplications of a number per channel are together."""
    kinds = set(kinds)
    shifts, scales = kinds & _SHIFTS, kinds & _SCALES
    return "bn" if shifts and scales else "bias" if shifts else "scale" if scales else ""


def name_of(program: Program) -> str:
    """What leads to the program's first output, part by part."""
    parts = reversed(list(_parts(_tree(program, program.outputs[0]))))
    names: list[str] = []
    for per_channel, group in itertools.groupby(parts, key=lambda part: part[1]):
        kinds = [name for name, _ in group]
        names += [affine_name(kinds)] if per_channel else kinds
    return "+".join(names)


def _parts(tree: Tree) -> Iterator[tuple[str, bool]]:
    """From the end: activations and operations, and whether it is one with a number per channel."""
    while isinstance(tree, tuple):
        found = ((name, _inside(known, tree)) for name, known in _known())
        activation = next(((name, inside) for name, inside in found if inside is not None), None)
        if activation is not None:
            name, tree = activation
            yield name, False
            continue
        name, *operands = _square(tree)
        dependent = [each for each in operands if each == "x" or isinstance(each, tuple)]
        if len(dependent) != 1:
            count = len(_operations(tree))
            yield name if count == 1 else f"{count} ops", False
            return
        (tree,) = dependent
        yield name, name in _SHIFTS | _SCALES and "tensor" not in operands


def _tree(program: Program, register: Register) -> Tree:
    """The expression of a register."""
    trees: list[Tree] = ["x", *program.operands, *program.constants]
    for name, taken in program.code:
        trees.append((name, *(trees[each] for each in taken)))
    return trees[register]


def _square(tree: tuple[Any, ...]) -> tuple[Any, ...]:
    """A product of a value with itself under its own name."""
    return ("square", tree[1]) if tree[0] == "mul" and tree[1] == tree[2] else tree


def _operations(tree: Tree) -> set[int]:
    """The operations of an expression, each once."""
    if not isinstance(tree, tuple):
        return set()
    return {id(tree)}.union(*map(_operations, tree[1:]))


def _inside(known: Tree, tree: Tree, x: Tree = "") -> Tree | None:
    """What ``"x"`` stands for if ``known`` is the expression; ``x``, unless empty, is given."""
    if known == "x":
        return tree if x in ("", tree) else None
    if not isinstance(known, tuple) or not isinstance(tree, tuple):
        return x if known == tree else None
    if (known[0], len(known)) != (tree[0], len(tree)):
        return None
    orders = (tree[1:], tree[:0:-1]) if known[0] in COMMUTATIVE else (tree[1:],)
    for operands in orders:
        found: Tree | None = x
        for a, b in zip(known[1:], operands, strict=True):
            found = None if found is None else _inside(a, b, found)
        if found is not None:
            return found
    return None


@functools.cache
def _known() -> list[tuple[str, Tree]]:
    """The activations as expressions, the longest first."""
    compiled = ((name, compile_elementwise(f, (2, 3))) for name, f in _ACTIVATIONS.items())
    programs = [(name, epilogue.program) for name, epilogue in compiled if epilogue is not None]
    programs.sort(key=lambda pair: -len(pair[1].code))
    return [(name, _tree(program, program.outputs[0])) for name, program in programs]
