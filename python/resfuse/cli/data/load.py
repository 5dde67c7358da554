"""From what ``--data`` says to a dataset."""

import os
from pathlib import Path

import numpy as np

from resfuse.cli.data import folders, hub, idx
from resfuse.cli.data.albums import dataset, in_memory
from resfuse.cli.data.dataset import BadData, Dataset, printable
from resfuse.cli.data.listing import files_in
from resfuse.cli.ending import refuse

LEVELS = 16  # of grey above black in scikit-learn's digits


def load(data: str, *, size: int | None, seed: int) -> Dataset:
    """Loads ``data``, or refuses in one line that says what is wrong with it.

    Args:
        data: ``digits`` (scikit-learn's), a folder of IDX files, of a folder for each class or of
            Parquet files, a Parquet file, or the name of a Hugging Face dataset.
        size: The edge in pixels of the squares that all images become; by default the commonest
            size, and 224 for photographs.
        seed: Which fifth is held out where the data has no test images.
    """
    try:
        return _load(data, size, seed)
    except BadData as error:
        refuse(printable(f"--data {data}: {error}"))
    except OSError as error:
        reason = f"{error.filename or data}: {error.strerror or error}"
        refuse(printable(f"--data {data}: {reason}"))


def _load(data: str, size: int | None, seed: int) -> Dataset:
    if not data:
        raise BadData("expected a folder, a file or a name, found nothing")
    if data == "digits":
        return _digits(size, seed)
    path = Path(os.path.expanduser(data))
    if path.is_dir() and idx.there(path):
        return idx.load(path, size, seed)
    if path.is_dir() and not any(files_in(path, hub.SUFFIXES)):
        return folders.load(path, size, seed)
    if not path.exists() and (path.is_absolute() or data[0] in ".~" or data.count("/") > 1):
        raise BadData("there is no such file or folder")
    splits = hub.files(path) if path.exists() else hub.named(data)
    from resfuse.cli.data import tables  # imports what `hub` sets up before

    return tables.dataset(splits, size, seed)


def _digits(size: int | None, seed: int) -> Dataset:
    """Scikit-learn's 1797 images of 8 x 8 pixels, of which a fifth is held out."""
    from sklearn.datasets import load_digits  # takes longer to import than all the rest

    data = load_digits()
    images = (data.images * (255 / LEVELS)).round().astype(np.uint8)
    digits = in_memory("digits", images, data.target)
    return dataset([digits], list(map(str, data.target_names)), size, seed)
