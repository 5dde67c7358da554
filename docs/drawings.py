"""The drawings of the page on the kernel, made while the site is built."""

import io
from collections.abc import Iterable

from IPython.display import SVG
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from resfuse import _ext
from resfuse.kernel import extension

# A drawing is as wide as a telephone's screen shows legibly, and reads in print without colors.
WIDTH = 5.0  # inches
FONT = 11  # points
BLUE, LIGHT, ORANGE, GREY = "#2f6fa8", "#cfe0ef", "#e8833a", "#999999"


def loop_nest() -> SVG:
    """A block, a panel and a tile in the product that a convolution is."""
    figure, axes = _canvas(4.2, (-0.4, 12.4), (12.2, -1.8))
    _matrix(axes, (0, 5), (4, 7), "a row for each pixel:\nits window")
    _matrix(axes, (5, 0), (7, 4), "weights: a column\nfor each channel")
    _matrix(axes, (5, 5), (7, 7), "outputs")
    _box(axes, (0, 6), (4, 3), LIGHT, "a block: in L2")
    _box(axes, (7, 0), (1.4, 4), LIGHT, "a\npanel:\nin L1")
    _box(axes, (5, 6), (7, 3), LIGHT)
    _box(axes, (7, 6), (1.4, 3), "#a9c7e2")
    _box(axes, (7, 7), (1.4, 0.7), ORANGE)
    axes.annotate(
        "a tile:\nin registers", (8.4, 7.35), (9.2, 10.6), fontsize=FONT,
        arrowprops={"arrowstyle": "-", "color": ORANGE},
    )  # fmt: skip
    return _svg(figure)


def register_tiles() -> SVG:
    """The accumulators of each instruction set, with what a step reads."""
    figure, axes = _canvas(3.6, (-1.6, 17.4), (12.4, -4))
    left = 0.0
    for isa in extension.isas():
        rows, columns = _tile(isa)
        vectors = 2
        lanes = columns // vectors
        axes.text(left - 0.9, -2.6, f"{isa}\n{rows} x {columns}", fontsize=FONT, va="center")
        for vector in range(vectors):
            _box(axes, (left + 1.6 * vector, -1.3), (1.5, 0.8), LIGHT)
            for row in range(rows):
                _box(axes, (left + 1.6 * vector, row), (1.5, 0.8), BLUE, str(lanes), "white")
        for row in range(rows):
            _box(axes, (left - 1.1, row), (0.8, 0.8), ORANGE)
        left += 6.6
    return _svg(figure)


def winograd_tiles() -> SVG:
    """An image's tiles, which overlap by two, and the products and outputs of one."""
    figure, axes = _canvas(2.6, (-0.6, 25.8), (10.6, -2.8))
    _grid(axes, (0, 0), 10, GREY)
    for left, color in ((0, BLUE), (4, ORANGE)):
        axes.add_patch(Rectangle((left + 0.1, 0.1), 5.8, 5.8, fill=False, edgecolor=color, lw=2.5))
    _grid(axes, (12.4, 0), 6, BLUE, LIGHT)
    _grid(axes, (20.4, 1), 4, BLUE, "#a9c7e2")
    for center, text in ((5, "image: tiles\nof 6x6"), (15.4, "36 products"), (22.4, "4x4 outputs")):
        axes.text(center, -1.3, text, ha="center", va="center", fontsize=FONT)
    for start in (10.4, 18.6):
        axes.annotate("", (start + 1.6, 3), (start, 3), arrowprops={"arrowstyle": "->"})
    axes.text(15.4, 8.6, "directly, 4x4 outputs\ntake 144", ha="center", fontsize=FONT)
    return _svg(figure)


def bars(rows: Iterable[tuple[str, float, str, bool]], title: str, unit: str) -> SVG:
    """A bar for each label and length, with a word beside it, and in one of two colors."""
    labels, lengths, words, marked = zip(*rows, strict=True)
    figure = Figure((WIDTH + 0.8, 0.9 + 0.27 * len(labels)), layout="constrained")
    axes = figure.add_subplot()
    drawn = axes.barh(labels, lengths, color=[BLUE if mark else ORANGE for mark in marked])
    axes.bar_label(drawn, words, padding=3, fontsize=FONT - 2)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.22 * max(lengths))
    axes.set_title(title, fontsize=FONT)
    axes.set_xlabel(unit, fontsize=FONT - 1)
    axes.tick_params(labelsize=FONT - 2)
    axes.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


def _tile(isa: str) -> tuple[int, int]:
    """The rows and columns of its register tile, which divide this image and these channels."""
    before = extension.isa() or extension.isas()[0]
    extension.force_isa(isa)
    try:
        ones, none = [1, 1], [0] * 4
        (plan,) = _ext.plans_in_full(
            [1, 12, 12, 64], [1, 1, 64, 64], ones, none, ones, ones, 1, False, packed=True
        )
    finally:
        extension.force_isa(before)
    return plan["tile"]


def _canvas(
    height: float, across: tuple[float, float], down: tuple[float, float]
) -> tuple[Figure, Axes]:
    figure = Figure((WIDTH, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=across, ylim=down)
    axes.axis("off")
    return figure, axes


def _box(
    axes: Axes,
    corner: tuple[float, float],
    size: tuple[float, float],
    color: str,
    text: str = "",
    text_color: str = "black",
) -> None:
    axes.add_patch(Rectangle(corner, *size, facecolor=color, edgecolor="white", lw=0.5))
    center = (corner[0] + size[0] / 2, corner[1] + size[1] / 2)
    axes.text(*center, text, ha="center", va="center", fontsize=FONT - 1, color=text_color)


def _matrix(axes: Axes, corner: tuple[float, float], size: tuple[float, float], title: str) -> None:
    axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=GREY))
    center = corner[0] + size[0] / 2
    axes.text(center, corner[1] - 0.2, title, ha="center", va="bottom", fontsize=FONT)


def _grid(
    axes: Axes, corner: tuple[float, float], side: int, color: str, fill: str = "white"
) -> None:
    for row in range(side):
        for column in range(side):
            place = (corner[0] + column, corner[1] + row)
            axes.add_patch(Rectangle(place, 1, 1, facecolor=fill, edgecolor=color, lw=0.6))


def _svg(figure: Figure) -> SVG:
    file = io.StringIO()
    # Letters stay text, which a browser may select, enlarge and read aloud.
    figure.savefig(file, format="svg", transparent=False)
    return SVG(file.getvalue())
