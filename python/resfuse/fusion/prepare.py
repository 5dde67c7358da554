"""What a chain needs of closed-over weights: folded and packed once."""

import dataclasses
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from resfuse.fusion import weight_gradient
from resfuse.fusion.chain import Chain
from resfuse.fusion.constants import evaluate, key_of
from resfuse.fusion.graph import Value
from resfuse.fusion.head import Head
from resfuse.fusion.steps import fold, full, row
from resfuse.kernel import extension
from resfuse.spec import ConvSpec

__all__ = ["Packs", "prepare"]


class Packs:
    """The packed weights of one fused function, by the arrays that they come from."""

    def __init__(self) -> None:
        self._packs: dict[Any, tuple[Value, Any]] = {}
        self._lock = threading.Lock()

    def of(self, chains: Sequence[Chain]) -> list[Any]:
        """The packed weights of chains whose kernels are known; packs those that are missing."""
        keys = list(map(_key, chains))
        with self._lock:
            pairs = zip(keys, chains, strict=True)
            missing = {key: chain for key, chain in pairs if key not in self._packs}
            packed = _packed(list(missing.values()))
            for (key, chain), array in zip(missing.items(), packed, strict=True):
                # With the value, for as long as it lives, its id is nobody else's.
                self._packs[key] = chain.kernel, array
            return [self._packs[key][1] for key in keys]


def _key(chain: Chain) -> Any:
    return key_of(chain.kernel), chain.geometry.kernel, _packing_spec(chain), extension.isa()


def _packing_spec(chain: Chain) -> ConvSpec:
    """What the order of weights depends on: padding only where zeros lie between the pixels.

    Without, images of all sizes, which "SAME" pads differently, share their weights.
    """
    spec = chain.spec
    if max(spec.input_dilation) > 1:
        return spec
    return dataclasses.replace(spec, padding=((0, 0),) * len(spec.strides))


def _packed(chains: Sequence[Chain]) -> list[Any]:
    computed = [chain.kernel for chain in chains if not chain.kernel.given]
    memory: dict[Value, Any] = {}
    evaluate(computed, memory)
    specs = list(map(_packing_spec, chains))
    layouts = [chain.geometry.kernel for chain in chains]
    # A kernel that is there already is not copied.
    given = (memory.get(chain.kernel, chain.kernel.array) for chain in chains)
    kernels = [
        layout.undo(np.asarray(kernel)) for layout, kernel in zip(layouts, given, strict=True)
    ]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return list(map(jax.device_put, threads.map(extension.pack_now, kernels, specs)))


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
        for chain in known:
            scale, shift = fold(chain.steps, chain.channels, memory.__getitem__)
            chain.folded = _value(scale), _value(shift)
        for chain in heads:
            assert chain.head is not None
            chain.before = tuple(map(_value, chain.head.arrays(memory.__getitem__)))
        for chain, operand in rows:
            values = full(row(memory[operand.value]), chain.channels)
            chain.prepared[operand] = _value(values)
        fixed = [chain for chain in chains if chain.kernel.known]
        for chain, packed in zip(fixed, packs.of(fixed), strict=True):
            chain.packed = Value(jax.typeof(packed), array=packed)


def _is_known(head: Head | None) -> bool:
    return (
        head is not None and head.excitation is None and all(value.known for value in head.numbers)
    )


def _value(array: Any) -> Value:
    array = jax.device_put(np.ascontiguousarray(array, np.float32))
    return Value(jax.typeof(array), array=array)
