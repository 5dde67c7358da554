"""Where a call stands that has several results: behind all that it reads, before all readers."""

from collections.abc import Sequence

from resfuse.fusion.chain import Chain
from resfuse.fusion.graph import Node

__all__ = ["settle"]


def settle(chain: Chain, others: Sequence[Chain]) -> bool:
    """Moves what depends on the chain's results behind it; False if its own operands do.

    A call with a single result needs no such thing: whatever it reads comes before its last node,
    and nothing before that reads what it computes.
    """
    calls = {other.nodes[-1]: other for other in others if len(other.outputs) > 1}
    replaced = {node for other in calls.values() for node in other.nodes} - calls.keys()
    nodes, inside = chain.conv.scope.nodes, set(chain.nodes)
    start, stop = nodes.index(chain.conv), nodes.index(chain.nodes[-1]) + 1
    results = {value for node in inside for value in node.outputs}
    before: list[Node] = []
    after: list[Node] = []
    for node in nodes[start:stop]:
        call = calls.get(node)
        reads, writes = (call.reads, call.outputs) if call else (node.inputs, node.outputs)
        # What has effects stays in its order.
        ordered = node.eqn.effects and any(earlier.eqn.effects for earlier in after)
        if node in inside or node in replaced or (results.isdisjoint(reads) and not ordered):
            before.append(node)
        else:
            after.append(node)
            results.update(writes)
    if not results.isdisjoint(chain.reads):
        return False
    nodes[start:stop] = before + after
    return True
