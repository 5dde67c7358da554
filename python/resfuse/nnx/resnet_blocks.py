"""The blocks of ResNets for Flax NNX: basic and bottleneck, with what timm's add to them."""

import functools
from typing import Any

from flax import nnx
from jax import Array

from resfuse.models.pooling import halve
from resfuse.models.resnet_plans import BlockPlan, ConvPlan
from resfuse.models.torchvision_layers import conv_settings
from resfuse.nnx.fused import Layer, conv_bn_acts
from resfuse.nnx.layers import Layers

__all__ = ["Block", "conv_and_norm"]

_ones = nnx.initializers.ones
_LECUN = nnx.initializers.lecun_normal()


def conv_and_norm(
    plan: ConvPlan, make: Layers, scale_init: nnx.Initializer = _ones
) -> tuple[nnx.Conv, nnx.BatchNorm]:
    """A planned convolution and the batch norm of what it gives."""
    conv = make.planned_conv(plan, conv_settings(plan))
    return conv, make.batch_norm(plan.features, scale_init)


def _skip(plan: BlockPlan, make: Layers) -> nnx.List[Any] | None:
    """``None`` is where torch's ``Sequential`` has a pool."""
    if plan.downsample is None:
        return None
    return nnx.List([None] * plan.average_skip + [*conv_and_norm(plan.downsample, make)])


class _ChannelAttention(nnx.Module):
    """Scales each channel by what a few neighbours' means make of it (Wang et al. 2019)."""

    def __init__(self, size: int, make: Layers) -> None:
        self.conv = nnx.Conv(
            1,
            1,
            (size,),
            padding=size // 2,
            use_bias=False,
            kernel_init=make.init(_LECUN),
            dtype=make.dtype,
            rngs=make.rngs,
        )

    def __call__(self, x: Array) -> Array:
        y = self.conv(x.mean((-3, -2))[..., None])[..., 0]
        return x * nnx.sigmoid(y)[..., None, None, :]


def _attention(plan: BlockPlan, make: Layers) -> Any:
    if plan.attention == "se":
        return make.squeeze_excite(plan.features, plan.squeezed)
    return _ChannelAttention(plan.attention_size, make) if plan.attention == "eca" else None


class Block(nnx.Module):
    """``conv1`` - ``bn1`` - ReLU and so on; the skip is added before the last ReLU."""

    def __init__(
        self,
        plan: BlockPlan,
        make: Layers,
        *,
        zero_init_residual: bool,
        implementation: str | None,
    ) -> None:
        self.implementation = implementation
        self.depth = len(plan.convs)
        for number, conv in enumerate(plan.convs, 1):
            zero = zero_init_residual and number == self.depth
            layer = conv_and_norm(conv, make, nnx.initializers.zeros if zero else _ones)
            for name, module in zip(("conv", "bn"), layer, strict=True):
                setattr(self, f"{name}{number}", module)
        self.se = _attention(plan, make)
        self.halves = plan.halves
        self.downsample = _skip(plan, make)

    def __call__(self, x: Array, use_running_average: bool | None) -> Array:
        """Maps images ``(..., H, W, C)`` to those of the block."""
        fused = functools.partial(
            conv_bn_acts,
            use_running_average=use_running_average,
            implementation=self.implementation,
        )
        numbers = range(1, self.depth + 1)
        *layers, last = [(getattr(self, f"conv{n}"), getattr(self, f"bn{n}")) for n in numbers]
        branch: list[Layer] = [(*layer, nnx.relu) for layer in layers]
        skip = x
        if self.downsample is not None:
            *_, conv, bn = self.downsample
            skip = halve(x, partial=True) if self.halves else x
            skip = fused([(conv, bn, None)], skip)
        if self.se is None:
            return fused([*branch, (*last, nnx.relu)], x, residual=skip)
        return nnx.relu(self.se(fused([*branch, (*last, None)], x)) + skip)
