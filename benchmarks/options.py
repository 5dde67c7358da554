"""From the text of the options to the networks and engines that are compared."""

import dataclasses
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence

import typer

import resfuse
from models import Model
from resfuse.cli.bench.results import OURS, YNN_OFF, Engine, Task
from resfuse.cli.bench.turns import LIMITS
from resfuse.cli.ending import refuse

_TORCH = ("torch", "torchvision")
_ONNX = ("onnx", *_TORCH)  # torch writes the files
ENGINES = {
    OURS: Engine("resfuse", OURS, "engines.flax", "fuse"),
    "resfuse-arguments": Engine("resfuse, weights as arguments", OURS, "engines.flax", "arguments"),
    "flax": Engine("Flax", "Flax", "engines.flax", "xla"),
    "flax-ynn-off": Engine("Flax, YNN off", "Flax", "engines.flax", "xla", YNN_OFF),
    "onnxruntime": Engine(
        "ONNX Runtime", "ONNX Runtime", "engines.onnxruntime", "", "", ("onnxruntime", *_ONNX)
    ),
    "openvino": Engine("OpenVINO", "OpenVINO", "engines.openvino", "", "", ("openvino", *_ONNX)),
    "pytorch": Engine("PyTorch eager", "PyTorch", "engines.torch", "eager", "", _TORCH),
    "inductor": Engine("PyTorch inductor", "PyTorch", "engines.torch", "inductor", "", _TORCH),
}
# What has no switch, but asks the processor: the kernels of XLA's YNN fusions, and MLAS.
UNLIMITED = {"flax", "onnxruntime"}
OTHER = "resfuse@other"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A task, and what can do it on what."""

    task: Task
    models: Mapping[str, Model]
    engines: Sequence[str]
    trains: bool = False


def choose_networks(
    comparison: Comparison, models: str | None, batches: str | None
) -> list[tuple[str, int]]:
    """Every model at every batch size, by default each at its own."""
    names = choose("--models", models, list(comparison.models))
    sizes = [] if batches is None else parse_batches(batches)
    return [(name, size) for name in names for size in sizes or comparison.models[name].batches]


def choose_engines(
    comparison: Comparison, text: str | None, against: str | None = None, isa: str | None = None
) -> dict[str, Engine]:
    """Those that are asked for and installed; resfuse, which they are compared to, always.

    Beside another version of resfuse there are only those that are asked for. With ``isa`` they
    are all kept to it, and those that cannot be are left out.
    """
    chosen = {OURS: ENGINES[OURS]}
    if against:
        chosen[OTHER] = _other_version(against)
    names = choose("--engines", text, comparison.engines)
    chosen |= installed(() if against and text is None else names, ENGINES)
    if isa:
        chosen = _limited(chosen, isa)
    if all(engine.library == OURS for engine in chosen.values()):
        refuse("--engines: there is none to compare with")
    return chosen


def _limited(engines: Mapping[str, Engine], isa: str) -> dict[str, Engine]:
    """The engines that can be kept to an instruction set; says which are left out."""
    if isa not in LIMITS or isa not in resfuse.ffi.isas():
        refuse(f"--isa {isa}: engines can be kept to {', '.join(LIMITS)}, where the machine has it")
    found = {}
    for name, engine in engines.items():
        if name in UNLIMITED:
            typer.echo(f"resfuse: {name} is left out: nothing keeps it to {isa}", err=True)
        else:
            found[name] = engine._replace(isa=isa)
    return found


def installed(names: Iterable[str], engines: Mapping[str, Engine]) -> dict[str, Engine]:
    """The engines of these names; says which are left out, for want of a package."""
    found = {}
    for name in names:
        if missing := engines[name].missing:
            why = f"{', '.join(missing)} not installed: pip install '.[bench]'"
            typer.echo(f"resfuse: {name} is left out: {why}", err=True)
        else:
            found[name] = engines[name]
    return found


def _other_version(python: str) -> Engine:
    """Resfuse as this interpreter has it, if it does."""
    command = (python, "-P", "-c", "import resfuse; print(resfuse.__file__)")
    environment = os.environ | {"PYTHONPATH": ""}
    try:
        found = subprocess.check_output(
            command, stderr=subprocess.PIPE, text=True, env=environment
        ).strip()
    except OSError as error:
        refuse(f"--against {python}: {error.strerror}")
    except subprocess.CalledProcessError as error:
        lines = error.stderr.splitlines() or ["it cannot import resfuse"]
        refuse(f"--against {python}: {lines[-1]}")
    if found == resfuse.__file__:
        refuse(f"--against {python}: its resfuse is this one, {found}")
    return Engine("resfuse, other version", OTHER, "engines.flax", "fuse", python=python)


def choose(option: str, text: str | None, known: Sequence[str]) -> list[str]:
    """Of the known ones, in their order, those that the text names; without a text, all."""
    names = known if text is None else [part.strip() for part in text.split(",")]
    for name in names:
        if name not in known:
            refuse(f"{option}: no {name!r}; there are {', '.join(known)}")
    return [name for name in known if name in names]


def parse_batches(text: str) -> list[int]:
    """The numbers between commas, each once."""
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        if not part.isdecimal() or int(part) < 1:
            refuse(f"--batches: {part!r} is not a positive number")
    return list(dict.fromkeys(map(int, parts)))
