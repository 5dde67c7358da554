"""Predictions as a table, as JSON and as CSV."""

import csv
import dataclasses
import json
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

DIGITS = 6  # of a probability; a float32 holds no more


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The likeliest classes of an image with their probabilities, the likeliest first."""

    image: str
    classes: list[tuple[str, float]]


def print_as(form: str, predictions: Sequence[Prediction]) -> None:
    """Prints predictions in one of the forms."""
    _PRINTERS[form](predictions)


def _print_table(predictions: Sequence[Prediction]) -> None:
    """One row for each class of each image, which a line divides from the next image."""
    table = Table()
    table.add_column("image", overflow="fold")
    table.add_column("class", overflow="fold")
    table.add_column("", justify="right", no_wrap=True)
    for each in predictions:
        images = [each.image, *[""] * (len(each.classes) - 1)]
        for image, (name, probability) in zip(images, each.classes, strict=True):
            table.add_row(Text(image), Text(name), f"{probability:.1%}")
        table.add_section()
    if predictions:
        Console().print(table)


def _print_json(predictions: Sequence[Prediction]) -> None:
    """A list with one object for each image."""
    objects = [
        {
            "image": each.image,
            "classes": [
                {"class": name, "probability": _rounded(probability)}
                for name, probability in each.classes
            ],
        }
        for each in predictions
    ]
    print(json.dumps(objects, indent=2))


def _print_csv(predictions: Sequence[Prediction]) -> None:
    """One line for each class of each image."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("image", "rank", "class", "probability"))
    for each in predictions:
        for rank, (name, probability) in enumerate(each.classes, 1):
            writer.writerow((each.image, rank, name, _rounded(probability)))


def _rounded(probability: float) -> float:
    return float(f"{probability:.{DIGITS}g}")


_PRINTERS = {"table": _print_table, "json": _print_json, "csv": _print_csv}
