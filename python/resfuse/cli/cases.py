"""What the benchmark measures: layers of well-known networks, as data."""

from typing import Literal, NamedTuple

Layer = Literal["op", "block"]


class Case(NamedTuple):
    """A 3x3 convolution with its epilogue (``op``), or a basic block, on square images."""

    batch: int
    size: int
    channels: int
    layer: Layer

    @property
    def name(self) -> str:
        """``8x56x56x64 op``: the shape of the input, then the layer."""
        return f"{self.batch}x{self.size}x{self.size}x{self.channels} {self.layer}"

    @property
    def gflop(self) -> float:
        """Arithmetic of the direct convolutions, a multiply-add counting as two.

        Only weights that fall on the image count, not those on its padding: nobody has to
        multiply by those zeros, and on 2x2 images they are more than half.
        """
        rows = min(3 * self.size - 2, self.size * self.size)
        convolution = 2 * self.batch * rows**2 * self.channels**2
        return convolution * (2 if self.layer == "block" else 1) / 1e9


_RESNET = [(56, 64), (28, 128), (14, 256), (7, 512)]
_CIFAR = [(32, 64), (16, 128), (8, 256), (4, 512)]
_SHAPES = [
    *((batch, *stage) for batch in (1, 8) for stage in _RESNET),
    *((32, *stage) for stage in _CIFAR),
    (32, 2, 512),
    (1, 4, 3),  # the textbook's
]
_LAYERS: tuple[Layer, ...] = ("op", "block")

CASES = [Case(*shape, layer) for shape in _SHAPES for layer in _LAYERS]
