"""From Flax's names and layouts to PyTorch's."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from resfuse.cli.peers.prepared import Array

_NAMES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


def state_dict(weights: Mapping[str, Array]) -> dict[str, NDArray[np.generic]]:
    """``params/layer1/0/conv1/kernel`` becomes ``layer1.0.conv1.weight``, output channels first."""
    state: dict[str, NDArray[np.generic]] = {}
    for name, value in weights.items():
        _, *path, kind = name.split("/")
        module = ".".join(path)
        state[f"{module}.{_NAMES[kind]}"] = _channels_first(value)
        if kind == "mean":  # in evaluation mode nobody reads it, but it has to be there
            state[f"{module}.num_batches_tracked"] = np.zeros((), np.int64)
    return state


def _channels_first(value: Array) -> Array:
    """``(H, W, I, O)`` to ``(O, I, H, W)``, ``(I, O)`` to ``(O, I)``; vectors stay."""
    axes = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}[value.ndim]
    return np.ascontiguousarray(value.transpose(axes))
