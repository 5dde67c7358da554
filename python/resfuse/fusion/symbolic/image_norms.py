"""Norms of images by their own statistics, however they are written: each becomes one call.

Layer norm and RMS norm, of each pixel over the last axis; group norm and instance norm, of groups
of channels over all pixels, with the activation behind it.
"""

import dataclasses
from collections.abc import Iterator, Sequence, Set
from typing import Any

import jax.numpy as jnp

from resfuse.fusion.graph import Graph, Node, Value
from resfuse.fusion.layout import Layout, mesh_axes
from resfuse.fusion.region import Region
from resfuse.fusion.symbolic import algebra
from resfuse.fusion.symbolic.formulas import Affine, Formulas
from resfuse.fusion.symbolic.frames import PerPart
from resfuse.fusion.tail import Tail, tails
from resfuse.kernel.batch_norm import Ending
from resfuse.kernel.gate import Gate
from resfuse.kernel.silu import SILU
from resfuse.purpose import Purpose

__all__ = ["ImageNorm", "find"]


_NOTHING = Gate()


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ImageNorm:
    """Equations that are one norm of ``x``.

    Attributes:
        x: the images, ``(B, ..., C)``.
        groups: of channels, if it is a group norm.
        nodes: the equations, in order; nothing else needs what they compute, but for the result.
        affine: what it is.
        ending: the function behind it.
    """

    x: Value
    groups: int | None
    nodes: Sequence[Node]
    affine: Affine
    ending: Ending = _NOTHING

    @property
    def result(self) -> Value:
        """The last equation's."""
        return self.nodes[-1].outputs[0]

    @property
    def in_place(self) -> bool:
        """Whether nothing else reads ``x``."""
        return self.x.producer is not None and {*self.x.users} <= {*self.nodes}

    @property
    def images(self) -> Sequence[Value]:
        """The images that the call reads, as a chain has them."""
        return [self.x]

    @property
    def operands(self) -> Sequence[Any]:
        """None that are like images."""
        return ()

    @property
    def results(self) -> Sequence[tuple[Value, Layout]]:
        """As a chain's."""
        shape = self.x.aval.shape
        return [(self.result, Layout(shape, len(shape) - 1))]

    @property
    def outputs(self) -> list[Value]:
        """As a chain's."""
        return [self.result]

    @property
    def reads(self) -> list[Value]:
        """As a chain's."""
        return [self.x, *self.affine.inputs.values()]

    def reads_for(self, purpose: Purpose) -> list[Value]:
        """As a chain's."""
        del purpose
        return self.reads


def find(graph: Graph) -> list[ImageNorm]:
    """Those of the graph and of the bodies in it."""
    claimed: set[Node] = set()
    found = []
    for node in graph.walk():
        starts = _starts(node) if node not in claimed else ()
        norms = (_longest(*start, node.scope, claimed) for start in starts)
        norm = next(filter(None, norms), None)
        if norm is not None:
            found.append(norm)
            claimed.update(norm.nodes)
    return found


_Start = tuple[Value, int | None]  # images and groups


def _starts(node: Node) -> Iterator[_Start]:
    """What the sum that the node may be is the mean of: images or their squares."""
    if node.name != "reduce_sum":
        return
    summed = node.inputs[0]
    yield from _start(summed, tuple(node.params["axes"]))
    squared = summed.producer
    if squared is not None and squared.name in ("square", "integer_pow", "mul"):
        yield from _start(squared.inputs[0], tuple(node.params["axes"]))


def _start(x: Value, axes: tuple[int, ...]) -> Iterator[_Start]:
    """These images or others that become them by a reshape, if the axes are those of a norm."""
    last, reshape = x.aval.ndim - 1, x.producer
    groups: int | None = None
    if axes == (*range(1, last - 1), last) and reshape is not None and reshape.name == "reshape":
        x, groups = reshape.inputs[0], x.aval.shape[last - 1]
    elif axes == tuple(range(1, last)):
        groups = x.aval.shape[last]
    elif axes != (last,):
        return
    if _is_possible(x) and (groups is None or 3 <= x.aval.ndim <= 5):
        yield x, groups


def _is_possible(x: Value) -> bool:
    """Whether the kernel may take these images; sharded ones only by the batch."""
    aval = x.aval
    if aval.dtype != jnp.float32 or aval.ndim < 2 or mesh_axes(aval, range(1, aval.ndim)):
        return False
    return all(isinstance(size, int) for size in aval.shape) and 0 not in aval.shape


def _longest(x: Value, groups: int | None, scope: Graph, claimed: Set[Node]) -> ImageNorm | None:
    """The norm of these images that has the most equations."""
    shape = x.aval.shape
    if groups is not None and shape[-1] % groups:
        return None
    frame = PerPart.of_pixels(shape) if groups is None else PerPart.of_groups(shape, groups)
    formulas = Formulas(x, frame)
    if formulas.averaged < 2:
        return None
    _grow(formulas, x, scope, claimed)
    for value in reversed(list(formulas.forms)):
        norm = _norm(x, groups, formulas, value)
        if norm is not None and _is_alone(norm.nodes):
            return norm if groups is None else _with_ending(norm, claimed)
    return None


def _norm(x: Value, groups: int | None, formulas: Formulas, result: Value) -> ImageNorm | None:
    form = formulas.forms[result]
    affine = formulas.affine(form)
    if result is x or affine is None or form.frame != formulas.forms[x].frame:
        return None
    if groups is not None and not affine.deviation.centred:
        return None
    return ImageNorm(x, groups, _between(formulas, result), affine)


def _with_ending(norm: ImageNorm, claimed: Set[Node]) -> ImageNorm:
    """Together with SiLU or a gate behind it."""
    ((result, layout),) = norm.results
    region = Region(result, layout)
    region.grow(norm.nodes, claimed)
    for tail in tails(region):
        ending = SILU if _is_silu(tail, result) else tail.epilogue.gate
        ((_, lies), *others) = tail.outputs
        if ending is not None and not (others or tail.operands or lies.moves):
            return dataclasses.replace(norm, nodes=[*norm.nodes, *tail.nodes], ending=ending)
    return norm


def _is_silu(tail: Tail, of: Value) -> bool:
    if [node.name for node in tail.nodes] != ["logistic", "mul"]:
        return False
    logistic, product = tail.nodes
    return logistic.inputs == [of] and {*product.inputs} == {of, logistic.outputs[0]}


def _grow(formulas: Formulas, x: Value, scope: Graph, claimed: Set[Node]) -> None:
    """Adds the forms of what follows from the images."""
    nodes = scope.nodes
    waiting = x.readers(scope)
    first = 0 if x.producer is None or x.producer.scope is not scope else nodes.index(x.producer)
    for node in nodes[first:]:
        if not waiting:
            return
        if node in waiting:
            waiting.remove(node)
            if node not in claimed:
                algebra.add(node, formulas)
            if node.outputs and node.outputs[0] in formulas.forms:
                waiting |= node.outputs[0].readers(scope)


def _between(formulas: Formulas, result: Value) -> list[Node]:
    """The equations by which the result follows from the images, in order."""
    forms = list(formulas.forms)
    needed = {result}
    for value in reversed(forms[1:]):
        if value in needed and value.producer is not None:
            needed.update(value.producer.inputs)
    return [value.producer for value in forms[1:] if value in needed and value.producer is not None]


def _is_alone(nodes: Sequence[Node]) -> bool:
    """Whether nothing but the last one's result is needed elsewhere."""
    inside = {*nodes}
    return all(inside.issuperset(node.outputs[0].users) for node in nodes[:-1])
