"""From the arrays of a file to the variables of a network, of whatever framework."""

import dataclasses
import logging
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from resfuse.arguments import positive_int
from resfuse.models.convention import TENSORFLOW
from resfuse.weights.adapting import adapt_stem, new_head
from resfuse.weights.copying import Copies
from resfuse.weights.errors import MismatchError, WeightsError
from resfuse.weights.families import FAMILIES, known_as, named, recognize
from resfuse.weights.files import read_arrays
from resfuse.weights.scheme import Place, Scheme, renaming
from resfuse.weights.schemes import recognize_scheme, torch_shapes
from resfuse.weights.sources import Source, locate

__all__ = ["Weights", "fit", "read_weights"]

_LOG = logging.getLogger("resfuse.weights")
_IMAGENET = 1000, 3  # classes and channels, until the file says otherwise

Model = TypeVar("Model")
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
        WeightsError: If it cannot be read, or is of no network that we know.
        OSError: If it is not there.
        TypeError: If ``source`` is no path, or ``architecture`` no architecture.
    """
    located = locate(source)
    arrays = read_arrays(located.path)
    scheme = recognize_scheme(arrays)
    rename = renaming(*scheme.aliases)
    arrays = {rename(name): array for name, array in arrays.items()}
    if architecture is None or isinstance(architecture, str):
        found = _published(architecture, scheme, arrays)
        architecture = _as_trained(found, scheme, arrays, located)
    elif not dataclasses.is_dataclass(architecture) or isinstance(architecture, type):
        raise TypeError(f"architecture must be one, or its name, got {architecture!r}")
    arrays = {name: array for name, array in arrays.items() if not scheme.ignores(name)}
    weights = Weights(os.fspath(source), scheme, architecture, arrays)
    _LOG.info("%s: %s, named as in %s", source, weights.title, scheme.library)
    return weights


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
    settings = dict(scheme.settings)
    if source.same_padding:
        settings["convention"] = TENSORFLOW
    if source.preprocessing is not None:
        settings["preprocessing"] = source.preprocessing
    elif scheme.preprocessing is not None:
        name = known_as(scheme.family, architecture)
        settings["preprocessing"] = scheme.preprocessing(name, arrays)
    return dataclasses.replace(architecture, **settings)


def fit(
    weights: Weights,
    make: Callable[[int, int], tuple[Model, Shapes]],
    num_classes: int | None,
    in_channels: int | None,
    seed: int = 0,
) -> tuple[Model, Iterator[tuple[str, np.ndarray]]]:
    """A network without values, and the values, one after another, in float32.

    Args:
        weights: What was read, whose arrays are dropped one after another.
        make: From classes and channels to a network, and the shapes of its variables by their
            paths.
        num_classes: Of the network; ``None`` for the file's.
        in_channels: Of the images; ``None`` for the file's.
        seed: Of the values of a new head.

    Raises:
        MismatchError: If there are variables without arrays, arrays without variables, or others'
            shapes.
        ValueError: If a number of classes or channels is not positive.
        TypeError: If it is no integer.
    """
    sizes = {"num_classes": num_classes, "in_channels": in_channels}
    for name, size in sizes.items():
        if size is not None:
            positive_int(name, size)
    copies = Copies(weights.arrays, weights.scheme.layout)
    model, shapes = make(*_IMAGENET)
    file = _sizes(weights, shapes)
    wanted = num_classes or file[0], in_channels or file[1]
    if wanted != _IMAGENET:
        model, shapes = make(*wanted)
    places, arrays = weights.places(shapes), weights.arrays
    if num_classes not in (None, file[0]) or (num_classes and not _has_head(weights, places)):
        _replace_head(weights, places, arrays, seed)
    if wanted[1] != file[1]:  # which a stem of the right rank has said
        stem = places[_stem(weights, places)]
        kernel = adapt_stem(stem.to_ours(arrays[stem.name]), wanted[1])
        arrays[stem.name] = kernel.transpose(stem.axes)
        _LOG.warning("%s takes %d channels: adapted to %d", stem.name, file[1], wanted[1])
    _check(weights, places, arrays)
    return model, copies.values(places, arrays)


def _stem(weights: Weights, places: Mapping[str, Place]) -> str:
    pattern = re.compile(rf"{FAMILIES[weights.family].stem}\.kernel")
    return next(path for path in places if pattern.fullmatch(path))


def _head(weights: Weights, places: Mapping[str, Place]) -> list[Place]:
    head = FAMILIES[weights.family].head
    return [places[f"{head}.{leaf}"] for leaf in ("kernel", "bias")]


def _has_head(weights: Weights, places: Mapping[str, Place]) -> bool:
    return any(place.name in weights.arrays for place in _head(weights, places))


def _sizes(weights: Weights, shapes: Shapes) -> tuple[int, int]:
    """Classes and channels of the file; where it does not say, those of ImageNet."""
    places = weights.places(shapes)
    head, stem = _head(weights, places)[0], places[_stem(weights, places)]
    kernels = [weights.arrays.get(place.name) for place in (head, stem)]
    classes, channels = (
        None if kernel is None or kernel.ndim != len(place.shape) else place.to_ours(kernel).shape
        for kernel, place in zip(kernels, (head, stem), strict=True)
    )
    return classes[-1] if classes else _IMAGENET[0], channels[-2] if channels else _IMAGENET[1]


def _replace_head(
    weights: Weights, places: Mapping[str, Place], arrays: dict[str, np.ndarray], seed: int
) -> None:
    random = np.random.default_rng(seed)
    kernel, bias = _head(weights, places)
    classes = bias.shape[0]
    for place in (kernel, bias):
        in_features = math.prod(kernel.shape) // classes
        arrays[place.name] = new_head(place.shape, in_features, random)
    _LOG.warning("%s: a new head of %d classes, to be trained", weights.name, classes)


def _check(weights: Weights, places: Mapping[str, Place], arrays: Mapping[str, np.ndarray]) -> None:
    wanted = {place.name: place.shape for place in places.values()}
    shapes = [
        (name, arrays[name].shape, shape)
        for name, shape in wanted.items()
        if name in arrays and arrays[name].shape != shape
    ]
    missing, unexpected = wanted.keys() - arrays.keys(), arrays.keys() - wanted.keys()
    if missing or unexpected or shapes:
        what = f"{weights.title}, named as in {weights.scheme.library}"
        raise MismatchError(what, missing, unexpected, shapes)
