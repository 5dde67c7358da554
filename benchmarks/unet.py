"""U-Net as it is built today: with batch norm, and a result as large as the image.

Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597, figure 1, has neither.
"""

import jax.numpy as jnp
from flax import linen
from jax import Array

from resfuse.linen import conv_bn_relu

WIDTHS = (64, 128, 256, 512, 1024)


class UNet(linen.Module):
    """Maps images ``(B, H, W, C)``, of sizes that 16 divides, to logits for each pixel."""

    num_classes: int
    implementation: str | None = None

    @linen.compact
    def __call__(self, x: Array, use_running_average: bool = False) -> Array:
        """Down by max pooling, up by transposed convolutions, with skips across."""

        def block(x: Array, width: int, name: str) -> Array:
            for number in (1, 2):
                x = conv_bn_relu(
                    linen.Conv(width, (3, 3), use_bias=False, name=f"{name}_conv{number}"),
                    linen.BatchNorm(momentum=0.9, name=f"{name}_norm{number}"),
                    x,
                    use_running_average=use_running_average,
                    implementation=self.implementation,
                )
            return x

        skips: list[Array] = []
        for level, width in enumerate(WIDTHS):
            x = block(linen.max_pool(x, (2, 2), (2, 2)) if skips else x, width, f"down{level}")
            skips.append(x)
        for level in reversed(range(len(WIDTHS) - 1)):
            up = linen.ConvTranspose(WIDTHS[level], (2, 2), strides=(2, 2), name=f"up{level}_conv")
            x = jnp.concatenate([skips[level], up(x)], -1)
            x = block(x, WIDTHS[level], f"up{level}")
        return linen.Conv(self.num_classes, (1, 1), name="logits")(x)
