"""Large activations a few images at a time, so that they stay in the cache from layer to layer.

At 56x56x256 eight images are 26 MB: each layer would read them from memory and write them back.
From the first convolution on, as long as a layer's weights are fewer than one image's activations
(later, it pays to read weights once for the whole batch), the program runs slice by slice.
"""

import collections
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from jax import Array, lax

from resfuse.fusion import pooling
from resfuse.fusion.cascades import Cascade
from resfuse.fusion.chain import Chain
from resfuse.fusion.graph import Graph, Node, Value
from resfuse.fusion.lowering import FusedCall
from resfuse.kernel.portion import Portion, empty
from resfuse.purpose import Purpose, purpose

__all__ = ["Slices", "find", "run"]

# Bytes that a layer reads and writes: those of a slice are at most a share of L3. Of the whole
# batch one layer has at least so many, or slices would not pay, and the last one half as many.
_MOST, _LEAST = 8 << 20, 16 << 20


@dataclasses.dataclass(frozen=True)
class Slices:
    """Nodes to run on ``images`` images at a time, from ``input`` to ``output``.

    ``is_written``: the output is the first result of a call, which may write it where it belongs.
    """

    nodes: Sequence[Node]
    input: Value
    output: Value
    images: int
    is_written: bool


def find(
    graph: Graph, live: set[Node], calls: Mapping[Node, FusedCall], pools: set[Node]
) -> Slices | None:
    """The longest start of the graph that is worth it, and that one value leads out of."""
    nodes = [node for node in graph.nodes if node in live]
    first = next((calls[node] for node in nodes if node in calls), None)
    if first is None or not first.x.aval.shape:
        return None
    readers = _readers(graph, nodes, calls)
    members: list[Node] = []
    start = first.images[0]
    batched, length, output = {start}, 0, start
    for node in nodes:
        if batched.isdisjoint(_reads(node, calls)):
            continue
        if not (_pools(node, pools, batched) or _takes(node, calls, batched)):
            break
        members.append(node)
        batched.update(_images(node, calls)[1])
        needed = [value for value in batched if not readers[value] <= set(members)]
        is_end = len(needed) == 1 and 2 * _bytes_moved(node, calls) >= _LEAST
        if is_end and _worth_copying(start, batched, needed[0]):
            length, output = len(members), needed[0]
    return _slices(members[:length], start, output, calls)


def _worth_copying(start: Value, batched: set[Value], end: Value) -> bool:
    """Whether more stays inside than goes in and out, which is copied from and into whole arrays.

    Without it MobileNetV2 at batch 8, whose first large value is the fourth, takes 1.28 as long.
    """
    copied = start.aval.size + end.aval.size
    return sum(value.aval.size for value in batched) - copied > copied


def run(
    slices: Slices, step: Callable[[Node, dict[Value, Any]], None], env: dict[Value, Any]
) -> Any:
    """The output; ``step`` runs a node in an environment."""
    x, images = env.get(slices.input, slices.input.array), slices.images
    in_place = slices.is_written and purpose() is Purpose.RUNNING
    *before, last = slices.nodes

    def add(index: Array, y: Array) -> Array:
        part = lax.dynamic_slice_in_dim(x, index * images, images)
        inner, portion = env | {slices.input: part}, Portion(index, images, x, part)
        with portion.in_use():
            for node in before:
                step(node, inner)
        with dataclasses.replace(portion, into=y if in_place else None).in_use():
            step(last, inner)
        found = inner[slices.output]
        is_whole = found.shape == y.shape
        return found if is_whole else lax.dynamic_update_slice_in_dim(y, found, index * images, 0)

    aval = slices.output.aval
    y = empty(aval.shape) if in_place else lax.empty(aval.shape, aval.dtype)
    return lax.fori_loop(0, x.shape[0] // images, add, y)


def _slices(
    members: Sequence[Node], start: Value, end: Value, calls: Mapping[Node, FusedCall]
) -> Slices | None:
    batch = start.aval.shape[0]
    most = max((_bytes_moved(node, calls) for node in members), default=0)
    fitting = [n for n in range(1, batch) if batch % n == 0 and most // batch * n <= _MOST]
    if most < _LEAST or batch < 2:
        return None
    last = calls.get(members[-1])
    is_written = last is not None and last.results[0][0] is end
    return Slices(members, start, end, max(fitting, default=1), is_written)


def _bytes_moved(node: Node, calls: Mapping[Node, FusedCall]) -> int:
    """What it reads and writes, of the whole batch."""
    read, written = _images(node, calls)
    return 4 * sum(value.aval.size for value in (*read, *written))


def _pools(node: Node, pools: set[Node], batched: set[Value]) -> bool:
    """Whether it pools each image of a slice."""
    return node in pools and pooling.pools_images(node) and node.inputs[0] in batched


def _takes(node: Node, calls: Mapping[Node, FusedCall], batched: set[Value]) -> bool:
    """Whether a slice of the node's output needs only that slice of its inputs, and is worth it."""
    call = calls.get(node)
    parts = call.chains if isinstance(call, Cascade) else [call] if isinstance(call, Chain) else []
    if call is None or not all(map(_takes_any_batch, parts)):
        return False
    images, results = _images(node, calls)
    weights = set(call.reads) - set(images)
    independent = weights.isdisjoint(batched) and batched.issuperset(images)
    batch = call.x.aval.shape[0]
    activations = (call.x.aval.size + results[0].aval.size) // max(batch, 1)
    return independent and sum(chain.kernel.aval.size for chain in parts) <= activations


def _takes_any_batch(chain: Chain) -> bool:
    if chain.norm is not None:
        return False
    moves = any(lies.moves for _, lies in chain.results)
    any_batch = chain.tail is None or chain.tail.any_batch
    geometry = chain.geometry
    plain = not moves and not geometry.images.moves and geometry.batch_groups == 1
    return any_batch and plain


def _images(node: Node, calls: Mapping[Node, FusedCall]) -> tuple[list[Value], list[Value]]:
    """What the node reads and what it writes for each image."""
    call = calls.get(node)
    if call is None:
        return node.inputs[:1], node.outputs
    operands = [operand.value for operand in call.operands if operand.kind != "channel"]
    head = call.head if isinstance(call, Chain) else None
    excitation = [] if head is None or head.excitation is None else [head.excitation.value]
    return [*call.images, *excitation, *operands], [value for value, _ in call.results]


def _reads(node: Node, calls: Mapping[Node, FusedCall]) -> Sequence[Value]:
    return calls[node].reads if node in calls else node.inputs


def _readers(
    graph: Graph, nodes: Sequence[Node], calls: Mapping[Node, FusedCall]
) -> dict[Value, set[Node | None]]:
    """The nodes of the graph that need a value, if only in a body; None: the graph's output."""
    readers = collections.defaultdict[Value, set[Node | None]](set)
    for node in nodes:
        for value in _reads_within(node, calls):
            readers[value].add(node)
    for value in graph.outputs:
        readers[value].add(None)
    return readers


def _reads_within(node: Node, calls: Mapping[Node, FusedCall]) -> Iterator[Value]:
    yield from _reads(node, calls)
    for body in node.bodies:
        yield from body.outputs
        for inner in body.nodes:
            yield from _reads_within(inner, calls)
