"""What a chain needs of closed-over weights: folded and packed once."""

import dataclasses
import threading
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from resfuse import ffi
from resfuse.fusion import geometry
from resfuse.fusion.fold import combine
from resfuse.fusion.graph import Value
from resfuse.fusion.known import evaluate, key_of
from resfuse.fusion.match import Chain
from resfuse.spec import ConvSpec

__all__ = ["Packs", "prepare"]


class Packs:
    """The packed weights of one fused function, by the arrays that they come from."""

    def __init__(self) -> None:
        self._packs: dict[Any, tuple[Value, Any]] = {}
        self._lock = threading.Lock()

    def get(self, chain: Chain) -> Any:
        """The packed weights of ``chain``, whose kernel is known; None if there is no packing."""
        # Nor padding, nor the size of the images changes how weights are packed.
        spec = dataclasses.replace(chain.spec, padding=((0, 0), (0, 0)))
        order = geometry.kernel_order(chain.conv)
        key = (key_of(chain.kernel), order, spec, ffi.isa())
        with self._lock:
            if key not in self._packs:
                # With the value, for as long as it lives, its id is nobody else's.
                self._packs[key] = chain.kernel, _packed(chain, spec)
            return self._packs[key][1]


def prepare(chains: Sequence[Chain], packs: Packs) -> None:
    """Gives each chain its ``folded`` and ``packed``, as far as they can be known."""
    memory: dict[Value, Any] = {}
    known = [chain for chain in chains if all(value.known for value in chain.operands)]
    evaluate([value for chain in known for value in chain.operands], memory)
    with jax.ensure_compile_time_eval():
        for chain in known:
            scale, shift = combine(chain, memory.__getitem__)
            chain.folded = _value(scale), _value(shift)
        for chain in chains:
            if chain.kernel.known and (packed := packs.get(chain)) is not None:
                chain.packed = Value(jax.typeof(packed), array=packed)


def _value(array: Any) -> Value:
    array = _array(array)
    return Value(jax.typeof(array), array=array)


def _packed(chain: Chain, spec: ConvSpec) -> Any:
    pack = getattr(ffi, "pack", None)
    if pack is None:
        return None
    memory: dict[Value, Any] = {}
    evaluate([chain.kernel], memory)
    return pack(_array(memory[chain.kernel].transpose(geometry.kernel_order(chain.conv))), spec)


def _array(array: Any) -> Any:
    return jax.device_put(np.ascontiguousarray(array, np.float32))
