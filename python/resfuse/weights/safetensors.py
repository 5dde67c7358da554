"""Files of safetensors: a length, that many bytes of JSON, and the arrays one after another.

The format is https://github.com/huggingface/safetensors#format. Arrays are views of the mapped
file, which the library's own reader for NumPy copies.
"""

import json
import math
import os
import sys
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from resfuse.weights.errors import WeightsError

__all__ = ["is_safetensors", "read_safetensors", "write_safetensors"]

_LENGTH = 8  # bytes of the header's length
_LARGEST_HEADER = 100_000_000  # the library's own limit
_DTYPES: Mapping[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype(bool),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def is_safetensors(start: bytes) -> bool:
    """Whether a file that begins so, in nine bytes or more, can be one."""
    return start[_LENGTH : _LENGTH + 1] == b"{"


def read_safetensors(data: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of a mapped file.

    Raises:
        WeightsError: Where header and arrays do not fill the file exactly.
    """
    size = int.from_bytes(data[:_LENGTH].tobytes(), "little")
    start = _LENGTH + size
    if size > min(_LARGEST_HEADER, len(data) - _LENGTH):
        raise WeightsError(f"a header of {size} bytes in a file of {len(data)}: is it cut off?")
    entries = _header(data[_LENGTH:start].tobytes())
    body = data[start:]
    arrays, end = {}, 0
    for name, entry in sorted(entries.items(), key=lambda item: _offsets(*item)):
        begin, stop = _offsets(name, entry)
        if begin != end:
            raise WeightsError(f"{name} begins at byte {begin}, and the array before ends at {end}")
        arrays[name] = _view(name, entry, body[begin:stop], stop - begin)
        end = stop
    if end != len(body):
        raise WeightsError(f"{end} bytes of arrays are described, and the file holds {len(body)}")
    return arrays


def _header(text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if len(set(names)) != len(names):
            raise WeightsError("a name is in the header twice")
        return dict(pairs)

    try:
        header = json.loads(text, object_pairs_hook=unique)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise WeightsError(f"the header is not JSON: {error}") from None
    if not isinstance(header, dict):
        raise WeightsError("the header is not a JSON object")
    header.pop("__metadata__", None)
    return header


def _offsets(name: str, entry: Any) -> tuple[int, int]:
    offsets: Any = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise WeightsError(f"data_offsets of {name} must be two ascending sizes, got {offsets}")
    return offsets[0], offsets[1]


def _are_sizes(numbers: Any) -> bool:
    return isinstance(numbers, list) and all(
        type(number) is int and 0 <= number <= sys.maxsize for number in numbers
    )


def _view(name: str, entry: dict[str, Any], data: np.ndarray, size: int) -> np.ndarray:
    dtype: Any = entry.get("dtype")
    shape: Any = entry.get("shape")
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise WeightsError(f"dtype of {name} must be one of {', '.join(_DTYPES)}, got {dtype!r}")
    if not _are_sizes(shape):
        raise WeightsError(f"shape of {name} must be a list of sizes, got {shape!r}")
    wanted = math.prod(shape) * _DTYPES[dtype].itemsize
    if not wanted == size == len(data):
        raise WeightsError(f"{name} of shape {shape} has {wanted} bytes, the file {len(data)}")
    return data.view(_DTYPES[dtype]).reshape(shape)


def write_safetensors(arrays: Mapping[str, np.ndarray], path: str | os.PathLike[str]) -> None:
    """Writes arrays, whose order is kept, through a new file that then takes the name.

    Raises:
        WeightsError: For a dtype that the format lacks.
    """
    header, end = {}, 0
    for name, array in arrays.items():
        if array.dtype not in _NAMES:
            raise WeightsError(f"{name} has dtype {array.dtype}, which safetensors lacks")
        begin, end = end, end + array.nbytes
        header[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH)  # which aligns the arrays
    part = f"{os.fspath(path)}.part"
    with open(part, "wb") as file:
        file.write(len(text).to_bytes(_LENGTH, "little") + text)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array).tobytes())
    os.replace(part, path)
