"""ConvNeXt as plain data (Liu et al. 2022)."""

import dataclasses
from collections.abc import Mapping

from resfuse.models.convention import TORCH, Convention
from resfuse.models.preprocessing import IMAGENET, Preprocessing

__all__ = ["CONVNEXTS", "ConvNeXtArchitecture"]


@dataclasses.dataclass(frozen=True)
class ConvNeXtArchitecture:
    """What tells one ConvNeXt from another.

    Attributes:
        depths: Blocks in each stage.
        features: Channels of each stage.
        stochastic_depth: Of the last block, in training; it grows from 0 at the first.
        layer_scale: What multiplies every branch at first.
        epsilon: What a layer norm adds to the variance.
        last_epsilon: The same of the norm of the means.
        convention: How convolutions pad.
        preprocessing: That of the published weights.

    Raises:
        ValueError: Where there are not as many depths as features, or none.
    """

    depths: tuple[int, ...]
    features: tuple[int, ...]
    stochastic_depth: float = 0.0
    layer_scale: float = 1e-6
    epsilon: float = 1e-6
    last_epsilon: float = 1e-6
    convention: Convention = TORCH
    preprocessing: Preprocessing = IMAGENET

    def __post_init__(self) -> None:
        if not self.depths or len(self.depths) != len(self.features):
            raise ValueError(
                "depths and features must be one number a stage, "
                f"got {self.depths} and {self.features}"
            )


CONVNEXTS: Mapping[str, ConvNeXtArchitecture] = {
    "ConvNeXtTiny": ConvNeXtArchitecture(
        (3, 3, 9, 3), (96, 192, 384, 768), 0.1, preprocessing=Preprocessing(224, 236)
    ),
    "ConvNeXtSmall": ConvNeXtArchitecture(
        (3, 3, 27, 3), (96, 192, 384, 768), 0.4, preprocessing=Preprocessing(224, 230)
    ),
    "ConvNeXtBase": ConvNeXtArchitecture(
        (3, 3, 27, 3), (128, 256, 512, 1024), 0.5, preprocessing=Preprocessing(224, 232)
    ),
}
