"""Which equations belong to a convolution: those that the kernel computes along with it.

After a convolution the chain goes on as long as its value has a single user: operations with one
number per channel, then at most one addition of a tensor of the same shape, then a ReLU, and in
between whatever only moves axes. As each value has no other user, nothing else in the program can
depend on it, so that all operands of a chain are there where its last equation stands.
"""

import dataclasses
from collections.abc import Callable, Mapping

import jax.numpy as jnp

from resfuse.fusion import layout, weight_gradient
from resfuse.fusion.geometry import Geometry, reason_against
from resfuse.fusion.graph import Graph, Node, Value
from resfuse.fusion.layout import Layout
from resfuse.fusion.padding import unpadded
from resfuse.fusion.relu import is_maximum_with_zero, is_relu
from resfuse.fusion.symbolic.polynomial import Polynomial
from resfuse.spec import ConvSpec

__all__ = ["Chain", "Norm", "Step", "chains", "extend", "per_channel"]


@dataclasses.dataclass(frozen=True)
class Step:
    """``y * a``, ``y + a`` and so on for one number ``a`` per channel; ``swapped``: ``a - y``."""

    kind: str
    operand: Value | None
    swapped: bool = False


@dataclasses.dataclass(frozen=True)
class Norm:
    """Batch norm with the statistics of the batch, which comes after the steps.

    ``symbolic/batch_norm.py`` finds it. ``scale`` and ``bias`` are products and sums of ``inputs``;
    ``statistics`` are the values that follow from mean and variance alone, and how, each with the
    axis of its channels.
    """

    epsilon: float
    scale: Polynomial
    bias: Polynomial
    inputs: Mapping[int, Value]  # by the indices of their variables
    statistics: Mapping[Value, tuple[Polynomial, int]]


@dataclasses.dataclass(eq=False, repr=False)
class Chain:
    """A convolution and what follows it; ``relu`` is None, ``"relu"`` or ``"maximum"``.

    ``x`` are the images, which ``geometry`` pads. ``prepare.py`` adds what it computed of weights
    that do not change.
    """

    conv: Node
    x: Value
    geometry: Geometry
    layout: Layout
    output: Value
    nodes: list[Node]
    steps: list[Step] = dataclasses.field(default_factory=list)
    residual: Value | None = None
    residual_layout: Layout | None = None
    relu: str | None = None
    norm: Norm | None = None
    folded: tuple[Value, Value] | None = None  # scale and shift, if they are known
    packed: Value | None = None

    @property
    def spec(self) -> ConvSpec:
        """The static half of the convolution."""
        return self.geometry.spec

    @property
    def kernel(self) -> Value:
        """The weights."""
        return self.conv.inputs[1]

    @property
    def channels(self) -> int:
        """How many the result has."""
        return self.layout.shape[self.layout.channels]

    @property
    def reads(self) -> list[Value]:
        """All that its call needs."""
        optional = (self.residual, self.packed, *(self.folded or self.operands))
        return [self.x, self.kernel, *(value for value in optional if value is not None)]

    @property
    def operands(self) -> list[Value]:
        """What the steps read, and the norm."""
        operands = [step.operand for step in self.steps if step.operand is not None]
        return [*operands, *(self.norm.inputs.values() if self.norm else ())]

    def is_spread_by(self, node: Node) -> bool:
        """Whether the node's output lies on other axes of the mesh than the convolution's."""
        here, there = (layout.mesh_axes(each.outputs[0].aval) for each in (self.conv, node))
        return here != there

    @property
    def outputs(self) -> list[Value]:
        """All that its call computes."""
        return [self.output, *(self.norm.statistics if self.norm else ())]


def chains(graph: Graph) -> list[Chain]:
    """The chains of the graph and of the bodies in it.

    Of two convolutions that are added the later one takes the addition, with the other's result as
    its residual: hence from the end.
    """
    claimed: set[Node] = set()
    found = []
    for node in reversed(list(graph.walk())):
        if node.name == "conv_general_dilated" and reason_against(node) is None:
            found.append(_chain(node, claimed))
            claimed.update(found[-1].nodes)
    return found[::-1]


def _chain(conv: Node, claimed: set[Node]) -> Chain:
    x, geometry = unpadded(conv)
    chain = Chain(conv, x, geometry, geometry.output, conv.outputs[0], [conv])
    if not weight_gradient.takes(geometry):
        extend(chain, claimed)
    return chain


def extend(chain: Chain, claimed: set[Node]) -> None:
    """Adds what follows the chain's output, but for nodes that others have claimed."""
    while chain.relu is None and len(chain.output.users) == 1:
        (node,) = chain.output.users
        if node is None or node in claimed or node.scope is not chain.conv.scope:
            break
        rule = _RULES.get(node.name)
        if rule is None or chain.is_spread_by(node) or not rule(chain, node):
            break
        chain.nodes.append(node)
        chain.output = node.outputs[0]


def _move(chain: Chain, layout: Layout | None) -> bool:
    if layout is not None:
        chain.layout = layout
    return layout is not None


def _reshape(chain: Chain, node: Node) -> bool:
    if node.params["dimensions"] is not None or node.params["sharding"] is not None:
        return False
    return _move(chain, chain.layout.reshaped(node.outputs[0].aval.shape))


def _squeeze(chain: Chain, node: Node) -> bool:
    return _move(chain, chain.layout.reshaped(node.outputs[0].aval.shape))


def _transpose(chain: Chain, node: Node) -> bool:
    return _move(chain, chain.layout.transposed(tuple(map(int, node.params["permutation"]))))


def _broadcast(chain: Chain, node: Node) -> bool:
    """Goes on if only axes of size 1 are added; JAX keeps the order of the others."""
    aval = node.outputs[0].aval
    same_size = aval.size == node.inputs[0].aval.size
    plain = len(node.inputs) == 1 and node.params["sharding"] is None
    return same_size and plain and _move(chain, chain.layout.reshaped(aval.shape))


def _convert(chain: Chain, node: Node) -> bool:
    del chain
    return bool(node.outputs[0].aval.dtype == jnp.float32)


def _negate(chain: Chain, node: Node) -> bool:
    del node
    return _step(chain, Step("neg", None))


def _arithmetic(chain: Chain, node: Node) -> bool:
    left, right = node.inputs
    swapped = right is chain.output
    other = left if swapped else right
    if node.outputs[0].aval.shape != chain.layout.shape:
        return False
    if (operand := per_channel(other, chain.layout)) is not None:
        if node.name == "div" and swapped:
            return False
        return _step(chain, Step(node.name, operand, swapped))
    return node.name in ("add", "add_any") and _residual(chain, other)


def _step(chain: Chain, step: Step) -> bool:
    if chain.residual is not None or chain.norm is not None:
        return False
    chain.steps.append(step)
    return True


def _residual(chain: Chain, other: Value) -> bool:
    if chain.residual is not None or other.aval.shape != chain.layout.shape:
        return False
    chain.residual, chain.residual_layout = other, chain.layout
    return True


def _maximum(chain: Chain, node: Node) -> bool:
    if chain.norm is None and is_maximum_with_zero(node, chain.output):
        chain.relu = "maximum"
    return chain.relu is not None


def _custom_jvp(chain: Chain, node: Node) -> bool:
    if is_relu(node):
        chain.relu = "relu"
    return chain.relu is not None


def per_channel(value: Value, layout: Layout) -> Value | None:
    """The value with one number per channel, or one in all, of which ``value`` is a broadcast."""
    shape, size = value.aval.shape, layout.shape[layout.channels]
    if value.aval.dtype != jnp.float32:
        return None
    if shape == () or (len(shape) == len(layout.shape) and _flat(shape, layout.channels, size)):
        return value
    node = value.producer
    if node is None or node.name != "broadcast_in_dim" or len(node.inputs) != 1:
        return None
    operand = node.inputs[0]
    axes = zip(operand.aval.shape, node.params["broadcast_dimensions"], strict=True)
    kept = [(extent, axis) for extent, axis in axes if extent != 1]
    return operand if all(pair == (size, layout.channels) for pair in kept) else None


def _flat(shape: tuple[int, ...], channels: int, size: int) -> bool:
    elsewhere = shape[:channels] + shape[channels + 1 :]
    return set(elsewhere) <= {1} and shape[channels] in (1, size)


_RULES: dict[str, Callable[[Chain, Node], bool]] = {
    "reshape": _reshape,
    "squeeze": _squeeze,
    "broadcast_in_dim": _broadcast,
    "transpose": _transpose,
    "convert_element_type": _convert,
    "neg": _negate,
    "add": _arithmetic,
    "add_any": _arithmetic,
    "sub": _arithmetic,
    "mul": _arithmetic,
    "div": _arithmetic,
    "max": _maximum,
    "custom_jvp_call": _custom_jvp,
}
