"""One convolution with a bias and ReLU in PyTorch, on channels-last images where it has them."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from convolutions import LAYERS, Layer
from engines.convolution import SideBySide, arrays

_FORMATS = {2: torch.channels_last, 3: torch.channels_last_3d}


def start() -> None:
    """Wakes the runtime."""
    torch.zeros(1) + 1


def forward(variant: str, name: str, threads: int) -> Callable[[], Any]:
    """The layer as a call on its images."""
    del variant
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    layer = LAYERS[name]
    operands = _operands(layer)
    return lambda: _channels_last(_layer(layer, *operands))


def gradients(variant: str, name: str, threads: int) -> Callable[[], Any]:
    """A call that returns the gradients of the sum of squares by images, kernel and bias."""
    del variant
    torch.set_num_threads(threads)
    layer = LAYERS[name]
    operands = [each.requires_grad_() for each in _operands(layer)]

    def call() -> Any:
        for each in operands:
            each.grad = None
        ((_layer(layer, *operands) ** 2).sum() / 2).backward()
        return SideBySide(lambda: _as_jax_has_them(layer, *(each.grad for each in operands)))

    return call


def _as_jax_has_them(layer: Layer, x: Any, kernel: Any, bias: Any) -> list[torch.Tensor]:
    return [_channels_last(x), _from_torch(layer, kernel), bias]


def _operands(layer: Layer) -> list[torch.Tensor]:
    x, kernel, bias = map(torch.from_numpy, arrays(layer))
    spatial = range(len(layer.size))
    images = x.permute(0, -1, *(axis + 1 for axis in spatial))
    weights = _to_torch(layer, kernel)
    if layer.size[1:]:
        memory = _FORMATS[len(layer.size)]
        images, weights = (each.contiguous(memory_format=memory) for each in (images, weights))
    else:
        images, weights = images.contiguous(), weights.contiguous()
    return [images, weights, bias]


def _to_torch(layer: Layer, kernel: torch.Tensor) -> torch.Tensor:
    """``(..., in, out)`` to ``(out, in, ...)``; flipped and ``(in, out, ...)`` if transposed."""
    spatial = list(range(len(layer.size)))
    if layer.transposed:
        return kernel.flip(spatial).permute(-2, -1, *spatial)
    return kernel.permute(-1, -2, *spatial)


def _from_torch(layer: Layer, kernel: torch.Tensor) -> torch.Tensor:
    spatial = list(range(len(layer.size)))
    places = [axis + 2 for axis in spatial]
    if layer.transposed:
        return kernel.permute(*places, 0, 1).flip(spatial)
    return kernel.permute(*places, 1, 0)


def _layer(layer: Layer, x: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    rank = len(layer.size)
    if layer.transposed:
        transposed: Callable[..., torch.Tensor] = getattr(functional, f"conv_transpose{rank}d")
        y = transposed(x, kernel, bias, stride=layer.stride, padding=layer.padding or 0)
        return functional.relu(y)
    convolve: Callable[..., torch.Tensor] = getattr(functional, f"conv{rank}d")
    if layer.causal:
        x = functional.pad(x, (layer.dilation * (layer.window[0] - 1), 0))
    padding = [0 if layer.causal else low for low, _ in layer.pads]
    options = {"padding": padding, "dilation": layer.dilation, "groups": layer.groups}
    return functional.relu(convolve(x, kernel, bias, stride=layer.stride, **options))


def _channels_last(y: torch.Tensor) -> torch.Tensor:
    return y.movedim(1, -1)
