"""Networks by name, as functions of their variables, whether Linen or NNX made them."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from resfuse import d2l
from resfuse import nnx as resnets
from resfuse.models.architectures import ARCHITECTURES

Shape = tuple[int, int, int]

TINY_WIDTH = 32
CIFAR_STEM_UP_TO = 64  # pixels; larger images get ImageNet's stem

_FAMILY = {name.lower().replace("wideresnet", "wide_resnet"): name for name in ARCHITECTURES}
_D2L = {f"d2l-resnet{depth}": f"ResNet{depth}" for depth in (18, 34, 50, 101, 152)}
NAMES = ("tiny", *_FAMILY, *_D2L)


class Variables(NamedTuple):
    """What a network has learned, and the running statistics of its batch norms: two pytrees."""

    params: Any
    statistics: Any


@dataclasses.dataclass(frozen=True)
class Network:
    """A network as two functions.

    ``init(seed)`` makes its variables. ``apply(variables, images, training)`` maps images
    ``(b, H, W, C)`` to logits ``(b, classes)``, and gives the statistics after that.
    """

    init: Callable[[int], Variables]
    apply: Callable[[Variables, Array, bool], tuple[Array, Any]]


def network(
    name: str, classes: int, image_shape: Shape, implementation: str | None = None
) -> Network:
    """The network with one of the ``NAMES``, for so many classes of images ``(H, W, C)``."""
    if name in _D2L:
        make = functools.partial(
            getattr(d2l, _D2L[name]), num_classes=classes, implementation=implementation
        )
        return _linen(make, image_shape)
    return _nnx(functools.partial(module, name, classes, image_shape, implementation))


def module(
    name: str, classes: int, image_shape: Shape, implementation: str | None, rngs: nnx.Rngs
) -> nnx.Module:
    """The NNX module behind a name that is not the book's."""
    height, width, channels = image_shape
    if name == "tiny":
        return resnets.ResNetClassifier(
            channels, TINY_WIDTH, classes, implementation=implementation, rngs=rngs
        )
    return getattr(resnets, _FAMILY[name])(
        classes,
        in_channels=channels,
        cifar_stem=max(height, width) <= CIFAR_STEM_UP_TO,
        implementation=implementation,
        rngs=rngs,
    )


def _nnx(make: Callable[[nnx.Rngs], nnx.Module]) -> Network:
    def init(seed: int) -> Variables:
        return Variables(*nnx.state(make(nnx.Rngs(seed)), nnx.Param, ...))

    graph = nnx.graphdef(nnx.eval_shape(lambda: make(nnx.Rngs(0))))

    def apply(variables: Variables, images: Array, training: bool) -> tuple[Array, Any]:
        model: Any = nnx.merge(graph, *variables, copy=True)  # the argument stays as it is
        logits = model(images, use_running_average=not training)
        return logits, nnx.state(model, nnx.Param, ...)[1]

    return Network(init, apply)


def _linen(make: Callable[..., Any], image_shape: Shape) -> Network:
    def init(seed: int) -> Variables:
        images = jnp.zeros((1, *image_shape))
        variables = make(training=False).init(jax.random.key(seed), images)
        return Variables(variables["params"], variables["batch_stats"])

    def apply(variables: Variables, images: Array, training: bool) -> tuple[Array, Any]:
        collections = {"params": variables.params, "batch_stats": variables.statistics}
        logits, changed = make(training=training).apply(
            collections, images, mutable=["batch_stats"]
        )
        return logits, changed["batch_stats"]

    return Network(init, apply)
