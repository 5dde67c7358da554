"""Where weights are: in a file, or on the Hugging Face Hub; and what lies beside them."""

import dataclasses
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
# Arguments of timm's networks that do not change what they compute from weights and pictures.
_HARMLESS = {"drop_path_rate", "drop_rate", "img_size", "in_chans", "num_classes"}
# By transformers' ``model_type``, what its networks can do and those here do in one way.
_ONE_WAY: Mapping[str, Mapping[str, Any]] = {
    "convnext": {"hidden_act": "gelu"},
    "regnet": {"hidden_act": "relu"},
    "resnet": {
        "hidden_act": "relu",
        "downsample_in_bottleneck": False,
        "downsample_in_first_stage": False,
    },
}


@dataclasses.dataclass(frozen=True)
class Source:
    """A file of weights.

    Attributes:
        path: The file.
        name: That of the network, as ``config.json``, the repository or else the file says it.
        preprocessing: What the files beside it say of pictures.
        unknown: Settings in them that change the arithmetic, and that no network here has.
    """

    path: pathlib.Path
    name: str
    preprocessing: Preprocessing | None = None
    unknown: tuple[str, ...] = ()


def locate(source: str | os.PathLike[str]) -> Source:
    """A path, or ``"hf:organization/name"`` with an optional ``"@revision"``.

    Raises:
        WeightsError: For a repository without weights, a name that none can have, without
            ``huggingface_hub``, or where neither the Hub nor the cache has it.
        TypeError: If ``source`` is no path.
    """
    if not isinstance(source, str | os.PathLike):
        raise TypeError(f'source must be a path or "hf:organization/name", got {source!r}')
    name = os.fspath(source)
    if name.startswith(PREFIX):
        return _in_repository(Repository(name))
    if not name:
        raise WeightsError('source must be a path or "hf:organization/name", got ""')
    path = pathlib.Path(name)
    return _described(path, path.stem, lambda beside: _if_there(path.parent / beside))


def _in_repository(repository: Repository) -> Source:
    found = next(filter(None, map(repository.find, _FILES)), None)
    if found is None and repository.find(_INDEX):
        raise WeightsError(f"{repository.source} has its weights in several files, by {_INDEX}")
    if found is None:
        raise repository.none_of(", ".join(_FILES))
    return _described(found, repository.name, repository.find)


def _if_there(path: pathlib.Path) -> pathlib.Path | None:
    return path if path.is_file() else None


def _described(path: pathlib.Path, name: str, find: Callable[[str], pathlib.Path | None]) -> Source:
    config, processor = _json(find(_CONFIG)), _json(find(_PROCESSOR))
    try:
        preprocessing = _preprocessing(config, processor)
        unknown = tuple(_unknown(config))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise WeightsError(f"what lies beside {path} describes no preprocessing: {error}") from None
    return Source(path, str(config.get("architecture", name)), preprocessing, unknown)


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
