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

Prepared = dict[str, Any]


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


def prepare(chains: Sequence[Chain], packs: Packs) -> dict[Chain, Prepared]:
    """For each chain ``packed``, or ``scale`` and ``shift``, as far as they can be known."""
    memory: dict[Value, Any] = {}
    folded = [chain for chain in chains if all(value.known for value in chain.operands)]
    evaluate([value for chain in folded for value in chain.operands], memory)
    prepared: dict[Chain, Prepared] = {chain: {} for chain in chains}
    with jax.ensure_compile_time_eval():
        for chain in folded:
            channels = chain.layout.shape[chain.layout.channels]
            scale, shift = combine(chain.steps, channels, memory.__getitem__)
            prepared[chain] |= {"scale": _array(scale), "shift": _array(shift)}
        for chain in chains:
            packed = packs.get(chain) if chain.kernel.known else None
            if packed is not None:
                prepared[chain]["packed"] = packed
    return prepared


def _packed(chain: Chain, spec: ConvSpec) -> Any:
    pack = getattr(ffi, "pack", None)
    if pack is None:
        return None
    memory: dict[Value, Any] = {}
    evaluate([chain.kernel], memory)
    return pack(_array(memory[chain.kernel].transpose(geometry.kernel_order(chain.conv))), spec)


def _array(array: Any) -> Any:
    return jax.device_put(np.ascontiguousarray(array, np.float32))
