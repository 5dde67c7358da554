"""Measures what README.md and docs/ show of this machine, and brings them up to date."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

import history
import resfuse
from options import choose
from resfuse.cli.ending import refuse


class Run(NamedTuple):
    """A script, the instruction sets that it is run on, and what is measured."""

    script: str
    isas: tuple[str, ...]
    options: tuple[str, ...]


_NETWORKS = "ResNet18,ResNet50,MobileNetV2,EfficientNetB0"
_ENGINES = "flax,flax-ynn-off,onnxruntime,openvino,pytorch"
_TRAINED = "ResNet18_64x64,ResNet50_64x64,d2l_ResNet18,MobileNetV2_96x96,EfficientNetB0_96x96"
RUNS = (
    Run(
        "networks.py",
        ("avx512", "avx2"),
        ("--models", _NETWORKS, "--batches", "1,8", "--engines", _ENGINES),
    ),
    Run(
        "training.py",
        ("avx512",),
        ("--models", _TRAINED, "--engines", "flax,pytorch,inductor", "--rounds", "3"),
    ),
)


def main(
    isas: Annotated[str | None, typer.Option(help="As in avx512,avx2; by default both.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPUs for every engine.")] = 2,
) -> None:
    """Takes about twenty minutes on a machine that does nothing else."""
    known = sorted({isa for run in RUNS for isa in run.isas})
    chosen = choose("--isas", isas, known)
    if missing := [isa for isa in chosen if isa not in resfuse.ffi.isas()]:
        refuse(f"--isas: this machine has no {', '.join(missing)}")
    with tempfile.TemporaryDirectory() as folder:
        for command in commands(chosen, threads):
            file = Path(folder) / "record.json"
            subprocess.run((*command, "--json", str(file)), check=True)
            typer.echo(f"kept: {history.keep(history.ROOT, file)}")
    for document in history.update(history.ROOT, write=True):
        typer.echo(f"updated: {document}")


def commands(isas: list[str], threads: int) -> Iterator[list[str]]:
    """What is run; all engines are kept to an instruction set that is not the machine's best."""
    best = resfuse.ffi.isas()[0]
    for run in RUNS:
        script = str(Path(__file__).with_name(run.script))
        for isa in isas:
            if isa in run.isas:
                limit = [] if isa == best else ["--isa", isa]
                yield [sys.executable, script, *run.options, *limit, "--threads", str(threads)]


if __name__ == "__main__":
    typer.run(main)
