"""State dicts in which every value counts, the same in every framework, and the way into ours.

A value follows from the name and the shape that an array has in torch, so that logits can be
written down once, from torch, and be had again without it.
"""

import math
import zlib

import jax
import jax.numpy as jnp
import numpy as np

LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
AXES = {4: (2, 3, 1, 0), 3: (2, 1, 0), 2: (1, 0), 1: (0,)}  # as OIHW to HWIO


def value(name, shape):
    """What the array of a state dict holds."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    if len(shape) > 1:
        return random.normal(0, 1 / math.sqrt(math.prod(shape[1:])), shape).astype(np.float32)
    if name.endswith(("weight", "running_var", "gamma")):
        return random.uniform(0.5, 1.5, shape).astype(np.float32)
    return random.normal(0, 0.2, shape).astype(np.float32)


def image(*shape):
    """Channels last."""
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def fill(state, rename):
    """A tree of dictionaries with these values; ``rename`` gives torch's name of a module."""

    def leaf(path, array):
        *modules, last = (str(part.key) for part in path)
        name = f"{rename('.'.join(modules))}.{LEAVES.get(last, last)}"
        axes = AXES[array.ndim]
        shape = tuple(array.shape[axes.index(axis)] for axis in range(array.ndim))
        return jnp.asarray(value(name, shape).transpose(axes), array.dtype)

    return jax.tree_util.tree_map_with_path(leaf, state)
