"""The networks that are compared, as data."""

import dataclasses
from typing import NamedTuple

from resfuse.architectures import ARCHITECTURES, Architecture


@dataclasses.dataclass(frozen=True)
class Model:
    """A ResNet for square images."""

    architecture: Architecture
    size: int
    num_classes: int
    cifar_stem: bool


class Case(NamedTuple):
    """A network at a batch size, on so many threads."""

    model: str
    batch: int
    threads: int

    @property
    def name(self) -> str:
        """``ResNet18, batch 8, threads: 2``."""
        return f"{self.model}, batch {self.batch}, threads: {self.threads}"


_IMAGENET = ("ResNet18", "ResNet34", "ResNet50", "ResNeXt50_32x4d", "WideResNet50_2")

MODELS = {name: Model(ARCHITECTURES[name], 224, 1000, cifar_stem=False) for name in _IMAGENET}
MODELS["ResNet18_CIFAR"] = Model(ARCHITECTURES["ResNet18"], 32, 10, cifar_stem=True)
BATCHES = (1, 8, 32)
THREADS = (1, 2)
