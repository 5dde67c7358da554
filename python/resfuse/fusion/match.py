"""Which equations belong to a convolution: those that the kernel computes along with it.

After a convolution come *steps* as long as its value has a single user: operations with one number
per channel, which fold into scale and shift, and whatever only moves axes. What follows element by
element is the chain's *tail*: see ``tail.py``.
"""

import dataclasses
import itertools
from collections.abc import Sequence, Set

from resfuse.fusion import layout, weight_gradient
from resfuse.fusion.chain import Chain
from resfuse.fusion.graph import Graph, Node
from resfuse.fusion.head import heads
from resfuse.fusion.linear import supported
from resfuse.fusion.moves import is_move, moved, unmoved
from resfuse.fusion.operands import per_channel
from resfuse.fusion.order import settle
from resfuse.fusion.padding import unpadded
from resfuse.fusion.region import Region
from resfuse.fusion.steps import BINARY, Step
from resfuse.fusion.tail import tails

__all__ = ["chains", "finish"]


def chains(graph: Graph, taken: Set[Node]) -> list[Chain]:
    """The chains of the graph and of the bodies in it, without the nodes that are ``taken``.

    Of two convolutions that are added the later one takes the addition, with the other's result as
    its operand: hence from the end.
    """
    convs = supported(graph)
    in_front = heads(convs, taken)
    claimed = {*taken} | {node for head in in_front.values() for node in head.nodes}
    found: list[Chain] = []
    for node, whole in reversed(convs.items()):
        x, geometry = unpadded(node, whole)
        chain = Chain(node, x, geometry, geometry.output, node.outputs[0], [node])
        chain.head = in_front.get(node)
        if not weight_gradient.takes(geometry):
            _take_mean(chain, claimed)
            _add_steps(chain, claimed)
            finish(chain, claimed, found)
        found.append(chain)
        claimed.update(chain.nodes)
    return found[::-1]


def finish(chain: Chain, claimed: set[Node], others: Sequence[Chain]) -> None:
    """Gives the chain the longest tail that it can have, but for nodes that others have claimed."""
    region = Region(chain.start, chain.layout)
    region.grow(chain.nodes, claimed)
    before = chain.nodes
    for tail in itertools.chain(tails(region), (None,)):
        chain.nodes, chain.tail = [*before, *(tail.nodes if tail else ())], tail
        if _is_possible(chain, others):
            break
    left = (member.node for member in region.members[len(chain.nodes) - len(before) :])
    why = "as a value before it is needed elsewhere too" if chain.norm is None else _ONLY_AFTER_NORM
    chain.refused = region.refused | {node: why for node in left if not is_move(node)}


def _is_possible(chain: Chain, others: Sequence[Chain]) -> bool:
    """Whether there is a call for it, and a place where that finds all that it reads."""
    if chain.tail is not None and chain.norm is not None:
        epilogue = chain.tail.epilogue
        return epilogue.gate is not None and epilogue.program.operands in ((), ("tensor",))
    return len(chain.results) == 1 or settle(chain, others)


_ONLY_AFTER_NORM = (
    "as with the statistics of a batch the kernel only adds, clips and has leaky ReLU"
)


def _take_mean(chain: Chain, claimed: set[Node]) -> None:
    """Of a mean in front, which is a sum and a division, the division becomes a step.

    For ``w (x / n) = (w x) / n``; else XLA compiles a program of its own for it.
    """
    node = unmoved(chain.x).producer
    if node is None or node.name != "div" or chain.head is not None or node in claimed:
        return
    total, count = node.inputs
    alone = len(node.outputs[0].users) == len(chain.x.users) == 1 and node.scope is chain.conv.scope
    images = chain.geometry.images.reshaped(total.aval.shape)
    summed = unmoved(total).producer
    is_mean = summed is not None and summed.name in ("reduce_sum", "reduce_window_sum")
    is_number = count.aval.size == 1 and count.known
    if is_mean and is_number and alone and images is not None:
        chain.x, chain.geometry = total, dataclasses.replace(chain.geometry, images=images)
        chain.nodes.insert(0, node)
        chain.steps.append(Step("div", count))


def _add_steps(chain: Chain, claimed: set[Node]) -> None:
    while len(chain.start.users) == 1:
        (node,) = chain.start.users
        if node is None or node in claimed or node.scope is not chain.conv.scope:
            break
        spread = layout.mesh_axes(node.outputs[0].aval) != layout.mesh_axes(chain.start.aval)
        if spread or not (_move(chain, node) or _step(chain, node)):
            break
        chain.nodes.append(node)
        chain.start = node.outputs[0]


def _move(chain: Chain, node: Node) -> bool:
    here = moved(chain.layout, node) if is_move(node) else None
    if here is not None:
        chain.layout = here
    return here is not None


def _step(chain: Chain, node: Node) -> bool:
    step = _step_of(chain, node)
    if step is not None:
        chain.steps.append(step)
    return step is not None


def _step_of(chain: Chain, node: Node) -> Step | None:
    if node.name == "neg":
        return Step("neg", None)
    if node.name not in BINARY:
        return None
    left, right = node.inputs
    swapped = right is chain.start
    if node.outputs[0].aval.shape != chain.layout.shape or (swapped and node.name == "div"):
        return None
    operand = per_channel(left if swapped else right, chain.layout)
    return None if operand is None else Step(node.name, operand, swapped)
