"""Chains of which each reads what the one before wrote, as one call.

Where a value has no other reader, the call need not give it out, and it may stay in the cache: the
widest values of a network of inverted residuals. Sums over all pixels may stand in front, as in
squeeze and excitation, whose layers take no longer than calls: a *squeeze*. If a cascade wrote what
is squeezed, it adds up each row as well, which it has in its cache.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

import jax

from resfuse.fusion.chain import Chain
from resfuse.fusion.graph import Node, Value
from resfuse.fusion.layout import Layout, mesh_axes
from resfuse.fusion.linear import images_of
from resfuse.fusion.moves import unmoved
from resfuse.fusion.operands import Operand
from resfuse.fusion.pooling import is_sum
from resfuse.kernel import extension
from resfuse.kernel.cascade import MAX_PARTS
from resfuse.purpose import Purpose

__all__ = ["Cascade", "find", "is_squeezed"]

Run = tuple[Chain, ...]

# Numbers between two chains: fewer, 64 KiB, stay in any L2, and a call each serves as well.
_LEAST = 1 << 14


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Cascade:
    """Chains in their order.

    Attributes:
        chains: each reads what the one before wrote.
        squeezed: images, over whose pixels the first chain reads the sums; if it does.
        row_sums: sums over each row of what is squeezed, which one cascade writes and one reads.
    """

    chains: Run
    squeezed: Value | None = None
    row_sums: Value | None = None

    @property
    def x(self) -> Value:
        """The images that the call reads."""
        return self.squeezed or self.chains[0].x

    @property
    def images(self) -> Sequence[Value]:
        """Likewise, as a chain has them."""
        return [self.x]

    @property
    def operands(self) -> Sequence[Operand]:
        """What its tails read."""
        return [operand for chain in self.chains for operand in chain.operands]

    @property
    def results(self) -> Sequence[tuple[Value, Layout]]:
        """Its images, as the last has them."""
        return self.chains[-1].results

    @property
    def reads(self) -> list[Value]:
        """As a chain's."""
        return self.reads_for(Purpose.ANYTHING)

    def reads_for(self, purpose: Purpose) -> list[Value]:
        """As a chain's."""
        within = {chain.x for chain in self.chains[self.squeezed is None :]}
        read = (value for chain in self.chains for value in chain.reads_for(purpose))
        return [self.x, *(value for value in read if value not in within)]

    @property
    def outputs(self) -> list[Value]:
        """All of the graph's values that its call computes."""
        return self.chains[-1].outputs


def find(chains: Sequence[Chain]) -> list[Cascade]:
    """The cascades that chains make, so that as few numbers as possible lie between calls."""
    packed = [chain for chain in chains if chain.packed is not None and chain.head is None]
    results = {chain.results[0][0]: chain for chain in packed}
    before = {chain: results[chain.x] for chain in packed if chain.x in results}
    after = {first: then for then, first in before.items() if _leads_to(first, then)}
    squeezes = {chain: squeezed for chain in packed if (squeezed := _squeezed(chain)) is not None}
    tails = {_pixels(_run(chain, after)): squeezed for chain, squeezed in squeezes.items()}
    within = {chain for run in tails for chain in run}
    large = {
        first: then for first, then in after.items() if _is_large(first) and first not in within
    }
    starts = [chain for chain in packed if chain not in {*large.values(), *within}]
    parts = [part for start in starts for part in _best(_run(start, large)) if len(part) > 1]
    rows = {part[-1].results[0][0]: part for part in parts if _has_rows(part[-1])}
    sums = {value: _row_sums(value) for value in tails.values() if value in rows}
    found = [Cascade(part, row_sums=sums.get(part[-1].results[0][0])) for part in parts]
    return [*found, *(Cascade(run, value, sums.get(value)) for run, value in tails.items())]


def is_squeezed(node: Node, cascades: Iterable[Cascade]) -> bool:
    """Whether a squeeze computes the equation, a sum over all pixels."""
    return is_sum(node) and any(each.squeezed is node.inputs[0] for each in cascades)


def _leads_to(first: Chain, then: Chain) -> bool:
    """Whether all that the first chain computes is the images of the other."""
    value, layout = first.results[0]
    plain = layout == then.geometry.images and then.geometry.batch_groups == 1
    kinds = {operand.kind for operand in first.operands}
    if first.conv.scope is not then.conv.scope or not plain or "tensor" in kinds:
        return False
    path = images_of(then.conv)  # through the equations that pad it
    while path is not value and len(path.users) == 1 and path.producer is not None:
        path = path.producer.inputs[0]
    return len(first.results) == 1 and path is value and len(value.users) == 1


def _is_large(chain: Chain) -> bool:
    return chain.results[0][0].aval.size >= _LEAST


def _squeezed(chain: Chain) -> Value | None:
    """The images over whose pixels the chain reads the sums; None if it reads something else."""
    node = unmoved(chain.x).producer
    if (
        not _is_pixel(chain)
        or node is None
        or node.scope is not chain.conv.scope
        or not is_sum(node)
    ):
        return None
    x, total = node.inputs[0], node.outputs[0]
    alone = len(total.users) == 1 and len(chain.x.users) == 1 and not mesh_axes(x.aval)
    return x if alone and x.aval.shape[-1] == chain.geometry.images_shape[-1] else None


def _is_pixel(chain: Chain) -> bool:
    """Whether it is a dense layer of a single pixel, and what follows reads that alone."""
    geometry, spec = chain.geometry, chain.spec
    sizes = {*geometry.images_shape[1:-1], *geometry.kernel.start[:-2], spec.feature_group_count}
    moves = {kind for kind, _, _ in geometry.images.moves}
    kinds = {operand.kind for operand in chain.operands}
    plain = sizes == {1} and geometry.batch_groups == 1 and not any(spec.pixels)
    return plain and kinds <= {"channel"} and "transpose" not in moves


def _pixels(run: Run) -> Run:
    """The start of the run that is made of them."""
    others = (index for index, chain in enumerate(run) if not _is_pixel(chain))
    return run[: min(next(others, len(run)), MAX_PARTS)]


def _has_rows(chain: Chain) -> bool:
    """Whether the graph has its images as its call writes them."""
    value, layout = chain.results[0]
    return not layout.moves and value.aval.ndim == 4


def _row_sums(images: Value) -> Value:
    aval = images.aval
    return Value(jax.core.ShapedArray((*aval.shape[:2], aval.shape[-1]), aval.dtype))


def _run(start: Chain, after: Mapping[Chain, Chain]) -> Run:
    run = [start]
    while run[-1] in after:
        run.append(after[run[-1]])
    return tuple(run)


def _best(run: Run) -> list[Run]:
    """The run in parts, within which lie as many numbers as possible; found from its end."""
    best: list[tuple[int, list[Run]]] = [(0, [])]  # of what is left from a chain on, the next first
    for index in reversed(range(len(run))):
        parts = _parts(run[index : index + MAX_PARTS])
        choices = (_with_rest(part, *best[len(part) - 1]) for part in parts)
        best.insert(0, max(choices, key=lambda each: each[0]))
    return best[0][1]


def _with_rest(part: Run, within: int, rest: list[Run]) -> tuple[int, list[Run]]:
    return within + sum(chain.results[0][0].aval.size for chain in part[:-1]), [part, *rest]


def _parts(run: Run) -> Iterator[Run]:
    """What of its start may be one call."""
    yield run[:1]
    for length in range(2, len(run) + 1):
        part = run[:length]
        kernels = [chain.geometry.kernel.start for chain in part]
        specs = [chain.spec for chain in part]
        if extension.is_cascade(part[0].geometry.images_shape, kernels, specs):
            yield part
