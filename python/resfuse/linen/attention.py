"""What scales the channels at the end of a ResNet's block, for Flax Linen."""

import functools
from collections.abc import Mapping
from typing import Any

from flax import linen as nn
from jax import Array

from resfuse.models.convention import KAIMING
from resfuse.models.resnet_plans import BlockPlan

__all__ = ["ATTENTIONS", "ChannelAttention", "SqueezeExcite"]


class SqueezeExcite(nn.Module):
    """Scales each channel by what two dense layers make of the means of all (Hu et al. 2017)."""

    plan: BlockPlan
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps ``(..., H, W, C)`` to the same shape."""
        dense = functools.partial(
            nn.Conv, kernel_size=(1, 1), kernel_init=KAIMING, dtype=self.dtype
        )
        y = nn.relu(dense(self.plan.squeezed, name="fc1")(x.mean((-3, -2), keepdims=True)))
        return x * nn.sigmoid(dense(self.plan.features, name="fc2")(y))


class ChannelAttention(nn.Module):
    """Scales each channel by what a few neighbours' means make of it (Wang et al. 2019)."""

    plan: BlockPlan
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps ``(..., H, W, C)`` to the same shape."""
        size = self.plan.attention_size
        settings = {"padding": size // 2, "use_bias": False, "dtype": self.dtype}
        conv = nn.Conv(1, (size,), **settings, name="conv")
        y = conv(x.mean((-3, -2))[..., None])[..., 0]
        return x * nn.sigmoid(y)[..., None, None, :]


ATTENTIONS: Mapping[str, type[nn.Module]] = {"se": SqueezeExcite, "eca": ChannelAttention}
