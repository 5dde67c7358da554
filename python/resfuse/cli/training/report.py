"""The report of a run: one picture of what was learned, and where it errs."""

from pathlib import Path

import jax
import numpy as np

from resfuse.cli import panels
from resfuse.cli.data import in_order
from resfuse.cli.training import metrics
from resfuse.cli.training.checkpoint import TrainedModel
from resfuse.cli.training.run import Run
from resfuse.cli.training.trainer import Evaluation

LOOKED_AT = 256  # test images that examples are chosen from


def draw(path: Path, run: Run, tested: Evaluation) -> None:
    """Draws the curves from the metrics beside ``path``, what was confused, and examples."""
    options, classes = run.options, run.data.classes
    title = f"{options.model} on {Path(options.data).name}"
    figure, (losses, accuracies, confusion, examples) = panels.quarters(title)
    rows = [row for row in metrics.read(path.parent) if row["of"] == "epoch"]
    for part, name, ylabel, scale in (
        (losses, "loss", "cross-entropy", 1),
        (accuracies, "accuracy", "accuracy (%)", 100),
    ):
        lines = {
            "training images (statistics of the batch)": [scale * float(row[name]) for row in rows],
            "test images (running statistics)": [
                scale * float(row[f"test_{name}"]) for row in rows
            ],
        }
        panels.curves(part.subplots(), name.capitalize(), ylabel, lines)
    panels.confusion(confusion.subplots(), tested.confusion, classes)
    with in_order(run.data.test, min(LOOKED_AT, len(run.data.test))) as stream:
        images, labels = next(stream)
    panels.examples(examples, images, labels, _model(run).predict(images).argmax(-1), classes)
    figure.savefig(path, dpi=110)


def _model(run: Run) -> TrainedModel:
    variables = jax.tree.map(np.asarray, run.trainer.state.variables)
    return TrainedModel(run.trainer.network, variables, run.data.classes, run.data.image_shape)
