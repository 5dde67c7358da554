"""Batch norm with the statistics of the batch: found after a convolution, and made one call.

Mean and variance are results of that call, for whatever else reads them. So all that follows from
them can only run after the call, also where it stood before the call's other operands.
"""

import dataclasses
from collections.abc import Sequence, Set

from resfuse.fusion.chain import Chain, Norm
from resfuse.fusion.graph import Node, Value
from resfuse.fusion.layout import Layout, mesh_axes
from resfuse.fusion.match import finish
from resfuse.fusion.order import settle
from resfuse.fusion.symbolic import algebra
from resfuse.fusion.symbolic.formulas import MEAN, VAR, Formulas
from resfuse.fusion.symbolic.frames import PerChannel

__all__ = ["with_statistics"]


def with_statistics(chains: Sequence[Chain], taken: Set[Node]) -> list[Chain]:
    """The chains, those with a batch norm behind them together with it, if no node is ``taken``.

    Reorders the nodes of their graphs such that all that a chain computes is read after its last
    node. Works from the end, as :func:`resfuse.fusion.match.chains` does.
    """
    claimed = {*taken} | {node for chain in chains for node in chain.claims}
    found: list[Chain] = []
    for index, chain in reversed(list(enumerate(chains))):
        normalised = _normalised(chain, claimed)
        if normalised is not None and settle(normalised, [*chains[:index], *found]):
            chain = normalised
            claimed.update(chain.nodes)
        found.append(chain)
    return found[::-1]


def _normalised(chain: Chain, claimed: set[Node]) -> Chain | None:
    """The chain with batch norm and what follows it, if that is what its output goes into."""
    plain = all(step.kind in ("add", "add_any", "sub") and not step.swapped for step in chain.steps)
    if chain.tail is not None or not plain:
        return None
    formulas = Formulas(chain.start, PerChannel(chain.layout))
    if formulas.averaged < 2:
        return None
    nodes = chain.conv.scope.nodes
    for node in nodes[nodes.index(chain.nodes[-1]) + 1 :]:
        if node not in claimed and _goes_on(formulas, node):
            algebra.add(node, formulas)
    inside = [node for node in nodes if _replaced(formulas, node)]
    result = _only_result(formulas, set(inside))
    norm = None if result is None else _norm(formulas, result)
    if result is None or norm is None:
        return None
    last = result.producer
    assert last is not None  # it is not the chain's output
    if mesh_axes(last.outputs[0].aval) != mesh_axes(chain.start.aval):
        return None
    nodes = [*chain.nodes, *(node for node in inside if node is not last), last]
    layout = _layout(formulas, result)
    longer = dataclasses.replace(
        chain, nodes=nodes, start=result, layout=layout, norm=norm, head=None
    )
    finish(longer, claimed, ())
    return longer


def _goes_on(formulas: Formulas, node: Node) -> bool:
    """Whether the node may be part of the norm: it may follow its end if nothing else does."""
    read = [value for value in node.inputs if value in formulas.forms]
    finished = [value for value in read if formulas.affine(formulas.forms[value])]
    reduces = node.name in ("reduce_sum", "psum")
    return bool(read) and all(len(value.users) == 1 and not reduces for value in finished)


def _replaced(formulas: Formulas, node: Node) -> bool:
    """Whether the node's output takes every pixel to compute, or comes from the call's results."""
    form = formulas.forms.get(node.outputs[0]) if node.outputs else None
    return form is not None and (form.of_images or form.polynomial.variables <= {MEAN, VAR})


def _only_result(formulas: Formulas, inside: set[Node]) -> Value | None:
    """The one value that takes every pixel and is needed outside."""
    needed = [
        value
        for value, form in formulas.forms.items()
        if form.of_images and not inside.issuperset(value.users)
    ]
    return needed[0] if len(needed) == 1 else None


def _norm(formulas: Formulas, result: Value) -> Norm | None:
    affine = formulas.affine(formulas.forms[result])
    if affine is None or not affine.deviation.centred:
        return None
    statistics = {
        value: (form.polynomial, _layout(formulas, value).channels)
        for value, form in formulas.forms.items()
        if form.polynomial.variables <= {MEAN, VAR}
    }
    return Norm(affine, statistics)


def _layout(formulas: Formulas, value: Value) -> Layout:
    frame = formulas.forms[value].frame
    assert isinstance(frame, PerChannel)
    return frame.layout
