"""The measurement: prepare a network, build it on every engine, and let them take turns."""

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from resfuse._cli.peers.engines import ENGINES, OURS
from resfuse._cli.peers.models import MODELS, Case
from resfuse._cli.peers.prepared import Prepared
from resfuse._cli.peers.results import Result
from resfuse._cli.turns import Worker, take_turns


def measure(
    cases: Iterable[Case], engines: list[str], rounds: int, check: Callable[[], None]
) -> Iterator[Result]:
    """Measures case by case; those of one model should follow one another."""
    model = ""
    with contextlib.ExitStack() as stack:
        for case in cases:
            if case.model != model:
                stack.close()  # the files of the model before
                model = case.model
                prepared = Prepared(stack.enter_context(tempfile.TemporaryDirectory()))
                prepared.model = MODELS[model]
                _run("weights", prepared)
            if any(ENGINES[name].exported for name in engines):
                _export(prepared, case.batch)
            yield _measure_case(case, prepared, engines, rounds, check)


def _export(prepared: Prepared, batch: int) -> None:
    if not prepared.onnx(batch).exists():
        _run("export", prepared, batch)


def _run(module: str, prepared: Prepared, *arguments: object) -> None:
    """A process that makes files and ends."""
    worker = Worker(module, "-m", f"resfuse._cli.peers.{module}", threads=1)
    with contextlib.closing(worker):
        worker.ask(str(prepared.folder), *arguments)


def _measure_case(
    case: Case, prepared: Prepared, engines: list[str], rounds: int, check: Callable[[], None]
) -> Result:
    with contextlib.ExitStack() as stack:
        workers, first = {}, {}
        for name in engines:  # each starts and builds while the others wait
            workers[name] = _start(name, case, prepared)
            stack.callback(workers[name].close)
            first[name] = workers[name].ask("build", str(prepared.logits(name)))
            check()
        turns = take_turns(workers, ["time"], rounds, check)
    seconds = {name: [turn[name]["seconds"] for turn in turns] for name in engines}
    megabytes = {name: turns[-1][name]["kilobytes"] / 1024 for name in engines}
    return Result(case, seconds, first, megabytes, differences(prepared, engines))


def _start(name: str, case: Case, prepared: Prepared) -> Worker:
    engine = ENGINES[name]
    arguments = (engine.module, engine.variant, prepared.folder, case.batch, case.threads)
    command = ("-m", "resfuse._cli.peers.worker", *map(str, arguments))
    return Worker(name, *command, threads=case.threads, xla_flags=engine.xla_flags)


def differences(prepared: Prepared, engines: list[str]) -> dict[str, float]:
    """The largest difference of each engine's logits to resfuse's, over the largest logit."""
    logits = {name: np.load(prepared.logits(name)) for name in engines}
    ours = logits[OURS]
    largest = np.abs(ours).max()
    return {
        name: float(np.abs(each - ours).max() / largest) if each.shape == ours.shape else np.inf
        for name, each in logits.items()
        if name != OURS
    }
