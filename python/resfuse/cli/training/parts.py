"""Parts of a network, by the paths of their variables: ``layer1``, or ``layer1.0`` in it."""

from collections.abc import Callable, Iterable
from typing import Any

import jax

__all__ = ["map_paths", "names_in", "within"]


def map_paths(function: Callable[[str, Any], Any], tree: Any) -> Any:
    """Maps the path of each leaf, such as ``layer1.0.conv1.kernel``, and the leaf."""
    return jax.tree_util.tree_map_with_path(lambda keys, leaf: function(_path(keys), leaf), tree)


def _path(keys: Iterable[Any]) -> str:
    """Without what NNX puts below a variable."""
    return ".".join(str(key.key) for key in keys if hasattr(key, "key"))


def names_in(tree: Any) -> list[str]:
    """The paths of all leaves."""
    return [_path(keys) for keys, _ in jax.tree_util.tree_leaves_with_path(tree)]


def within(path: str, parts: Iterable[str]) -> bool:
    """Whether a path is that of one of the parts, or leads into it."""
    return any(f"{path}.".startswith(f"{part}.") for part in parts)
