"""What became of each convolution and each dense layer, as a table."""

import collections
import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from resfuse.fusion import pooling, weight_gradient
from resfuse.fusion.cascades import Cascade, is_squeezed
from resfuse.fusion.chain import Chain
from resfuse.fusion.dense import is_dense
from resfuse.fusion.equations import convolutions_within, own_calls
from resfuse.fusion.graph import Graph, Node
from resfuse.fusion.linear import images_of, reason_against
from resfuse.fusion.naming import affine_name, name_of
from resfuse.fusion.symbolic.image_norms import ImageNorm
from resfuse.jax_compat import JaxprEqn
from resfuse.kernel import extension

__all__ = ["Row", "rows", "table"]


@dataclasses.dataclass(frozen=True)
class Row:
    """What became of one convolution or dense layer, as :func:`resfuse.explain` says it.

    ``node`` is its equation, unless it is inside of one.
    """

    node: Node | None
    x: str
    kernel: str
    strides: str
    dilation: str
    groups: str
    fused: str
    algorithm: str
    packed_bytes: str


_COLUMNS = [field.name for field in dataclasses.fields(Row)][1:]


def table(
    graph: Graph,
    chains: Sequence[Chain],
    cascades: Sequence[Cascade],
    norms: Sequence[ImageNorm],
    elsewhere: str | None,
) -> str:
    """A row for each convolution of ``graph`` and each dense layer taken, and lines that sum up.

    Args:
        graph: with the bodies in it.
        chains: what the kernel takes.
        cascades: which of them are one call.
        norms: the norms that the kernel takes.
        elsewhere: why the whole program does not run on the kernel, if so.
    """
    taken = {} if elsewhere else {chain.conv: chain for chain in chains}
    cells = [
        [getattr(row, name) for name in _COLUMNS] for row in rows(graph, taken, cascades, elsewhere)
    ]
    lines = [[name.replace("_", " ") for name in _COLUMNS], *cells]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ([cell.ljust(w) for cell, w in zip(line, widths, strict=True)] for line in lines)
    summary = _summary(graph, taken, len(cells), elsewhere, cascades, norms)
    found = [*_outside(list(taken.values())), *_dense_outside(graph, taken, elsewhere)]
    return "\n".join([*("  ".join(line).rstrip() for line in padded), summary, *found])


def rows(
    graph: Graph,
    taken: Mapping[Node, Chain],
    cascades: Sequence[Cascade],
    elsewhere: str | None,
) -> Iterator[Row]:
    """A row for each convolution, and for each dense layer that is taken.

    Args:
        graph: as in :func:`table`.
        taken: the chains by their convolutions.
        cascades: as in :func:`table`.
        elsewhere: as in :func:`table`.
    """
    kinds = {kind: itertools.count(1) for kind in ("cascade", "squeeze")}
    called = ("cascade" if each.squeezed is None else "squeeze" for each in cascades)
    within = (f" in {kind} {next(kinds[kind])}" for kind in called)
    names = {
        chain: name for name, each in zip(within, cascades, strict=True) for chain in each.chains
    }
    for node in graph.walk():
        if node in taken:
            yield _taken(taken[node], names.get(taken[node], ""))
        elif node.name == "conv_general_dilated":
            yield _left(node, node.eqn, elsewhere or reason_against(node) or "?")
        elif not node.bodies:
            for eqn in convolutions_within(node.eqn):
                yield _left(None, eqn, elsewhere or _inside(node))


def _inside(node: Node) -> str:
    return "resfuse's own operation" if own_calls(node.eqn) else f"inside {node.name}"


def _taken(chain: Chain, within: str) -> Row:
    geometry, spec = chain.geometry, chain.spec
    x, kernel = geometry.images_shape, geometry.kernel.start
    gradient = weight_gradient.takes(geometry)
    packed = "in each call" if chain.packed is None else f"{chain.packed.value.aval.size * 4}"
    dense = is_dense(chain.conv)
    return Row(
        chain.conv,
        _times(images_of(chain.conv).aval.shape if dense else x),
        _times(kernel[-2:] if dense else kernel),
        _strides(spec.strides, spec.input_dilation),
        _times(spec.kernel_dilation),
        str(spec.feature_group_count),
        _parts(chain),
        "weight gradient" if gradient else extension.algorithm(x, kernel, spec) + within,
        "" if gradient else packed,
    )


def _parts(chain: Chain) -> str:
    steps = affine_name(step.kind for step in chain.steps)
    names = ["bn(batch)" if chain.norm else steps]
    if chain.tail is not None:
        names.append(name_of(chain.tail.epilogue.program))
    after = "+".join(filter(None, names))
    return " ".join(filter(None, (_before(chain), after))) or "-"


def _before(chain: Chain) -> str:
    """What the convolution's prologue does, with a colon."""
    if chain.head is None:
        return ""
    names = [
        "concat" if len(chain.head.parts) > 1 else "",
        "excitation"
        if chain.head.excitation
        else affine_name(step.kind for step in chain.head.steps),
        "relu" if chain.head.relu else "",
    ]
    return "+".join(filter(None, names)) + ":"


def _left(node: Node | None, eqn: JaxprEqn, reason: str) -> Row:
    avals: list[Any] = [var.aval for var in eqn.invars]
    x, kernel = (aval.shape for aval in avals)
    params = eqn.params
    return Row(
        node,
        _times(x),
        _times(kernel),
        _strides(params["window_strides"], params["lhs_dilation"]),
        _times(params["rhs_dilation"]),
        str(params["feature_group_count"] * params["batch_group_count"]),
        "-",
        f"XLA: {reason}",
        "",
    )


def _strides(strides: Sequence[int], dilation: Sequence[int]) -> str:
    """With zeros between the pixels of the images, they are fractions of a pixel."""
    pairs = zip(strides, dilation, strict=True)
    return _times([str(stride) if d == 1 else f"{stride}/{d}" for stride, d in pairs])


def _summary(
    graph: Graph,
    taken: Mapping[Node, Chain],
    count: int,
    elsewhere: str | None,
    cascades: Sequence[Cascade],
    norms: Sequence[ImageNorm],
) -> str:
    sizes = {
        chain.packed.value: chain.packed.value.aval.size * 4
        for chain in taken.values()
        if chain.packed is not None
    }
    fused = {value for chain in taken.values() for value in chain.outputs}
    pools = () if elsewhere else pooling.find(graph, fused)
    alone = [node for node in pools if not is_squeezed(node, cascades)]
    dense = sum(map(is_dense, taken))
    layers = f" and {dense} dense layers" if dense else ""
    normed = f", norms: {len(norms)}" if norms and not elsewhere else ""
    return (
        f"{len(taken) - dense} of {count - dense} convolutions{layers} on the kernel "
        f"({extension.isa() or 'not loaded'}), "
        f"with {sum(sizes.values()) / 1e6:.1f} MB of packed weights; pools: {len(alone)}{normed}"
    )


def _outside(chains: Sequence[Chain]) -> list[str]:
    """Elementwise operations that read a chain's values, and why they are not part of it."""
    inside = {node for chain in chains for node in chain.claims}
    reasons = {node: why for chain in chains for node, why in chain.refused.items()}
    counts = collections.Counter((n.name, why) for n, why in reasons.items() if n not in inside)
    return [f"left to XLA: {n} {name}, {why}" for (name, why), n in counts.most_common()]


def _dense_outside(
    graph: Graph, taken: Mapping[Node, Chain], elsewhere: str | None
) -> Iterator[str]:
    """The dense layers that stay with XLA, and why."""
    left = (node for node in graph.walk() if node not in taken and is_dense(node))
    counts = collections.Counter(elsewhere or reason_against(node) for node in left)
    for why, count in counts.most_common():
        yield f"left to XLA: {count} dense, {why}"


def _times(sizes: Sequence[int | str]) -> str:
    return "x".join(map(str, sizes))
