"""The records of past benchmarks, and the tables and pictures that documents show of them.

A document has two lines where it wants the newest record of a task and an instruction set:

    <!-- record: inference-avx512 -->
    <!-- end of record -->

What stands between them is written here: a picture, a table, and where the figures come from.
"""

import os
import re
import shutil
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

from resfuse.cli.bench import plot
from resfuse.cli.bench.record import Record
from resfuse.cli.bench.report import milliseconds, spread
from resfuse.cli.bench.results import OURS, Result
from resfuse.cli.ending import refuse

ROOT = Path(__file__).parents[1]
HISTORY = Path("benchmarks/history")
PICTURES = Path("docs")
_BLOCK = re.compile(
    r"(?P<head><!-- record: (?P<name>[\w-]+) -->\n).*?(?P<tail><!-- end of record -->)", re.DOTALL
)


def main(
    add: Annotated[
        list[Path] | None, typer.Option(help="A file of --json, to be kept from now on.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail where a document is out of date.")
    ] = False,
) -> None:
    """Brings README.md and docs/ up to date with the newest records."""
    for file in add or []:
        keep(ROOT, file)
    if stale := [str(document) for document in update(ROOT, write=not check)]:
        typer.echo(f"{'out of date' if check else 'updated'}: {', '.join(stale)}")
    if check and stale:
        raise typer.Exit(1)


def keep(root: Path, file: Path) -> Path:
    """Copies a record to where its task, instruction set and date say."""
    record = Record.read(file)
    folder = root / HISTORY
    folder.mkdir(exist_ok=True)
    task = record.results[0].task.function
    return Path(shutil.copy(file, folder / f"{task}-{record.isa}-{record.date}.json"))


def update(root: Path, *, write: bool) -> Iterator[Path]:
    """The documents that differ from the records; written, with their pictures, if so asked."""
    for document in (root / "README.md", *sorted((root / "docs").glob("*.md"))):
        before = document.read_text()
        records = {each["name"]: newest(root, each["name"]) for each in _BLOCK.finditer(before)}
        pictures = Path(os.path.relpath(root / PICTURES, document.parent))
        after = _filled(before, records, pictures)
        if write:
            document.write_text(after)
            for name, record in records.items():
                plot.draw(record, root / PICTURES / f"{name}.png")
        if after != before:
            yield document


def _filled(text: str, records: Mapping[str, Record], pictures: Path) -> str:
    def fill(match: re.Match[str]) -> str:
        name = match["name"]
        return match["head"] + block(records[name], pictures / f"{name}.png") + match["tail"]

    return _BLOCK.sub(fill, text)


def newest(root: Path, name: str) -> Record:
    """The last record of a task and an instruction set, as in ``inference-avx512``."""
    files = sorted((root / HISTORY).glob(f"{name}-????-??-??.json"))
    if not files:
        refuse(f"{HISTORY} has no record {name}")
    return Record.read(files[-1])


def block(record: Record, picture: Path) -> str:
    """The picture, the table, and where the figures come from."""
    results = record.results
    call, rounds = results[0].task.call, len(results[0].timings[OURS].seconds)
    shown = f"![The time of a {call} on other engines over resfuse's]({picture.as_posix()})"
    rows = [
        f"| milliseconds a {call} | resfuse | fastest peer | ratio (least-most) | Flax, ratio |",
        "|---|---|---|---|---|",
        *map(_row, results),
    ]
    source = (
        f"{record.date}: {record.setting}; {', '.join(record.caches)}; threads: "
        f"{results[0].case.threads}, of {record.cpus} CPUs. Medians of {rounds} rounds in which "
        "all engines took turns, each in a process of its own; the ratios are those within a round."
    )
    return "\n".join((shown, "", *rows, "", source, ""))


def _row(result: Result) -> str:
    best = result.best_peer
    flax = result.libraries.get("Flax")
    cells = (
        f"{result.case.group}, {result.case.label}",
        milliseconds(result.timings[OURS].milliseconds),
        f"{milliseconds(result.timings[best].milliseconds)} ({result.engines[best].heading})",
        spread(result.ratios()),
        f"{statistics.median(result.ratios(flax)):.1f}" if flax else "",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    typer.run(main)
