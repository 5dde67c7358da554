"""PyTorch on channels-last images: eager, and compiled by inductor with its weights frozen."""

from collections.abc import Callable
from typing import Any

import torch
from torch._inductor import config

from resfuse.cli.peers.prepared import Prepared
from resfuse.cli.peers.torch_networks import forget_compiled, images, network


def start() -> None:
    """Wakes the runtime, before any network is there."""
    torch.zeros(1) + 1


def load(variant: str, prepared: Prepared, batch: int, threads: int) -> Callable[[], Any]:
    """The network as a call on the images."""
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    model: Callable[[torch.Tensor], torch.Tensor] = network(prepared).eval()
    if variant == "inductor":
        forget_compiled(prepared)
        config.freezing = True
        model = torch.compile(model)
    x = images(prepared, batch)
    return lambda: model(x)
