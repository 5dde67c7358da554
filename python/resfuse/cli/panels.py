"""The panels that reports are made of."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from sklearn.metrics import ConfusionMatrixDisplay  # type: ignore[import-untyped]

RIGHT, WRONG = "tab:green", "tab:red"
ROWS, COLUMNS = 3, 6
NAMED_CLASSES = 20  # more have no room for names and counts in a confusion matrix


def quarters(title: str) -> tuple[Figure, list[SubFigure]]:
    """A figure of four parts."""
    figure = Figure(figsize=(12, 9), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
    figure.suptitle(title, fontsize=15)
    parts = np.ravel(figure.subfigures(2, 2, squeeze=False, width_ratios=(1.1, 1)))
    return figure, list(parts)


def curves(axes: Axes, title: str, ylabel: str, lines: Mapping[str, Sequence[float]]) -> None:
    """One line by label, a value an epoch."""
    for label, values in lines.items():
        axes.plot(range(1, len(values) + 1), values, marker="o", markersize=4, label=label)
    axes.set(title=title, xlabel="epoch", ylabel=ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()


def confusion(axes: Axes, counts: NDArray[np.integer], classes: Sequence[str]) -> None:
    """Of each true class, a row, how many were taken for which."""
    named = len(classes) <= NAMED_CLASSES
    longest = max(map(len, classes))
    ConfusionMatrixDisplay(counts, display_labels=classes if named else None).plot(
        ax=axes,
        cmap="Blues",
        colorbar=not named,
        include_values=named,
        xticks_rotation="vertical" if named and longest > 3 else "horizontal",
    )
    if not named:
        axes.set(xticks=[], yticks=[])
    axes.set(
        title=f"{counts.sum():,} held-out images, {np.trace(counts) / counts.sum():.2%} right",
        xlabel="predicted class",
        ylabel="true class",
    )


def examples(
    figure: SubFigure,
    images: NDArray[np.float32],
    labels: NDArray[np.integer],
    predictions: NDArray[np.integer],
    classes: Sequence[str],
) -> None:
    """The mistakes first, as far as there is room, then images that were read rightly."""
    wrong = predictions != labels
    figure.suptitle(
        f"{len(labels)} held-out images as they were read; mistakes ({wrong.sum()}) come first"
    )
    chosen = np.argsort(~wrong, kind="stable")[: ROWS * COLUMNS]
    places = list(figure.subplots(ROWS, COLUMNS).flat)
    for axes in places:
        axes.set(xticks=[], yticks=[])
    for axes, index in zip(places, chosen, strict=False):
        axes.imshow(images[index].squeeze(), cmap="gray_r" if images.shape[-1] == 1 else None)
        truth, guess = (_short(classes[each[index]]) for each in (labels, predictions))
        text, colour = (f"{guess} ✗ (is {truth})", WRONG) if wrong[index] else (f"{guess} ✓", RIGHT)
        axes.set_title(text, color=colour, fontsize=11 if len(text) < 12 else 7)
        axes.spines[:].set_color(colour)


def _short(name: str) -> str:
    return name if len(name) <= 12 else f"{name[:11]}…"
