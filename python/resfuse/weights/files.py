"""From a file, or a checkpoint's folder, to its arrays by name: the content tells the format."""

import os
import pathlib
import re
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from resfuse.weights.errors import WeightsError
from resfuse.weights.keras_files import is_hdf5, is_keras_zip, read_keras, read_keras_zip
from resfuse.weights.mapped import MappedFile
from resfuse.weights.orbax_files import read_orbax
from resfuse.weights.safetensors import is_safetensors, read_safetensors
from resfuse.weights.torch_files import is_torch_stream, read_torch_stream, read_torch_zip

__all__ = ["read_arrays"]

# What timm looks for in a checkpoint, in this order: averaged weights are the better ones.
_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")
_WRAPPED_TWICE = 3
_PREFIX = "module."  # of torch's DataParallel
_IGNORED = re.compile(r"(^|\.)num_batches_tracked$")


def read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a file by their names, as views of the mapped file where they can be.

    Of a checkpoint with more in it than weights, these are what is in the first of
    ``state_dict_ema``, ``model_ema``, ``state_dict`` and ``model`` that it has. Counters that only
    training uses are left out.

    Raises:
        WeightsError: If it is no file of weights, or one that is broken or not plain data.
        OSError: If it cannot be read.
    """
    try:
        arrays = _state_dict(_read(pathlib.Path(path)))
    except WeightsError as error:
        raise WeightsError(f"{os.fspath(path)}: {error}") from None
    return {name: array for name, array in arrays.items() if not _IGNORED.search(name)}


def _read(path: pathlib.Path) -> Any:
    if path.is_dir():
        return read_orbax(path)
    if path.stat().st_size == 0:
        raise WeightsError("is empty")
    return _read_file(np.memmap(path, np.uint8, "r").view(np.ndarray))


def _read_file(data: np.ndarray) -> Any:
    start = data[:64].tobytes()
    if start.startswith(b"PK\x03\x04"):
        try:
            with zipfile.ZipFile(MappedFile(data)) as archive:
                read = read_keras_zip if is_keras_zip(archive) else read_torch_zip
                return read(data, archive)
        except (zipfile.BadZipFile, NotImplementedError, UnicodeError, OverflowError) as error:
            raise WeightsError(f"the zip is broken: {error}") from None
    if is_torch_stream(start):
        return read_torch_stream(data)
    if is_safetensors(start):
        return read_safetensors(data)
    if is_hdf5(start):
        return read_keras(data)
    raise WeightsError("is no file of safetensors, torch or Keras")


def _state_dict(saved: Any) -> dict[str, np.ndarray]:
    """The names and arrays in what was saved, without what surrounds them."""
    for _ in range(_WRAPPED_TWICE):
        if not isinstance(saved, Mapping):
            break
        arrays = {name: value for name, value in saved.items() if isinstance(value, np.ndarray)}
        if arrays and all(isinstance(name, str) for name in arrays):
            return _without_prefix(arrays)
        saved = next((saved[name] for name in _WRAPPERS if name in saved), None)
    raise WeightsError(f"has no arrays by name, nor in {', '.join(_WRAPPERS)}")


def _without_prefix(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if not all(name.startswith(_PREFIX) for name in arrays):
        return arrays
    return {name.removeprefix(_PREFIX): array for name, array in arrays.items()}
