"""``resfuse train``: trains a network, and leaves a directory from which it can be continued."""

import contextlib
import dataclasses
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from resfuse.cli.data import load
from resfuse.cli.data.dataset import BadData
from resfuse.cli.ending import fail, held_back, refuse
from resfuse.cli.files import claimed
from resfuse.cli.training.checkpoints import Checkpoints
from resfuse.cli.training.cluster import Cluster, joined, share_arrays
from resfuse.cli.training.devices import Devices
from resfuse.cli.training.outputs import Intervals, Outputs
from resfuse.cli.training.run import Diverged, Position, Run
from resfuse.cli.training.start import Start, check_data, start
from resfuse.cli.training.trainer import Evaluation


@dataclasses.dataclass(frozen=True)
class Request:
    """What the command was given: the options of the run, and the rest.

    ``cluster`` is where process 0 listens, the number of processes, and which one this is.
    """

    options: Mapping[str, Any]
    out: Path
    resume: bool
    intervals: Intervals
    cluster: tuple[str | None, int | None, int | None]


def run(request: Request) -> None:
    """Trains; process 0 writes into the directory ``out``, and prints what is there."""
    with joined(Cluster.of(*request.cluster)), _claimed(request):
        begun = start(request.options, request.out, request.resume)
        run = _run(begun, request.out)
        with held_back() as check:
            if jax.process_index():
                _follow(run, begun, check)
            else:
                _lead(run, begun, request, check)


def _run(begun: Start, out: Path) -> Run:
    options, pretrained = begun.options, begun.pretrained
    size = options.size or (pretrained.size if pretrained else None)
    data = load(options.data, size=size, seed=options.seed)
    check_data(data, begun, out)
    resumed = begun.record is not None
    return Run(options, data, Devices.all(), pretrained=pretrained, resumed=resumed)


def _claimed(request: Request) -> contextlib.AbstractContextManager[None]:
    """The directory of the run, which is the concern of process 0 alone."""
    if jax.process_index():
        return contextlib.nullcontext()
    if request.resume and not request.out.is_dir():
        refuse(f"--resume: there is no directory {request.out}")
    return claimed(request.out)


def _follow(run: Run, begun: Start, check: Callable[[], None]) -> None:
    """What processes but the first do: the same, without a word."""
    try:
        _restore(run, None, begun)
        _train(run, begun.position, None, check)
    except (Diverged, BadData) as error:
        fail(str(error))


def _lead(run: Run, begun: Start, request: Request, check: Callable[[], None]) -> None:
    out = request.out
    try:
        checkpoints = Checkpoints(out, writes=True)
    except OSError as error:
        refuse(f"--out {out}: {error.strerror}")
    with _ends(out, checkpoints):
        _restore(run, checkpoints, begun)
        outputs = Outputs(out, run, checkpoints, begun.position, request.intervals)
        with contextlib.closing(outputs):
            tested = _train(run, begun.position, outputs, check)
        picture = out / "report.png"
        _draw(picture, run, tested)
    print(f"Wrote {picture} and {_said(checkpoints)}")


def _restore(run: Run, checkpoints: Checkpoints | None, begun: Start) -> None:
    """Brings the trainer's state to where the run begins, from process 0's checkpoint if any."""
    if begun.record is None:
        return
    state = run.trainer.state
    if checkpoints:
        state = checkpoints.state(begun.position.step, state)
    run.trainer.state = run.trainer.devices.copied(share_arrays(state))


def _train(
    run: Run, position: Position, outputs: Outputs | None, check: Callable[[], None]
) -> Evaluation:
    """Trains to the end; returns the evaluation after the last step."""
    tested = None
    if outputs:
        outputs.save(position)
    try:
        for step in run.steps(position):
            position = step.position
            tested = run.evaluate() if step.ends_epoch else None
            if outputs:
                outputs.note(step, tested)
            check()
    except (BadData, KeyboardInterrupt):  # the state is that of the latest step
        if outputs:
            outputs.save(position)
        raise
    return tested or run.evaluate()


def _draw(picture: Path, run: Run, tested: Evaluation) -> None:
    from resfuse.cli.training import report  # with its plotting library, at the end only

    report.draw(picture, run, tested)


@contextlib.contextmanager
def _ends(out: Path, checkpoints: Checkpoints) -> Iterator[None]:
    """Ends the command in one line where training cannot go on, which says what is left."""
    resume = f"resfuse train --resume --out {shlex.quote(str(out))}"
    try:
        yield
    except Diverged as error:
        fail(f"{error}; the last checkpoint is {_said(checkpoints)}")
    except OSError as error:
        reason = error.strerror or error
        fail(f"cannot write into {out}: {reason}; the last checkpoint is {_said(checkpoints)}")
    except BadData as error:
        fail(f"{error}; once it is mended, continue with: {resume}")
    except KeyboardInterrupt:
        print(f"Interrupted; continue with: {resume}")
        raise


def _said(checkpoints: Checkpoints) -> str:
    latest, best = checkpoints.latest, checkpoints.best
    if latest is None:
        return "none"
    return f"{checkpoints.path(latest)} (the best on the test images: {best or 'none yet'})"
