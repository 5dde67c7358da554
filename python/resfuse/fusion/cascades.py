"""Chains of which each reads what the one before wrote, as one call.

Where a value has no other reader, the call need not give it out, and it may stay in the cache: the
widest values of a network of inverted residuals.
"""

import dataclasses
from collections.abc import Iterator, Sequence

from resfuse.fusion.chain import Chain
from resfuse.fusion.graph import Value
from resfuse.fusion.layout import Layout
from resfuse.fusion.linear import images_of
from resfuse.fusion.operands import Operand
from resfuse.kernel import extension
from resfuse.kernel.cascade import MAX_PARTS

__all__ = ["Cascade", "find"]

Run = tuple[Chain, ...]

# Numbers between two chains: fewer, 64 KiB, stay in any L2, and a call each serves as well.
_LEAST = 1 << 14


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Cascade:
    """Chains in their order."""

    chains: Run

    @property
    def x(self) -> Value:
        """The images that the first reads."""
        return self.chains[0].x

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
        """All that its call needs."""
        between = {chain.x for chain in self.chains[1:]}
        return [v for chain in self.chains for v in chain.reads if v not in between]

    @property
    def outputs(self) -> list[Value]:
        """All that its call computes."""
        return self.chains[-1].outputs


def find(chains: Sequence[Chain]) -> list[Cascade]:
    """The cascades that chains make, so that as few numbers as possible lie between calls."""
    packed = [chain for chain in chains if chain.packed is not None and chain.head is None]
    results = {chain.results[0][0]: chain for chain in packed}
    before = {chain: results[chain.x] for chain in packed if chain.x in results}
    after = {first: then for then, first in before.items() if _leads_to(first, then)}
    starts = [chain for chain in packed if chain not in after.values()]
    parts = (part for start in starts for part in _best(_run(start, after)))
    return [Cascade(part) for part in parts if len(part) > 1]


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
    alone = len(first.results) == 1 and path is value and len(value.users) == 1
    return alone and value.aval.size >= _LEAST


def _run(start: Chain, after: dict[Chain, Chain]) -> Run:
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
