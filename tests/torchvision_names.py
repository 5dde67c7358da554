"""The variables of both APIs under torchvision's names and in its layouts, and back."""

import jax
import numpy as np
from flax import nnx

LEAVES = {"scale": "weight", "kernel": "weight", "mean": "running_mean", "var": "running_var"}
AXES = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}


def keys(path):
    return [str(getattr(part, "key", getattr(part, "idx", None))) for part in path]


def name(path):
    *modules, leaf = (key for key in keys(path) if key not in ("params", "batch_stats"))
    return ".".join([*modules, LEAVES.get(leaf, leaf)])


def tree(variables):
    """Of Linen as it is, of an NNX state without its wrappers."""
    return nnx.to_pure_dict(variables) if isinstance(variables, nnx.State) else variables


def shapes(variables):
    """The shape of each variable in torchvision's layout."""
    leaves = jax.tree_util.tree_leaves_with_path(tree(variables))
    return {name(path): tuple(leaf.shape[i] for i in AXES[leaf.ndim]) for path, leaf in leaves}


def export(variables):
    """A state dict of torchvision's."""
    leaves = jax.tree_util.tree_leaves_with_path(tree(variables))
    return {name(path): np.asarray(leaf).transpose(AXES[leaf.ndim]) for path, leaf in leaves}


def load(variables, weights):
    """The same tree as ``variables`` with the values of a state dict."""

    def value(path, leaf):
        found = weights[name(path)]
        return jax.numpy.asarray(found.transpose(np.argsort(AXES[leaf.ndim])), leaf.dtype)

    return jax.tree_util.tree_map_with_path(value, tree(variables))
