"""The start of a chain that is a prologue: what stands before a convolution.

From the images that a convolution of single pixels reads the way leads back over ReLU, operations
with a number for each channel (or one product with a number for each image and channel) and
concatenations. It is taken where the convolution before cannot have it: behind a concatenation or a
pooling, or where its own value is needed elsewhere too. Then nobody writes what lies between.

A concatenation alone is taken in front of wider windows too, such as a U-Net's, where these go by
Winograd's algorithm, whose transforms read each image by itself.
"""

import dataclasses
from collections.abc import Callable, Container, Mapping, Sequence, Set
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from resfuse.fusion.geometry import Geometry
from resfuse.fusion.graph import Node, Value, is_literal
from resfuse.fusion.known import known_function
from resfuse.fusion.layout import Layout, mesh_axes
from resfuse.fusion.linear import images_of
from resfuse.fusion.operands import Operand, operand_of
from resfuse.fusion.steps import BINARY, Step, fold
from resfuse.kernel import extension
from resfuse.kernel.fold import LANES
from resfuse.kernel.prologue import MAX_PARTS, Prologue, Scale

__all__ = ["Head", "heads"]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Head:
    """Equations in front of a convolution.

    Attributes:
        nodes: the equations, from the last to the first, without the concatenations.
        parts: the images that they start from, side by side.
        steps: operations with a number for each channel, in order.
        excitation: what multiplies each image and channel instead of them.
        relu: the function at the end.
    """

    nodes: Sequence[Node]
    parts: Sequence[Value]
    steps: Sequence[Step]
    excitation: Operand | None
    relu: Callable[[Array], Array] | None

    @property
    def prologue(self) -> Prologue:
        """What that is for the kernel."""
        shift = self.excitation is None and (self.relu is not None or self._shifts)
        by_channel = shift or bool(self.steps)
        kind: Scale | None = "image" if self.excitation else "channel" if by_channel else None
        return Prologue(len(self.parts), kind, shift, self.relu)

    @property
    def numbers(self) -> list[Value]:
        """What the steps read, or the excitation."""
        excitation = [] if self.excitation is None else [self.excitation.value]
        return [*excitation, *(step.operand for step in self.steps if step.operand is not None)]

    def arrays(self, read: Callable[[Value], Any]) -> tuple[Any, ...]:
        """The prologue's scale and shift; ``read`` gives the ``numbers``."""
        if self.excitation is not None:
            return (self.excitation.for_kernel(read(self.excitation.value)),)
        both = fold(self.steps, sum(part.aval.shape[-1] for part in self.parts), read)
        return both[: self.prologue.count - len(self.parts)]

    @property
    def _shifts(self) -> bool:
        return any(step.kind not in ("mul", "div", "neg") for step in self.steps)


def heads(convs: Mapping[Node, Geometry], taken: Set[Node]) -> dict[Node, Head]:
    """The heads of those of the convolutions that have one, without nodes that are ``taken``."""
    plain = {conv: geometry for conv, geometry in convs.items() if _is_plain(conv, geometry)}
    whole = {
        conv: _head(conv, taken) for conv, geometry in plain.items() if _is_pointwise(geometry)
    }
    wide = {
        conv: _images_alone(conv)
        for conv, geometry in plain.items()
        if _reads_parts(conv, geometry)
    }
    readers = {head.nodes[-1] if head.nodes else conv for conv, head in (whole | wide).items()}
    found = {
        conv: dataclasses.replace(head, parts=_parts(head.parts[0], readers))
        for conv, head in (whole | wide).items()
        if all(user in whole for user in images_of(conv).users) or not head.nodes
    }
    return {conv: head for conv, head in found.items() if _pays(head) and _is_relu(head)}


def _images_alone(conv: Node) -> Head:
    return Head([], [images_of(conv)], [], None, None)


def _is_plain(conv: Node, geometry: Geometry) -> bool:
    """Whether it reads its images as they are, in one group."""
    spec = geometry.spec
    is_plain = {*spec.input_dilation, spec.feature_group_count, geometry.batch_groups} == {1}
    return is_plain and not geometry.images.moves and not mesh_axes(images_of(conv).aval)


def _is_pointwise(geometry: Geometry) -> bool:
    """Whether the kernel can have a prologue there."""
    return {*geometry.kernel.start[:-2]} == {1} and set(geometry.spec.pixels) == {0}


def _reads_parts(conv: Node, geometry: Geometry) -> bool:
    """Whether it reads a concatenation, of whole vectors, by an algorithm that takes each part."""
    concatenation = images_of(conv).producer
    if concatenation is None or concatenation.name != "concatenate":
        return False
    shapes = [value.aval.shape for value in (*concatenation.inputs, images_of(conv))]
    if any(not isinstance(size, int) for shape in shapes for size in shape):
        return False
    if any(shape[-1] % LANES for shape in shapes):
        return False
    return extension.algorithm(shapes[-1], geometry.kernel.start, geometry.spec) == "winograd"


def _pays(head: Head) -> bool:
    """Whether the convolution before, if there is one, cannot have it for nothing."""
    if len(head.parts) > 1:
        return True
    (start,) = head.parts
    pooled = start.producer is None or start.producer.name.startswith("reduce_window")
    return bool(head.nodes) and (len(start.users) > 1 or pooled)


def _head(conv: Node, taken: Set[Node]) -> Head:
    """All that could be the convolution's, up to a value that is needed elsewhere too."""
    value, head = images_of(conv), Head([], [], [], None, None)
    layout = Layout(value.aval.shape, value.aval.ndim - 1)
    while (node := value.producer) is not None and node.scope is conv.scope and node not in taken:
        longer = _longer(head, node, layout) if not head.nodes or len(value.users) == 1 else None
        if longer is None:
            break
        value, head = longer
    # Statistics of the batch belong to the convolution before; a single product is an excitation.
    if len(head.nodes) > 1 and any(_depends(number, value) for number in head.numbers):
        return _images_alone(conv)
    return dataclasses.replace(head, parts=[value])


def _longer(head: Head, node: Node, layout: Layout) -> tuple[Value, Head] | None:
    """What the node reads, and the head with it; None if it cannot belong to it."""
    nodes = [*head.nodes, node]
    if not head.nodes and (relu := _relu(node)) is not None:
        x = next(value for value in node.inputs if not is_literal(value, 0.0))
        return x, dataclasses.replace(head, nodes=nodes, relu=relu)
    found = _step(node, layout)
    if found is None or head.excitation is not None:
        return None
    x, step = found
    if isinstance(step, Operand):
        only = not head.steps and head.relu is None
        return (x, dataclasses.replace(head, nodes=nodes, excitation=step)) if only else None
    return x, dataclasses.replace(head, nodes=nodes, steps=[step, *head.steps])


def _is_relu(head: Head) -> bool:
    """Whether a function with a derivative of its own is what it was taken for, at some expense."""
    return head.relu is not jax.nn.relu or known_function(head.nodes[0]) is jax.nn.relu


def _relu(node: Node) -> Callable[[Array], Array] | None:
    """The function, if it is the maximum with 0 or may be ReLU."""
    if node.name == "custom_jvp_call":
        return jax.nn.relu if len(node.inputs) == len(node.outputs) == 1 else None
    zeros = [value for value in node.inputs if is_literal(value, 0.0)]
    return _maximum if node.name == "max" and len(zeros) == 1 else None


def _maximum(x: Array) -> Array:
    return jnp.maximum(x, 0)


def _step(node: Node, layout: Layout) -> tuple[Value, Step | Operand] | None:
    """What the node reads, and what it does to that by a number for each channel or excitation."""
    if node.name == "neg":
        return node.inputs[0], Step("neg", None)
    if node.name not in BINARY or node.outputs[0].aval.shape != layout.shape:
        return None
    left, right = node.inputs
    for x, other, swapped in ((left, right, False), (right, left, True)):
        impossible = x.aval.shape != layout.shape or (swapped and node.name == "div")
        operand = None if impossible else operand_of(other, layout)
        if operand is None or operand.value.aval.size == x.aval.size:
            continue  # of a single pixel, all are numbers for each channel
        if operand.kind == "channel":
            return x, Step(node.name, operand.value, swapped)
        if operand.kind == "image" and node.name == "mul":
            return x, operand
    return None


def _depends(value: Value, on: Value) -> bool:
    """Whether a value is computed from another."""
    waiting, seen = [value], {value}
    while waiting:
        each = waiting.pop()
        if each is on:
            return True
        if each.producer is not None and not each.known:
            waiting += set(each.producer.inputs) - seen
            seen.update(each.producer.inputs)
    return False


def _parts(value: Value, readers: Container[Node]) -> list[Value]:
    """What a value is the concatenation of, if only ``readers`` and concatenations read it."""
    node = value.producer
    last = value.aval.ndim - 1
    if node is None or node.name != "concatenate" or node.params["dimension"] != last:
        return [value]
    if not all(u is not None and (u in readers or u.name == "concatenate") for u in value.users):
        return [value]
    for parts in (
        [part for each in node.inputs for part in _parts(each, readers)],
        node.inputs,
    ):
        if len(parts) <= MAX_PARTS and all(part.aval.size for part in parts):
            return list(parts)
    return [value]
