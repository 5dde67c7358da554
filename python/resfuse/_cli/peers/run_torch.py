"""PyTorch on channels-last images: eager, and compiled by inductor with its weights frozen."""

import os
from collections.abc import Callable
from typing import Any

import torch
from torch._inductor import config

from resfuse._cli.peers.prepared import Prepared
from resfuse._cli.peers.torch_names import state_dict
from resfuse._cli.peers.torch_resnet import ResNet


def start() -> None:
    """Wakes the runtime, before any network is there."""
    torch.zeros(1) + 1


def load(variant: str, prepared: Prepared, batch: int, threads: int) -> Callable[[], Any]:
    """The network as a call on the images."""
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    model: Callable[[torch.Tensor], torch.Tensor] = network(prepared)
    if variant == "inductor":
        # A cache from an earlier run would hide what compiling takes.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(prepared.folder / f"inductor-{os.getpid()}")
        config.freezing = True
        model = torch.compile(model)
    x = torch.from_numpy(prepared.images(batch)).permute(0, 3, 1, 2)
    return lambda: model(x)  # the permuted images are channels last as they lie


def network(prepared: Prepared) -> ResNet:
    """The network with its weights."""
    state = {name: torch.from_numpy(each) for name, each in state_dict(prepared.weights).items()}
    with torch.device("meta"):  # no random weights that would only be replaced
        model = ResNet(prepared.model)
    model.load_state_dict(state, assign=True)
    return model.eval().to(memory_format=torch.channels_last)
