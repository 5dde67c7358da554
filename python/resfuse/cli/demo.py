"""``resfuse demo``: digits, a small ResNet, and the kernel held against plain Flax."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from resfuse.cli import report
from resfuse.cli.compare import Comparison, compare
from resfuse.cli.data import in_order, load
from resfuse.cli.ending import held_back, refuse
from resfuse.cli.files import claimed, publish, staging
from resfuse.cli.info import why_not_live
from resfuse.cli.training.devices import Devices
from resfuse.cli.training.networks import module
from resfuse.cli.training.options import Options
from resfuse.cli.training.run import Position, Run
from resfuse.kernel import extension

MODEL = "tiny"


def run(epochs: int, seed: int, out: Path, implementation: str | None) -> None:
    """Trains, compares, writes ``checkpoint`` and ``report.png`` into ``out``, prints a table."""
    not_live = why_not_live(implementation)
    if implementation == "ffi" and not_live:
        refuse(f"--implementation ffi: the kernel is not live: {not_live}")
    checkpoint, picture = out / "checkpoint", out / "report.png"
    with held_back() as check, claimed(out), staging(out) as scratch:
        if checkpoint.exists() and not picture.exists():
            refuse(f"{checkpoint} is not from an earlier demo; choose another --out")
        options = Options.of({"model": MODEL, "epochs": epochs, "seed": seed})
        data = load(options.data, size=options.size, seed=seed)
        training = Run(options, data, Devices.all(), implementation)
        with Progress(console=Console(stderr=True)) as progress:
            history = _train(training, progress, check)
        model, plain = (_trained(training, each) for each in (implementation, "xla"))
        with in_order(data.test, len(data.test)) as stream:
            images, labels = next(stream)
        comparison = compare(model, plain, images, labels.astype(np.int64), check)
        name = "plain Flax (kernel not live)" if not_live else f"resfuse kernel ({extension.isa()})"
        save(model, scratch / checkpoint.name)
        report.draw(scratch / picture.name, name, history, images, comparison)
        check()
        publish(scratch, checkpoint, picture)
    Console(markup=False).print(_table(name, not_live, comparison))
    print(f"Wrote {checkpoint} and {picture}")


def _train(
    run: Run, progress: Progress, check: Callable[[], None]
) -> tuple[list[float], list[float]]:
    """Trains; returns the accuracies after each epoch, in training and on the test images."""
    task = progress.add_task("Training", total=run.total_steps)
    train, test = [], []
    for step in run.steps(Position()):
        if step.ends_epoch:
            train.append(run.mean(step.position)[1])
            test.append(run.evaluate().accuracy)
            progress.update(task, description=f"Held-out accuracy {test[-1]:.1%}")
        progress.advance(task)
        check()
    return train, test


def _trained(run: Run, implementation: str | None) -> nnx.Module:
    """The network as a module in evaluation mode, with the weights that were learned."""
    classes, shape = len(run.data.classes), run.data.image_shape
    model = module(MODEL, classes, shape, implementation, nnx.Rngs(0))
    weights = jax.tree.map(np.asarray, run.trainer.state.variables)
    for part in weights:
        nnx.update(model, part)
    model.eval()
    return model


def save(model: nnx.Module, path: Path) -> None:
    """Writes the model's variables; Orbax restores them into ``nnx.state`` of a model like it."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path.absolute(), nnx.state(model))


def _table(name: str, not_live: str | None, comparison: Comparison) -> Table:
    table = Table(title=f"{len(comparison.labels)} held-out digits, the same weights through both")
    if not_live:
        table.caption = f"The kernel is not live: {not_live}. This is Flax against Flax."
    table.add_column()
    table.add_column(name, justify="right")
    table.add_column("plain Flax", justify="right")
    table.add_row("Accuracy", *(f"{each:.2%}" for each in comparison.accuracies))
    table.add_row("Predictions that differ", str(comparison.differing_predictions))
    table.add_row("Largest logit difference", f"{comparison.largest_difference:.1e}")
    table.add_row("Images per second", *(f"{each:,.0f}" for each in comparison.images_per_second))
    table.add_row("Times as fast as plain Flax", f"{comparison.ratio:.2f}")
    return table
