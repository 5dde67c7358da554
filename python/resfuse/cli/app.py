"""The commands and their options. What they do is imported when they run, so that help is quick.

All of them are here, since what they share in names and words is what users learn.
"""

import dataclasses
import enum
import io
import sys
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


class Optimizer(enum.StrEnum):
    """The values of ``--optimizer``."""

    SGD = "sgd"
    ADAM = "adam"
    ADAMW = "adamw"


class Schedule(enum.StrEnum):
    """The values of ``--schedule``."""

    COSINE = "cosine"
    CONSTANT = "constant"
    STEP = "step"


class Format(enum.StrEnum):
    """The values of ``--format``."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def _path(given: str | Path) -> Path:
    """The path that was given, or that of the default."""
    return Path(_text(str(given)))


def _text(given: str) -> str:
    """Refuses an empty path, which would be the working directory."""
    if not given.strip():
        raise typer.BadParameter("it is empty")
    return given


@app.callback()
def prepare() -> None:
    """Lets names of files that are not UTF-8 through to standard output as they are."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")


@app.command()
def demo(
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training images.")] = 12,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Split, weights, order.")] = 0,
    out: Annotated[
        Path, typer.Option(parser=_path, help="Where the checkpoint and report.png go.")
    ] = Path("resfuse-demo"),
    implementation: Annotated[
        Implementation | None, typer.Option(help="What to train with; by default the op chooses.")
    ] = None,
) -> None:
    """Train a small ResNet on handwritten digits and compare the kernel with plain Flax."""
    from resfuse.cli.demo import run

    run(epochs, seed, out, implementation.value if implementation else None)


@app.command()
def train(
    # Without defaults, so that --resume can tell what was given; training/options.py has them.
    data: Annotated[
        str | None,
        typer.Option(
            parser=_text,
            help="digits (the default); a folder of IDX files, of a folder of images for each "
            "class, or of Parquet files; or the name of a Hugging Face dataset.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="tiny (the default), resnet18, efficientnet_b0, convnext_tiny and so on; a wrong "
            "name lists all."
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            parser=_text,
            help="Fine-tune published weights: a file, or hf:ORGANIZATION/NAME. The network is "
            "theirs, and gets a new head where the data have other classes.",
        ),
    ] = None,
    freeze: Annotated[
        str | None,
        typer.Option(help="Parts of it that stay as they are, as in stem,layer1,layer2.0."),
    ] = None,
    loaded_lr: Annotated[
        float | None,
        typer.Option(help="Learning rate of all but its head; by default a tenth of --lr."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="12 by default.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Of all processes together; 32 by default.")
    ] = None,
    optimizer: Annotated[Optimizer | None, typer.Option(help="adamw by default.")] = None,
    lr: Annotated[
        float | None, typer.Option(help="Learning rate; by default 0.1 for sgd, else 0.002.")
    ] = None,
    schedule: Annotated[
        Schedule | None,
        typer.Option(help="cosine (the default) to 0; step: to a tenth at 1/2, again at 3/4."),
    ] = None,
    momentum: Annotated[
        float | None, typer.Option(min=0, max=1, help="Of sgd; 0.9 by default.")
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(min=0, help="By default 0.0001 for adamw, else 0.")
    ] = None,
    augment: Annotated[
        bool | None,
        typer.Option("--augment/--no-augment", help="Shift at random, and mirror if in colour."),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Pixels to which the edges of images are brought; by default as the data "
            "are, or as --weights want them.",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**32 - 1, help="Weights, order; 0 by default.")
    ] = None,
    out: Annotated[Path, typer.Option(parser=_path, help="Where all results go.")] = Path(
        "resfuse-run"
    ),
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --out, with its options.")
    ] = False,
    checkpoint_every: Annotated[
        int | None, typer.Option(min=1, help="Steps between checkpoints within an epoch.")
    ] = None,
    log_every: Annotated[int, typer.Option(min=1, help="Steps between rows of metrics.")] = 50,
    coordinator: Annotated[
        str | None, typer.Option(help="HOST:PORT of process 0, to train on several machines.")
    ] = None,
    num_processes: Annotated[int | None, typer.Option(min=1, help="With --coordinator.")] = None,
    process_id: Annotated[int | None, typer.Option(min=0, help="With --coordinator.")] = None,
) -> None:
    """Train a network on images, with checkpoints from which --resume continues.

    As "Dive into Deep Learning" trains ResNet-18 on the files of Fashion-MNIST in a folder:

    resfuse train --data FOLDER --model d2l-resnet18 --size 96 --batch-size 128
    --epochs 10 --optimizer sgd --lr 0.01 --momentum 0 --schedule constant

    To fine-tune on photographs, in a folder for each class, the later half of a network:

    resfuse train --data FOLDER --weights hf:timm/resnet50.a1_in1k
    --freeze stem,layer1,layer2 --epochs 5 --lr 0.001 --augment
    """
    values = dict(locals())
    from resfuse.cli.training.command import Request, run
    from resfuse.cli.training.options import Options
    from resfuse.cli.training.outputs import Intervals

    options = {field.name: values[field.name] for field in dataclasses.fields(Options)}
    given = {name: value for name, value in options.items() if value is not None}
    intervals = Intervals(checkpoint_every, log_every)
    run(Request(given, out, resume, intervals, (coordinator, num_processes, process_id)))


@app.command()
def predict(
    paths: Annotated[
        list[Path],
        typer.Argument(
            parser=_path,
            metavar="[CHECKPOINT] IMAGES...",
            help="The --out of a training, or one of its checkpoints, unless there are --weights; "
            "then image files, or folders of them.",
        ),
    ],
    weights: Annotated[
        str | None,
        typer.Option(
            parser=_text,
            help="Published weights in place of a checkpoint: a file, or hf:ORGANIZATION/NAME. "
            "With ImageNet's classes if there are 1000.",
        ),
    ] = None,
    format_: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.TABLE,
    top: Annotated[int, typer.Option(min=1, help="Classes of each image, likeliest first.")] = 3,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 32,
) -> None:
    """Classify images with a trained network; those that cannot be read are reported.

    As in: resfuse predict --weights resnet50.safetensors photograph.jpg more-of-them/
    """
    from resfuse.cli.predict import run

    run(paths, weights, format_.value, top, batch_size)


@app.command()
def convert(
    source: Annotated[
        str,
        typer.Argument(
            parser=_text,
            metavar="IN",
            help="A file, hf:ORGANIZATION/NAME, an Orbax checkpoint, or the --out of a training.",
        ),
    ],
    target: Annotated[
        Path,
        typer.Argument(parser=_path, metavar="OUT", help="A file of safetensors; is replaced."),
    ],
    scheme: Annotated[
        str,
        typer.Option(help="torchvision, timm, transformers or efficientnet_pytorch."),
    ],
) -> None:
    """Write published or trained weights under the names of another library.

    As in: resfuse convert resnet50.pth resnet50.safetensors --scheme timm
    """
    from resfuse.cli.convert import run

    run(source, target, scheme)


@app.command()
def explain(
    weights: Annotated[str, typer.Option(parser=_text, help="A file, or hf:ORGANIZATION/NAME.")],
    batch: Annotated[int, typer.Option(min=1, help="Images.")] = 8,
    size: Annotated[
        int | None, typer.Option(min=1, help="Their edges in pixels; by default the weights'.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Timings, of which the median counts.")] = 5,
    format_: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.TABLE,
) -> None:
    """Show where the time of a network with published weights goes, layer by layer.

    Each convolution, with what is fused to it, and each pooling is timed by itself; beside their
    sum stands the time of the whole network.
    """
    from resfuse.cli.explain import run

    run(weights, batch, size, rounds, format_.value)


@app.command()
def info(
    json: Annotated[bool, typer.Option("--json", help="One object in place of the table.")] = False,
) -> None:
    """Show versions, instruction sets, devices, and whether the kernel is live."""
    from resfuse.cli.info import run

    run(as_json=json)


@app.command()
def bench(
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPUs for every engine; by default all."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Timings of each engine on each case.")] = 5,
    filter_: Annotated[
        str, typer.Option("--filter", help="Only cases whose name holds this text.")
    ] = "",
    json: Annotated[
        Path | None, typer.Option(parser=_path, help="Write every timing to this file.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(parser=_path, help="Draw the result into this file.")
    ] = None,
) -> None:
    """Time the op and the basic block against plain Flax, each engine in its own process."""
    from resfuse.cli.bench.layers import run

    run(threads, rounds, filter_, json, plot)
