"""From a file of a network's weights to its first logits, beside ONNX Runtime from its own file.

And beside a bare JAX program: what that takes until it runs, no network in JAX does without.
"""

import functools
import mmap
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
import typer

import resfuse
from bare import resnet
from models import Model
from prepared import Array, Prepared, prepare
from resfuse.nnx import load
from resfuse.weights.files import read_arrays

NETWORKS = ("ResNet18", "ResNet50")
ONNX = "ONNX Runtime"
BARE = "torchvision, jax.jit alone"

_MEMORY = 1 << 30  # more than any of them takes


class First(NamedTuple):
    """The first answer of a process."""

    seconds: float
    logits: Array


def from_weights(file: str, folder: str, threads: int) -> First:
    """Of resfuse, when JAX is imported and awake."""
    del threads  # those of the process

    def answer(images: Array) -> Any:
        model = load(file)
        return resfuse.fuse(lambda x: model(x))(images)

    return _first(answer, folder)


def from_bare(file: str, folder: str, threads: int, runs: bool = True) -> First:
    """Of JAX alone, when it is imported and awake; or until the program could run."""
    del threads  # those of the process

    def answer(images: Array) -> Any:
        arrays = jax.device_put(read_arrays(Path(file)))
        program = jax.jit(resnet).lower(arrays, images).compile()
        return program(arrays, images) if runs else np.full(1, np.nan)

    return _first(answer, folder)


def _first(answer: Callable[[Array], Any], folder: str) -> First:
    jax.block_until_ready(jax.numpy.zeros(1) + 1)
    return _timed(answer, Prepared(folder).images(1))


def _timed(answer: Callable[[Array], Any], images: Array) -> First:
    _fetch_memory()
    start = time.perf_counter()
    logits = np.asarray(answer(images))
    return First(time.perf_counter() - start, logits)


def _fetch_memory() -> None:
    """Has a virtual machine's host bring memory, which every process finds free from here on.

    It takes back within seconds what nobody uses (free page reporting), 6 ms for 2 MiB to come
    again in place of 0.25: that is the machine's, and hits one process more than another.
    """
    np.zeros(_MEMORY, np.uint8)[:: mmap.PAGESIZE] = 1


def from_onnx(file: str, folder: str, threads: int) -> First:
    """Of ONNX Runtime, when it is imported."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads

    def answer(images: Array) -> Any:
        session = onnxruntime.InferenceSession(file, options, ["CPUExecutionProvider"])
        return session.run(None, {"x": images})[0]

    return _timed(answer, Prepared(folder).images_channels_first(1))


def write(prepared: Prepared) -> dict[str, Path]:
    """The same weights in every format and under every library's names."""
    import torch

    from engines.torch import export

    export(prepared, 1)
    module, files = prepared.model.module(None), {}
    for scheme in ("torchvision", "timm", "transformers"):
        files[f"{scheme}, safetensors"] = path = prepared.folder / f"{scheme}.safetensors"
        resfuse.save(module, path, scheme=scheme, variables=prepared.variables())
    arrays = read_arrays(files["torchvision, safetensors"])
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    for kind, zipped in {"zip": True, "stream": False}.items():
        files[f"torchvision, torch's {kind}"] = path = prepared.folder / f"{kind}.pth"
        torch.save(tensors, path, _use_new_zipfile_serialization=zipped)
    return files


def measure(calls: Mapping[str, Callable[[], First]], rounds: int) -> dict[str, list[First]]:
    """Every call in a fresh process, in turn."""
    found: dict[str, list[First]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
                found[name].append(fresh.submit(call).result())
    return found


def main(
    models: Annotated[str, typer.Option(help="As in ResNet18,ResNet50.")] = "ResNet50",
    rounds: Annotated[int, typer.Option(min=1, help="Processes for each file.")] = 3,
) -> None:
    """Measures loading at 224x224 and batch 1, each time in a process of its own."""
    threads = len(os.sched_getaffinity(0))
    for name in models.split(","):
        if name not in NETWORKS:
            raise typer.BadParameter(f"{name} is none of {', '.join(NETWORKS)}")
        with tempfile.TemporaryDirectory() as folder:
            prepared = prepare(folder, Model(f"linen.{name}", 224))
            files = write(prepared)
            place: dict[str, Any] = {"folder": folder, "threads": threads}
            calls = {
                key: functools.partial(from_weights, str(path), **place)
                for key, path in files.items()
            }
            calls[ONNX] = functools.partial(from_onnx, str(prepared.onnx(1)), **place)
            bare = str(files["torchvision, safetensors"])
            calls[BARE] = functools.partial(from_bare, bare, **place)
            calls[f"{BARE}, no run"] = functools.partial(from_bare, bare, **place, runs=False)
            report(name, len(read_arrays(next(iter(files.values())))), measure(calls, rounds))


def report(name: str, arrays: int, found: Mapping[str, list[First]]) -> None:
    """Prints the table; differences are from the logits that ONNX Runtime gives."""
    theirs = found[ONNX][0].logits
    print(f"{name}, {arrays} arrays; largest logit {np.abs(theirs).max():.3f}")
    print(f"{'names, file':36} {'difference':>10} {'first logits, s':>16}")
    for key, results in found.items():
        seconds = [each.seconds for each in results]
        difference = np.abs(results[0].logits - theirs).max()
        spread = f"({min(seconds):.2f}-{max(seconds):.2f})"
        print(f"{key:36} {difference:10.1e} {statistics.median(seconds):7.2f} {spread}")


if __name__ == "__main__":
    typer.run(main)
