"""The measurement: prepare a network, build it on every engine, and let them take turns."""

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from resfuse.cli.peers.arithmetic import gflop
from resfuse.cli.peers.engines import ENGINES, OURS
from resfuse.cli.peers.models import Case
from resfuse.cli.peers.prepared import Prepared
from resfuse.cli.peers.results import Result
from resfuse.cli.peers.tasks import Task
from resfuse.cli.turns import Worker, take_turns


def measure(
    task: Task, cases: Iterable[Case], engines: list[str], rounds: int, check: Callable[[], None]
) -> Iterator[Result]:
    """Measures case by case; those of one model should follow one another."""
    model = ""
    with contextlib.ExitStack() as stack:
        for case in cases:
            if case.model != model:
                stack.close()  # the files of the model before
                model = case.model
                prepared = Prepared(stack.enter_context(tempfile.TemporaryDirectory()))
                prepared.model = task.models[model]
                _run("weights", prepared)
            if any(ENGINES[name].exported for name in engines):
                _export(prepared, case.batch)
            yield _measure_case(task, case, prepared, engines, rounds, check)


def _export(prepared: Prepared, batch: int) -> None:
    if not prepared.onnx(batch).exists():
        _run("export", prepared, batch)


def _run(module: str, prepared: Prepared, *arguments: object) -> None:
    """A process that makes files and ends."""
    worker = Worker(module, "-m", f"resfuse.cli.peers.{module}", threads=1)
    with contextlib.closing(worker):
        worker.ask(str(prepared.folder), *arguments)


def _measure_case(
    task: Task,
    case: Case,
    prepared: Prepared,
    engines: list[str],
    rounds: int,
    check: Callable[[], None],
) -> Result:
    with contextlib.ExitStack() as stack:
        workers, first = {}, {}
        for name in engines:  # each starts and builds while the others wait
            workers[name] = _start(task, name, case, prepared)
            stack.callback(workers[name].close)
            first[name] = workers[name].ask("build", str(prepared.answers(name)), task.calls)
            check()
        turns = take_turns(workers, ["time"], rounds, check)
    return Result(
        task,
        case,
        gflop(prepared.model, case.batch, trains=task.trains),
        seconds={name: [turn[name]["seconds"] for turn in turns] for name in engines},
        peaks={name: [turn[name]["fma_peak"] for turn in turns] for name in engines},
        first=first,
        megabytes={name: turns[-1][name]["kilobytes"] / 1024 for name in engines},
        differences=differences(prepared, engines),
    )


def _start(task: Task, name: str, case: Case, prepared: Prepared) -> Worker:
    engine = ENGINES[name]
    arguments = (
        task.name,
        engine.module,
        engine.variant,
        prepared.folder,
        case.batch,
        case.threads,
    )
    command = ("-m", "resfuse.cli.peers.worker", *map(str, arguments))
    return Worker(name, *command, threads=case.threads, xla_flags=engine.xla_flags)


def differences(prepared: Prepared, engines: list[str]) -> dict[str, float]:
    """The largest difference of each engine's answers to resfuse's, over the largest answer."""
    answers = {name: np.load(prepared.answers(name)) for name in engines}
    ours = answers[OURS]
    largest = np.abs(ours).max()
    return {
        name: float(np.abs(each - ours).max() / largest) if each.shape == ours.shape else np.inf
        for name, each in answers.items()
        if name != OURS
    }
