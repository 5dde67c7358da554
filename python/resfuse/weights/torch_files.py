"""What ``torch.save`` writes, read without torch: a zip since 1.6, a stream of pickles before.

In both a pickle describes tensors as views of *storages*, flat arrays that lie elsewhere in the
file. See ``torch/serialization.py`` and ``torch/_utils.py``.
"""

import dataclasses
import math
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np

from resfuse.weights.errors import WeightsError
from resfuse.weights.mapped import MappedFile
from resfuse.weights.pickles import read_pickle
from resfuse.weights.zips import entry

__all__ = ["is_torch_stream", "read_torch_stream", "read_torch_zip"]

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_COUNT = 8  # bytes of a storage's length in a stream
_DTYPES: Mapping[str, np.dtype[Any]] = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype(bool),
}


@dataclasses.dataclass
class _Storage:
    """A flat array, which a stream holds only after all pickles."""

    key: str
    dtype: np.dtype[Any]
    count: int
    data: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def view(self) -> np.ndarray:
        """As an array, which lies within its storage and has no element twice."""
        data, numbers = self.storage.data, (self.offset, *self.shape, *self.strides)
        if len(self.shape) != len(self.strides) or any(
            type(n) is not int or n < 0 for n in numbers
        ):
            raise WeightsError(f"a tensor of shape {self.shape} has strides {self.strides}")
        count = math.prod(self.shape)
        last = sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        if data is None or (count and (self.offset + last >= len(data) or count > len(data))):
            raise WeightsError(
                f"a tensor of shape {self.shape} at {self.offset} with strides {self.strides} "
                f"is not within its storage of {self.storage.count}"
            )
        if count == 0:
            return np.empty(self.shape, self.storage.dtype)
        bytes_ = tuple(stride * data.itemsize for stride in self.strides)
        return np.lib.stride_tricks.as_strided(data[self.offset :], self.shape, bytes_)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    """``_rebuild_tensor_v2``; what follows is about gradients."""
    if not (type(storage) is _Storage and type(shape) is tuple and type(strides) is tuple):
        raise WeightsError("a tensor needs a storage, a shape and strides")
    return _Tensor(storage, offset, shape, strides)


def _parameter(tensor: Any, *_: Any) -> Any:
    return tensor


def _empty(items: Any = ()) -> dict[Any, Any]:
    """``OrderedDict``, which is filled afterwards; protocol 0 gives a list of pairs at once."""
    if items:
        raise WeightsError("an OrderedDict must begin empty")
    return {}


def _no_function(name: str) -> Callable[..., Any]:
    def refuse(*_: Any) -> Any:
        raise WeightsError(f"a pickle makes a {name} of its own")

    refuse.__name__ = name
    return refuse


_KNOWN: Mapping[str, Callable[..., Any]] = {
    "collections.OrderedDict": _empty,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    **{f"torch.{name}": _no_function(name) for name in _DTYPES},
}


class _Storages:
    """Those that the pickle names, by their keys."""

    def __init__(self) -> None:
        self.found: dict[str, _Storage] = {}

    def __call__(self, number: Any) -> _Storage:
        """From ``("storage", type, key, location, count)``; a stream adds ``None``."""
        if type(number) is not tuple or len(number) not in (5, 6) or number[0] != "storage":
            raise WeightsError("a persistent number that is not a storage")
        _, kind, key, _, count, *view = number
        name = str(getattr(getattr(kind, "function", None), "__name__", None))
        if name not in _DTYPES or type(key) is not str or type(count) is not int or count < 0:
            raise WeightsError(f"a storage of type {name} with key {key!r} and count {count!r}")
        if view not in ([], [None]):
            raise WeightsError("a storage that is a view of another is not supported")
        storage = self.found.setdefault(key, _Storage(key, _DTYPES[name], count))
        if (storage.dtype, storage.count) != (_DTYPES[name], count):
            raise WeightsError(f"storage {key!r} is described in two ways")
        return storage


def read_torch_zip(data: np.ndarray, archive: zipfile.ZipFile) -> Any:
    """What was saved, with arrays for tensors, which are views of the mapped file.

    Raises:
        WeightsError: For anything but tensors in dictionaries and lists, and for a broken file.
    """
    names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(names) != 1:
        raise WeightsError(f"a zip of torch has one data.pkl, this has {len(names)}")
    root = names[0].removesuffix("data.pkl")
    _check_byte_order(data, archive, f"{root}byteorder")
    storages = _Storages()
    saved = read_pickle(MappedFile(entry(data, archive, names[0])), _KNOWN, storages)
    for key, storage in storages.found.items():
        storage.data = _storage_data(storage, entry(data, archive, f"{root}data/{key}"))
    return _with_arrays(saved)


def _check_byte_order(data: np.ndarray, archive: zipfile.ZipFile, name: str) -> None:
    """Before torch 2.1 none was written, and little-endian was meant."""
    order = entry(data, archive, name).tobytes() if name in archive.namelist() else b"little"
    if order != b"little":
        raise WeightsError(f"byte order {order!r} is not supported, save the file as little-endian")


def _storage_data(storage: _Storage, data: np.ndarray) -> np.ndarray:
    if len(data) != storage.count * storage.dtype.itemsize:
        raise WeightsError(
            f"storage {storage.key!r} of {storage.count} {storage.dtype} has {len(data)} bytes"
        )
    return data.view(storage.dtype)


def is_torch_stream(start: bytes) -> bool:
    """Whether a file that begins so is a pickle of torch's magic number."""
    return start.startswith(b"\x80\x02\x8a\x0a" + _MAGIC.to_bytes(10, "little"))


def read_torch_stream(data: np.ndarray) -> Any:
    """What was saved before torch 1.6, with arrays for tensors.

    Raises:
        WeightsError: As for a zip.
    """
    file, storages = MappedFile(data), _Storages()
    read = [read_pickle(file, {}, storages) for _ in range(3)]
    if read[:2] != [_MAGIC, _PROTOCOL] or type(read[2]) is not dict:
        raise WeightsError(f"protocol {read[1]!r} of torch is not supported")
    if read[2].get("little_endian") is not True:
        raise WeightsError("big-endian files are not supported, save it as little-endian")
    saved = read_pickle(file, _KNOWN, storages)
    keys = read_pickle(file, {}, storages)
    if type(keys) is not list or sorted(map(str, keys)) != sorted(storages.found):
        raise WeightsError("the storages that follow are not those of the pickle")
    for key in keys:
        storage = storages.found[key]
        count = int.from_bytes(file.read(_COUNT), "little")
        if count != storage.count:
            raise WeightsError(f"storage {key!r} of {storage.count} is followed by {count}")
        storage.data = _storage_data(storage, file.take(count * storage.dtype.itemsize))
    return _with_arrays(saved)


def _with_arrays(saved: Any, depth: int = 4) -> Any:
    """Dictionaries with arrays for tensors, as deep as state dicts lie in checkpoints."""
    if isinstance(saved, _Tensor):
        return saved.view()
    if isinstance(saved, dict) and depth:
        return {key: _with_arrays(value, depth - 1) for key, value in saved.items()}
    return saved
