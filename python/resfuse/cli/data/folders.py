"""A folder for each class, with folders to train and to test with above them or without."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from resfuse.cli.data import split_names
from resfuse.cli.data.albums import Album, dataset
from resfuse.cli.data.dataset import BadData, Dataset
from resfuse.cli.data.listing import files_in, folders_in
from resfuse.cli.data.pictures import opened


def load(folder: Path, size: int | None, seed: int) -> Dataset:
    """The dataset of ``folder``, whose classes are named as their folders."""
    parts = _parts(folder)
    classes = folders_in(parts[0])
    return dataset([_album(each, classes) for each in parts], classes, size, seed)


def pictures_in(folder: Path) -> list[Path]:
    """The pictures in a folder and below, by their suffixes, in the order of their names."""
    kinds = Image.registered_extensions().items()
    return sorted(files_in(folder, {suffix for suffix, kind in kinds if kind in Image.OPEN}))


def _parts(folder: Path) -> list[Path]:
    """The folder to train with, and the one to test with if there is one with classes."""
    train, test = split_names.chosen(folders_in(folder))
    if train is None:
        return [folder]
    labelled = (each for each in (_inside(folder / name) for name in test) if folders_in(each))
    return [_inside(folder / train), *[*labelled][:1]]


def _inside(part: Path) -> Path:
    """The folder itself, or the one of the same name that an archive put into it."""
    return part / part.name if folders_in(part) == [part.name] else part


def _album(folder: Path, classes: Sequence[str]) -> Album:
    paths: list[Path] = []
    labels: list[int] = []
    for name in folders_in(folder):
        if name not in classes:
            raise BadData(f"{folder / name}: there is no class {name!r} to train with")
        if folder.resolve().is_relative_to((folder / name).resolve()):
            raise BadData(f"{folder / name}: expected a folder of images, found a link back up")
        found = pictures_in(folder / name)
        if not found:
            raise BadData(f"{folder / name}: no images of class {name!r}")
        paths += found
        labels += [classes.index(name)] * len(found)
    if not paths:
        raise BadData(f"expected a folder of images for each class in {folder}, found no folder")
    numbers = np.array(labels, np.int64)
    return Album(str(folder), numbers, lambda index: opened(paths[index], str(paths[index])))
