"""The numbers of a run: one table in CSV, and the same as events for TensorBoard."""

import csv
import dataclasses
import os
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

CSV = "metrics.csv"
EVENTS = "tensorboard"


@dataclasses.dataclass(frozen=True)
class Row:
    """The numbers after a step.

    Those ``of`` a ``"step"`` are of its batch alone; those of an ``"epoch"`` are means over its
    steps, and the test images are evaluated. Loss and accuracy in training are of the weights
    before each update, with the statistics of the batch.
    """

    step: int
    epoch: int
    of: str
    loss: float
    accuracy: float
    test_loss: float | None
    test_accuracy: float | None
    learning_rate: float
    images_per_second: float | None


NUMBERS = tuple(field.name for field in dataclasses.fields(Row))[3:]


class Metrics:
    """Appends rows to the table and the events in ``out``, and to the disk at once.

    What was written after the step ``after``, by a run that this one continues, is forgotten.
    """

    def __init__(self, out: Path, after: int) -> None:
        path = out / CSV
        _cut(path, after)
        self._table = path.open("a", newline="")
        self._writer = csv.writer(self._table, lineterminator="\n")
        (out / EVENTS).mkdir(exist_ok=True)
        # Not its SummaryWriter: that writes from a thread, and hangs when the disk is full.
        self._events = EventsWriter(str(out / EVENTS / "events"), f".from-{after}")
        start = SessionLog(status=SessionLog.START)
        self._events.write_event(Event(step=after + 1, session_log=start))

    def add(self, row: Row) -> None:
        """Appends a row."""
        self._writer.writerow(dataclasses.astuple(row))
        self._table.flush()
        for name in NUMBERS:
            if (value := getattr(row, name)) is not None:
                summary = scalar(f"{row.of}/{name}", value)
                self._events.write_event(Event(step=row.step, summary=summary))
        self._events.flush()

    def close(self) -> None:
        """Closes the files."""
        self._table.close()
        self._events.close()


def read(out: Path) -> list[dict[str, Any]]:
    """The rows of the table in ``out``, as they are there; empty cells are ``None``."""
    with (out / CSV).open(newline="") as table:
        return [
            {name: value or None for name, value in row.items()} for row in csv.DictReader(table)
        ]


def _cut(path: Path, after: int) -> None:
    """Keeps the header and whole rows up to the step ``after``; replaces the file at once."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    whole = [line for line in lines[1:] if line.endswith("\n")]
    kept = [line for line in whole if int(line.split(",", 1)[0]) <= after]
    header = ",".join(field.name for field in dataclasses.fields(Row)) + "\n"
    scratch = path.with_suffix(".new")
    scratch.write_text("".join([header, *kept]))
    os.replace(scratch, path)
