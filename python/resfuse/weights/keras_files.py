"""Files in which Keras keeps weights, all of HDF5: ``.h5``, ``.weights.h5``, and in a ``.keras``.

Keras 3 stores ``layers/conv2d_3/vars/0``, numbered by class, and the layer's name beside it; the
older ``.h5`` has ``conv1_conv/conv1_conv/kernel:0``. See ``keras/src/saving/saving_lib.py``.
"""

import collections
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from resfuse.weights.errors import WeightsError
from resfuse.weights.mapped import MappedFile
from resfuse.weights.zips import entry

__all__ = ["is_hdf5", "is_keras_zip", "read_keras", "read_keras_zip"]

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MODEL = "model_weights"  # where an older file holds a whole model
_LAYERS = "layers"
_WEIGHTS, _CONFIG = "model.weights.h5", "config.json"
_COUNTER = ":0"  # of TensorFlow's variables
_DRAWS = "seed_generator"  # the state of a dropout
_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "layer_normalization": ("gamma", "beta"),
    "layer_scale": ("gamma",),
    "normalization": ("mean", "variance", "count"),
}
_KERNEL_AND_BIAS = "kernel", "bias"  # of convolutions and dense layers
_OLDER: Mapping[str, str] = {"depthwise_kernel": "kernel"}
_UNNAMED = re.compile(r"variable(_\d+)?", re.IGNORECASE)  # that of a ConvNeXt's layer scale


def is_hdf5(start: bytes) -> bool:
    """Whether a file begins as HDF5 does."""
    return start.startswith(_SIGNATURE)


def is_keras_zip(archive: zipfile.ZipFile) -> bool:
    """Whether it is a ``.keras``."""
    return _WEIGHTS in archive.namelist()


def read_keras_zip(data: np.ndarray, archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    """The arrays of a ``.keras``, as ``read_keras`` gives them; nothing else in it is run.

    Raises:
        WeightsError: As for HDF5, and for a broken zip.
    """
    try:
        config = json.loads(entry(data, archive, _CONFIG).tobytes())
        names = dict(_names(config["config"]["layers"], _LAYERS))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"{_CONFIG} does not describe layers: {error}") from None
    return read_keras(entry(data, archive, _WEIGHTS), names)


def _names(layers: Any, path: str) -> Iterator[tuple[str, str]]:
    """For the group of each layer its name: groups are numbered by class, in the layers' order."""
    count: collections.Counter[str] = collections.Counter()
    for layer in layers:
        kind = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", layer["class_name"])
        kind = re.sub(r"([a-z])([A-Z])", r"\1_\2", kind).lower()
        group = f"{path}/{kind}_{count[kind]}" if count[kind] else f"{path}/{kind}"
        count[kind] += 1
        yield group, layer["config"]["name"]
        yield from _names(layer["config"].get("layers", ()), f"{group}/{_LAYERS}")


def read_keras(data: np.ndarray, names: Mapping[str, str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of a file by layer and variable, as in ``"conv1_bn.gamma"``.

    They are views of the file. Links, which can lead elsewhere, are not followed.

    Args:
        data: The file's bytes.
        names: Of layers by their groups, for a file that does not say: Keras 3's first ones.

    Raises:
        WeightsError: Without h5py, for a broken file, for arrays that lie in other files or are
            compressed, and for layers without a name.
    """
    try:
        import h5py
    except ModuleNotFoundError:
        raise WeightsError('Keras files need h5py: pip install "resfuse[weights]"') from None
    try:
        with h5py.File(MappedFile(data), "r") as file:
            return _arrays(file, data, names or {})
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"the HDF5 is broken: {error}") from None


def _arrays(file: Any, data: np.ndarray, names: Mapping[str, str]) -> dict[str, np.ndarray]:
    import h5py

    whole = isinstance(file.get(_MODEL, getlink=True), h5py.HardLink)
    numbered = isinstance(file.get(_LAYERS, getlink=True), h5py.HardLink)
    arrays: dict[str, np.ndarray] = {}

    def visit(path: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset) or _DRAWS in path or not item.shape:
            return
        name = _numbered_name(f"{_LAYERS}/{path}", item, names) if numbered else _named(path)
        if name in arrays:
            raise WeightsError(f"two arrays are called {name}")
        arrays[name] = _view(data, item)

    (file[_LAYERS] if numbered else file[_MODEL] if whole else file).visititems(visit)
    return arrays


def _numbered_name(path: str, item: Any, names: Mapping[str, str]) -> str:
    """From ``layers/batch_normalization_2/vars/0`` to ``conv2_bn.gamma``."""
    group, vars_, number = path.rsplit("/", 2)
    layer = item.parent.attrs.get("name", names.get(group))
    if vars_ != "vars" or not isinstance(layer, str) or not number.isdecimal():
        raise WeightsError(f"{path} is of no layer with a name: save the model as .keras")
    kind = re.sub(r"_\d+$", "", group.rpartition("/")[2])
    variables = _VARIABLES.get(kind, _KERNEL_AND_BIAS)
    if int(number) >= len(variables):
        raise WeightsError(f"{path} is one variable more than a {kind} has")
    return f"{layer}.{variables[int(number)]}"


def _named(path: str) -> str:
    """From ``conv1_bn/conv1_bn/gamma:0`` to ``conv1_bn.gamma``."""
    *_, layer, variable = ("", *path.split("/"))
    variable = variable.removesuffix(_COUNTER)
    variable = "gamma" if _UNNAMED.fullmatch(variable) else _OLDER.get(variable, variable)
    return f"{layer}.{variable}"


def _view(data: np.ndarray, item: Any) -> np.ndarray:
    if item.external or item.is_virtual or item.dtype.kind not in "fiu":
        raise WeightsError(f"{item.name} is no array of numbers in this file")
    stored = item.id.get_storage_size()
    if stored != item.nbytes:
        raise WeightsError(
            f"{item.name} of {item.nbytes} bytes is stored in {stored}, which Keras never does"
        )
    offset = item.id.get_offset()
    if offset is None:  # in pieces, or within the description
        return item[...]
    return data[offset : offset + stored].view(item.dtype).reshape(item.shape)
