"""The networks of ``resfuse.d2l`` in PyTorch, with their names in the state dict."""

import torch
from torch import nn
from torch.nn import functional

from resfuse.cli.peers.models import BookResNet

_STEM_CHANNELS = 64


def _layers(*layers: nn.Module) -> nn.Sequential:
    """Layers named as Flax names those of its ``Sequential``."""
    named = nn.Sequential()
    for index, layer in enumerate(layers):
        named.add_module(f"layers_{index}", layer)
    return named


class _Conv(nn.Conv2d):
    """With Flax's ``"SAME"`` padding: with a stride of 2, one row and column more at the end."""

    def __init__(self, in_channels: int, channels: int, size: int, strides: int = 1) -> None:
        super().__init__(in_channels, channels, size, strides, (size - strides) // 2)
        self.extra = (size - strides) % 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps images of even size to images."""
        if self.extra:
            x = functional.pad(x, (0, 1, 0, 1))
        return super().forward(x)


class _Residual(nn.Module):
    """Two 3x3 convolutions with batch norm; a skip that changes has a 1x1 one without."""

    def __init__(self, in_channels: int, channels: int, strides: int) -> None:
        super().__init__()
        self.conv1 = _Conv(in_channels, channels, 3, strides)
        self.conv2 = _Conv(channels, channels, 3)
        self.bn1, self.bn2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        changes = in_channels != channels or strides != 1
        self.conv3 = nn.Conv2d(in_channels, channels, 1, strides) if changes else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps images to images."""
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.conv3(x))


class ResNet(nn.Module):
    """Stem, stages, mean over height and width, a dense layer."""

    def __init__(self, model: BookResNet) -> None:
        super().__init__()
        stem = _layers(
            _Conv(model.channels, _STEM_CHANNELS, 7, 2),
            nn.BatchNorm2d(_STEM_CHANNELS),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, ceil_mode=True),  # "SAME" on images of even size
        )
        in_channels, stages = _STEM_CHANNELS, []
        for index, (depth, channels) in enumerate(model.stages):
            first = _Residual(in_channels, channels, 2 if index else 1)
            rest = (_Residual(channels, channels, 1) for _ in range(depth - 1))
            stages.append(_layers(first, *rest))
            in_channels = channels
        dense = nn.Linear(in_channels, model.num_classes)
        head = _layers(nn.AdaptiveAvgPool2d(1), nn.Flatten(), dense)
        self.net = _layers(stem, *stages, head)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps images to logits."""
        return self.net(x)
