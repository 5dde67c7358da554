"""What became of each convolution, as a table."""

from collections.abc import Iterator, Sequence
from typing import Any

from resfuse.fusion import layout, pooling
from resfuse.fusion.equations import convolutions_within, own_calls
from resfuse.fusion.graph import Graph, Node
from resfuse.fusion.match import Chain
from resfuse.jax_compat import JaxprEqn
from resfuse.kernel import extension

__all__ = ["table"]

_HEADER = ("x", "kernel", "strides", "groups", "fused", "algorithm", "packed bytes")


def table(graph: Graph, chains: Sequence[Chain], elsewhere: str | None) -> str:
    """A row for each convolution of ``graph``, and a line that sums up.

    Args:
        graph: with the bodies in it.
        chains: what the kernel takes.
        elsewhere: why the whole program does not run on the kernel, if so.
    """
    taken = {} if elsewhere else {chain.conv: chain for chain in chains}
    rows = [_HEADER, *_rows(graph, taken, elsewhere)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, _summary(graph, taken, len(rows) - 1, elsewhere)])


def _rows(graph: Graph, taken: dict[Node, Chain], elsewhere: str | None) -> Iterator[Sequence[str]]:
    for node in graph.walk():
        if node.name == "conv_general_dilated":
            reason = elsewhere or layout.reason_against(node) or "?"
            yield _taken(taken[node]) if node in taken else _left(node.eqn, reason)
        elif not node.bodies:
            for eqn in convolutions_within(node.eqn):
                yield _left(eqn, elsewhere or _inside(node))


def _inside(node: Node) -> str:
    return "resfuse's own operation" if own_calls(node.eqn) else f"inside {node.name}"


def _taken(chain: Chain) -> Sequence[str]:
    node, spec = chain.conv, chain.spec
    x = tuple(chain.x.aval.shape[axis] for axis in layout.images_order(node))
    kernel = tuple(chain.kernel.aval.shape[axis] for axis in layout.kernel_order(node))
    packed = "in each call" if chain.packed is None else f"{chain.packed.aval.size * 4}"
    return (
        _times(x),
        _times(kernel),
        _times(spec.strides),
        str(spec.feature_group_count),
        _parts(chain),
        extension.algorithm(x, kernel, spec),
        packed,
    )


def _parts(chain: Chain) -> str:
    ends = "add" if chain.residual else "", "relu" if chain.relu else ""
    kinds = {step.kind for step in chain.steps}
    shifts, scales = kinds & {"add", "add_any", "sub"}, kinds & {"mul", "div", "neg"}
    if chain.norm is not None:
        return "+".join(["bn(batch)", *filter(None, ends)])
    affine = "bn" if shifts and scales else "bias" if shifts else "scale" if scales else ""
    return "+".join(filter(None, [affine, *ends])) or "-"


def _left(eqn: JaxprEqn, reason: str) -> Sequence[str]:
    avals: list[Any] = [var.aval for var in eqn.invars]
    x, kernel = (aval.shape for aval in avals)
    strides, groups = eqn.params["window_strides"], eqn.params["feature_group_count"]
    return _times(x), _times(kernel), _times(strides), str(groups), "-", f"XLA: {reason}", ""


def _summary(graph: Graph, taken: dict[Node, Chain], count: int, elsewhere: str | None) -> str:
    sizes = {
        id(chain.packed.array): chain.packed.aval.size * 4
        for chain in taken.values()
        if chain.packed is not None
    }
    fused = {value for chain in taken.values() for value in chain.outputs}
    pools = 0 if elsewhere else len(pooling.find(graph, fused))
    return (
        f"{len(taken)} of {count} convolutions on the kernel ({extension.isa() or 'not loaded'}), "
        f"with {sum(sizes.values()) / 1e6:.1f} MB of packed weights; pools: {pools}"
    )


def _times(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))
