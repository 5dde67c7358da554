"""The networks of ``resfuse.linen``, ``resfuse.d2l`` and ``unet.py`` in PyTorch.

Others are torchvision's.
"""

import re
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from prepared import Array, Prepared
from resfuse.weights.files import read_arrays

_BOOK = {  # names of the book's layers, and those of the same ones in resfuse.linen
    r"^net/layers_0/layers_0$": "conv1",
    r"^net/layers_0/layers_1$": "bn1",
    r"^net/layers_\d+/layers_\d+$": "fc",
    r"^net/layers_(\d+)/layers_(\d+)": r"layer\1/\2",
    r"/conv3$": "/downsample/0",
}


def network(prepared: Prepared) -> nn.Module:
    """The prepared one, channels last, in training mode."""
    if prepared.model.torchvision:
        return _torchvision(prepared)
    return UNet(prepared) if prepared.model.network.startswith("unet.") else ResNet(prepared)


def _torchvision(prepared: Prepared) -> nn.Module:
    # It is imported here, because most networks need no torchvision.
    from torchvision.models import get_model
    from torchvision.ops import StochasticDepth

    model = prepared.model
    made: nn.Module = get_model(model.torchvision, weights=None, num_classes=model.num_classes)
    arrays = read_arrays(prepared.torchvision)
    made.load_state_dict({name: torch.from_numpy(np.array(arrays[name])) for name in arrays})
    for layer in made.modules():
        if isinstance(layer, (nn.Dropout, StochasticDepth)):
            layer.p = 0.0  # ours drop nothing either, see nnx_networks.py
    return made.to(memory_format=torch.channels_last)


class Layers(nn.Module):
    """Our variables by their names in Flax, and what is computed with them, channels last."""

    def __init__(self, prepared: Prepared) -> None:
        super().__init__()
        self.book, self.momentum = prepared.model.is_book, 1 - prepared.model.momentum
        self.names = set()
        for name, value in prepared.weights.items():
            collection, _, path = name.partition("/")
            layer, _, kind = path.rpartition("/")
            for book, plain in _BOOK.items() if self.book else ():
                layer = re.sub(book, plain, layer)
            self.names.add(layer)
            tensor = torch.from_numpy(_channels_first(value))
            if collection == "params":
                self.register_parameter(f"{layer}/{kind}", nn.Parameter(tensor))
            else:
                self.register_buffer(f"{layer}/{kind}", tensor)

    def _conv(self, x: torch.Tensor, name: str, strides: int = 1) -> torch.Tensor:
        kernel = self._get(f"{name}/kernel")
        size = kernel.shape[-1]
        padding = size // 2
        if self.book:
            padding, after = divmod(max(size - strides, 0), 2)
            x = functional.pad(x, (0, 1, 0, 1)) if after else x
        groups = x.shape[1] // kernel.shape[1]
        return functional.conv2d(
            x, kernel, self._get(f"{name}/bias"), strides, padding, groups=groups
        )

    def _norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        kinds = ("mean", "var", "scale", "bias")
        values = (self._get(f"{name}/{kind}") for kind in kinds)
        return functional.batch_norm(x, *values, self.training, self.momentum)

    def _get(self, name: str) -> Any:
        """The tensor, or ``None`` if there is none."""
        return getattr(self, name, None)


class ResNet(Layers):
    """One of ours, in training mode.

    The book's networks differ in that convolutions have biases, that padding is Flax's ``"SAME"``,
    and that the convolution of a skip has no batch norm.
    """

    def __init__(self, prepared: Prepared) -> None:
        super().__init__(prepared)
        self.small = bool(prepared.model.settings.get("cifar_stem"))
        blocks = [each.removesuffix("/conv1") for each in self.names if each.endswith("/conv1")]
        self.blocks = sorted(blocks, key=lambda name: [*map(int, re.findall(r"\d+", name))])
        self.depth = 3 if f"{self.blocks[0]}/bn3" in self.names else 2
        self.to(memory_format=torch.channels_last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps images, of even size for the book's networks, to logits."""
        x = torch.relu(self._norm(self._conv(x, "conv1", 1 if self.small else 2), "bn1"))
        if self.book:
            x = functional.max_pool2d(x, 3, 2, ceil_mode=True)  # "SAME"
        elif not self.small:
            x = functional.max_pool2d(x, 3, 2, 1)
        for block in self.blocks:
            x = self._block(x, block, 2 if block.endswith("/0") and block != "layer1/0" else 1)
        return functional.linear(x.mean((2, 3)), self._get("fc/kernel"), self._get("fc/bias"))

    def _block(self, x: torch.Tensor, name: str, strides: int) -> torch.Tensor:
        """``conv1`` - ``bn1`` - ReLU and so on; the skip is added before the last ReLU."""
        y = x
        for number in range(1, self.depth + 1):
            # A basic block has its stride in conv1, a bottleneck in conv2.
            y = self._conv(y, f"{name}/conv{number}", strides if number == self.depth - 1 else 1)
            y = self._norm(y, f"{name}/bn{number}")
            y = torch.relu(y) if number < self.depth else y
        if self._get(f"{name}/downsample/0/kernel") is not None:
            x = self._conv(x, f"{name}/downsample/0", strides)
            x = x if self.book else self._norm(x, f"{name}/downsample/1")
        return torch.relu(y + x)


class UNet(Layers):
    """That of ``unet.py``, in training mode."""

    def __init__(self, prepared: Prepared) -> None:
        super().__init__(prepared)
        self.levels = sum(name.startswith("down") for name in self.names) // 4
        for level in range(self.levels - 1):
            # Flax reads a transposed convolution's window from its end, and its inputs come first.
            kernel = self._get(f"up{level}_conv/kernel")
            kernel.data = kernel.data.flip(2, 3).transpose(0, 1).contiguous()
        self.to(memory_format=torch.channels_last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps images to logits for each pixel, channels last as Flax has them."""
        skips: list[torch.Tensor] = []
        for level in range(self.levels):
            x = self._block(functional.max_pool2d(x, 2) if skips else x, f"down{level}")
            skips.append(x)
        for level in reversed(range(self.levels - 1)):
            kernel, bias = (self._get(f"up{level}_conv/{kind}") for kind in ("kernel", "bias"))
            x = functional.conv_transpose2d(x, kernel, bias, 2)
            x = self._block(torch.cat([skips[level], x], 1), f"up{level}")
        return self._conv(x, "logits").permute(0, 2, 3, 1)

    def _block(self, x: torch.Tensor, name: str) -> torch.Tensor:
        for number in (1, 2):
            x = torch.relu(
                self._norm(self._conv(x, f"{name}_conv{number}"), f"{name}_norm{number}")
            )
        return x


def _channels_first(value: Array) -> Array:
    """``(H, W, I, O)`` to ``(O, I, H, W)``, ``(I, O)`` to ``(O, I)``; vectors stay."""
    axes = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}[value.ndim]
    return np.ascontiguousarray(value.transpose(axes))
