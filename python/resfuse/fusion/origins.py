"""Which chains of a training step make their images again in the backward pass."""

from collections.abc import Sequence

from resfuse.fusion.chain import Chain
from resfuse.fusion.graph import Value

__all__ = ["link"]


def link(chains: Sequence[Chain]) -> None:
    """Tells the chains behind a batch norm with the batch's statistics from where to take them.

    What such a chain gives follows from its convolution, unless something else was added.
    """
    makers = {
        value: (chain, lies)
        for chain in chains
        if chain.norm is not None and not chain.operands
        for value, lies in chain.results
    }
    for chain in chains:
        if chain.norm is None or chain.x not in makers or chain.geometry.batch_groups != 1:
            continue
        maker, lies = makers[chain.x]
        if lies == chain.geometry.images and maker.conv.scope is chain.conv.scope:
            maker.origin = maker.origin or Value(None)
            chain.origin_of_x = maker.origin
