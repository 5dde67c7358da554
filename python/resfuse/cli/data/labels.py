"""What labels must be, and test images for data that has none."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split  # type: ignore[import-untyped]

from resfuse.cli.data.dataset import BadData

Labels = NDArray[np.int64]


def check(name: str, labels: Labels, classes: Sequence[str]) -> None:
    """Raises ``BadData`` for labels that name no class; ``name`` says whose labels they are."""
    wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if wrong.size:
        raise BadData(
            f"{name}: label {labels[wrong[0]]} of image {wrong[0]} is outside 0..{len(classes) - 1}"
        )


def check_all_there(name: str, labels: Labels, classes: Sequence[str]) -> None:
    """As ``check``; raises also for a class that has no images, and for a single class."""
    check(name, labels, classes)
    for missing in sorted(set(range(len(classes))) - set(labels.tolist())):
        raise BadData(f"{name}: no images of class {classes[missing]!r}")
    if len(classes) < 2:
        raise BadData(f"{name}: expected at least two classes, found {len(classes)}")


def held_out_fifth(labels: Labels, classes: Sequence[str], seed: int) -> tuple[Labels, Labels]:
    """Indices to train and to test with, every class in proportion."""
    counts = np.bincount(labels, minlength=len(classes))
    single = [name for name, count in zip(classes, counts, strict=True) if count == 1]
    if single:
        raise BadData(
            f"there are no test images, and of class {single[0]!r} a single image, of which none "
            "can be held out: expected at least two"
        )
    test_size = max(math.ceil(len(labels) / 5), len(classes))
    train, test = train_test_split(
        np.arange(len(labels)), test_size=test_size, stratify=labels, random_state=seed
    )
    return train, test
