"""RegNetX and RegNetY as plain data (Radosavovic et al. 2020)."""

import dataclasses
import itertools
import math
from collections.abc import Mapping

from resfuse.models.convention import TORCH, Convention
from resfuse.models.preprocessing import IMAGENET, Preprocessing

__all__ = ["REGNETS", "RegNetArchitecture", "RegNetStage"]

_STEM = 32
_UNIT = 8  # of which every width is a multiple


@dataclasses.dataclass(frozen=True)
class RegNetStage:
    """``depth`` blocks of ``features`` channels, the 3x3 convolutions in groups of ``group``."""

    depth: int
    features: int
    group: int


@dataclasses.dataclass(frozen=True)
class RegNetArchitecture:
    """What tells one RegNet from another: the parameters of the paper's equations 2 to 4.

    Attributes:
        depth: Blocks.
        initial_width: ``w_0``, the width of the first block.
        slope: ``w_a``, by which the width grows with every block, before rounding.
        step: ``w_m``: rounded widths are ``w_0`` times powers of it.
        group: Channels in a group of the 3x3 convolutions.
        squeeze: Channels inside squeeze and excitation, as a fraction of the block's input; 0 in
            RegNetX.
        nearest: Whether a width becomes the nearest multiple of the group's, as in the paper and in
            timm, or, where that is below by more than a tenth, the next, as in torchvision.
        convention: How convolutions pad and batch norms count.
        preprocessing: That of the published weights.

    Example:
        >>> [stage.features for stage in REGNETS["RegNetX400MF"].stages]
        [32, 64, 160, 400]
    """

    depth: int
    initial_width: int
    slope: float
    step: float
    group: int
    squeeze: float = 0.0
    nearest: bool = False
    convention: Convention = TORCH
    preprocessing: Preprocessing = IMAGENET

    @property
    def stem_features(self) -> int:
        """Channels after the first convolution."""
        return _STEM

    @property
    def stages(self) -> tuple[RegNetStage, ...]:
        """Blocks of equal width, which is made a multiple of the group's."""
        stages = []
        for width, blocks in itertools.groupby(map(self._width, range(self.depth))):
            group = min(self.group, width)
            features = round(width / group) * group if self.nearest else _round_to(group, width)
            stages.append(RegNetStage(len(list(blocks)), features, group))
        return tuple(stages)

    def _width(self, index: int) -> int:
        """Of one block: that of the line, rounded to a power of the step, then to eights."""
        linear = 1 + self.slope * index / self.initial_width
        exponent = round(math.log(linear) / math.log(self.step))
        return round(self.initial_width * self.step**exponent / _UNIT) * _UNIT


def _round_to(divisor: int, width: int) -> int:
    """The nearest multiple, or the next where that would be below by more than a tenth."""
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * width else rounded


def _regnet(depth: int, *settings: float, squeeze: float = 0.0) -> RegNetArchitecture:
    width, slope, step, group = settings
    preprocessing = Preprocessing(224, 232)
    return RegNetArchitecture(
        depth, int(width), slope, step, int(group), squeeze, preprocessing=preprocessing
    )


def _timm(
    depth: int, *settings: float, squeeze: float = 0.0, resize: int = 256
) -> RegNetArchitecture:
    return dataclasses.replace(
        _regnet(depth, *settings, squeeze=squeeze),
        nearest=True,
        preprocessing=Preprocessing(224, resize, interpolation="bicubic"),
    )


REGNETS: Mapping[str, RegNetArchitecture] = {
    "RegNetX400MF": _regnet(22, 24, 24.48, 2.54, 16),
    "RegNetX800MF": _regnet(16, 56, 35.73, 2.28, 16),
    "RegNetX1_6GF": _regnet(18, 80, 34.01, 2.25, 24),
    "RegNetX3_2GF": _regnet(25, 88, 26.31, 2.25, 48),
    "RegNetX8GF": _regnet(23, 80, 49.56, 2.88, 120),
    "RegNetX16GF": _regnet(22, 216, 55.59, 2.1, 128),
    "RegNetX32GF": _regnet(23, 320, 69.86, 2.0, 168),
    "RegNetY400MF": _regnet(16, 48, 27.89, 2.09, 8, squeeze=0.25),
    "RegNetY800MF": _regnet(14, 56, 38.84, 2.4, 16, squeeze=0.25),
    "RegNetY1_6GF": _regnet(27, 48, 20.71, 2.65, 24, squeeze=0.25),
    "RegNetY3_2GF": _regnet(21, 80, 42.63, 2.66, 24, squeeze=0.25),
    "RegNetY8GF": _regnet(17, 192, 76.82, 2.19, 56, squeeze=0.25),
    "RegNetY16GF": _regnet(18, 200, 106.23, 2.48, 112, squeeze=0.25),
    "RegNetY32GF": _regnet(20, 232, 115.89, 2.53, 232, squeeze=0.25),
    # Only timm has these, or has other widths.
    "RegNetX200MF": _timm(13, 24, 36.44, 2.49, 8),
    "RegNetX600MF": _timm(16, 48, 36.97, 2.24, 24),
    "RegNetX4GF": _timm(23, 96, 38.65, 2.43, 40),
    "RegNetX6_4GF": _timm(17, 184, 60.83, 2.07, 56),
    "RegNetX12GF": _timm(19, 168, 73.36, 2.37, 112),
    "RegNetY200MF": _timm(13, 24, 36.44, 2.49, 8, squeeze=0.25),
    "RegNetY600MF": _timm(15, 48, 32.54, 2.32, 16, squeeze=0.25),
    "RegNetY4GF": _timm(22, 96, 31.41, 2.24, 64, squeeze=0.25, resize=235),
    "RegNetY6_4GF": _timm(25, 112, 33.22, 2.27, 72, squeeze=0.25, resize=235),
    "RegNetY12GF": _timm(19, 168, 73.36, 2.37, 112, squeeze=0.25, resize=235),
    "TimmRegNetX400MF": _timm(22, 24, 24.48, 2.54, 16),
    "TimmRegNetY800MF": _timm(14, 56, 38.84, 2.4, 16, squeeze=0.25),
    "TimmRegNetY8GF": _timm(17, 192, 76.82, 2.19, 56, squeeze=0.25, resize=235),
}
