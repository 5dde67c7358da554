"""From the text of the options to what is measured."""

from collections.abc import Sequence

import typer

from resfuse.cli.peers.engines import ENGINES, OURS, peers
from resfuse.cli.peers.models import Case
from resfuse.cli.peers.tasks import Task
from resfuse.cli.refuse import refuse


def choose_cases(
    task: Task, models: str | None, batches: str | None, threads: int | None, cpus: int
) -> list[Case]:
    """Every model at every batch size on every number of threads."""
    names = _choose("--models", models, list(task.models))
    sizes = [] if batches is None else [_batch(each) for each in _split("--batches", batches)]
    counts = [threads] if threads else [each for each in task.threads if each <= cpus] or [cpus]
    if not threads and len(counts) < len(task.threads):
        typer.echo(f"resfuse: up to {counts[-1]} threads, there are no more CPUs", err=True)
    return [
        Case(name, size, count)
        for name in names
        for size in sizes or task.models[name].batches
        for count in counts
    ]


def choose_engines(task: Task, text: str | None) -> list[str]:
    """The engines that are asked for and installed; resfuse, which they are compared to, always."""
    known = [name for name, engine in ENGINES.items() if engine.trains or not task.trains]
    chosen = [OURS]
    for name in _choose("--engines", text, known):
        if missing := ENGINES[name].missing:
            packages = ", ".join(missing)
            typer.echo(f"resfuse: {name} is left out: {packages} not installed", err=True)
        elif name != OURS:
            chosen.append(name)
    if not peers(chosen):
        refuse("--engines: there is none to compare with")
    return chosen


def _choose(option: str, text: str | None, known: Sequence[str]) -> list[str]:
    """The names in the text, in the order of the known ones; without a text, all."""
    if text is None:
        return list(known)
    names = _split(option, text)
    for name in names:
        if name not in known:
            refuse(f"{option}: no {name!r}; there are {', '.join(known)}")
    return [name for name in known if name in names]


def _split(option: str, text: str) -> list[str]:
    """The parts between commas, each once."""
    parts = list(dict.fromkeys(part.strip() for part in text.split(",")))
    if "" in parts:
        refuse(f"{option} {text!r}: a list needs something between its commas")
    return parts


def _batch(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        refuse(f"--batches: {text!r} is not a positive number")
    return int(text)
