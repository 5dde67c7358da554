"""A folder for each class, with ``train`` and ``test`` above them or without."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from resfuse.cli.data import albums
from resfuse.cli.data.dataset import BadData, Dataset
from resfuse.cli.data.labels import check_all_there
from resfuse.cli.data.pictures import opened

TEST_NAMES = ("test", "val", "validation")


class _Files:
    """An album: pictures in files."""

    def __init__(self, paths: Sequence[Path], labels: Sequence[int]) -> None:
        self._paths, self.labels = paths, np.array(labels, np.int64)

    def open(self, index: int) -> contextlib.AbstractContextManager[Image.Image]:
        return opened(self._paths[index], str(self._paths[index]))


def load(folder: Path, size: int | None, seed: int) -> Dataset:
    """The dataset of ``folder``, whose classes are named as their folders."""
    parts = _parts(folder)
    classes = _folders_in(parts[0])
    found = [_album(each, classes) for each in parts]
    check_all_there(str(parts[0]), found[0].labels, classes)
    return albums.dataset(found, classes, size, seed)


def pictures_in(folder: Path) -> list[Path]:
    """The pictures in a folder and below, by their suffixes, in the order of their names."""
    suffixes = {
        suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN
    }
    found = (each for each in folder.rglob("*") if each.suffix.lower() in suffixes)
    return sorted(each for each in found if not each.name.startswith(".") and each.is_file())


def _parts(folder: Path) -> list[Path]:
    """The folder to train with, and the one to test with if there is one."""
    if not (folder / "train").is_dir():
        return [folder]
    tests = (folder / name for name in TEST_NAMES)
    return [folder / "train", *[each for each in tests if each.is_dir()][:1]]


def _folders_in(folder: Path) -> list[str]:
    return sorted(
        each.name for each in folder.iterdir() if each.is_dir() and not each.name.startswith(".")
    )


def _album(folder: Path, classes: Sequence[str]) -> _Files:
    paths: list[Path] = []
    labels: list[int] = []
    for name in _folders_in(folder):
        if name not in classes:
            raise BadData(f"{folder / name}: there is no class {name!r} to train with")
        found = pictures_in(folder / name)
        if not found:
            raise BadData(f"{folder / name}: no images of class {name!r}")
        paths += found
        labels += [classes.index(name)] * len(found)
    if not paths:
        raise BadData(f"expected a folder of images for each class in {folder}, found no folder")
    return _Files(paths, labels)
