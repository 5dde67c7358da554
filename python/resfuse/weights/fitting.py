"""From the arrays of a file to the variables of a network, of whatever framework."""

import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import numpy as np

from resfuse.arguments import as_seed, positive_int
from resfuse.weights.adapting import adapt_stem, new_head
from resfuse.weights.copying import Copies
from resfuse.weights.errors import MismatchError
from resfuse.weights.families import FAMILIES
from resfuse.weights.loading import Weights
from resfuse.weights.scheme import Place

__all__ = ["fit"]

_LOG = logging.getLogger("resfuse.weights")
_IMAGENET = 1000, 3  # classes and channels, until the file says otherwise

Model = TypeVar("Model")
Shapes = Mapping[str, tuple[int, ...]]


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
        ValueError: If a number of classes or channels is not positive, or the seed negative.
        TypeError: If one of them is no integer.
    """
    sizes = {"num_classes": num_classes, "in_channels": in_channels}
    for name, size in sizes.items():
        if size is not None:
            positive_int(name, size)
    as_seed(seed)
    copies = Copies(weights.arrays, weights.scheme.layout)
    model, shapes = make(*_IMAGENET)
    places, arrays = weights.places(shapes), weights.arrays
    file = _sizes(arrays, _head(weights, places)[0], places[_stem(weights, places)])
    wanted = num_classes or file[0], in_channels or file[1]
    if wanted != _IMAGENET:
        model, shapes = make(*wanted)
        places = weights.places(shapes)
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


def _sizes(arrays: Mapping[str, np.ndarray], head: Place, stem: Place) -> tuple[int, int]:
    """Classes and channels of the file; where it does not say, those of ImageNet."""
    kernels = [arrays.get(place.name) for place in (head, stem)]
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
