"""``resfuse predict``: the classes of pictures, by a trained network or by published weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image

from resfuse.cli.data.dataset import BadData
from resfuse.cli.data.folders import pictures_in
from resfuse.cli.data.pictures import opened
from resfuse.cli.data.stream import Stream
from resfuse.cli.ending import refuse
from resfuse.cli.predict_output import Prediction, print_as

Images = NDArray[np.float32]


class Classifier(Protocol):
    """What tells the class of a picture."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names, in the order of the probabilities."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of a prepared picture."""

    def prepared(self, image: Image.Image) -> Images:
        """What the network takes for a picture, ``(H, W, C)``."""

    def predict(self, images: Images) -> Images:
        """Maps prepared pictures ``(b, H, W, C)`` to probabilities ``(b, classes)``."""


def run(paths: Sequence[Path], weights: str | None, form: str, top: int, batch_size: int) -> None:
    """Prints the ``top`` likeliest classes of each image; a folder stands for those in it.

    What cannot be read is reported on standard error, and makes the exit status 1.

    Args:
        paths: Of images and folders; without ``weights``, after that of a checkpoint.
        weights: A file or a name.
        form: How to print.
        top: How many classes.
        batch_size: Images at a time.
    """
    images = paths if weights else paths[1:]
    if not images:
        refuse(f"{paths[0]}: images must follow the checkpoint; or use --weights")
    files = [file for path in images for file in _files(path)]
    model = _model(paths[0], weights)
    size = min(batch_size, len(files))

    def read(step: int) -> list[tuple[Path, Images | BadData]]:
        return [(file, _pixels(file, model)) for file in files[step * size :][:size]]

    predictions: list[Prediction] = []
    with Stream(read, range(-(-len(files) // size))) as batches:
        for batch in batches:
            predictions += _predictions(model, batch, size, top)
    print_as(form, predictions)
    if len(predictions) < len(files):
        raise typer.Exit(1)


def _files(path: Path) -> list[Path]:
    if not path.exists():
        refuse(f"{path}: there is no such file or folder")
    if path.is_dir():
        return pictures_in(path) or refuse(f"{path}: no images in it")
    if not path.is_file():  # reading a pipe or a device may never end
        refuse(f"{path}: it is not a regular file")
    return [path]


def _model(checkpoint: Path, weights: str | None) -> Classifier:
    # Only one of them is imported, with all that it needs.
    if weights:
        from resfuse.cli.published import PublishedModel

        return PublishedModel.load(weights)
    from resfuse.cli.training.trained import load_model

    return load_model(checkpoint)


def _pixels(file: Path, model: Classifier) -> Images | BadData:
    try:
        with opened(file, str(file)) as image:
            return model.prepared(image)
    except BadData as error:
        return error


def _predictions(
    model: Classifier, batch: Sequence[tuple[Path, Images | BadData]], size: int, top: int
) -> list[Prediction]:
    """Reports what could not be read, and predicts the others, as one batch of the full size."""
    files: list[Path] = []
    images = np.zeros((size, *model.image_shape), np.float32)
    for file, pixels in batch:
        if isinstance(pixels, BadData):
            typer.echo(f"resfuse: {pixels}", err=True)
        else:
            images[len(files)] = pixels
            files.append(file)
    probabilities = model.predict(images)
    likeliest = np.argsort(-probabilities, axis=-1, kind="stable")[:, :top]
    return [
        Prediction(str(file), [(model.classes[each], float(row[each])) for each in best])
        for file, row, best in zip(files, probabilities, likeliest, strict=False)
    ]
