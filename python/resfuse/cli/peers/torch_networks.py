"""The networks in PyTorch, with the weights that were prepared."""

import os

import torch
from torch import nn

from resfuse.cli.peers import torch_d2l, torch_resnet
from resfuse.cli.peers.models import BookResNet, Model, ResNet
from resfuse.cli.peers.prepared import Prepared
from resfuse.cli.peers.torch_names import state_dict


def network(prepared: Prepared) -> nn.Module:
    """The network with its weights, channels last, in training mode."""
    state = {name: torch.from_numpy(each) for name, each in state_dict(prepared.weights).items()}
    with torch.device("meta"):  # no random weights that would only be replaced
        module = _module(prepared.model)
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.momentum = 1 - prepared.model.momentum
    module.load_state_dict(state, assign=True)
    return module.to(memory_format=torch.channels_last)


def _module(model: Model) -> nn.Module:
    if isinstance(model, BookResNet):
        return torch_d2l.ResNet(model)
    assert isinstance(model, ResNet)
    return torch_resnet.ResNet(model)


def images(prepared: Prepared, batch: int) -> torch.Tensor:
    """The images, channels last as they lie."""
    return torch.from_numpy(prepared.images(batch)).permute(0, 3, 1, 2)


def forget_compiled(prepared: Prepared) -> None:
    """Keeps inductor from what it compiled in an earlier run, which would hide what it takes."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(prepared.folder / f"inductor-{os.getpid()}")
