"""The networks of ``resfuse.linen`` in PyTorch, with torchvision's names in the state dict."""

import torch
from torch import nn

from resfuse.cli.peers import models
from resfuse.models.architectures import BlockPlan, ConvPlan, plan_stages, plan_stem


def _conv(plan: ConvPlan) -> nn.Conv2d:
    shape = (plan.in_features, plan.features, plan.size, plan.strides, plan.size // 2)
    return nn.Conv2d(*shape, groups=plan.groups, bias=False)


class _Block(nn.Module):
    """``conv1`` - ``bn1`` - ReLU and so on; the skip is added before the last ReLU."""

    def __init__(self, plan: BlockPlan) -> None:
        super().__init__()
        self.depth = len(plan.convs)
        for number, conv in enumerate(plan.convs, 1):
            self.add_module(f"conv{number}", _conv(conv))
            self.add_module(f"bn{number}", nn.BatchNorm2d(conv.features))
        self.downsample: nn.Module | None = None
        if plan.downsample is not None:
            norm = nn.BatchNorm2d(plan.downsample.features)
            self.downsample = nn.Sequential(_conv(plan.downsample), norm)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps images to images."""
        y = x
        for number in range(1, self.depth + 1):
            y = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(y))
            y = torch.relu(y) if number < self.depth else y
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """Stem, stages, mean over height and width, a dense layer."""

    def __init__(self, model: models.ResNet) -> None:
        super().__init__()
        stem = plan_stem(model.architecture, model.channels, model.cifar_stem)
        self.conv1, self.bn1 = _conv(stem), nn.BatchNorm2d(stem.features)
        self.maxpool = nn.Identity() if model.cifar_stem else nn.MaxPool2d(3, 2, 1)
        self.stages = []
        for number, plans in enumerate(plan_stages(model.architecture), 1):
            self.stages.append(f"layer{number}")
            self.add_module(f"layer{number}", nn.Sequential(*map(_Block, plans)))
        self.fc = nn.Linear(model.architecture.out_features, model.num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps images to logits."""
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        for name in self.stages:
            x = getattr(self, name)(x)
        return self.fc(x.mean((2, 3)))
