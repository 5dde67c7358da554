"""The panels that reports are made of."""

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from sklearn.metrics import ConfusionMatrixDisplay

RIGHT, WRONG = "tab:green", "tab:red"
ROWS, COLUMNS = 3, 6
ROOM_BESIDE, ROOM_ABOVE = 24, 12  # letters of a name beside a matrix, and above an image
NAMED_CLASSES = 20  # more have no room for names and counts in a confusion matrix


@contextlib.contextmanager
def report(path: Path, title: str, names: Sequence[str]) -> Iterator[list[SubFigure]]:
    """A picture of four parts, written to ``path`` when they are drawn.

    Args:
        path: Of the file.
        title: Of the picture.
        names: Of classes, in any script; the picture gets fonts that have their letters.
    """
    settings: dict[Any, Any] = {
        "text.parse_math": False,
        "font.family": _fonts("".join([title, *names])),
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # there is no font for it, but a box
        figure = Figure(figsize=(12, 9), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
        figure.suptitle(shown(title, 80), fontsize=15)
        yield list(np.ravel(figure.subfigures(2, 2, squeeze=False, width_ratios=(1.1, 1))))
        figure.savefig(path, dpi=110)


def shown(name: str, room: int) -> str:
    """The beginning of a name; what is not to be printed, such as a tab, is replaced."""
    text = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in name)
    return text if len(text) <= room else f"{text[: room - 1]}…"


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
    labels = [shown(name, ROOM_BESIDE) for name in classes]
    longest = max(map(len, labels))
    ConfusionMatrixDisplay(counts, display_labels=labels if named else None).plot(
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
        truth, guess = (shown(classes[each[index]], ROOM_ABOVE) for each in (labels, predictions))
        text, colour = (f"{guess} ✗ (is {truth})", WRONG) if wrong[index] else (f"{guess} ✓", RIGHT)
        axes.set_title(text, color=colour, fontsize=11 if len(text) < 12 else 7)
        axes.spines[:].set_color(colour)


def _fonts(text: str) -> list[str]:
    """The default font, and those installed that have letters of the text which it has not."""
    default = font_manager.findfont(font_manager.FontProperties())
    missing = set(map(ord, text))
    families = []
    for path in (default, *(font.fname for font in font_manager.fontManager.ttflist)):
        font = font_manager.get_font(path)
        if path == default or missing & font.get_charmap().keys():
            families.append(font.family_name)
            missing -= font.get_charmap().keys()
        if not missing:
            break
    return families
