"""VGG with batch norm as plain data (Simonyan & Zisserman 2014)."""

import dataclasses
from collections.abc import Mapping

from resfuse.models.convention import TORCH, Convention
from resfuse.models.preprocessing import IMAGENET, Preprocessing

__all__ = ["VGGS", "VGGArchitecture"]


@dataclasses.dataclass(frozen=True)
class VGGArchitecture:
    """What tells one VGG from another.

    Attributes:
        depths: 3x3 convolutions in each stage; a max pool ends it.
        features: Channels of each stage.
        hidden_features: Of the two dense layers before the last.
        dropout: After each of these, in training.
        convention: How convolutions pad and batch norms count.
        preprocessing: That of the published weights.
    """

    depths: tuple[int, ...]
    features: tuple[int, ...] = (64, 128, 256, 512, 512)
    hidden_features: int = 4096
    dropout: float = 0.5
    convention: Convention = TORCH
    preprocessing: Preprocessing = IMAGENET


VGGS: Mapping[str, VGGArchitecture] = {
    "VGG11": VGGArchitecture((1, 1, 2, 2, 2)),
    "VGG13": VGGArchitecture((2, 2, 2, 2, 2)),
    "VGG16": VGGArchitecture((2, 2, 3, 3, 3)),
    "VGG19": VGGArchitecture((2, 2, 4, 4, 4)),
}
