"""Where weights are: in a file, or on the Hugging Face Hub; and what lies beside them."""

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from resfuse.models.preprocessing import Preprocessing
from resfuse.weights.errors import WeightsError

__all__ = ["Source", "locate"]

_HUB = "hf:"
_FILES = "model.safetensors", "pytorch_model.bin"
_CONFIG, _PROCESSOR = "config.json", "preprocessor_config.json"
_TENSORFLOW = "tf_"  # begins timm's names of networks whose weights come from TensorFlow


@dataclasses.dataclass(frozen=True)
class Source:
    """A file of weights.

    Attributes:
        path: The file.
        preprocessing: What the files beside it say of pictures.
        same_padding: Whether they say that the weights come from TensorFlow.
    """

    path: pathlib.Path
    preprocessing: Preprocessing | None = None
    same_padding: bool = False


def locate(source: str | os.PathLike[str]) -> Source:
    """A path, or ``"hf:organization/name"`` with an optional ``"@revision"``.

    Raises:
        WeightsError: For a repository without weights, a name that none can have, or without
            ``huggingface_hub``.
        TypeError: If ``source`` is no path.
    """
    if not isinstance(source, str | os.PathLike):
        raise TypeError(f'source must be a path or "hf:organization/name", got {source!r}')
    name = os.fspath(source)
    if name.startswith(_HUB):
        find = _hub(name.removeprefix(_HUB))
        found = next(filter(None, map(find, _FILES)), None)
        if found is None:
            raise WeightsError(f"{name} has none of {', '.join(_FILES)}, or cannot be reached")
        return _described(found, find)
    path = pathlib.Path(name)
    return _described(path, lambda beside: _if_there(path.parent / beside))


def _if_there(path: pathlib.Path) -> pathlib.Path | None:
    return path if path.is_file() else None


def _hub(name: str) -> Callable[[str], pathlib.Path | None]:
    """Finds a file of a repository, in the cache or on the Hub."""
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, HFValidationError
    except ModuleNotFoundError:
        raise WeightsError('"hf:" needs huggingface_hub: pip install "resfuse[weights]"') from None
    repository, _, revision = name.partition("@")
    download = functools.partial(hf_hub_download, repository, revision=revision or None)

    def find(file: str) -> pathlib.Path | None:
        try:
            return pathlib.Path(download(file))
        except EntryNotFoundError:
            return None
        except HFValidationError as error:
            raise WeightsError(f"{_HUB}{name} cannot be a repository: {error}") from None

    return find


def _described(path: pathlib.Path, find: Callable[[str], pathlib.Path | None]) -> Source:
    config, processor = _json(find(_CONFIG)), _json(find(_PROCESSOR))
    try:
        preprocessing = _preprocessing(config, processor)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise WeightsError(f"what lies beside {path} describes no preprocessing: {error}") from None
    architecture = str(config.get("architecture", ""))
    return Source(path, preprocessing, architecture.startswith(_TENSORFLOW))


def _preprocessing(config: Mapping[str, Any], processor: Mapping[str, Any]) -> Preprocessing | None:
    if "pretrained_cfg" in config:
        return Preprocessing.from_timm(config)
    return Preprocessing.from_hugging_face(processor) if "image_mean" in processor else None


def _json(path: pathlib.Path | None) -> Mapping[str, Any]:
    if path is None:
        return {}
    try:
        read = json.loads(path.read_text())
    except ValueError as error:
        raise WeightsError(f"{path} is not JSON: {error}") from None
    return read if isinstance(read, dict) else {}
