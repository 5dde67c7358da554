"""The networks that are compared, as data."""

import dataclasses
from typing import NamedTuple

from resfuse.models.architectures import ARCHITECTURES, Architecture
from resfuse.models.torchvision_layers import BATCH_NORM

BATCHES = (1, 8, 32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """A network for square images, and the batch sizes that it is measured at by default."""

    size: int
    num_classes: int
    channels: int = 3
    batches: tuple[int, ...] = BATCHES
    momentum: float = BATCH_NORM["momentum"]  # of the running statistics, as Flax counts it

    @property
    def last_norm(self) -> str:
        """The batch norm of a block after which its skip is added."""
        return "bn2"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResNet(Model):
    """One of ``resfuse.linen``."""

    architecture: Architecture
    cifar_stem: bool = False

    @property
    def last_norm(self) -> str:
        """Bottlenecks have three."""
        return "bn2" if self.architecture.block == "basic" else "bn3"


@dataclasses.dataclass(frozen=True, kw_only=True)
class BookResNet(Model):
    """One of ``resfuse.d2l``: ``(num_residuals, num_channels)`` of each stage."""

    stages: tuple[tuple[int, int], ...]
    momentum: float = 0.99


class Case(NamedTuple):
    """A network at a batch size, on so many threads."""

    model: str
    batch: int
    threads: int

    @property
    def name(self) -> str:
        """``ResNet18, batch 8, threads: 2``."""
        return f"{self.model}, batch {self.batch}, threads: {self.threads}"


def _resnet(name: str, size: int, *batches: int, num_classes: int = 1000) -> ResNet:
    """With the small stem for images of 32 pixels."""
    return ResNet(
        architecture=ARCHITECTURES[name],
        size=size,
        num_classes=num_classes,
        cifar_stem=size <= 32,
        batches=batches or BATCHES,
    )


_IMAGENET = ("ResNet18", "ResNet34", "ResNet50", "ResNeXt50_32x4d", "WideResNet50_2")

ANSWERING: dict[str, Model] = {name: _resnet(name, 224) for name in _IMAGENET}
ANSWERING["ResNet18_CIFAR"] = _resnet("ResNet18", 32, num_classes=10)

TRAINED: dict[str, Model] = {
    "ResNet18_CIFAR": _resnet("ResNet18", 32, 128, num_classes=10),
    "ResNet18_64x64": _resnet("ResNet18", 64, 32),
    "ResNet50_64x64": _resnet("ResNet50", 64, 16),
    "d2l_ResNet18": BookResNet(
        stages=((2, 64), (2, 128), (2, 256), (2, 512)),
        size=96,
        channels=1,
        num_classes=10,
        batches=(128,),
    ),
}
