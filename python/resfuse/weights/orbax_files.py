"""Checkpoints of Orbax, in which Flax keeps the variables of a network: folders, not files."""

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from resfuse.weights.errors import WeightsError

__all__ = ["read_orbax"]

_METADATA = "_METADATA"  # is in the folder of every tree
# What a step's trees are called; and where the steps of ``resfuse train`` are.
_ITEMS = "default", "variables", "state", "model", "params", "checkpoints"
_WRAPPERS = "variables", "state", "model"  # around a tree's variables
_COLLECTIONS = "params", "batch_stats", "statistics"  # of Linen; the last, of ``resfuse train``
_LEAVES = "value", "raw_value"  # of NNX, within a variable
_DRAWS = "rngs"  # what a dropout draws from


def read_orbax(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint by their paths, as in ``"layer1.0.conv1.kernel"``.

    They are the variables of NNX (``nnx.state(model)`` or its pure dictionary) or of Linen
    (``{"params": ..., "batch_stats": ...}``), alone or among other things; of a manager's steps,
    such as those of ``resfuse train``, the last.

    Raises:
        WeightsError: Without orbax-checkpoint, and for a folder that is none of its checkpoints, or
            is broken.
    """
    try:
        import orbax.checkpoint as ocp
    except ModuleNotFoundError:
        raise WeightsError(
            'an Orbax checkpoint needs orbax-checkpoint: pip install "resfuse[weights]"'
        ) from None
    path = _tree_of(folder).absolute()
    try:
        with ocp.PyTreeCheckpointer() as checkpointer:
            tree = checkpointer.metadata(path).item_metadata.tree
            numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
            restored = checkpointer.restore(path, ocp.args.PyTreeRestore(restore_args=numpy))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"the checkpoint is broken: {error}") from None
    return dict(_named(_variables(restored)))


def _tree_of(folder: pathlib.Path) -> pathlib.Path:
    """The folder of one tree, in that of a manager's steps or of one step's items."""
    inside = {each.name: each for each in folder.iterdir() if each.is_dir()}
    if (folder / _METADATA).is_file():
        return folder
    steps = sorted((name for name in inside if name.isdecimal()), key=int)
    item = next((name for name in _ITEMS if name in inside), None)
    found = steps[-1] if steps else item
    if found is None:
        raise WeightsError("is a folder, and no checkpoint of Orbax")
    return _tree_of(inside[found])


def _variables(tree: Any) -> Any:
    """Without what is around them, and Linen's collections as one."""
    while isinstance(tree, Mapping):
        if _COLLECTIONS[0] in tree:
            return [tree[name] for name in _COLLECTIONS if name in tree]
        wrapper = next((name for name in _WRAPPERS if name in tree), None)
        if wrapper is None:
            return [tree]
        tree = tree[wrapper]
    raise WeightsError("the checkpoint holds no tree of variables")


def _named(trees: Any) -> Iterator[tuple[str, np.ndarray]]:
    for tree in trees:
        for keys, leaf in jax.tree_util.tree_leaves_with_path(tree):
            parts = [str(getattr(key, "key", getattr(key, "idx", key))) for key in keys]
            if isinstance(leaf, np.ndarray) and _DRAWS not in parts:
                yield ".".join(parts[:-1] if parts[-1] in _LEAVES else parts), leaf
