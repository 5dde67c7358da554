"""What a naming scheme is: from the path of each variable of ours to an array of a library's."""

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from resfuse.models.convention import Convention

__all__ = ["Place", "Rename", "Rules", "Scheme", "renaming"]

Shape = tuple[int, ...]
Rename = Callable[[str], str]
Rules = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]

_LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
# From HWIO, WIO and IO to what torch has; an axis of ours for each of torch's.
_AXES = {4: (3, 2, 0, 1), 3: (2, 1, 0), 2: (1, 0), 1: (0,)}


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a variable is in a file.

    Attributes:
        name: Of the array.
        shape: Of the array.
        axes: Of the variable, in the order in which the array has them.
    """

    name: str
    shape: Shape
    axes: Shape

    def to_ours(self, array: np.ndarray) -> np.ndarray:
        """A view of the file's array as the variable."""
        return array.reshape(self._squeezed(array.shape)).transpose(np.argsort(self.axes))

    def to_theirs(self, array: np.ndarray) -> np.ndarray:
        """A view of the variable as the file's array."""
        return array.transpose(self.axes).reshape(self.shape)

    def _squeezed(self, shape: Shape) -> Shape:
        """Without the axes that only the file has."""
        rank = len(self.axes)
        return shape if rank == len(shape) else (*shape[: rank - 1], math.prod(shape[rank - 1 :]))


@dataclasses.dataclass(frozen=True)
class Scheme:
    """How one library names, and lays out, the variables of one family of networks.

    Attributes:
        library: ``"torchvision"``, ``"timm"``, ``"transformers"``, ...
        family: The class of our networks.
        rename: From the paths of all variables to a function that gives the library's name of a
            module.
        keys: Names of arrays, of which each such file has one, and none of an earlier scheme.
        leaves: Names of variables that differ from torch's.
        tails: For modules or variables whose array has more axes than ours, a pattern of our
            path and these axes: a dense layer can be a 1x1 convolution.
        convention: How the library's convolutions pad and batch norms count, where not as the
            architecture says.
        aliases: From other names for the same arrays to these.
    """

    library: str
    family: str
    rename: Callable[[Iterable[str]], Rename]
    keys: tuple[str, ...]
    leaves: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tails: tuple[tuple[str, Shape], ...] = ()
    convention: Convention | None = None
    aliases: Rules = ()

    def places(self, shapes: Mapping[str, Shape]) -> dict[str, Place]:
        """For the path and shape of each variable, where it is in a file."""
        rename = self.rename(shapes)
        return {path: self._place(path, shape, rename) for path, shape in shapes.items()}

    def _place(self, path: str, shape: Shape, rename: Rename) -> Place:
        module, _, leaf = path.rpartition(".")
        leaf = self.leaves.get(leaf, _LEAVES.get(leaf, leaf))
        axes = _AXES[len(shape)]
        theirs = tuple(shape[axis] for axis in axes)
        for pattern, tail in self.tails:
            if re.search(pattern, path):
                theirs = _with_tail(theirs, tail)
        name = rename(module)
        return Place(f"{name}.{leaf}" if name else leaf, theirs, axes)


def _with_tail(shape: Shape, tail: Shape) -> Shape:
    """The last axis of a dense layer holds those of a convolution; a vector is only lengthened."""
    if len(shape) == 1:
        return shape + tail
    return (*shape[:-1], shape[-1] // math.prod(tail), *tail)


def renaming(*rules: tuple[str, str | Callable[[re.Match[str]], str]]) -> Rename:
    """Each pattern replaced in turn."""

    def rename(name: str) -> str:
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        return name

    return rename
