"""The settings of torchvision's ResNets, in the words that Linen and NNX share."""

from typing import Any

from jax import Array

from resfuse.kernel import pool
from resfuse.models.convention import KAIMING, uniform_within
from resfuse.models.resnet_plans import ConvPlan

__all__ = ["conv_settings", "linear_settings", "max_pool"]


def conv_settings(plan: ConvPlan) -> dict[str, Any]:
    """For ``Conv``, all but the features; the initial values are ``kaiming_normal_``, fan out."""
    return {
        "kernel_size": (plan.size, plan.size),
        "strides": (plan.strides, plan.strides),
        "padding": plan.padding,
        "kernel_dilation": (plan.dilation, plan.dilation),
        "feature_group_count": plan.groups,
        "use_bias": plan.use_bias,
        "kernel_init": KAIMING,
    }


def linear_settings(in_features: int) -> dict[str, Any]:
    """For ``Dense`` or ``Linear``: weights and biases uniform within ``in_features**-0.5``."""
    uniform = uniform_within(in_features**-0.5)
    return {"kernel_init": uniform, "bias_init": uniform}


def max_pool(x: Array, implementation: str | None) -> Array:
    """3x3 with stride 2; the pixel of padding on each side never wins."""
    return pool.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)), implementation)
