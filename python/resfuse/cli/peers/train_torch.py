"""A training step in PyTorch on channels-last images: eager, and compiled by inductor."""

from collections.abc import Callable

import torch
from torch.nn.functional import cross_entropy

from resfuse.cli.peers.prepared import Prepared
from resfuse.cli.peers.recipe import LEARNING_RATE, MOMENTUM
from resfuse.cli.peers.run_torch import start
from resfuse.cli.peers.torch_networks import forget_compiled, images, network

__all__ = ["load", "start"]


def load(variant: str, prepared: Prepared, batch: int, threads: int) -> Callable[[], float]:
    """A call that trains by one step and returns the loss."""
    torch.set_num_threads(threads)
    model = network(prepared)
    # On CPUs the fused one took longer.
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, MOMENTUM, foreach=True)
    x, labels = images(prepared, batch), torch.from_numpy(prepared.labels(batch))

    def forward(x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return cross_entropy(model(x), labels)

    if variant == "inductor":
        forget_compiled(prepared)
        forward = torch.compile(forward)  # and the backward pass with it

    def call() -> float:
        optimizer.zero_grad()
        loss = forward(x, labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return call
