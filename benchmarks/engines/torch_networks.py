"""The networks of ``resfuse.linen`` and ``resfuse.d2l`` in PyTorch, with torchvision's names.

The book's networks differ in three things: convolutions have biases, ``"SAME"`` padding is Flax's,
and the convolution of a skip has no batch norm.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from models import Model
from prepared import Array, Prepared
from resfuse import d2l, linen
from resfuse.models.architectures import BlockPlan, ConvPlan, plan_stages, plan_stem

_STEM_CHANNELS = 64


def network(prepared: Prepared) -> nn.Module:
    """The network with its weights, channels last, in training mode."""
    model = prepared.model
    arrays = state_dict(prepared.weights, book=model.is_book)
    state = {name: torch.from_numpy(each) for name, each in arrays.items()}
    with torch.device("meta"):  # no random weights that would only be replaced
        module = _ResNet(_plan(model), model.num_classes, model.is_book)
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.momentum = 1 - model.momentum
    module.load_state_dict(state, assign=True)
    return module.to(memory_format=torch.channels_last)


class _Conv(nn.Conv2d):
    """With stride 2, Flax's ``"SAME"`` padding has one row and column more at the end."""

    def __init__(self, plan: ConvPlan, book: bool) -> None:
        padding, extra = plan.size // 2, 0
        if book:
            padding, extra = divmod(max(plan.size - plan.strides, 0), 2)
        shape = (plan.in_features, plan.features, plan.size, plan.strides, padding)
        super().__init__(*shape, groups=plan.groups, bias=book)
        self.extra = extra

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps images of even size to images."""
        if self.extra:
            x = functional.pad(x, (0, 1, 0, 1))
        return super().forward(x)


class _Block(nn.Module):
    """``conv1`` - ``bn1`` - ReLU and so on; the skip is added before the last ReLU."""

    def __init__(self, plan: BlockPlan, book: bool) -> None:
        super().__init__()
        self.depth = len(plan.convs)
        for number, conv in enumerate(plan.convs, 1):
            self.add_module(f"conv{number}", _Conv(conv, book))
            self.add_module(f"bn{number}", nn.BatchNorm2d(conv.features))
        self.downsample: nn.Module | None = None
        if plan.downsample is not None:
            conv = _Conv(plan.downsample, book)
            norm = nn.BatchNorm2d(plan.downsample.features)
            self.downsample = conv if book else nn.Sequential(conv, norm)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps images to images."""
        y = x
        for number in range(1, self.depth + 1):
            y = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(y))
            y = torch.relu(y) if number < self.depth else y
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class _Plan(NamedTuple):
    stem: ConvPlan
    pool: nn.Module
    stages: Sequence[Sequence[BlockPlan]]


class _ResNet(nn.Module):
    """Stem, stages, mean over height and width, a dense layer."""

    def __init__(self, plan: _Plan, num_classes: int, book: bool) -> None:
        super().__init__()
        self.conv1, self.bn1 = _Conv(plan.stem, book), nn.BatchNorm2d(plan.stem.features)
        self.maxpool = plan.pool
        self.stages = [f"layer{number}" for number in range(1, len(plan.stages) + 1)]
        for name, blocks in zip(self.stages, plan.stages, strict=True):
            self.add_module(name, nn.Sequential(*(_Block(block, book) for block in blocks)))
        self.fc = nn.Linear(plan.stages[-1][-1].convs[-1].features, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps images to logits."""
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        for name in self.stages:
            x = getattr(self, name)(x)
        return self.fc(x.mean((2, 3)))


def _plan(model: Model) -> _Plan:
    module = model.module(None)
    if isinstance(module, d2l.ResNet):
        pool = nn.MaxPool2d(3, 2, ceil_mode=True)  # "SAME" on images of even size
        return _Plan(
            ConvPlan(model.channels, _STEM_CHANNELS, 7, 2), pool, [*_plan_book(module.arch)]
        )
    assert isinstance(module, linen.ResNet)
    stem = plan_stem(module.architecture, model.channels, module.cifar_stem)
    pool = nn.Identity() if module.cifar_stem else nn.MaxPool2d(3, 2, 1)
    return _Plan(stem, pool, plan_stages(module.architecture))


def _plan_book(arch: Sequence[tuple[int, int]]) -> Iterator[list[BlockPlan]]:
    inputs = _STEM_CHANNELS
    for index, (depth, features) in enumerate(arch):
        first = _plan_residual(inputs, features, 2 if index else 1)
        yield [first, *[_plan_residual(features, features, 1)] * (depth - 1)]
        inputs = features


def _plan_residual(inputs: int, features: int, strides: int) -> BlockPlan:
    convs = ConvPlan(inputs, features, 3, strides), ConvPlan(features, features, 3)
    changes = inputs != features or strides != 1
    return BlockPlan(convs, ConvPlan(inputs, features, 1, strides) if changes else None)


_KINDS = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
_BOOK = {  # to torchvision's names
    r"^net\.layers_0\.layers_0$": "conv1",
    r"^net\.layers_0\.layers_1$": "bn1",
    r"^net\.layers_\d+\.layers_\d+$": "fc",
    r"^net\.layers_(\d+)\.layers_(\d+)\.": r"layer\1.\2.",
    r"(?<=\.)conv3$": "downsample",
}


def state_dict(weights: Mapping[str, Array], *, book: bool) -> dict[str, NDArray[np.generic]]:
    """``params/layer1/0/conv1/kernel`` becomes ``layer1.0.conv1.weight``, output channels first."""
    state: dict[str, NDArray[np.generic]] = {}
    for name, value in weights.items():
        _, *path, kind = name.split("/")
        module = ".".join(path)
        for pattern, replacement in _BOOK.items() if book else ():
            module = re.sub(pattern, replacement, module)
        state[f"{module}.{_KINDS[kind]}"] = _channels_first(value)
        if kind == "mean":  # in evaluation mode nobody reads it, but it has to be there
            state[f"{module}.num_batches_tracked"] = np.zeros((), np.int64)
    return state


def _channels_first(value: Array) -> Array:
    """``(H, W, I, O)`` to ``(O, I, H, W)``, ``(I, O)`` to ``(O, I)``; vectors stay."""
    axes = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}[value.ndim]
    return np.ascontiguousarray(value.transpose(axes))
