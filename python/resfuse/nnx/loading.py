"""Published weights in the NNX networks."""

import functools
import itertools
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from resfuse.garbage import uncollected
from resfuse.nnx.convnext import ConvNeXt
from resfuse.nnx.densenet import DenseNet
from resfuse.nnx.mobilenet import MobileNet
from resfuse.nnx.regnet import RegNet
from resfuse.nnx.resnet import ResNet
from resfuse.nnx.resnetv2 import ResNetV2
from resfuse.nnx.unfilled import Parts, Unfilled, unfilled
from resfuse.nnx.vgg import VGG
from resfuse.weights.fitting import fit
from resfuse.weights.loading import read_weights
from resfuse.weights.variables import by_path, filled

__all__ = ["load"]

_NETWORKS = (ConvNeXt, DenseNet, MobileNet, RegNet, ResNet, ResNetV2, VGG)
_CLASSES: dict[str, Any] = {network.__name__: network for network in _NETWORKS}


@uncollected()
def load(
    source: str | os.PathLike[str],
    *,
    architecture: Any = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    seed: int = 0,
) -> Any:
    """A network with published weights, in evaluation mode.

    The file is one of safetensors, or of ``torch.save`` (no torch is needed, and nothing in a
    pickle is run), with the names of torchvision, timm, transformers or ``efficientnet_pytorch``;
    or one of Keras (``.keras``, ``.weights.h5``, ``.h5``), of its own ResNets, ResNetV2s,
    DenseNets, ConvNeXts, EfficientNets, MobileNetV2 and V3; or an Orbax checkpoint, a folder, of
    the variables of a network of ours.
    Every array of the file is used, every variable of the network comes from it, in float32. What
    was found is logged by ``resfuse.weights``.

    Args:
        source: A file, or ``"hf:organization/name"`` with an optional ``"@revision"``, which goes
            through ``huggingface_hub``.
        architecture: The name of a published network, as in ``"ResNet50"``, or an architecture;
            ``None`` finds it from the arrays.
        num_classes: Of the network. Where the file has others, the head is new.
        in_channels: Of the images. Where the file has three and this is another number, the stem's
            kernel is summed or repeated, as in timm.
        seed: Of what is random: a new head, and dropout in training.

    Returns:
        A network of ``resfuse.nnx``. Its ``preprocess`` is that of a ``config.json`` beside the
        file, if there is one, or of the published network.

    Raises:
        WeightsError: A ``ValueError``, for a file that is broken, or of no network that we know.
        MismatchError: A ``WeightsError`` that lists all differences between file and network.
        ValueError: If ``num_classes`` or ``in_channels`` is not positive, or ``seed`` is negative.
        TypeError: If an argument is of another type.

    Example:
        >>> import tempfile
        >>> import resfuse
        >>> from resfuse.nnx import ResNet18, load
        >>> file = f"{tempfile.mkdtemp()}/resnet18.safetensors"
        >>> resfuse.save(ResNet18(rngs=nnx.Rngs(0)), file)
        >>> model = load(file)
        >>> fast = resfuse.fuse(lambda images: model(images))
        >>> fast(jnp.ones((1, 64, 64, 3))).shape
        (1, 1000)
    """
    weights = read_weights(source, architecture)
    options = {"cifar_stem": True} if weights.has_cifar_stem else {}
    network = functools.partial(_CLASSES[weights.family], weights.architecture, **options)

    def make(classes: int, channels: int) -> tuple[Parts, dict[str, tuple[int, ...]]]:
        parts = unfilled(lambda: network(classes, in_channels=channels, rngs=Unfilled(seed)))
        return parts, {path: leaf.shape for path, leaf in by_path(parts.state).items()}

    parts, values = fit(weights, make, num_classes, in_channels, seed)
    # To put each on the device by itself takes longer.
    return _filled(parts, jax.device_put(dict(values)), seed)


def _filled(parts: Parts, values: dict[str, Any], seed: int) -> Any:
    """With variables; random states get keys, without initial values."""
    numbers = itertools.count()

    def draw(leaf: Any) -> Any:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            # JAX would compile programs for them, which takes as long as all the rest.
            shape = jax.eval_shape(jax.random.key_data, leaf).shape
            bits = np.random.default_rng((seed, next(numbers)))
            return jax.random.wrap_key_data(bits.integers(1 << 32, size=shape, dtype=np.uint32))
        return jnp.zeros(leaf.shape, leaf.dtype)

    draws, state = jax.tree.map(draw, parts.draws), filled(parts.state, values)
    return nnx.merge(parts.graph, draws, state)
