"""torchvision's ResNets in plain ``lax``, from its source alone: its names, its layouts."""

import jax.numpy as jnp
from jax import lax


class ResNet:
    """Inference on images ``(B, C, H, W)`` with a state dict of torchvision's."""

    def __init__(self, weights):
        self.weights = weights
        self.used = set()

    def __getitem__(self, name):
        self.used.add(name)
        return self.weights[name]

    def conv(self, name, x, stride=1, padding=0, groups=1, dilation=1):
        return lax.conv_general_dilated(
            x,
            self[f"{name}.weight"],
            (stride, stride),
            [(padding, padding)] * 2,
            rhs_dilation=(dilation, dilation),
            feature_group_count=groups,
            precision="highest",
        )

    def bn(self, name, x):
        names = ("weight", "bias", "running_mean", "running_var")
        weight, bias, mean, var = (self[f"{name}.{each}"].reshape(-1, 1, 1) for each in names)
        return (x - mean) / jnp.sqrt(var + 1e-5) * weight + bias

    def basic(self, name, x, stride, _groups, _dilation):
        y = self.conv(f"{name}.conv1", x, stride, 1)
        y = jnp.maximum(self.bn(f"{name}.bn1", y), 0)
        y = self.conv(f"{name}.conv2", y, 1, 1)
        return self.bn(f"{name}.bn2", y)

    def bottleneck(self, name, x, stride, groups, dilation):
        y = self.conv(f"{name}.conv1", x)
        y = jnp.maximum(self.bn(f"{name}.bn1", y), 0)
        y = self.conv(f"{name}.conv2", y, stride, dilation, groups, dilation)
        y = jnp.maximum(self.bn(f"{name}.bn2", y), 0)
        return self.bn(f"{name}.bn3", self.conv(f"{name}.conv3", y))

    def stage(self, name, x, block, depth, stride, groups, dilations):
        for index in range(depth):
            stride, dilation = (stride, dilations[0]) if index == 0 else (1, dilations[1])
            child = f"{name}.{index}"
            y = getattr(self, block)(child, x, stride, groups, dilation)
            if f"{child}.downsample.0.weight" in self.weights:
                x = self.conv(f"{child}.downsample.0", x, stride)
                x = self.bn(f"{child}.downsample.1", x)
            x = jnp.maximum(y + x, 0)
        return x

    def __call__(self, x, block, depths, groups=1, dilate=None, cifar_stem=False):
        """The output of each stage, then the logits."""
        stem = (1, 1) if cifar_stem else (2, 3)
        x = jnp.maximum(self.bn("bn1", self.conv("conv1", x, *stem)), 0)
        if not cifar_stem:
            pads = ((0, 0), (0, 0), (1, 1), (1, 1))
            x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 3, 3), (1, 1, 2, 2), pads)
        outputs, dilation = [], 1
        for index, depth in enumerate(depths):
            stride, previous = 2 if index else 1, dilation
            if dilate and index and dilate[index - 1]:
                stride, dilation = 1, dilation * stride
            x = self.stage(
                f"layer{index + 1}", x, block, depth, stride, groups, (previous, dilation)
            )
            outputs.append(x)
        logits = x.mean(axis=(2, 3)) @ self["fc.weight"].T + self["fc.bias"]
        assert self.used == set(self.weights)
        return [*outputs, logits]
