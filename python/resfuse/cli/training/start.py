"""Where a run begins: new, or at its latest checkpoint."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import typer

from resfuse.cli.data import Dataset
from resfuse.cli.ending import refuse
from resfuse.cli.training.checkpoints import Checkpoints, has_checkpoints
from resfuse.cli.training.cluster import share
from resfuse.cli.training.options import Options
from resfuse.cli.training.pretrained import Pretrained
from resfuse.cli.training.run import Position
from resfuse.cli.training.storage import Record


@dataclasses.dataclass(frozen=True)
class Start:
    """The options of the run, and the record of the checkpoint that it continues, if any."""

    options: Options
    record: Record | None

    @property
    def position(self) -> Position:
        """Where the run begins."""
        return self.record.position if self.record else Position()

    @functools.cached_property
    def pretrained(self) -> Pretrained | None:
        """The network of the options' weights, if there are any; from the record, or the file."""
        if self.options.weights is None:
            return None
        if self.record is None or self.record.pretrained is None:
            return Pretrained.of(self.options.weights)
        return Pretrained.from_description(self.record.pretrained)


def start(given: Mapping[str, Any], out: Path, resume: bool) -> Start:
    """Looks into ``out``, in process 0, and tells the others.

    Args:
        given: The options that the command was given.
        out: The directory of the run.
        resume: Whether to continue; if there is no checkpoint, from the beginning.
    """
    found = _look(given, out, resume) if jax.process_index() == 0 else None
    options, record = share(
        found and [dataclasses.asdict(each) if each else None for each in found]
    )
    begun = Start(Options(**options), Record.of(record) if record else None)
    if differing := begun.options.differences(given):
        refuse(f"process 0 was given other options: {differing}")
    return begun


def check_data(data: Dataset, begun: Start, out: Path) -> None:
    """Refuses data that are not those of the checkpoint, or not those of process 0."""
    here = [list(data.classes), list(data.image_shape), len(data.train), len(data.test)]
    if share(here) != here:
        refuse("process 0 has other data")
    if (record := begun.record) is None:
        return
    there = [list(record.classes), list(record.image_shape), record.train_images]
    names = ("classes", "image shape", "number of training images")
    for name, before, now in zip(names, there, here[:3], strict=True):
        if before != now:
            refuse(f"--resume: {out} was trained on other data: {name} {before}, and now {now}")


def _look(given: Mapping[str, Any], out: Path, resume: bool) -> tuple[Options, Record | None]:
    if not has_checkpoints(out):
        if resume:
            typer.echo(f"{out} holds no checkpoint yet: starting from the beginning", err=True)
        options = Options.of(given)
        options.check()
        return options, None
    if not resume:
        refuse(f"--out {out} holds a run: add --resume to continue it, or choose another --out")
    record = Checkpoints(out).latest_record()
    if differing := record.options.differences(given):
        refuse(f"--resume: {out} holds another run: {differing}")
    return record.options, record
