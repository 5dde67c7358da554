"""From a file of weights to what they are: the scheme of the names, and the architecture."""

import dataclasses
import logging
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from resfuse.models.preprocessing import CENTRE, Preprocessing
from resfuse.weights.errors import WeightsError
from resfuse.weights.families import known_as, named, recognize
from resfuse.weights.files import read_arrays
from resfuse.weights.scheme import Place, Scheme, renaming
from resfuse.weights.schemes import recognize_scheme, torch_shapes
from resfuse.weights.sources import Source, locate

__all__ = ["Weights", "read_weights"]

_LOG = logging.getLogger("resfuse.weights")

Shapes = Mapping[str, tuple[int, ...]]


@dataclasses.dataclass(frozen=True)
class Weights:
    """A file's arrays, and what they are.

    Attributes:
        name: Of the file.
        scheme: By which its arrays are named.
        architecture: Of the network.
        arrays: By the scheme's names, until ``fit`` takes them.
    """

    name: str
    scheme: Scheme
    architecture: Any
    arrays: dict[str, np.ndarray]

    @property
    def family(self) -> str:
        """The class of the network."""
        return self.scheme.family

    @property
    def title(self) -> str:
        """The network's name."""
        return known_as(self.family, self.architecture)

    @property
    def has_cifar_stem(self) -> bool:
        """Whether it is a ResNet for small images, whose stem is one 3x3 convolution."""
        if self.family != "ResNet":
            return False
        layout = self.scheme.layout
        name = f"{self.scheme.rename(())('conv1')}.{layout.leaves.get('kernel', 'kernel')}"
        stem = self.arrays.get(name)
        return stem is not None and layout.torch_shape(name, stem.shape)[2:] == (3, 3)

    def places(self, shapes: Shapes) -> dict[str, Place]:
        """Of a network's variables, where they are in the file."""
        return self.scheme.places(shapes)


def read_weights(source: str | os.PathLike[str], architecture: Any = None) -> Weights:
    """Reads a file, and finds its scheme and, unless it is given, its architecture.

    Raises:
        WeightsError: If it cannot be read, or is of no network that we know, or of one that has the
            arrays of a network that we know and is another.
        OSError: If it is not there.
        TypeError: If ``source`` is no path, or ``architecture`` no architecture.
    """
    located = locate(source)
    arrays = _of_all(located.paths)
    scheme = recognize_scheme(arrays)
    rename = renaming(*scheme.aliases)
    arrays = {rename(name): array for name, array in arrays.items()}
    if architecture is None:
        _refuse_another(scheme, located)
    if architecture is None or isinstance(architecture, str):
        found = _published(architecture, scheme, arrays)
        architecture = _as_trained(found, scheme, arrays, located)
    elif not dataclasses.is_dataclass(architecture) or isinstance(architecture, type):
        raise TypeError(f"architecture must be one, or its name, got {architecture!r}")
    arrays = {name: array for name, array in arrays.items() if not scheme.ignores(name)}
    weights = Weights(os.fspath(source), scheme, architecture, arrays)
    which = f", computed as {located.name}" if scheme.variant(located.name) else ""
    _LOG.info("%s: %s, named as in %s%s", source, weights.title, scheme.library, which)
    return weights


def _of_all(paths: Sequence[pathlib.Path]) -> dict[str, np.ndarray]:
    """The arrays of all parts."""
    arrays: dict[str, np.ndarray] = {}
    for path in paths:
        part = read_arrays(path)
        if twice := sorted(arrays.keys() & part.keys()):
            raise WeightsError(f"{path}: {', '.join(twice)} are in another part, too")
        arrays |= part
    return arrays


def _refuse_another(scheme: Scheme, source: Source) -> None:
    """Refuses a network that has the arrays of one of ours, and computes otherwise."""
    unknown = source.unknown
    if scheme.variant(source.name) is None:
        unknown = source.name, *unknown
    if unknown:
        raise WeightsError(
            f"{source.paths[0]}: the network is another than its arrays tell, by "
            f"{', '.join(unknown)}; architecture= names one of ours to take for it"
        )


def _published(name: str | None, scheme: Scheme, arrays: Mapping[str, np.ndarray]) -> Any:
    """The architecture of that name, or that of the arrays."""
    if name is None:
        shapes = {each: array.shape for each, array in arrays.items()}
        return recognize(scheme.family, lambda: torch_shapes(scheme, shapes))
    family, architecture = named(name)
    if family != scheme.family:
        raise WeightsError(f"architecture must be a {scheme.family}'s, got {name!r}, a {family}")
    return architecture


def _as_trained(
    architecture: Any, scheme: Scheme, arrays: Mapping[str, np.ndarray], source: Source
) -> Any:
    """With the arithmetic and preprocessing that the shapes do not tell."""
    settings = {**scheme.settings, **(scheme.variant(source.name) or {})}
    settings["preprocessing"] = source.preprocessing or _pictures(
        architecture, scheme, arrays, source.name
    )
    return dataclasses.replace(architecture, **settings)


def _pictures(
    architecture: Any, scheme: Scheme, arrays: Mapping[str, np.ndarray], name: str
) -> Preprocessing:
    """What the library does with pictures for a network that it calls so."""
    found: Preprocessing = architecture.preprocessing
    if scheme.preprocessing is not None:
        found = scheme.preprocessing(known_as(scheme.family, architecture), arrays)
    if scheme.centred is not None and re.search(scheme.centred, name):
        found = dataclasses.replace(found, mean=CENTRE, deviation=CENTRE)
    return found
