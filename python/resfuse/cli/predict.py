"""``resfuse predict``: the classes of pictures, by a network that ``resfuse train`` trained."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import typer

from resfuse.cli.data.dataset import BadData, Pixels
from resfuse.cli.data.folders import pictures_in
from resfuse.cli.data.pictures import fitted, opened, scaled
from resfuse.cli.data.stream import Stream
from resfuse.cli.ending import refuse
from resfuse.cli.predict_output import Prediction, print_as
from resfuse.cli.training.trained import TrainedModel, load_model


def run(checkpoint: Path, images: Sequence[Path], form: str, top: int, batch_size: int) -> None:
    """Prints the ``top`` likeliest classes of each image; a folder stands for those in it.

    What cannot be read is reported on standard error, and makes the exit status 1.
    """
    files = [file for path in images for file in _files(path)]
    model = load_model(checkpoint)
    size = min(batch_size, len(files))

    def read(step: int) -> list[tuple[Path, Pixels | BadData]]:
        chosen = files[step * size :][:size]
        return [(file, _pixels(file, model.image_shape)) for file in chosen]

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


def _pixels(file: Path, shape: tuple[int, int, int]) -> Pixels | BadData:
    try:
        with opened(file, str(file)) as image:
            return fitted(image, shape)
    except BadData as error:
        return error


def _predictions(
    model: TrainedModel, batch: Sequence[tuple[Path, Pixels | BadData]], size: int, top: int
) -> list[Prediction]:
    """Reports what could not be read, and predicts the others, as one batch of the full size."""
    files: list[Path] = []
    images = np.zeros((size, *model.image_shape), np.float32)
    for file, pixels in batch:
        if isinstance(pixels, BadData):
            typer.echo(f"resfuse: {pixels}", err=True)
        else:
            images[len(files)] = scaled(pixels)
            files.append(file)
    probabilities = model.predict(images)
    likeliest = np.argsort(-probabilities, axis=-1, kind="stable")[:, :top]
    return [
        Prediction(str(file), [(model.classes[each], float(row[each])) for each in best])
        for file, row, best in zip(files, probabilities, likeliest, strict=False)
    ]
