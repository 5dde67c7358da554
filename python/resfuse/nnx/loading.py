"""Published weights in the NNX networks."""

import itertools
import os
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from resfuse.nnx.convnext import ConvNeXt
from resfuse.nnx.densenet import DenseNet
from resfuse.nnx.layers import Unfilled
from resfuse.nnx.mobilenet import MobileNet
from resfuse.nnx.regnet import RegNet
from resfuse.nnx.resnet import ResNet
from resfuse.nnx.resnetv2 import ResNetV2
from resfuse.nnx.vgg import VGG
from resfuse.weights.loading import fit, read_weights
from resfuse.weights.variables import by_path, filled

__all__ = ["load"]

_NETWORKS = (ConvNeXt, DenseNet, MobileNet, RegNet, ResNet, ResNetV2, VGG)
_CLASSES: dict[str, Any] = {network.__name__: network for network in _NETWORKS}


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

    def make(classes: int, channels: int) -> tuple[Any, dict[str, tuple[int, ...]]]:
        def build() -> Any:
            return _CLASSES[weights.family](
                weights.architecture, classes, in_channels=channels, rngs=Unfilled(seed), **options
            )

        model = nnx.eval_shape(build)
        state = nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.RngState)))
        return model, {path: leaf.shape for path, leaf in by_path(state).items()}

    model, values = fit(weights, make, num_classes, in_channels, seed)
    return _with_values(model, {path: jnp.asarray(value) for path, value in values}, seed)


def _with_values(model: Any, values: dict[str, Any], seed: int) -> Any:
    """In place of the abstract variables; random states get keys, without initial values."""
    graph, *states = nnx.split(model, nnx.RngState, ...)
    draws, state = states
    pure = nnx.to_pure_dict(state)
    nnx.replace_by_pure_dict(state, filled(pure, values))
    numbers = itertools.count()

    def draw(leaf: Any) -> Any:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.fold_in(jax.random.key(seed), next(numbers))
        return jnp.zeros(leaf.shape, leaf.dtype)

    model = nnx.merge(graph, jax.tree.map(draw, draws), state)
    model.eval()
    return model
