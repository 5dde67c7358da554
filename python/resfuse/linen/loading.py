"""Published weights in the Linen networks."""

import functools
import os
from typing import Any

import jax
import jax.numpy as jnp

from resfuse.garbage import uncollected
from resfuse.linen.resnet import ResNet
from resfuse.linen.resnetv2 import ResNetV2
from resfuse.weights.errors import WeightsError
from resfuse.weights.fitting import fit
from resfuse.weights.loading import read_weights
from resfuse.weights.variables import by_path, filled

__all__ = ["load"]

_CLASSES: dict[str, Any] = {"ResNet": ResNet, "ResNetV2": ResNetV2}
_PIXELS = 64  # of an image that no layer finds too small


@uncollected()
def load(
    source: str | os.PathLike[str],
    *,
    architecture: Any = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    seed: int = 0,
) -> tuple[Any, dict[str, Any]]:
    """A ResNet and its published weights; all else is as in :func:`resfuse.nnx.load`.

    Returns:
        A module of ``resfuse.linen`` and its variables, ``{"params": ..., "batch_stats": ...}``.

    Raises:
        WeightsError: A ``ValueError``, for a file that is broken, or of no ResNet.
        MismatchError: A ``WeightsError`` that lists all differences between file and network.

    Example:
        >>> import tempfile
        >>> import resfuse
        >>> from resfuse.linen import ResNet18, load
        >>> file, x = f"{tempfile.mkdtemp()}/resnet18.safetensors", jnp.ones((1, 64, 64, 3))
        >>> model = ResNet18()
        >>> variables = model.init(jax.random.key(0), x)
        >>> resfuse.save(model, file, variables=variables)
        >>> model, variables = load(file)
        >>> model.apply(variables, x, use_running_average=True).shape
        (1, 1000)
    """
    weights = read_weights(source, architecture)
    if weights.family not in _CLASSES:
        raise WeightsError(f"resfuse.nnx.load takes a {weights.family}, Linen has only ResNets")
    options = {"cifar_stem": True} if weights.has_cifar_stem else {}
    network = functools.partial(_CLASSES[weights.family], weights.architecture, **options)

    def make(classes: int, channels: int) -> tuple[Any, dict[str, tuple[int, ...]]]:
        model = network(num_classes=classes)
        x = jnp.zeros((1, _PIXELS, _PIXELS, channels))
        variables = jax.eval_shape(model.init, jax.random.key(0), x)
        shapes = {path: leaf.shape for path, leaf in by_path(variables).items()}
        return (model, variables), shapes

    (model, variables), values = fit(weights, make, num_classes, in_channels, seed)
    return model, filled(variables, jax.device_put(dict(values)))
