"""The networks of ``peers.py`` in PyTorch, and from there in ONNX."""

from pathlib import Path
from typing import Any

import torch
from torch import nn


class Residual(nn.Module):
    """A basic block."""

    def __init__(self, before: int, channels: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, channels, 3, stride, 1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, 1, 1),
            nn.BatchNorm2d(channels),
        )
        same = before == channels and stride == 1
        self.skip = nn.Identity() if same else nn.Conv2d(before, channels, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps images to images."""
        return torch.relu(self.body(x) + self.skip(x))


def _stage(before: int, channels: int, stride: int) -> list[nn.Module]:
    return [Residual(before, channels, stride), Residual(channels, channels, 1)]


def make(shape: tuple[int, int, int], batch: int) -> tuple[nn.Module, torch.Tensor]:
    """A basic block, or ResNet-18 if there are three channels, and an input for it."""
    model: nn.Module = Residual(64, 64, 1)
    if shape[-1] == 3:
        stem = [nn.Conv2d(3, 64, 7, 2, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        stages = _stage(64, 64, 1) + _stage(64, 128, 2) + _stage(128, 256, 2) + _stage(256, 512, 2)
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000)]
        model = nn.Sequential(*stem, *stages, *head)
    height, width, channels = shape
    x = torch.randn(batch, channels, height, width)
    channels_last = torch.channels_last
    return model.eval().to(memory_format=channels_last), x.to(memory_format=channels_last)


def export(shape: tuple[int, int, int], batch: int, folder: str) -> tuple[str, Any]:
    """The network as ONNX, and its input."""
    model, x = make(shape, batch)
    path = str(Path(folder) / "model.onnx")
    torch.onnx.export(model, (x,), path, input_names=["x"], dynamo=False)
    return path, x.contiguous().numpy()
