"""What a chain needs of closed-over weights: folded and packed once."""

import dataclasses
import itertools
import math
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from resfuse.fusion import weight_gradient
from resfuse.fusion.chain import Chain, Packed
from resfuse.fusion.constants import evaluate, key_of
from resfuse.fusion.graph import Value
from resfuse.fusion.head import Head
from resfuse.fusion.operands import Operand
from resfuse.fusion.steps import fold, full, row
from resfuse.jax_compat import with_weak_type
from resfuse.kernel import extension
from resfuse.kernel.extension import PackingTask
from resfuse.kernel.fold import fold_of
from resfuse.memory import empty
from resfuse.spec import ConvSpec

__all__ = ["Packs", "array_of", "is_pending", "prepare"]


class Packs:
    """The packed weights of one fused function, by the arrays that they come from.

    Threads pack, while JAX traces and compiles the program: the values' arrays are pending.
    """

    def __init__(self) -> None:
        self._packs: dict[Any, tuple[Value, Packed]] = {}
        self._lock = threading.Lock()

    def of(self, chains: Sequence[Chain]) -> list[Packed]:
        """The packed weights of chains whose kernels are known; packs those that are missing."""
        keys = list(map(_key, chains))
        with self._lock:
            pairs = zip(keys, chains, strict=True)
            missing = {key: chain for key, chain in pairs if key not in self._packs}
            packed = _packed(list(missing.values()))
            for (key, chain), each in zip(missing.items(), packed, strict=True):
                # With its array, for as long as that lives, its id is nobody else's.
                self._packs[key] = chain.kernel, each
            return [self._packs[key][1] for key in keys]


@dataclasses.dataclass(frozen=True)
class _Pending:
    """Packed weights in memory, once threads are ``done``."""

    done: Sequence[Future[None]]
    packed: np.ndarray


def array_of(value: Value) -> Any:
    """Its array on the device; waits for the thread that packs it."""
    array = value.array
    if isinstance(array, _Pending):
        for each in array.done:
            each.result()
        array = array.packed
    if isinstance(array, np.ndarray):
        with jax.ensure_compile_time_eval():
            array = with_weak_type(jax.device_put(array), value.aval.weak_type)
        value.array = array
    return array


def _key(chain: Chain) -> Any:
    numbers = (each.tobytes() for each in _numbers(chain))
    spec = _packing_spec(chain)
    return key_of(chain.kernel), chain.geometry.kernel, spec, extension.isa(), *numbers


def _numbers(chain: Chain) -> list[np.ndarray]:
    """The scale and the shift that follow the weights, if the call reads them as they are."""
    if chain.folded is None or fold_of(chain.spec, chain.geometry.kernel.start):
        return []
    return [np.asarray(value.array) for value in chain.folded]


def _packing_spec(chain: Chain) -> ConvSpec:
    """What the order of weights depends on: padding only where zeros lie between the pixels.

    Without, images of all sizes, which "SAME" pads differently, share their weights.
    """
    spec = chain.spec
    if max(spec.input_dilation) > 1:
        return spec
    return dataclasses.replace(spec, padding=((0, 0),) * len(spec.strides))


def _packed(chains: Sequence[Chain]) -> list[Packed]:
    """Of all chains side by side, in one array for what runs, which then has one argument."""
    if not chains:
        return []
    memory: dict[Value, Any] = {}
    evaluate([chain.kernel for chain in chains if not chain.kernel.given], memory)
    kernels = [_kernel(chain, memory) for chain in chains]
    specs = list(map(_packing_spec, chains))
    shapes = [extension.packed_type(*each).shape for each in zip(kernels, specs, strict=True)]
    numbers = list(map(_numbers, chains))
    together, firsts, blocks = _laid_out(shapes, numbers)
    done = _begin(list(zip(kernels, specs, blocks, strict=True)))
    whole = _value(_Pending(done, together))
    return [
        Packed(_value(_Pending(done, block)), whole, first, bool(own))
        for block, first, own in zip(blocks, firsts, numbers, strict=True)
    ]


def _laid_out(
    shapes: Sequence[tuple[int, ...]], numbers: Sequence[Sequence[np.ndarray]]
) -> tuple[np.ndarray, list[int], list[np.ndarray]]:
    """An array, where in it each call's rows begin, and its blocks for weights of these shapes.

    The ``numbers`` of each call follow its block, each from a row on.
    """
    width = shapes[0][-1]
    rows = [
        [math.prod(shape[:-1]), *(-(-each.size // width) for each in own)]
        for shape, own in zip(shapes, numbers, strict=True)
    ]
    firsts = list(itertools.accumulate(map(sum, rows), initial=0))
    together = empty((firsts.pop(), width))
    blocks = []
    for shape, own, first, counts in zip(shapes, numbers, firsts, rows, strict=True):
        ends = list(itertools.accumulate(counts, initial=first))
        block, *places = (together[a:b].reshape(-1) for a, b in itertools.pairwise(ends))
        blocks.append(block.reshape(shape))
        for place, each in zip(places, own, strict=True):
            place[: each.size], place[each.size :] = each, 0.0
    return together, firsts, blocks


def _value(pending: _Pending) -> Value:
    return Value(jax.typeof(pending.packed), array=pending)


def _kernel(chain: Chain, memory: Mapping[Value, Any]) -> np.ndarray:
    # One that is there already is not copied.
    kernel = np.asarray(memory.get(chain.kernel, chain.kernel.array))
    undone: np.ndarray = chain.geometry.kernel.undo(kernel)
    return undone


def _begin(tasks: Sequence[PackingTask]) -> list[Future[None]]:
    """Shares out tasks to threads, on all cores but that on which JAX traces meanwhile."""
    count = max(1, (os.cpu_count() or 1) - 1)
    threads = ThreadPoolExecutor(count)
    done = [threads.submit(extension.pack_now, tasks[first::count]) for first in range(count)]
    threads.shutdown(wait=False)
    return done


def is_pending(value: Value) -> bool:
    """Whether threads pack it, so that only :func:`array_of` may read it."""
    return isinstance(value.array, _Pending)


def prepare(chains: Sequence[Chain], packs: Packs) -> None:
    """Gives each chain its ``folded`` and ``packed``, as far as they can be known."""
    memory: dict[Value, Any] = {}
    # The others' calls pack by themselves.
    chains = [c for c in chains if c.norm is None and not weight_gradient.takes(c.geometry)]
    known = [chain for chain in chains if all(value.known for value in chain.numbers)]
    read = [(chain, operand) for chain in chains for operand in chain.operands]
    rows = [(chain, op) for chain, op in read if op.kind == "channel" and op.value.known]
    heads = [chain for chain in chains if _is_known(chain.head)]
    values = [value for chain in known for value in chain.numbers]
    values += [value for chain in heads if chain.head for value in chain.head.numbers]
    evaluate([*values, *(operand.value for _, operand in rows)], memory)
    with jax.ensure_compile_time_eval(), np.errstate(all="ignore"):
        _fold(known, heads, rows, memory.__getitem__)
        fixed = [chain for chain in chains if chain.kernel.known]
        for chain, packed in zip(fixed, packs.of(fixed), strict=True):
            chain.packed = packed


def _fold(
    chains: Sequence[Chain],
    heads: Sequence[Chain],
    rows: Sequence[tuple[Chain, Operand]],
    read: Callable[[Value], Any],
) -> None:
    """Sets the numbers that follow from those which ``read`` gives, all at once."""
    folded = [fold(chain.steps, chain.channels, read) for chain in chains]
    before = [chain.head.arrays(read) for chain in heads if chain.head]
    whole = [full(row(read(operand.value)), chain.channels) for chain, operand in rows]
    of_chains, of_heads, of_rows = _values((folded, before, whole))
    for chain, pair in zip(chains, of_chains, strict=True):
        chain.folded = pair
    for chain, numbers in zip(heads, of_heads, strict=True):
        chain.before = numbers
    for (chain, operand), numbers in zip(rows, of_rows, strict=True):
        chain.prepared[operand] = numbers


def _is_known(head: Head | None) -> bool:
    return (
        head is not None and head.excitation is None and all(value.known for value in head.numbers)
    )


def _values(arrays: Any) -> Any:
    """The vectors of a tree as values, equal ones as one."""
    leaves, tree = jax.tree.flatten(arrays)
    leaves = [np.ascontiguousarray(leaf, np.float32) for leaf in leaves]
    keys = [leaf.tobytes() for leaf in leaves]
    distinct = dict(zip(keys, leaves, strict=True))
    values = {key: Value(jax.typeof(array), array=array) for key, array in distinct.items()}
    return jax.tree.unflatten(tree, [values[key] for key in keys])
