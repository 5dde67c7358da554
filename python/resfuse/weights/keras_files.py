"""Files of HDF5 in which Keras keeps the weights of named layers (``.h5``)."""

import os
from typing import Any

import numpy as np

from resfuse.weights.errors import WeightsError

__all__ = ["is_hdf5", "read_keras"]

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MODEL = "model_weights"  # where a file holds a whole model
_COUNTER = ":0"  # of TensorFlow's variables


def is_hdf5(start: bytes) -> bool:
    """Whether a file begins as HDF5 does."""
    return start.startswith(_SIGNATURE)


def read_keras(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a file by layer and variable, as in ``"conv1_bn.gamma"``.

    Raises:
        WeightsError: Without h5py, for a broken file, and for arrays that lie in other files.
    """
    try:
        import h5py
    except ModuleNotFoundError:
        raise WeightsError('an .h5 needs h5py: pip install "resfuse[weights]"') from None
    arrays = {}

    def visit(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        if item.external or item.is_virtual or item.dtype.kind not in "fiu":
            raise WeightsError(f"{name} is no array of numbers in this file")
        layer, *_, variable = name.split("/")
        arrays[f"{layer}.{variable.removesuffix(_COUNTER)}"] = item[...]

    try:
        with h5py.File(
            path, "r"
        ) as file:  # whose links, which can lead elsewhere, are not followed
            whole = isinstance(file.get(_MODEL, getlink=True), h5py.HardLink)
            (file[_MODEL] if whole else file).visititems(visit)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"the HDF5 is broken: {error}") from None
    return {name: array for name, array in arrays.items() if array.ndim}
