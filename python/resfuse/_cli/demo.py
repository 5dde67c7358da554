"""``resfuse demo``: digits, a small ResNet, and the kernel held against plain Flax."""

from pathlib import Path

import orbax.checkpoint as ocp  # type: ignore[import-untyped]
from flax import nnx
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from resfuse import ffi
from resfuse._cli import digits, report
from resfuse._cli.compare import Comparison, compare
from resfuse._cli.files import publish, staging
from resfuse._cli.interrupts import held_back
from resfuse._cli.kernel import why_not_live
from resfuse._cli.refuse import refuse
from resfuse._cli.train import train
from resfuse.nnx import ResNetClassifier

WIDTH = 32


def run(epochs: int, seed: int, out: Path, implementation: str | None) -> None:
    """Trains, compares, writes ``checkpoint`` and ``report.png`` into ``out``, prints a table."""
    not_live = why_not_live(implementation)
    if implementation == "ffi" and not_live:
        refuse(f"--implementation ffi: the kernel is not live: {not_live}")
    checkpoint, picture = out / "checkpoint", out / "report.png"
    with held_back() as check, staging(out) as scratch:
        if checkpoint.exists() and not picture.exists():
            refuse(f"{checkpoint} is not from an earlier demo; choose another --out")
        data = digits.load(seed)
        model, plain = (_classifier(seed, each) for each in (implementation, "xla"))
        with Progress(console=Console(stderr=True)) as progress:
            history = train(model, data, epochs=epochs, seed=seed, progress=progress, check=check)
        plain.eval()
        comparison = compare(model, plain, data.test_images, data.test_labels, check)
        name = "plain Flax (kernel not live)" if not_live else f"resfuse kernel ({ffi.isa()})"
        save(model, scratch / checkpoint.name)
        report.draw(scratch / picture.name, name, history, data.test_images, comparison)
        check()
        publish(scratch, checkpoint, picture)
    Console().print(_table(name, not_live, comparison))
    print(f"Wrote {checkpoint} and {picture}")


def _classifier(seed: int, implementation: str | None) -> ResNetClassifier:
    return ResNetClassifier(
        1, WIDTH, digits.CLASSES, implementation=implementation, rngs=nnx.Rngs(seed)
    )


def save(model: ResNetClassifier, path: Path) -> None:
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
