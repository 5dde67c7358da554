"""DenseNet as plain data (Huang et al. 2017)."""

import dataclasses
from collections.abc import Mapping

from resfuse.models.convention import TORCH, Convention
from resfuse.models.preprocessing import IMAGENET, Preprocessing

__all__ = ["DENSENETS", "DenseNetArchitecture"]


@dataclasses.dataclass(frozen=True)
class DenseNetArchitecture:
    """What tells one DenseNet from another.

    Attributes:
        depths: Layers in each dense block.
        growth: Channels that a layer adds to its input.
        bottleneck: Channels of a layer's 1x1 convolution, in units of ``growth``.
        convention: How convolutions pad and batch norms count; Keras pads as torch.
        preprocessing: That of the published weights.

    Example:
        >>> DENSENETS["DenseNet121"].widths
        ((64, 256), (128, 512), (256, 1024), (512, 1024))
    """

    depths: tuple[int, ...]
    growth: int = 32
    bottleneck: int = 4
    convention: Convention = TORCH
    preprocessing: Preprocessing = IMAGENET

    @property
    def widths(self) -> tuple[tuple[int, int], ...]:
        """Channels into and out of each dense block; a transition halves them."""
        width, widths = 2 * self.growth, []
        for depth in self.depths:
            widths.append((width, width + depth * self.growth))
            width = widths[-1][1] // 2
        return tuple(widths)


DENSENETS: Mapping[str, DenseNetArchitecture] = {
    "DenseNet121": DenseNetArchitecture((6, 12, 24, 16)),
    "DenseNet169": DenseNetArchitecture((6, 12, 32, 32)),
    "DenseNet201": DenseNetArchitecture((6, 12, 48, 32)),
}
