"""The variables of a network by their paths, the same for NNX and Linen."""

from collections.abc import Mapping
from typing import Any

import jax
from jax.tree_util import DictKey

__all__ = ["by_path", "filled"]

_COLLECTIONS = "params", "batch_stats"


def _path(keys: Any) -> str:
    """Such as ``layer1.0.conv1.kernel``, without Linen's collection and NNX's ``value``."""
    names = [str(key.key) for key in keys if isinstance(key, DictKey)]
    return ".".join(names[1:] if names[0] in _COLLECTIONS else names)


def by_path(tree: Any) -> dict[str, Any]:
    """The leaves of nested dictionaries, such as a state of NNX."""
    return {_path(keys): leaf for keys, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def filled(tree: Any, values: Mapping[str, Any]) -> Any:
    """The same dictionaries with other leaves, by their paths."""
    return jax.tree_util.tree_map_with_path(lambda keys, _: values[_path(keys)], tree)
