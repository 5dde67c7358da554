"""The demo's report: one picture of what was learned, where it errs, and how fast it runs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from resfuse.cli import panels
from resfuse.cli.compare import Comparison


def draw(
    path: Path,
    name: str,
    history: tuple[Sequence[float], Sequence[float]],
    images: NDArray[np.float32],
    comparison: Comparison,
) -> None:
    """Writes the report; ``name`` says what ran beside plain Flax."""
    title = f"A small ResNet on scikit-learn's handwritten digits: {name}"
    train, test = ([100 * value for value in values] for values in history)
    lines = {
        "training images (statistics of the batch)": train,
        "held-out images (running statistics)": test,
    }
    digits = [str(digit) for digit in range(10)]
    labels, predictions = comparison.labels, comparison.predictions[0]
    counts = confusion_matrix(labels, predictions, labels=range(len(digits)))
    with panels.report(path, title, digits) as (curve, matrix, examples, speeds):
        panels.curves(curve.subplots(), "Learning curve", "accuracy (%)", lines)
        panels.confusion(matrix.subplots(), counts, digits)
        panels.examples(examples, images, labels, predictions, digits)
        _speeds(speeds.subplots(), name, comparison)


def _speeds(axes: Axes, name: str, comparison: Comparison) -> None:
    bars = axes.barh(
        [name.replace(" (", "\n("), "plain Flax"], comparison.images_per_second, color=["C0", "C7"]
    )
    axes.bar_label(bars, fmt="{:,.0f}", padding=4)
    axes.invert_yaxis()
    axes.margins(x=0.2)
    axes.set(
        title=f"Evaluation speed: {comparison.ratio:.2f} times plain Flax",
        xlabel=f"images per second (batch of {len(comparison.labels)}, median of rounds)",
    )
