"""The commands and their options. What they do is imported when they run, so that help is quick."""

import enum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="resfuse",
    help="Fused convolution, batch norm, residual add and ReLU for JAX on CPUs.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain text keeps an error on one line
    pretty_exceptions_enable=False,
)


class Implementation(enum.StrEnum):
    """The values of ``--implementation``; without it the op chooses."""

    FFI = "ffi"
    XLA = "xla"


@app.command()
def demo(
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training images.")] = 12,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Split, weights, order.")] = 0,
    out: Annotated[Path, typer.Option(help="Where the checkpoint and report.png go.")] = Path(
        "resfuse-demo"
    ),
    implementation: Annotated[
        Implementation | None, typer.Option(help="What to train with; by default the op chooses.")
    ] = None,
) -> None:
    """Train a small ResNet on handwritten digits and compare the kernel with plain Flax."""
    from resfuse._cli.demo import run

    run(epochs, seed, out, implementation.value if implementation else None)


@app.command()
def info() -> None:
    """Show versions, instruction sets, devices, and whether the kernel is live."""
    from resfuse._cli.info import run

    run()


@app.command()
def bench(
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPUs for every engine; by default all, with --peers 1 and 2."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Timings of each engine on each case.")] = 5,
    filter_: Annotated[
        str, typer.Option("--filter", help="Only cases whose name holds this text.")
    ] = "",
    json: Annotated[Path | None, typer.Option(help="Write every timing to this file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the result into this file.")] = None,
    peers: Annotated[
        bool, typer.Option("--peers", help="Whole ResNets, beside other engines as well.")
    ] = False,
    models: Annotated[
        str | None, typer.Option(help="With --peers: only these, as in ResNet18,ResNet50.")
    ] = None,
    batches: Annotated[
        str | None, typer.Option(help="With --peers: these batch sizes, by default 1,8,32.")
    ] = None,
    engines: Annotated[
        str | None, typer.Option(help="With --peers: only these, as in flax,openvino.")
    ] = None,
) -> None:
    """Time the op and the basic block against plain Flax, each engine in its own process."""
    if peers:
        from resfuse._cli.peers.command import run as run_peers

        run_peers(models, batches, threads, engines, rounds, filter_, json, plot)
    else:
        from resfuse._cli.bench import run
        from resfuse._cli.refuse import refuse

        if models or batches or engines:
            refuse("--models, --batches and --engines need --peers")
        run(threads, rounds, filter_, json, plot)
