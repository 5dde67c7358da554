"""How long each call of a fused program takes by itself, beside the whole program."""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from resfuse.fusion import lowering, pooling
from resfuse.fusion.cascades import is_squeezed
from resfuse.fusion.chain import Chain
from resfuse.fusion.explain import Row, rows
from resfuse.fusion.graph import Node, Value
from resfuse.fusion.prepare import array_of
from resfuse.fusion.program import Program, Shared, trace

__all__ = ["Layer", "Timings", "in_place", "measure"]

Function = Callable[..., Any]
Call = Callable[[], Any]


@dataclasses.dataclass(frozen=True)
class Layer:
    """A convolution with what is fused to it, or a pooling, and what its call takes."""

    row: Row
    seconds: float


@dataclasses.dataclass(frozen=True)
class Timings:
    """Medians over rounds.

    Attributes:
        layers: In the program's order.
        whole: Seconds of the whole program.
    """

    layers: Sequence[Layer]
    whole: float

    @property
    def sum(self) -> float:
        """Seconds of all layers, one by one."""
        return sum(layer.seconds for layer in self.layers)


def measure(function: Function, images: jax.Array, rounds: int) -> Timings:
    """Times the program that ``resfuse.fuse`` makes of a network without control flow.

    Each round runs the whole program, and then its calls one by one in the program's order, each
    compiled by itself, with packed weights and random images. So weights come from where the
    round before has left them, as in the program, and images too, unless they are larger than the
    cache; and outputs go to memory that is there. What a call of an empty function takes is
    subtracted.

    Args:
        function: Of the images alone.
        images: ``(b, H, W, C)``.
        rounds: How many.
    """
    program = trace(function, jax.tree.structure(((images,), {})), [images], Shared(), sliced=True)
    calls = _calls(program)
    whole_call = functools.partial(program, [images])
    everything: list[Call] = [
        whole_call,
        in_place(lambda x: x, [jnp.zeros(())]),
        *(call for _, call in calls),
    ]
    _, *timed = [list(map(_seconds, everything)) for _ in range(1 + rounds)]  # one to compile
    whole, nothing, *each = zip(*timed, strict=True)
    times = (max(0.0, statistics.median(seconds) - min(nothing)) for seconds in each)
    layers = [Layer(row, seconds) for (row, _), seconds in zip(calls, times, strict=True)]
    return Timings(layers, statistics.median(whole))


def _seconds(call: Call) -> float:
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def _calls(program: Program) -> list[tuple[Row, Call]]:
    """The convolutions and poolings, each as a function and what to call it with."""
    chains = {chain.conv: chain for chain in program.chains}
    convolutions = {
        row.node: row for row in rows(program.graph, chains, program.plan.cascades, None)
    }
    pools = program.plan.pools & program.plan.live
    found = []
    images: dict[Any, Any] = {}
    for node in program.graph.walk():
        if node in convolutions:
            run, values = _convolution(node, chains)
            row = convolutions[node]
        elif node in pools or is_squeezed(node, program.plan.cascades):
            run, values = functools.partial(pooling.run, node), node.inputs
            row = _pooling_row(node)
        else:
            continue
        found.append((row, in_place(run, [_array(value, images) for value in values])))
    return found


def _convolution(node: Node, chains: Mapping[Node, Chain]) -> tuple[Function, list[Value]]:
    chain = chains.get(node)
    if chain is None:
        return lambda *operands: node.run(operands), node.inputs
    if chain.tail is not None:  # memory that it could take is read by the next round, too
        chain = dataclasses.replace(chain, tail=dataclasses.replace(chain.tail, in_place=False))
    values = list(dict.fromkeys(chain.reads))

    def run(*arrays: Any) -> list[Any]:
        read = dict(zip(values, arrays, strict=True))
        return list(lowering.compute(chain, read.__getitem__, ()).values())

    return run, values


def in_place(function: Function, arrays: Sequence[Any]) -> Call:
    """A call whose outputs are where its last were.

    A program keeps its memory; to get it from the system, page by page, takes as long as a layer.
    """
    run = jax.jit(lambda _, *arrays: function(*arrays), donate_argnums=0, keep_unused=True)
    shapes = jax.eval_shape(function, *arrays)
    last = [jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)]

    def call() -> Any:
        last[0] = run(last[0], *arrays)
        return last[0]

    return call


def _array(value: Value, images: dict[Any, Any]) -> Any:
    """Arrays of the same shape are the same, to need less memory."""
    if value.is_constant:
        return array_of(value)
    key = value.aval.shape, value.aval.dtype
    if key not in images:
        random = np.random.default_rng(0).standard_normal(value.aval.shape, np.float32)
        images[key] = jnp.asarray(random, value.aval.dtype)
    return images[key]


def _pooling_row(node: Node) -> Row:
    """As a convolution's, with what the equation says of the window."""
    window, strides = (
        "x".join(map(str, node.params.get(name, ())[1:-1]))
        for name in ("window_dimensions", "window_strides")
    )
    x = "x".join(map(str, node.inputs[-1].aval.shape))
    return Row(node, x, window, strides, "", "", "", node.name.replace("_", " "), "")
