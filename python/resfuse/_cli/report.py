"""The demo's report: one picture of what was learned, where it errs, and how fast it runs."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from sklearn.metrics import ConfusionMatrixDisplay  # type: ignore[import-untyped]

from resfuse._cli.compare import Comparison
from resfuse._cli.train import History

RIGHT, WRONG = "tab:green", "tab:red"
ROWS, COLUMNS = 3, 6


def draw(
    path: Path, name: str, history: History, images: NDArray[np.float32], comparison: Comparison
) -> None:
    """Writes the report; ``name`` says what ran beside plain Flax."""
    figure = Figure(figsize=(12, 9), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
    figure.suptitle(f"A small ResNet on scikit-learn's handwritten digits: {name}", fontsize=15)
    quarters = np.ravel(figure.subfigures(2, 2, squeeze=False, width_ratios=(1.1, 1)))
    _learning_curve(quarters[0].subplots(), history)
    _confusion(quarters[1].subplots(), comparison)
    _examples(quarters[2], images, comparison)
    _speeds(quarters[3].subplots(), name, comparison)
    figure.savefig(path, dpi=110)


def _learning_curve(axes: Axes, history: History) -> None:
    epochs = range(1, len(history.train) + 1)
    for label, values in (
        ("training images (statistics of the batch)", history.train),
        ("held-out images (running statistics)", history.test),
    ):
        axes.plot(epochs, [100 * value for value in values], marker="o", label=label)
    axes.set(title="Learning curve", xlabel="epoch", ylabel="accuracy (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")


def _confusion(axes: Axes, comparison: Comparison) -> None:
    accuracy = comparison.accuracies[0]
    ConfusionMatrixDisplay.from_predictions(
        comparison.labels, comparison.predictions[0], ax=axes, cmap="Blues", colorbar=False
    )
    axes.set(
        title=f"{len(comparison.labels)} held-out images, {accuracy:.2%} right",
        xlabel="predicted digit",
        ylabel="true digit",
    )


def _examples(figure: SubFigure, images: NDArray[np.float32], comparison: Comparison) -> None:
    """The mistakes first, as far as there is room, then digits that were read rightly."""
    predictions, labels = comparison.predictions[0], comparison.labels
    wrong = predictions != labels
    figure.suptitle(f"Held-out digits as they were read; mistakes ({wrong.sum()}) come first")
    chosen = np.argsort(~wrong, kind="stable")[: ROWS * COLUMNS]
    for axes, index in zip(figure.subplots(ROWS, COLUMNS).flat, chosen, strict=True):
        axes.imshow(images[index, ..., 0], cmap="gray_r")
        axes.set(xticks=[], yticks=[])
        verdict = f"{predictions[index]} ✗ (is {labels[index]})"
        text, color = (verdict, WRONG) if wrong[index] else (f"{predictions[index]} ✓", RIGHT)
        axes.set_title(text, color=color, fontsize=11)
        axes.spines[:].set_color(color)


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
