"""What all NNX networks are: a body that gives feature maps, and a head that gives logits."""

import abc
from typing import Any, ClassVar

from flax import nnx
from jax import Array

from resfuse.models.convention import KAIMING
from resfuse.models.preprocessing import Preprocessing
from resfuse.nnx.layers import Layers

__all__ = ["Network"]


class Network(nnx.Module):
    """An image classifier, or what gives its feature maps.

    A network makes its layers in ``make_body`` and ``make_head``, and computes in ``features`` and
    ``classify``.

    Args:
        architecture: Which network.
        num_classes: Number of logits.
        in_channels: Channels of the images.
        features_only: Whether the network ends with its feature maps: it has no head, and a call
            gives what :meth:`features` gives.
        dtype: In which the layers compute; ``None`` follows inputs and variables, as Flax does.
        rngs: Makes the initial values, and what dropout draws.

    Attributes:
        preprocess: What turns a picture into the input of the published weights.
        features_only: As given.

    Example:
        >>> import jax
        >>> from resfuse.nnx import MobileNetV2
        >>> model = MobileNetV2(num_classes=10, rngs=nnx.Rngs(0))
        >>> isinstance(model, Network), model.preprocess.size
        (True, 224)
    """

    kernel_init: ClassVar[nnx.Initializer] = KAIMING  # of convolutions

    def __init__(
        self,
        architecture: Any,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        features_only: bool = False,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ) -> None:
        self.preprocess: Preprocessing = architecture.preprocessing
        self.features_only = features_only
        make = Layers(architecture.convention, dtype, rngs, type(self).kernel_init)
        self.make_body(architecture, in_channels, make)
        if not features_only:
            self.make_head(architecture, num_classes, make)

    def __call__(self, x: Array) -> Any:
        """Maps ``(B, H, W, C)`` to ``(B, num_classes)``, or ``(H, W, C)`` to ``(num_classes,)``."""
        maps = self.features(x)
        return maps if self.features_only else self.classify(maps[-1])

    @abc.abstractmethod
    def make_body(self, architecture: Any, in_channels: int, make: Layers) -> None:
        """Makes what :meth:`features` runs."""

    @abc.abstractmethod
    def make_head(self, architecture: Any, num_classes: int, make: Layers) -> None:
        """Makes what :meth:`classify` runs."""

    @abc.abstractmethod
    def features(self, x: Array) -> list[Array]:
        """Maps ``(B, H, W, C)``, or one ``(H, W, C)``, to maps ``(B, Hi, Wi, Ci)``."""

    @abc.abstractmethod
    def classify(self, x: Array) -> Array:
        """Maps the last of them to logits."""
