"""What a naming scheme is: from the path of each variable of ours to an array of a library's."""

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from resfuse.models.preprocessing import Preprocessing

__all__ = [
    "FLAX",
    "KERAS",
    "TORCH",
    "Arrays",
    "Layout",
    "Place",
    "Rename",
    "Rules",
    "Scheme",
    "blocks",
    "look_up",
    "renaming",
]

Arrays = Mapping[str, np.ndarray]
Shape = tuple[int, ...]
Rename = Callable[[str], str]
Rules = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a framework names and lays out the variables of a layer.

    Attributes:
        leaves: Names of variables that differ from ours.
        shift: Of ``bias`` in a norm.
        axes: For each rank, our axes in the order in which the framework has them.
        depthwise: The same for the kernel of a depthwise convolution, which are four.
        dense_first: Whether a dense layer's axes come before those of a window, or after.
    """

    leaves: Mapping[str, str]
    shift: str
    axes: Mapping[int, Shape]
    depthwise: Shape
    dense_first: bool = True

    def torch_shape(self, name: str, shape: Shape) -> Shape:
        """That of an array as torch would have it."""
        if self is TORCH or len(shape) not in (2, 4):
            return shape
        if name.endswith(("depthwise.kernel", "dwconv.kernel")):
            return shape[2], 1, *shape[:2]
        return tuple(shape[axis] for axis in TORCH.axes[len(shape)])


TORCH = Layout(
    {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"},
    "bias",
    {4: (3, 2, 0, 1), 3: (2, 1, 0), 2: (1, 0), 1: (0,)},
    (3, 2, 0, 1),
)
KERAS = Layout(
    {"scale": "gamma", "mean": "moving_mean", "var": "moving_variance"},
    "beta",
    {4: (0, 1, 2, 3), 2: (0, 1), 1: (0,)},
    (0, 1, 3, 2),
    dense_first=False,
)
FLAX = Layout({}, "bias", {rank: tuple(range(rank)) for rank in range(1, 5)}, (0, 1, 2, 3))


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a variable is in a file.

    Attributes:
        name: Of the array.
        shape: Of the array.
        axes: Of the variable, in the order in which the array has them.
        dense_first: As in the layout.
    """

    name: str
    shape: Shape
    axes: Shape
    dense_first: bool = True

    def to_ours(self, array: np.ndarray) -> np.ndarray:
        """A view of the file's array as the variable."""
        return array.reshape(self._squeezed(array.shape)).transpose(np.argsort(self.axes))

    def to_theirs(self, array: np.ndarray) -> np.ndarray:
        """A view of the variable as the file's array."""
        return array.transpose(self.axes).reshape(self.shape)

    def _squeezed(self, shape: Shape) -> Shape:
        """Without the axes that only the file has."""
        rank = len(self.axes)
        if rank == len(shape) or not self.dense_first:
            return shape[-rank:]
        return *shape[: rank - 1], math.prod(shape[rank - 1 :])


@dataclasses.dataclass(frozen=True)
class Scheme:
    """How one library names, and lays out, the variables of one family of networks.

    Attributes:
        library: ``"torchvision"``, ``"timm"``, ``"transformers"``, ...
        family: The class of our networks.
        rename: From the paths of all variables to a function that gives the library's name of a
            module.
        keys: Names of arrays, of which each such file has one, and none of an earlier scheme.
        leaves: Names of variables that differ from the framework's.
        tails: For modules or variables whose array has more axes than ours, a pattern of our
            path and these axes, those of a window: a dense layer can be a 1x1 convolution.
        settings: Fields of the architecture that no shape tells and the library has otherwise.
        variants: For networks whose arrays are another's but not their arithmetic, a pattern of
            the library's name and these fields; ``None`` where no network here computes so.
        preprocessing: From the name of the network and the file's arrays to what the library does
            with pictures, where not as the architecture says.
        centred: A pattern of the library's names of networks whose pixels go from -1 to 1.
        aliases: From other names for the same arrays to these.
        ignored: A pattern of arrays that are not the network's.
        layout: Of the library's framework.
    """

    library: str
    family: str
    rename: Callable[[Iterable[str]], Rename]
    keys: tuple[str, ...]
    leaves: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tails: tuple[tuple[str, Shape], ...] = ()
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    variants: tuple[tuple[str, Mapping[str, Any] | None], ...] = ()
    preprocessing: Callable[[str, Arrays], Preprocessing] | None = None
    centred: str | None = None
    aliases: Rules = ()
    ignored: str | None = None
    layout: Layout = TORCH

    def ignores(self, name: str) -> bool:
        """Whether an array is not the network's."""
        return self.ignored is not None and re.search(self.ignored, name) is not None

    def variant(self, name: str) -> Mapping[str, Any] | None:
        """Fields of a network that the library calls so; ``None`` if there is none such here."""
        found = (fields for pattern, fields in self.variants if re.search(pattern, name))
        return next(found, {})

    def places(self, shapes: Mapping[str, Shape]) -> dict[str, Place]:
        """For the path and shape of each variable, where it is in a file."""
        rename = self.rename(shapes)
        return {path: self._place(path, shapes, rename) for path in shapes}

    def _place(self, path: str, shapes: Mapping[str, Shape], rename: Rename) -> Place:
        module, _, leaf = path.rpartition(".")
        norms = leaf == "bias" and f"{module}.scale" in shapes
        leaf = self.layout.shift if norms else self.layout.leaves.get(leaf, leaf)
        shape = shapes[path]
        depthwise = re.search(r"\.depthwise\.conv\.kernel$", path)
        axes = self.layout.depthwise if depthwise else self.layout.axes[len(shape)]
        theirs = tuple(shape[axis] for axis in axes)
        for pattern, tail in self.tails:
            if re.search(pattern, path):
                theirs = _with_tail(theirs, tail) if self.layout.dense_first else tail + theirs
        name, leaf = rename(module), self.leaves.get(leaf, leaf)
        name = f"{name}.{leaf}" if name else leaf
        return Place(name, theirs, axes, self.layout.dense_first)


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


def blocks(paths: Iterable[str]) -> dict[tuple[int, int], set[str]]:
    """For the stage and number of each block of ``stages``, its children, in order."""
    found: dict[tuple[int, int], set[str]] = {}
    for path in paths:
        head, *rest = path.split(".")
        if head == "stages":
            found.setdefault((int(rest[0]), int(rest[1])), set()).add(rest[2])
    return dict(sorted(found.items()))


def look_up(names: dict[str, str]) -> Rename:
    """The name in a table, or else ours."""
    return lambda name: names.get(name, name)
