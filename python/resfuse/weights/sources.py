"""Where weights are: in a file, or on the Hugging Face Hub; and what lies beside them."""

import dataclasses
import errno
import functools
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from resfuse.models.preprocessing import Preprocessing
from resfuse.weights.errors import WeightsError
from resfuse.weights.hub import PREFIX, Repository

__all__ = ["Source", "locate"]

_FILES = "model.safetensors", "pytorch_model.bin"
_INDEX = "model.safetensors.index.json"  # of files that are parts, as of networks of many gigabytes
_CONFIG, _PROCESSOR = "config.json", "preprocessor_config.json"
_Find = Callable[[str], pathlib.Path | None]
# Arguments of timm's networks that do not change what they compute from weights and pictures.
_HARMLESS = {"drop_path_rate", "drop_rate", "img_size", "in_chans", "num_classes"}
# By transformers' ``model_type``, what its networks can do and those here do in one way.
_ONE_WAY: Mapping[str, Mapping[str, Any]] = {
    "convnext": {"hidden_act": "gelu", "layer_norm_eps": 1e-12},
    "regnet": {"hidden_act": "relu"},
    "resnet": {
        "hidden_act": "relu",
        "downsample_in_bottleneck": False,
        "downsample_in_first_stage": False,
    },
}


@dataclasses.dataclass(frozen=True)
class Source:
    """Files of weights: one, or the parts of a network.

    Attributes:
        paths: The files.
        name: That of the network, as ``config.json``, the repository or else the file says it.
        preprocessing: What the files beside it say of pictures.
        unknown: Settings in them that change the arithmetic, and that no network here has.
    """

    paths: tuple[pathlib.Path, ...]
    name: str
    preprocessing: Preprocessing | None = None
    unknown: tuple[str, ...] = ()


def locate(source: str | os.PathLike[str]) -> Source:
    """A path, or ``"hf:organization/name"`` with an optional ``"@revision"``.

    A folder may be the copy of such a repository, or an Orbax checkpoint.

    Raises:
        WeightsError: For a repository without weights, a name that none can have, without
            ``huggingface_hub``, or where neither the Hub nor the cache has it.
        OSError: If a path leads nowhere.
        TypeError: If ``source`` is no path.
    """
    if not isinstance(source, str | os.PathLike):
        raise TypeError(f'source must be a path or "hf:organization/name", got {source!r}')
    name = os.fspath(source)
    if name.startswith(PREFIX):
        repository = Repository(name)
        found = _weights(repository.find, name)
        if not found:
            raise repository.none_of(", ".join((*_FILES, _INDEX)))
        return _described(found, repository.name, repository.find)
    if not name:
        raise WeightsError('source must be a path or "hf:organization/name", got ""')
    path = pathlib.Path(name)
    if not path.exists():
        hint = f'No such file or directory; names on the Hub begin with "{PREFIX}"'
        raise FileNotFoundError(errno.ENOENT, hint, name)
    folder = path if path.is_dir() else path.parent
    beside = functools.partial(_if_there, folder)
    if path.name == _INDEX:
        return _described(_parts(path, beside, name), folder.name, beside)
    found = _weights(beside, name) if path.is_dir() else ()
    if found:
        return _described(found, path.name, beside)
    return _described((path,), path.stem, functools.partial(_if_there, path.parent))


def _if_there(folder: pathlib.Path, name: str) -> pathlib.Path | None:
    path = folder / name
    return path if path.is_file() else None


def _weights(find: _Find, source: str) -> tuple[pathlib.Path, ...]:
    """The files of weights in a repository; none if it has none."""
    found = next(filter(None, map(find, _FILES)), None)
    if found is not None:
        return (found,)
    index = find(_INDEX)
    return () if index is None else _parts(index, find, source)


def _parts(index: pathlib.Path, find: _Find, source: str) -> tuple[pathlib.Path, ...]:
    """The files that an index names, which lie beside it."""
    places = _json(index).get("weight_map")
    names = sorted({str(name) for name in places.values()}) if isinstance(places, dict) else []
    found = [find(name) for name in names if "/" not in name]
    paths = tuple(path for path in found if path is not None)
    if not names or len(paths) < len(names):
        raise WeightsError(
            f"{source}: {_INDEX} names {names} as parts, of which {len(paths)} are there"
        )
    return paths


def _described(paths: tuple[pathlib.Path, ...], name: str, find: _Find) -> Source:
    config, processor = _json(find(_CONFIG)), _json(find(_PROCESSOR))
    try:
        preprocessing = _preprocessing(config, processor)
        unknown = tuple(_unknown(config))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise WeightsError(
            f"what lies beside {paths[0]} describes no preprocessing: {error}"
        ) from None
    return Source(paths, str(config.get("architecture", name)), preprocessing, unknown)


def _preprocessing(config: Mapping[str, Any], processor: Mapping[str, Any]) -> Preprocessing | None:
    if "pretrained_cfg" in config:
        return Preprocessing.from_timm(config)
    return Preprocessing.from_hugging_face(processor) if "image_mean" in processor else None


def _unknown(config: Mapping[str, Any]) -> Iterator[str]:
    """Settings by which a network would compute otherwise than its arrays let one think."""
    for name, value in config.get("model_args", {}).items():
        if name not in _HARMLESS:
            yield f"{name}={value!r}"
    for name, usual in _ONE_WAY.get(config.get("model_type", ""), {}).items():
        if config.get(name, usual) != usual:
            yield f"{name}={config[name]!r}"


def _json(path: pathlib.Path | None) -> Mapping[str, Any]:
    if path is None:
        return {}
    try:
        read = json.loads(path.read_text())
    except ValueError as error:
        raise WeightsError(f"{path} is not JSON: {error}") from None
    return read if isinstance(read, dict) else {}
