"""Tables with a column of images and one of labels, as Hugging Face lays them out."""

import contextlib
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from PIL import Image

from resfuse.cli.data import albums, split_names
from resfuse.cli.data.albums import Album
from resfuse.cli.data.dataset import BadData, Dataset
from resfuse.cli.data.hub import Splits
from resfuse.cli.data.pictures import opened

IMAGES = ("image", "img")  # names of columns, where no feature says what they are
LABELS = ("label", "labels", "fine_label")
FILES = ("binary", "large_binary", "string", "large_string")  # contents, or paths
KINDS = ("int", "uint", "string", "large_string", "bool")  # of labels: how their types begin
SECRET = -1  # the label of test images whose classes are not told

Features = Mapping[str, Any]
Number = Mapping[Any, int]
"""From what the column of labels holds to the number of the class."""


def dataset(splits: Splits, size: int | None, seed: int) -> Dataset:
    """The dataset of the split ``train``, and of one to test with if there is one with labels."""
    train, tests = split_names.chosen(splits)
    if train is None:
        raise BadData(f"expected a split train, found {', '.join(splits)}")
    features = splits[train].features
    image, label = _image_column(features), _label_column(features)
    number, classes = _classes(features[label], splits[train].unique(label))
    labelled = [name for name in tests if set(splits[name].unique(label)) - {SECRET}]
    parts = [
        _album(name, splits[name].select_columns([image, label]), number)
        for name in (train, *labelled[:1])
    ]
    return albums.dataset(parts, classes, size, seed)


def _album(name: str, rows: Any, number: Number) -> Album:
    """The album of rows with a column of images and one of labels, in this order."""
    image, label = rows.column_names
    values = rows[label][:]
    for index, value in enumerate(values):
        if value not in number:
            raise BadData(f"{name}: label {value} of image {index} is none of the classes")
    files = rows.select_columns(image).cast_column(image, datasets.Image(decode=False))

    def open_one(index: int) -> contextlib.AbstractContextManager[Image.Image]:
        cell = files[index][image]
        if cell is None:
            raise BadData(f"image {index} of {name}: missing")
        file = io.BytesIO(cell["bytes"]) if cell["bytes"] else Path(cell["path"] or "")
        return opened(file, f"image {index} of {name}")

    return Album(name, np.array([number[value] for value in values], np.int64), open_one)


def _image_column(features: Features) -> str:
    typed = [name for name, each in features.items() if isinstance(each, datasets.Image)]
    found = typed + [name for name in IMAGES if name in features]
    if not found:
        raise BadData(f"expected a column of images, found {', '.join(features)}")
    if not _holds_files(features[found[0]]):
        raise BadData(f"expected image files in column {found[0]}, found {features[found[0]]}")
    return found[0]


def _holds_files(feature: Any) -> bool:
    if isinstance(feature, dict):
        return not feature.keys().isdisjoint(("bytes", "path"))
    return isinstance(feature, datasets.Image) or getattr(feature, "dtype", None) in FILES


def _label_column(features: Features) -> str:
    classes = [name for name, each in features.items() if isinstance(each, datasets.ClassLabel)]
    found = [name for name in (*LABELS, *classes) if name in features]
    if not found:
        raise BadData(f"expected a column of labels, found {', '.join(features)}")
    kind = str(getattr(features[found[0]], "dtype", "a structure"))
    if not kind.startswith(KINDS):
        raise BadData(f"expected whole numbers or names in column {found[0]}, found {kind}")
    return found[0]


def _classes(feature: Any, values: Iterable[Any]) -> tuple[Number, list[str]]:
    """The classes of a column of labels with these values, in the order of the values."""
    names = getattr(feature, "names", None)
    if names:
        return {number: number for number in range(len(names))}, names
    different = sorted(set(values) - {None})
    return {value: number for number, value in enumerate(different)}, list(map(str, different))
