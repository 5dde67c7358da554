"""PyTorch on channels-last images: eager, and compiled by inductor."""

import os
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch._inductor import config
from torch.nn.functional import cross_entropy

from engines.torch_networks import network
from prepared import LEARNING_RATE, MOMENTUM, Prepared


def start() -> None:
    """Wakes the runtime, before any network is there."""
    torch.zeros(1) + 1


def inference(variant: str, folder: str, batch: int, threads: int) -> Callable[[], Any]:
    """The network as a call on the images; inductor freezes its weights."""
    prepared = Prepared(folder)
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    model: Callable[[torch.Tensor], torch.Tensor] = network(prepared).eval()
    if variant == "inductor":
        config.freezing = True
        model = _compile(model, prepared)
    x = _images(prepared, batch)
    return lambda: model(x)


def training(variant: str, folder: str, batch: int, threads: int) -> Callable[[], float]:
    """A call that trains by one step and returns the loss."""
    prepared = Prepared(folder)
    torch.set_num_threads(threads)
    model = network(prepared)
    # On CPUs the fused one took longer.
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, MOMENTUM, foreach=True)
    x, labels = _images(prepared, batch), torch.from_numpy(prepared.labels(batch))

    def forward(x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return cross_entropy(model(x), labels)

    if variant == "inductor":
        forward = _compile(forward, prepared)  # and the backward pass with it

    def call() -> float:
        optimizer.zero_grad()
        loss = forward(x, labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return call


def export(prepared: Prepared, batch: int) -> None:
    """Writes the network as ONNX for this batch size."""
    model = network(prepared).eval().to(memory_format=torch.contiguous_format)
    x = torch.from_numpy(prepared.images_channels_first(batch))
    with warnings.catch_warnings():
        # The newer exporter, which the warnings recommend, needs more packages and gains nothing.
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (x,), str(prepared.onnx(batch)), input_names=["x"], dynamo=False)


def _compile(function: Callable[..., Any], prepared: Prepared) -> Callable[..., Any]:
    """Without what inductor compiled in an earlier run, which would hide what it takes."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(prepared.folder / f"inductor-{os.getpid()}")
    compiled: Callable[..., Any] = torch.compile(function)
    return compiled


def _images(prepared: Prepared, batch: int) -> torch.Tensor:
    """The images, channels last as they lie."""
    return torch.from_numpy(prepared.images(batch)).permute(0, 3, 1, 2)
