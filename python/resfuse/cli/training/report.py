"""The report of a run: one picture of what was learned, and where it errs."""

from pathlib import Path

import jax
import numpy as np

from resfuse.cli import panels
from resfuse.cli.data import in_order
from resfuse.cli.training import metrics
from resfuse.cli.training.run import Run
from resfuse.cli.training.trained import TrainedModel
from resfuse.cli.training.trainer import Evaluation

LOOKED_AT = 256  # test images that examples are chosen from


def draw(path: Path, run: Run, tested: Evaluation) -> None:
    """Draws curves, what was confused, and examples."""
    options, classes = run.options, run.data.classes
    model = options.model or Path(str(options.weights)).name
    title = f"{model} on {Path(options.data).name}"
    with in_order(run.data.test, min(LOOKED_AT, len(run.data.test))) as stream:
        images, labels = next(stream)
    guesses = _model(run).predict(images).argmax(-1)
    with panels.report(path, title, classes) as (losses, accuracies, confusion, examples):
        for part, name, ylabel, scale in (
            (losses, "loss", "cross-entropy", 1),
            (accuracies, "accuracy", "accuracy (%)", 100),
        ):
            panels.curves(part.subplots(), name.capitalize(), ylabel, _lines(path, name, scale))
        panels.confusion(confusion.subplots(), tested.confusion, classes)
        panels.examples(examples, images, labels, guesses, classes)


def _lines(path: Path, name: str, scale: float) -> dict[str, list[float]]:
    """By epoch, from the metrics beside ``path``."""
    rows = [row for row in metrics.read(path.parent) if row["of"] == "epoch"]
    columns = {
        "training images (statistics of the batch)": name,
        "test images (running statistics)": f"test_{name}",
    }
    return {
        label: [scale * float(row[column]) for row in rows] for label, column in columns.items()
    }


def _model(run: Run) -> TrainedModel:
    variables = jax.tree.map(np.asarray, run.trainer.state.variables)
    return TrainedModel(run.trainer.network, variables, run.data.classes, run.data.image_shape)
